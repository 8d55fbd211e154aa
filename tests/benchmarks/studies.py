"""Helpers of the studies' tests: their steps run in this process."""

from collections.abc import Callable, Sequence

import pytest

from benchmarks.study import kept


def steps_here(call: Callable, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Make studies run their steps by `call`; returns a list to which each step's command line is appended."""
    steps: list[list[str]] = []

    def run_program(words: Sequence[str]) -> int:
        for step in kept.steps_of(words) if words[0] == "bash" else [words]:
            steps.append(list(step))
            assert "/" not in step[1]  # it is relative to the project's folder
            if code := call(step[1], *step[2:]).returncode:
                return code
        return 0

    monkeypatch.setattr(kept, "run_program", run_program)
    return steps


def options_of(step: Sequence[str]) -> dict[str, str]:
    """Option -> the word after it."""
    return {word: value for word, value in zip(step, step[1:], strict=False) if word.startswith("--")}
