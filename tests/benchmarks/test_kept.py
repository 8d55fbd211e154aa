"""Runs of a study, one after the other: what is interrupted begins no other run, what fails stops none."""

import time

import pytest

from benchmarks.study.kept import run_all
from utils.errors import InputError

RUNS = [(name, 1) for name in "abcde"]


@pytest.mark.parametrize(("error", "others_run"), [(KeyboardInterrupt, False), (SystemExit, False), (InputError, True)])
def test_what_ends_a_run(error, others_run):
    begun = []

    def run_one(name: str, split: int) -> None:
        begun.append(name)
        if name == "a":
            raise error("a")
        if not others_run:
            time.sleep(0.5)

    with pytest.raises(error):
        run_all(RUNS, run_one, jobs=1)
    # The next one may have begun before the first was looked at.
    assert begun == list("abcde") if others_run else begun in (["a"], ["a", "b"])
