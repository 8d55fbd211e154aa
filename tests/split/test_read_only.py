"""A project folder that cannot be written, with lists missing: one line that says what to run once."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from data.sets.memory import load
from data.sets.registry import data_set
from split.ensure import ensure_list, ensure_path_list
from utils.errors import InputError

DIGITS, CIFAR, FILES = data_set("digits"), data_set("cifar10"), data_set("places")
NOBODY = 65534
FOLDERS = [Path(DIGITS.split_list("x")), Path(DIGITS.train_list), Path(CIFAR.split_list("x")), Path(FILES.path("x"))]


def said_of_missing_lists(root: Path) -> list[str]:
    """What is said of four lists that are missing, by a process that is not root, who can write everywhere."""
    labels, said = load(DIGITS, "", train=True).labels, []
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        if not os.geteuid():
            os.setresuid(NOBODY, NOBODY, NOBODY)
        for make in (
            lambda: ensure_list(DIGITS.split_list("digits_split2_D_i"), DIGITS, labels, root),
            lambda: ensure_list(DIGITS.shot_lists(20)[0], DIGITS, labels, root),
            lambda: ensure_list(CIFAR.split_list("split1_D_i"), CIFAR, np.arange(50_000) % 10, root),
            lambda: ensure_path_list("Places_LT_train", FILES, "tree", root),
        ):
            try:
                said.append(str(make()))
            except (InputError, OSError) as error:
                said.append(f"{type(error).__name__}: {error}")
        os.write(writer, json.dumps(said).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        said = json.load(file)
    os.waitpid(child, 0)
    return said


@pytest.mark.parametrize("there", [False, True], ids=["nothing is there", "the folders of the lists are there"])
def test_lists_that_are_missing_in_a_folder_that_cannot_be_written(there):
    with tempfile.TemporaryDirectory() as name:  # pytest's are for their owner alone
        Path(name).chmod(0o755)
        root = Path(name) / "split"
        folders = [root / path.parent for path in FOLDERS] if there else [root]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o555)
        if there:
            root.chmod(0o777)
        said = said_of_missing_lists(root)
        for line, dataset in zip(said, ("digits", "digits", "cifar10", "places"), strict=True):
            assert line.startswith("InputError: list ") and f" {root}" in line and "cannot be written: run `" in line
            assert f"`python -m split.make_splits --data DIR --dataset {dataset}` once" in line
            assert ("`python -m split.fetch_published" in line) == (dataset != "digits")
        assert not [path for path in root.rglob("*") if path.is_file()]
