"""Runs of a study: after an interruption no other run starts; after a failure the others do."""

import sys
import time

import pytest

from benchmarks.study.kept import of_whole_splits, run_all, run_program, run_steps
from utils.errors import InputError

RUNS = [(name, 1) for name in "abcde"]


@pytest.mark.parametrize(("error", "others_run"), [(KeyboardInterrupt, False), (SystemExit, False), (InputError, True)])
def test_what_ends_a_run(error, others_run):
    started = []

    def run_one(name: str, split: int) -> None:
        started.append(name)
        if name == "a":
            raise error("a")
        if not others_run:
            time.sleep(0.5)

    with pytest.raises(error):
        run_all(RUNS, run_one, jobs=1)
    # The second run may have started before the first one's exception was seen.
    assert started == list("abcde") if others_run else started in (["a"], ["a", "b"])


def test_steps_have_one_thread_and_end_with_the_first_that_fails(tmp_path):
    code = (
        "import os, pathlib, sys; pathlib.Path(sys.argv[1]).touch(); sys.exit(int(os.environ['OMP_NUM_THREADS']) - 1)"
    )
    fails = [sys.executable, "-c", "import sys; sys.exit(3)"]
    works, never = ([sys.executable, "-c", code, str(tmp_path / name)] for name in ("works", "never"))
    assert run_program(fails) == 3 and run_program(works) == 0
    with pytest.raises(InputError, match="x of split 2 ended with code 3; the same command goes on"):
        run_steps([works, fails, never], tmp_path / "seconds.json", "x of split 2")
    assert float((tmp_path / "seconds.json").read_text()) > 0 and not (tmp_path / "never").exists()


def test_a_table_is_of_the_splits_that_have_every_run():
    """SimCLR is run on three splits, BCL-I on two: means over other splits are not compared."""
    results = {
        (name, split): {"split": split}
        for name, splits in (("simclr", (1, 2, 3)), ("bcl-i", (1, 3)))
        for split in splits
    }
    whole, line = of_whole_splits(results)
    assert set(whole) == {(name, split) for name in ("simclr", "bcl-i") for split in (1, 3)}
    assert line.endswith("split 2 lacks bcl-i")
    assert of_whole_splits(whole) == (whole, "")
    none_whole = {("simclr", 1): {}, ("bcl-i", 2): {}}
    assert of_whole_splits(none_whole) == (none_whole, "")
