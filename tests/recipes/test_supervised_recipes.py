"""Recipes of supervised learning: their commands, as the scripts read them, and the table at their end."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from analysis.rows import experiments_of
from data.sets.registry import data_set
from probe.flags import parse_cifar, parse_imagenet
from recipes.flags import parse_recipe
from recipes.reproduce.flags import parse_reproduce
from recipes.steps import commands
from tests.conftest import PROJECT, one_line_error
from tests.scripts.test_folder import photographs
from tests.warm import environment, python
from utils.errors import InputError

SCRIPTS = sorted(path.name for path in (PROJECT / "cmds/shell_scrips").glob("supervised-*.sh"))
PROTOCOLS = ["ce", "crt", "la", "la-posthoc"]


def dry(name: str, *options: str, **variables: str) -> list[list[str]]:
    """The commands of a script."""
    script = ["bash", str(PROJECT / "cmds" / name), *options]
    done = subprocess.run(
        script, env=environment(DRY_RUN="1", PYTHON=python(), **variables), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines() if not line.startswith("==")]


def value(words: list[str], option: str) -> str | None:
    return words[words.index(option) + 1] if option in words else None


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_pretrains_and_learns(name, tmp_path):
    data = []
    if name == "supervised-folder.sh":
        photographs(tmp_path / "photos", {"cats": 30, "dogs": 20, "birds": 12})
        data = ["--data", str(tmp_path / "photos")]
    found = dry(f"shell_scrips/{name}", "--init", "bcl-i", *data)
    script = "train_imagenet.py" if "imagenet" in name or "folder" in name else "train_cifar.py"
    first, *learning = found[:5]
    assert "train_simCLR.py" in first
    assert [value(words, "--protocol") for words in learning] == PROTOCOLS
    checkpoint, folders = value(learning[0], "--checkpoint"), []
    for words in learning:
        at = words.index(script)
        parse = parse_cifar if script == "train_cifar.py" else parse_imagenet
        if "--ce" not in words:
            args = parse("", words[at + 1 :])
            assert (args.checkpoint, args.resume, args.cvt_state_dict) == (checkpoint, True, True)
            assert args.checkpoint.startswith(
                f"{value(first, '--save-dir')}/{first[first.index('train_simCLR.py') + 1]}/"
            )
            folders.append(f"{args.save_dir}/{args.experiment}")
        lists = [
            value(w, f) for w in (first, words) for f in ("--trainSplit", "--imagenetCustomSplit", "--customSplit")
        ]
        assert len({each for each in lists if each}) == 1
    assert [value(words, "--ce") for words in learning] == [None, folders[0], None, folders[0]]
    if data:
        assert found[5][1:2] == ["exp_analyse.py"] and value(found[5], "--table") == "3"
    else:
        assert len(found) == 5


def test_random_weights_are_those_of_no_epoch():
    for words in (["--init", "none"], []):
        found = dry("shell_scrips/supervised-digits-LT.sh", *words)
        assert value(found[0], "--epochs") == "0" and value(found[1], "--checkpoint").endswith("/model_0.pt")


def test_numbers_of_epochs():
    words = ["--dataset", "digits", "--supervised", "--supervised_epochs", "7", "--crt_epochs", "3", "-e", "2"]
    _, *learning = commands(parse_recipe(words, ""))
    told = [(value(w, "--epochs"), value(w, "--ce_epochs")) for w in learning]
    assert told == [("7", None), ("3", None), ("7", None), (None, None)]
    _, crt = commands(parse_recipe([*words, "--protocols", "crt"], ""))
    assert (value(crt, "--epochs"), value(crt, "--ce_epochs"), value(crt, "--ce")) == ("3", "7", None)
    _, *checked = commands(parse_recipe([*words, "--check", "True"], ""))
    assert not any("--ce" in w for w in checked) and all("--untrained" in w for w in checked)


def test_the_paper_is_the_one_whose_table_it_is():
    recipe = parse_recipe(["--dataset", "imagenet", "--supervised", "True"], "")
    assert recipe.values["split"] == "ImageNet_LT_train" and recipe.values["paper"] == "bcl"
    assert parse_recipe(["--dataset", "digits", "--supervised", "--paper", "sdclr"], "").values["paper"] == "sdclr"


def test_reproduce_hands_the_option_on():
    found = dry("reproduce.sh", "digits", "untrained", "simclr", "--", "--supervised", "-e", "2", SPLITS="1")
    assert [value(words, "--protocol") for words in found] == [None, *PROTOCOLS] * 2
    wanted = parse_reproduce(["digits", "simclr", "--", "--supervised"], "")
    assert wanted.methods["simclr"] == ["--supervised", "True"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--supervised", "maybe"], "--supervised takes True or False"),
        (["--supervised_epochs", "3"], "--supervised_epochs has no effect without --supervised True"),
        (["--supervised", "--linear_epochs", "3"], "--linear_epochs has no effect with --supervised True"),
        (["--supervised", "--protocols", "ce", "--crt_epochs", "2"], "--crt_epochs has no effect with --protocols ce"),
        (["--supervised", "--few_shot_only", "True"], "--few_shot_only True leaves nothing"),
        (["--supervised", "--test_only", "True"], "la-posthoc is evaluated anew each time"),
        (["--init", "nobody"], "nobody"),
    ],
)
def test_bad_options_are_one_line(options, words):
    with pytest.raises(InputError, match=words):
        parse_recipe(["--dataset", "digits", *options], "")


def test_images_without_labels_are_refused(call, tmp_path):
    photographs(tmp_path / "photos", {"cats": 30, "dogs": 20, "birds": 12})
    flat = tmp_path / "flat"
    flat.mkdir()
    for i, path in enumerate(sorted((tmp_path / "photos").rglob("*.png"))):
        path.rename(flat / f"{i}.png")
    done = call("recipes/__main__.py", "--dataset", "folder", "--data", flat, "--supervised")
    one_line_error(done, "supervised learning needs labels")


@pytest.mark.slow
def test_a_recipe_learns_and_its_results_are_found(script, tmp_path):
    how = [
        "--supervised",
        "--supervised_epochs",
        "1",
        "--crt_epochs",
        "1",
        "--root",
        str(tmp_path),
        "-w",
        "0",
        "-e",
        "1",
    ]
    for method in ("simclr", "untrained"):
        options = how if method == "simclr" else how[:-2]
        command = [python(), "-m", "recipes", "--dataset", "digits", "--model", "res20_s", "--method", method, *options]
        done = subprocess.run(command, cwd=PROJECT, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    found = experiments_of(data_set("digits"), Path(tmp_path))
    assert {(e.method, e.probe) for e in found} == {(m, p) for m in ("simclr", "untrained") for p in PROTOCOLS}
    done = script("exp_analyse.py", "--paper", "bcl", "--table", "3", "--dataset", "digits", "--splits", "1")
    assert done.returncode == 0, done.stderr
    assert os.linesep.join(done.stdout.splitlines()).count("missing: digits") == 5 * 4
