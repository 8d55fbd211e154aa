"""CONTRIBUTING.md's numbered steps, followed in a copy of the project: what they add runs, and is tabulated.

Code comes from the document's blocks, so that a wrong one fails; what a step says in words has a text here. With the
edits of a section, the project passes ruff and the tests of the layers, as with any change.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.conftest import PROJECT
from tests.warm import environment, python

TEXT = (PROJECT / "CONTRIBUTING.md").read_text()
RECIPES, REPRODUCE = "cmds/shell_scrips/common.sh", "cmds/reproduce.sh"


class Edit(NamedTuple):
    """Of a file of the project: `block` is put before, after or instead of `anchor`, a text that is there once."""

    file: str
    anchor: str
    block: str
    place: str = "before"


def blocks(section: str) -> list[str]:
    """The code blocks of a section of CONTRIBUTING.md in order, without the indentation of their list."""
    head, after = re.search(rf"^(#+) {re.escape(section)}\n(.*)", TEXT, re.M | re.S).groups()
    body = re.split(rf"^#{{1,{len(head)}}} ", after, flags=re.M)[0]
    found = re.findall(r"^( *)```\w+\n(.*?)^\1```$", body, re.M | re.S)
    return [re.sub(rf"^{indent}", "", block, flags=re.M) for indent, block in found]


def edit(project: Path, *edits: Edit) -> None:
    """Make the edits; an anchor that is missing or not unique is an error of the document."""
    for file, anchor, block, place in edits:
        text = (project / file).read_text()
        assert text.count(anchor) == 1, f"{file} has {text.count(anchor)} times {anchor!r}"
        new = {"before": block + anchor, "after": anchor + block, "instead": block}[place]
        (project / file).write_text(text.replace(anchor, new))


def run(project: Path, commands: str) -> str:
    """Run a block of commands in the project; returns what they print."""
    path = f"{Path(python()).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=project, env=environment(PATH=path), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def check_style(project: Path) -> None:
    """What `make check` does, and the tests of who imports whom."""
    ruff = Path(sys.executable).with_name("ruff")
    run(project, f"{ruff} format --check . && {ruff} check . && python -m pytest tests/test_layers.py")


def table(output: str, protocol: str) -> dict[str, list[str]]:
    """The first table of a protocol, of one split: method -> words of its row."""
    lines = output[output.index(f"{protocol}: test accuracy") :].split("\n\n")[1].splitlines()
    return {words[0]: words for line in lines[1:] if (words := line.split())[1:2] == ["1"]}


@pytest.fixture
def project(project_copy, tmp_path) -> Path:
    """A copy of the project to change."""
    shutil.copytree(project_copy, tmp_path / "project")
    return tmp_path / "project"


def add_method(project: Path) -> tuple[str, str, str]:
    """Steps 1 to 6 of "Add a method"; returns the commands of step 7: the test, a pre-training, all of a split."""
    module, name, imported, built, flag, refused, unpruned, named, taken, found, look, test, commands = blocks(
        "Add a method"
    )
    (project / "methods" / "decoupled.py").write_text(module)
    (project / "tests" / "methods" / "test_decoupled.py").write_text(test)
    rows, build = "analysis/rows.py", "methods/build.py"
    edit(
        project,
        Edit("methods/__init__.py", '    "bcl-d": "BCL-D",\n', name, "after"),
        Edit(build, "from methods.focal", imported),
        Edit(build, "    else:\n        method = SimCLR(", built),
        Edit("pretrain/flags.py", '    add("--focal_gamma"', flag),
        Edit("pretrain/flags.py", "    if args.prune_dual_bn and", refused),
        Edit(RECIPES, "        simclr | focal | bcl-i) prune=False prune_dual_bn=False ;;\n", unpruned, "instead"),
        Edit(RECIPES, "sdclr, bcl-i or bcl-d", ", decoupled", "after"),
        Edit(RECIPES, "        bcl-?)\n", named),
        Edit(REPRODUCE, "        untrained | simclr | focal | sdclr | bcl-i | bcl-d) ;;\n", taken, "instead"),
        Edit(REPRODUCE, "focal, sdclr, bcl-i, bcl-d; recipe's", "decoupled; recipe's", "instead"),
        Edit(rows, '    return "sdclr" if pruned', found),
        Edit(rows, "(?:prune|wd|head|focal|bcl", "|decoupled", "after"),
        Edit("utils/plotting.py", '    Style("#CC79A7", "\\\\\\\\", "P", (0, (7, 2))),\n', look, "after"),
    )
    return tuple(commands.splitlines())


def test_a_method_trains(project):
    tested, trained, _ = add_method(project)
    check_style(project)
    run(project, tested)
    output = run(project, re.sub(r"--epochs \d+", "--epochs 1", trained))
    assert "Epoch: [1]" in output
    assert (project / "checkpoints" / "try_decoupled" / "model_1.pt").is_file()
    refused = subprocess.run(
        [python(), *trained.split()[1:], "--focal"], cwd=project, env=environment(), capture_output=True, text=True
    )
    assert refused.returncode == 2 and "decoupled is a loss of SimCLR alone" in refused.stderr


@pytest.mark.slow
def test_a_method_is_tabulated(project):
    *_, reproduced = add_method(project)
    output = run(project, reproduced)
    for protocol in ("sdclr-linear", "sdclr-fewshot"):
        assert table(output, protocol).keys() == {"SimCLR", "Decoupled"}
    assert (project / "figures_digits" / "groups.png").is_file()


def make_tiles(folder: Path) -> None:
    """tiles.npz: four classes of 16x16 images, each with a colour of its own; 100 of each to train on, 10 to test."""
    rng, arrays = np.random.RandomState(0), {}
    for part, count in (("train", 400), ("test", 40)):
        labels = np.arange(count) % 4
        colours = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [150, 150, 40]])[labels]
        images = colours[:, None, None] + rng.randint(-40, 40, (count, 16, 16, 3))
        arrays |= {f"{part}_images": images.astype(np.uint8), f"{part}_labels": labels}
    np.savez(folder / "tiles.npz", **arrays)


def add_data_set(project: Path) -> str:
    """Steps 1 to 5 of "Images in memory"; returns the commands of step 7."""
    module, line, recipe, splits, commands = blocks("Images in memory")
    registry, script = "data/sets/registry.py", project / "cmds" / "shell_scrips" / "tiles-LT.sh"
    (project / "data" / "sets" / "tiles.py").write_text(module)
    edit(
        project,
        Edit(registry, '    "places": "data.sets.places:PLACES",\n', line, "after"),
        Edit(REPRODUCE, "    imagenet100) family", splits),
        Edit(REPRODUCE, '"name a data set: digits, ', "tiles, ", "after"),
    )
    script.write_text(recipe)
    script.chmod(0o755)
    return commands


@pytest.mark.slow
def test_a_data_set_is_tabulated(project, tmp_path):
    commands = add_data_set(project)
    check_style(project)
    folder = tmp_path / "data of tiles"
    folder.mkdir()
    lists, verified, reproduced = commands.replace("DIR", f"'{folder}'").splitlines()
    missing = subprocess.run(
        ["bash", "-c", lists], cwd=project, capture_output=True, text=True,
        env=environment(PATH=f"{Path(python()).parent}:{os.environ['PATH']}"),
    )  # fmt: skip
    assert missing.returncode == 2 and missing.stderr.startswith("error: tiles was not found in ")
    make_tiles(folder)
    run(project, lists)
    assert len(np.load(project / "split" / "tiles" / "tiles_trainIdxList.npy")) == 4 * 60
    run(project, verified)
    output = run(project, reproduced)
    for protocol in ("sdclr-linear", "sdclr-fewshot"):
        assert table(output, protocol).keys() == {"SimCLR", "SDCLR"}


def add_protocol(project: Path) -> str:
    """Steps 1 to 4 of "A classifier on images"; returns the commands of step 6."""
    long, settings, named, found, handed, called, commands = blocks("A classifier on images")
    protocols = "probe/protocols.py"
    few = next(line for line in (project / protocols).read_text().splitlines(True) if '"sdclr-fewshot": {' in line)
    edit(
        project,
        Edit(protocols, "PROTOCOLS = {\n    ", long + "\n"),
        Edit(protocols, few, settings, "after"),
        Edit(protocols, "    **{name: name for name in FEATURE_PROTOCOLS},\n", named, "after"),
        Edit("analysis/rows.py", "    if probe in FEATURE_PROTOCOLS:\n", found, "instead"),
        Edit(RECIPES, '    run "$PYTHON" train_cifar.py "$1" "${options[@]}"\n', handed, "instead"),
        Edit(RECIPES, '    probe "${experiment}__${few_shot_list}_f2layer4', called),
    )
    return commands


@pytest.mark.slow
def test_a_protocol_is_tabulated(project):
    commands = add_protocol(project)
    check_style(project)
    output = run(project, commands)
    assert table(output, "linear-100").keys() == {"SimCLR"}
    assert table(output, "sdclr-linear")["SimCLR"] != table(output, "linear-100")["SimCLR"]
    assert "\nmissing: " not in output and "not the protocol's" not in output


def add_feature_protocol(project: Path) -> str:
    """Steps 1 to 4 of "A classifier on features"; returns the commands of step 5."""
    protocols, shots, place, digits, pair, commands = blocks("A classifier on features")
    base, small = "data/sets/base.py", "data/sets/digits.py"

    def line(file: str, start: str) -> str:
        return next(row for row in (project / file).read_text().splitlines(True) if row.strip().startswith(start))

    edit(
        project,
        Edit("probe/protocols.py", line("probe/protocols.py", "FEATURE_PROTOCOLS = "), protocols, "instead"),
        Edit(base, line(base, "shots: "), shots, "instead"),
        Edit(base, line(base, "return [self.train_list] if"), place, "instead"),
        Edit(small, line(small, "imb_factor=20"), digits, "instead"),
        Edit("analysis/figures.py", '    "bcl-50shot": ("bcl-full", "linear"),\n', pair, "after"),
        Edit(RECIPES, "'bcl-full bcl-100shot bcl-50shot", " bcl-10shot", "after"),
    )
    return commands


@pytest.mark.slow
def test_a_protocol_on_features_is_tabulated(project):
    commands = add_feature_protocol(project)
    check_style(project)
    output = run(project, commands)
    results = [path.name for path in (project / "checkpoints_digits_tune").iterdir()]
    assert sorted(name.split("__")[1] for name in results) == ["bcl-100shot", "bcl-10shot", "bcl-50shot", "bcl-full"]
    assert len(re.findall(r"^SimCLR ", output, re.M)) == 4
