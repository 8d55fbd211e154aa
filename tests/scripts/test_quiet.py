"""--quiet: one line of result on the terminal, warnings and errors, and the same files as without."""

import json
import locale
import re
import sys

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from run.checkpoint import previous_of, read_checkpoint
from run.log import Log, last_metrics, progress
from tests.conftest import one_line_error, slow_but
from tests.scripts.test_train_scripts import PRETRAIN, PROBE, S_B, SDCLR
from utils.cli import Parser

pytestmark = pytest.mark.usefixtures("one_thread")
GROUPS = r"Many \d+\.\d\d  Medium \d+\.\d\d  Few \d+\.\d\d  Std \d+\.\d\d  All \d+\.\d\d"


def lines_of(folder) -> list[str]:
    """log.txt, without the command and what an epoch took."""
    lines = (folder / "log.txt").read_text().splitlines()
    return [re.sub(r"_time: \d+\.\d+", "_time", line) for line in lines if ".py " not in line]


def numbers_of(folder) -> list[dict]:
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in row.items() if k != "time" and not k.endswith("_s")} for row in rows]


def one_line(done, pattern: str) -> None:
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(pattern + "\n", done.stdout), done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("terminal", slow_but(True, [False, True]))
def test_pretraining(call, tmp_path, monkeypatch, terminal):
    options = [*PRETRAIN, *SDCLR, "--epochs", 2, "--print_freq", 1, "--monitor", "knn", "--monitor_freq", 1]
    told = call("train_simCLR.py", "told", *options)
    assert "Epoch: [2][1/2]" in told.stdout and "pre-trained" not in told.stdout

    stderr = type(sys.stderr)
    monkeypatch.setattr(stderr, "isatty", lambda _: terminal, raising=False)
    done = call("train_simCLR.py", "--quiet", "quiet", *options)
    log = r"log in checkpoints/quiet/log\.txt"
    one_line(done, rf"pre-trained quiet: 2 epochs in \d[\d.]* s, loss \d\.\d{{3}}, kNN \d+\.\d\d, {log}")
    one, other = tmp_path / "checkpoints/told", tmp_path / "checkpoints/quiet"
    assert lines_of(one) == lines_of(other) and numbers_of(one) == numbers_of(other)
    assert f"loss {numbers_of(other)[-2]['loss']:.3f}" in done.stdout
    assert {p.name for p in one.iterdir()} == {p.name for p in other.iterdir()}
    tags = [EventAccumulator(str(folder / "tensorboard")).Reload().Tags() for folder in (one, other)]
    assert tags[0] == tags[1] and "loss" in tags[0]["scalars"]

    # It is no setting of the training: what was told goes on quietly, and the other way round.
    again = call("train_simCLR.py", "quiet", *options, "--quiet", "True", "--resume")
    one_line(again, rf"pre-trained quiet: 2 epochs, finished before, loss \d\.\d{{3}}, kNN \d+\.\d\d, {log}")
    assert "(finished)" in call("train_simCLR.py", "quiet", *options, "--quiet", "False", "--resume").stdout
    assert call("train_simCLR.py", "told", *options, "--quiet", "--resume").returncode == 0


@pytest.mark.slow
def test_a_run_that_goes_on_says_from_where_and_what_is_other(call, tmp_path):
    options = [*PRETRAIN, "--quiet", "--tensorboard", "False", "--epochs"]
    one_line(
        call("train_simCLR.py", "run", *options, 0), r"pre-trained run: 0 epochs in \d[\d.]* s, log in .*/log\.txt"
    )
    assert call("train_simCLR.py", "run", *options, 2, "--overwrite").returncode == 0
    done = call("train_simCLR.py", "run", *options, 3, "--resume", "--accept_changes")
    first, last = done.stdout.splitlines()
    assert first.startswith("epochs was 2, is 3 from here on")
    assert re.match(r"pre-trained run: 3 epochs, from epoch 3 on in \d[\d.]* s, loss ", last)
    one_line_error(call("train_simCLR.py", "run", *options, 3), "holds a run")

    model = tmp_path / "checkpoints/run/model.pt"
    for path in (model, model.with_name("model_3.pt")):
        path.write_bytes(b"PK")
    assert previous_of(model).is_file()
    done = call("train_simCLR.py", "run", *options, 3, "--resume", "--accept_changes")
    first, last = done.stdout.splitlines()
    assert "using model_2.pt" in first or "using model.previous.pt" in first
    assert last.startswith("pre-trained run: 3 epochs, from epoch 3 on in ")


@pytest.mark.slow
def test_probe_evaluation_and_features(call, tmp_path):
    name = "x_digits_split1_D_i_newNT"
    assert call("train_simCLR.py", name, *PRETRAIN, *SDCLR, "--epochs", 1).returncode == 0
    weights = ["--checkpoint", f"checkpoints/{name}/model_1.pt", "--cvt_state_dict", "--bnNameCnt", "0"]
    folder, log = tmp_path / "checkpoints_tune", r"log in checkpoints_tune/x_digits_split1_D_i__quiet/log\.txt"
    one, other = folder / "x_digits_split1_D_i__told", folder / "x_digits_split1_D_i__quiet"
    options = [*PROBE, *weights, "--trainSplit", S_B, "--epochs", 2, "--save-dir", folder.name]
    told = call("train_cifar.py", one.name, *options)
    done = call("train_cifar.py", other.name, *options, "--quiet")
    one_line(done, rf"probed {other.name} \(sdclr-fewshot\): {GROUPS}, {log}")
    assert lines_of(one) == lines_of(other) and numbers_of(one) == numbers_of(other)
    assert re.search(GROUPS, done.stdout).group() in told.stdout.splitlines()
    results = [json.loads((path / "results.json").read_text()) for path in (one, other)]
    assert [r.pop(k) for k in ("experiment", "seconds") for r in results]
    assert [r["provenance"].pop("command").endswith(" --quiet") for r in results] == [False, True]
    assert results[0] == results[1]

    again = call("train_cifar.py", other.name, *options, "--quiet", "--resume")
    one_line(again, rf"probed {other.name} \(sdclr-fewshot, finished before\): {GROUPS}, {log}")

    # A checkpoint from before there was --quiet keeps its record.
    path = other / "best_model.pt"
    content = read_checkpoint(path)
    del content["config"]["quiet"]
    torch.save(content, path)
    evaluate = ["--dataset", "digits", "--model", "res20_s", "--test_only", "--quiet"]
    one_line(call("train_cifar.py", other.name, *evaluate), rf"evaluated {other.name} \(sdclr-fewshot\): .*")
    assert json.loads((other / "results.json").read_text())["departs"] == results[1]["departs"]

    features = ["--dataset", "digits", "--model", "res20_s", *weights, "--protocol", "bcl-50shot", "--epochs", 2]
    done = call("train_cifar.py", "other", *features, "--num_workers", 0, "--quiet")
    one_line(done, rf"probed other \(bcl-50shot\): {GROUPS}, log in .*other/log\.txt")


def test_the_log(tmp_path, capsys):
    log = Log(tmp_path, quiet=True)
    log.info("info")
    log.detail("detail")
    log.warn("warning \x1b[2J")
    log.result("result \x1b[2J")
    assert capsys.readouterr().out == "warning \\x1b[2J\nresult \\x1b[2J\n"
    assert (tmp_path / "log.txt").read_text() == "info\ndetail\nwarning \\x1b[2J\n"
    log = Log(tmp_path)
    log.warn("again")
    log.result("result")
    assert capsys.readouterr().out == "again\n" and "result" not in (tmp_path / "log.txt").read_text()
    Log(tmp_path, main=False, quiet=True).result("result")
    assert capsys.readouterr().out == ""
    assert progress(1, 0, "", main=False).disable


def test_last_metrics_are_of_the_epoch_and_survive_half_a_line(tmp_path):
    assert last_metrics(tmp_path, 1) == {}
    lines = ['{"epoch": 1, "loss": 3}', '{"epoch": 2, "loss": 2, "knn_few": null}', "[2]", '{"epoch": 2, "knn_all": 9}']
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"epoch": 2, ']))
    assert last_metrics(tmp_path, 2) == {"epoch": 2, "loss": 2, "knn_all": 9}


def test_every_program_takes_it():
    for words, quiet in (([], False), (["--quiet"], True), (["--quiet", "True"], True), (["--quiet", "False"], False)):
        assert Parser("").parse_args(words).quiet is quiet


def test_a_log_is_in_utf_8_whatever_the_locale(tmp_path):
    before = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, "C")
    try:
        log = Log(tmp_path)
        log.warn("é ±")
        log.metrics(epoch=1)
        assert last_metrics(tmp_path, 1)["epoch"] == 1
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    assert (tmp_path / "log.txt").read_bytes() == "é ±\n".encode()
