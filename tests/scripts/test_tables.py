"""From pre-training to the table."""

import json

import pytest

from tests.conftest import PROJECT
from tests.scripts.test_train_scripts import PRETRAIN, PROBE, SDCLR


@pytest.mark.slow
def test_experiments_with_names_of_their_own_are_grouped_and_tabulated(call, tmp_path):
    """The folder's names tell nothing: split, list, method and class sizes are in results.json."""
    for name, more in (("first", []), ("second", SDCLR)):
        words = [*PRETRAIN, *more, "--epochs", 1, "--save-dir", "checkpoints_digits"]
        assert call("train_simCLR.py", name, *words).returncode == 0
        words = [*PROBE, "--checkpoint", f"checkpoints_digits/{name}/model_1.pt", "--cvt_state_dict", "--epochs", 1]
        words += ["--bnNameCnt", 0] if more else []
        assert call("train_cifar.py", name, *words, "--save-dir", "checkpoints_digits_tune").returncode == 0
    result = json.loads((tmp_path / "checkpoints_digits_tune/second/results.json").read_text())
    assert result["class_counts"] == [31, 16, 120, 22, 44, 6, 61, 11, 8, 86]
    before = {path: path.stat().st_mtime_ns for path in (PROJECT / "split").rglob("*")}
    done = call("exp_analyse.py", "--dataset", "digits", "--LT", "--method", "simclr", "sdclr", "--out", "out")
    assert (done.returncode, done.stderr) == (0, "")
    table = json.loads((tmp_path / "out/tables.json").read_text())["tables"][0]
    assert [(row["method"], row["n"], list(row["splits"])) for row in table["rows"]] == [
        ("SimCLR", 1, ["1"]), ("SDCLR", 1, ["1"]),
    ]  # fmt: skip
    assert table["rows"][1]["splits"]["1"]["per_class"] == result["per_class"]
    many = [result["per_class"][c] for c in (2, 9, 6, 4)]
    assert table["rows"][1]["columns"]["Many"]["mean"] == pytest.approx(sum(many) / 4)
    assert before == {path: path.stat().st_mtime_ns for path in (PROJECT / "split").rglob("*")}
