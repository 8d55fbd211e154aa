"""Follows CONTRIBUTING.md in a copy of the project: one new file and one line are enough to get to the tables.

The code comes from the document's blocks, so that a wrong block fails a test. After each section, git shows that no
other file has changed, and the project still passes ruff and the tests of the layers and of the registries.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from run.checkpoint import read_checkpoint
from tests.conftest import PROJECT
from tests.run.test_resume import equal
from tests.trees import make_tree
from tests.warm import environment, python

TEXT = (PROJECT / "CONTRIBUTING.md").read_text()
METHODS, DATA_SETS, PROTOCOLS = "methods/__init__.py", "data/sets/registry.py", "probe/protocols.py"
FIGURES = {"groups", "classes", "sizes", "curves", "loss_by_group"}


def blocks(section: str) -> list[str]:
    """The code blocks of a section of CONTRIBUTING.md in order, without their indentation in a list."""
    after = re.search(rf"^#+ {re.escape(section)}\n(.*)", TEXT, re.M | re.S)[1]
    indented = re.findall(r"^( *)```\w+\n(.*?)^\1```$", re.split("^#+ ", after, flags=re.M)[0], re.M | re.S)
    return [re.sub(rf"^{indent}", "", block, flags=re.M) for indent, block in indented]


def add_line(project: Path, file: str, table: str, line: str) -> None:
    """Insert a line at the end of a module's dict `table`, such as METHODS."""
    before, start, after = (project / file).read_text().partition(f"\n{table} = ")
    inside, end, rest = after.partition("\n}" if file != PROTOCOLS else "\n)}")
    assert start and end
    (project / file).write_text(f"{before}{start}{inside}\n{line.rstrip()}{end}{rest}")


def git(project: Path, *words: str) -> str:
    """Run git in the copy; returns its output."""
    settings = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "core.excludesFile="]
    return subprocess.run(["git", *settings, *words], cwd=project, capture_output=True, text=True, check=True).stdout


def touched(project: Path) -> set[str]:
    """The new and changed files, but for those that git ignores."""
    return {line[3:] for line in git(project, "status", "--porcelain", "--untracked-files=all").splitlines()}


def run(project: Path, commands: str, code: int = 0) -> str:
    """Run a block of commands in the project; returns their output, of standard error if they are to fail (code)."""
    path = f"{Path(python()).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=project, env=environment(PATH=path), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stderr if code else done.stdout


def check_style(project: Path) -> None:
    """Run what `make check` does, and the tests of the layers and of the registries."""
    ruff = Path(sys.executable).with_name("ruff")
    tests = "tests/test_layers.py tests/methods/test_registry.py tests/data/test_sets.py"
    run(project, f"{ruff} format --check . && {ruff} check . && python -m pytest -p no:cacheprovider {tests}")


def table(output: str, protocol: str) -> dict[str, list[str]]:
    """The first table of a protocol, with one split: method -> words of its row."""
    lines = output[output.index(f"{protocol}: test accuracy") :].split("\n\n")[1].splitlines()
    return {words[0]: words for line in lines[1:] if (words := line.split())[1:2] == ["1"]}


@pytest.fixture
def project(project_copy, tmp_path) -> Path:
    """A copy of the project in a git repository of its own, to be changed."""
    shutil.copytree(project_copy, tmp_path / "project")
    git(tmp_path / "project", "init", "--quiet")
    git(tmp_path / "project", "add", "--all")
    git(tmp_path / "project", "commit", "--quiet", "--message", "as it is")
    return tmp_path / "project"


def test_blocks_of_a_section_are_its_own():
    sections = re.findall(r"^#+ ((?:Add|Wrap|Images?|A classifier).*)$", TEXT, re.M)
    assert len(sections) == 8
    assert sum(len(blocks(section)) for section in sections) == len(re.findall(r"^ *```\w+$", TEXT, re.M))


# ---- a method


def add_method(project: Path) -> list[str]:
    """Do steps 1 and 2 of "Add a method"; returns the commands: its test, a pre-training, all runs of a split."""
    module, line, _, commands = blocks("Add a method")
    (project / "methods" / "margin.py").write_text(module)
    add_line(project, METHODS, "METHODS", line)
    return commands.splitlines()


NEW_METHOD = {"methods/margin.py", METHODS}


@pytest.mark.slow
def test_a_method_is_one_file_and_one_line(project):
    test, _, _ = add_method(project)
    assert touched(project) == NEW_METHOD
    (project / "tests" / "methods" / "test_margin.py").write_text(blocks("Add a method")[2])
    check_style(project)
    run(project, f"{test} tests/analysis/test_bcl_table.py")
    assert touched(project) == {*NEW_METHOD, "tests/methods/test_margin.py"}
    message = run(project, "python train_simCLR.py x --dataset digits --margin 0.2", code=2)
    assert message.startswith("error: --margin needs a --method with Margin")


@pytest.mark.slow
def test_a_method_that_is_interrupted_goes_on(project):
    """By a signal, within an epoch."""
    _, pretrain, _ = add_method(project)
    run(project, pretrain.replace("try_margin", "whole"))
    program = [sys.executable, "-u", *pretrain.split()[1:]]  # python() forwards no signal
    env = environment(OMP_NUM_THREADS="1")
    with subprocess.Popen(
        program, cwd=project, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as p:
        while not (line := p.stdout.readline()).startswith("Epoch: [1][1/"):
            assert line
        p.send_signal(signal.SIGTERM)
        _, stderr = p.communicate(timeout=120)
    assert p.returncode == 143 and "saved after epoch 1, step" in stderr, stderr
    whole, parts = (project / "checkpoints" / name for name in ("whole", "try_margin"))
    assert read_checkpoint(parts / "model.pt")["epoch"] == 0
    assert "resuming from" in run(project, pretrain)
    assert equal(whole, parts)
    assert touched(project) == NEW_METHOD


@pytest.mark.slow
def test_a_method_is_tabulated_drawn_and_its_tail_is_found(project):
    *_, reproduce = add_method(project)
    output = run(project, reproduce)
    for protocol in ("sdclr-linear", "sdclr-fewshot"):
        assert table(output, protocol).keys() == {"SimCLR", "Margin"}
    names = {f"{name}{end}" for name in (*FIGURES, "few_vs_full") for end in (".png", ".pdf")}
    assert {path.name for path in (project / "figures_digits").iterdir()} == names
    assert "Margin" in (project / "tables_digits" / "tables.md").read_text()
    assert all((project / "tail_digits" / name / "tail.txt").is_file() for name in ("simclr", "margin"))
    assert "== tail of digits, margin\n" in output and "\nmissing: " not in output
    experiments = [path.name for path in (project / "checkpoints_digits").iterdir()]
    assert sorted(name.endswith("_s10_margin0.1") for name in experiments) == [False, True]
    assert touched(project) == NEW_METHOD


@pytest.mark.slow
def test_a_wrapper_goes_around_it_and_others(project):
    add_method(project)
    module, line, test, reproduce = blocks("Wrap any method")
    (project / "methods" / "ohem.py").write_text(module)
    (project / "tests" / "methods" / "test_ohem.py").write_text(test)
    add_line(project, METHODS, "WRAPPERS", line)
    check_style(project)
    run(project, "python -m pytest tests/methods/test_ohem.py")
    output = run(project, reproduce)
    assert table(output, "sdclr-linear").keys() == {"Margin+BCL", "Margin+OHEM+BCL"}
    endings = sorted(path.name.partition("_s10")[2] for path in (project / "checkpoints_digits").iterdir())
    assert endings == ["_margin0.1_bclK1", "_margin0.1_ohem_bclK1"]
    assert touched(project) == {*NEW_METHOD, "methods/ohem.py", "tests/methods/test_ohem.py"}


# ---- a data set


def add_data_set(project: Path) -> list[str]:
    """Do steps 1 and 2 of "Images in memory"; returns the commands from pre-training to the table, and a script."""
    module, line, commands, script = blocks("Images in memory")
    (project / "data" / "sets" / "tiles.py").write_text(module)
    add_line(project, DATA_SETS, "DATA_SETS", line)
    return [commands, script]


@pytest.mark.slow
def test_a_data_set_goes_from_pretraining_to_the_table(project):
    """Images in memory, with generated lists and the recipe that all data sets share."""
    commands, _ = add_data_set(project)
    output = run(project, commands)
    for protocol in ("sdclr-linear", "sdclr-fewshot"):
        assert table(output, protocol).keys() == {"SimCLR"}
    assert "was missing: generated" in output
    lists = project / "split" / "tiles"
    assert [len(np.load(lists / f"tiles_{name}IdxList.npy")) for name in ("train", "val")] == [12, 4]
    assert {path.stem for path in (project / "figures_tiles").iterdir()} == {*FIGURES, "few_vs_full"}
    assert touched(project) == {"data/sets/tiles.py", DATA_SETS}


@pytest.mark.slow
def test_a_data_set_with_a_script_of_its_own(project):
    _, text = add_data_set(project)
    check_style(project)
    script, module = project / "cmds" / "shell_scrips" / "tiles-LT.sh", project / "data" / "sets" / "tiles.py"
    script.write_text(text)
    script.chmod(0o755)
    module.write_text(module.read_text().replace("shots=(2, 1),", 'shots=(2, 1), recipe="tiles-LT.sh",'))
    output = run(project, "DRY_RUN=1 SPLITS=3 cmds/reproduce.sh tiles sdclr -- --paper bcl")
    assert re.search(
        "--trainSplit tiles_imbSub_with_subsets/tiles_split3_D_i.npy .*--epochs 20 --batch_size 4 ", output
    )
    assert output.count(" train_cifar.py ") == 3
    run(project, "python -m split.make_splits --dataset tiles && python -m split.verify --dataset tiles")
    assert touched(project) == {"data/sets/tiles.py", DATA_SETS, "cmds/shell_scrips/tiles-LT.sh"}


@pytest.mark.slow
def test_a_data_set_of_files_goes_from_pretraining_to_the_table(project, tmp_path):
    module, line, commands = blocks("Image files")
    (project / "data" / "sets" / "shapes.py").write_text(module)
    add_line(project, DATA_SETS, "DATA_SETS", line)
    check_style(project)
    folder = make_tree(tmp_path / "data of shapes", ["bar", "cone", "disc", "ring"], [16] * 4)
    output = run(project, commands.replace("DIR", f"'{folder}'"))
    for protocol in ("sdclr-linear", "sdclr-fewshot"):
        assert table(output, protocol).keys() == {"SimCLR"}
    listed = (project / "split" / "Shapes_LT" / "Shapes_LT_train.txt").read_text().splitlines()
    assert sorted(np.bincount([int(line.split()[-1]) for line in listed])) == [3, 4, 7, 12]
    assert touched(project) == {"data/sets/shapes.py", DATA_SETS}


# ---- a protocol


@pytest.mark.slow
def test_a_protocol_on_features_has_a_table_of_its_own(project):
    _, entry, commands = blocks("A classifier on features")
    add_line(project, PROTOCOLS, "PROTOCOLS", entry)
    check_style(project)
    output = run(project, commands)
    assert table(output, "knn").keys() == {"SimCLR"} and output.count(": test accuracy") == 1
    assert "\nmissing: " not in output and "not the protocol's" not in output
    assert [path.name.split("__")[1] for path in (project / "checkpoints_digits_tune").iterdir()] == ["knn"]
    output = run(project, "python exp_analyse.py --dataset digits --LT --splits 1 --probe kNN linear")
    assert table(output, "knn").keys() == {"SimCLR"} and "missing: " in output
    assert touched(project) == {PROTOCOLS}


@pytest.mark.slow
def test_a_protocol_on_images_has_a_table_of_its_own(project):
    (_, knn, _), (entry, commands) = blocks("A classifier on features"), blocks("A classifier on images")
    add_line(project, PROTOCOLS, "PROTOCOLS", knn)
    add_line(project, PROTOCOLS, "PROTOCOLS", entry)
    check_style(project)
    output = run(project, commands)
    assert all(table(output, protocol).keys() == {"SimCLR"} for protocol in ("knn", "linear-100"))
    assert "\nmissing: " not in output and "not the protocol's" not in output
    assert touched(project) == {PROTOCOLS}
