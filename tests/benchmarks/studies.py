"""Steps of a study in this process, for tests."""

from collections.abc import Callable, Sequence

import pytest

from benchmarks.study import kept


def steps_here(call: Callable, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Let studies run their steps by `call`; returns a list to which the command line of each is added."""
    ran: list[list[str]] = []

    def run_program(words: Sequence[str]) -> int:
        for step in kept.steps_of(words) if words[0] == "bash" else [words]:
            ran.append(list(step))
            assert "/" not in step[1]  # the project's folder is the working one
            if code := call(step[1], *step[2:]).returncode:
                return code
        return 0

    monkeypatch.setattr(kept, "run_program", run_program)
    return ran


def options_of(step: Sequence[str]) -> dict[str, str]:
    """Option -> the word behind it."""
    return {word: value for word, value in zip(step, step[1:], strict=False) if word.startswith("--")}
