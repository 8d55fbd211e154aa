"""Logs in the authors' format."""

import pytest

from analysis.read import read_log
from tests.analysis.experiments import CIFAR10_COUNTS, accuracies, authors_log, collect_all, experiment, write
from utils.errors import InputError


def test_read_log(tmp_path):
    per_class = accuracies(10, 3)
    assert read_log(write(tmp_path / "a.txt", authors_log(per_class)), 10) == per_class
    assert read_log(write(tmp_path / "b.txt", authors_log(per_class, finished=False)), 10) is None
    assert read_log(write(tmp_path / "c.txt", ""), 10) is None
    assert read_log(tmp_path / "none.txt", 10) is None
    validations = authors_log(per_class, finished=False) + "On the best_model, test tacc is 50.00\n"
    assert read_log(write(tmp_path / "d.txt", validations), 10) is None  # never a validation's line for the test's


def test_doubled_evaluations(tmp_path):
    """A test that is run again appends: the last one counts, whole and not doubled."""
    first, second = accuracies(10, 1), accuracies(10, 2)
    again = "Each class acc is " + "".join(f"{a:.2f} " for a in second) + "\nOn the best_model, test tacc is 50.00\n"
    assert read_log(write(tmp_path / "a.txt", authors_log(first) + again), 10) == second
    assert read_log(write(tmp_path / "b.txt", authors_log(first) + again * 3), 10) == second
    cut = again[: len("Each class acc is 12.34 56")]
    assert read_log(write(tmp_path / "c.txt", authors_log(first) + cut), 10) == first
    retrained = authors_log(accuracies(10, 5), finished=False)
    assert read_log(write(tmp_path / "d.txt", authors_log(first) + retrained), 10) == first


def test_log_with_times_and_odd_bytes(tmp_path):
    per_class = accuracies(10, 3)
    lines = [f"2021-03-04 05:06:07,890 {line}" for line in authors_log(per_class).splitlines()]
    path = tmp_path / "log.txt"
    path.write_bytes(b"\xff\xfe\n" + "\r\n".join(lines).encode())
    assert read_log(path, 10) == per_class


@pytest.mark.parametrize("text", ["12.00 abc 7.00", "12.00 13.0", ""])
def test_logs_with_other_than_one_number_per_class_are_refused(tmp_path, text):
    pretrained, probed = experiment(tmp_path, "cifar10", 1)
    write(pretrained / "log.txt", f"class distribution in training set is {CIFAR10_COUNTS}\n")
    write(probed / "log.txt", f"Each class acc is {text}\nOn the best_model, test tacc is 50.00\n")
    with pytest.raises(InputError, match=r"log\.txt"):
        collect_all("cifar10", tmp_path, splits=[1])
