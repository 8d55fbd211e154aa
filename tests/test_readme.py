"""Every command of README and docs/ runs: recipes with DRY_RUN=1, training for one epoch, all others unchanged."""

import functools
import http.server
import importlib
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from methods import ORDER
from recipes.flags import OPTIONS, SPELLINGS
from recipes.pretrained import ARCHIVES
from tests.conftest import PROJECT
from tests.fabricated import (
    fabricate_bcl,
    fabricate_folder,
    fabricate_imagenet,
    fabricate_results,
    fabricate_supervised,
    fabricate_transfer,
)
from tests.warm import environment, python

PUBLISHED = PROJECT.parent / "shared" / "published_splits"
DOCUMENTS = {file.relative_to(PROJECT).as_posix(): file.read_text() for file in [
    PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")), PROJECT / "CONTRIBUTING.md"
]}  # fmt: skip
COMMANDS = [
    (name, block)
    for name, text in DOCUMENTS.items()
    if name != "CONTRIBUTING.md"  # test_contributing.py runs them, as they need the files that its steps make
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S)
]
ROOMS = "analysis|benchmarks|cmds|data|docs|features|methods|models|pretrain|probe|recipes|results|run|split|tail|utils"
# Changes of the commands for the test: pattern -> replacement. Training takes at most one epoch, and there are no CIFAR
# images, no network to download archives from, and no ImageNet to unpack or to make lists of.
CHANGES = {
    r"--epochs \d+": "--epochs 1",
    r"model_100\.pt": "model_1.pt",
    r"folder\.sh --data photos": "folder.sh --data photos --model res10 -e 1 --linear_epochs 1 --few_shot_epochs 1",
    r"weights='DEFAULT'": "weights=None",
    r"(-m probe .*)": r"\1 --epochs 1",
    r"--dataset cifar100 --data \w+": "--dataset digits",
    r"(train_cifar\.py \w+_)cifar100_split1_D_i": r"\1digits_split1_D_i",
    r"(recipes\.pretrained get) .*": r"\1 --help",
    r"(data\.sets\.fetch) .*": r"\1 --help",
    r"(data\.imagenet_extract) .*": r"\1 --help",
    r"(split\.\w+) .*(--data /path/to/|--dataset imagenet).*": r"\1 --help",
}


@pytest.fixture(scope="module")
def ready(project_copy, tmp_path_factory):
    """A copy of the project with results to tabulate; it fetches the published lists from a local server."""
    project = tmp_path_factory.mktemp("readme") / "project"
    shutil.copytree(project_copy, project)
    fabricate_results(project)
    fabricate_imagenet(project)
    fabricate_bcl(project)
    fabricate_supervised(project)
    fabricate_folder(project)
    fabricate_transfer(project)
    if not PUBLISHED.exists():
        yield project
        return
    served = project.parent / "served"
    for row in (PROJECT / "split" / "published_splits.tsv").read_text().splitlines()[1:]:
        repository, commit, path, *_ = row.split("\t")
        source = PUBLISHED / path.removeprefix("split/")
        if source.exists():
            target = served / repository / commit / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=served)
    handler.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    module = project / "split" / "flags.py"
    local = f"http://127.0.0.1:{server.server_address[1]}"
    module.write_text(module.read_text().replace("https://raw.githubusercontent.com", local))
    yield project
    server.shutdown()


def trains(block: str) -> bool:
    """Whether a block trains or extracts features, which takes seconds; with --check it does a few steps only."""
    return bool(re.search(r"\btrain_\w+\.py (?!.* --check$)|-m (tail|features|probe)\b", block, re.M))


def takes_long(name: str, block: str) -> bool:
    """Whether a block is for make test-all only: it trains, runs all splits, or is not in the README."""
    return trains(block) or "reproduce.sh" in block or name != "README.md"


def command_params() -> list:
    """The blocks as pytest parameters, named by file and first line."""
    return [
        pytest.param(
            block,
            marks=[pytest.mark.slow] if takes_long(name, block) else [],
            id=f"{name}: {block.split(chr(10))[0][:50]}",
        )
        for name, block in COMMANDS
    ]


@pytest.mark.parametrize("block", command_params())
def test_commands_of_documents(ready, block):
    for name in re.findall(r"recipes\.pretrained get ((?:[a-z][a-z0-9-]+ ?)+)", block):
        assert set(name.split()) <= set(ARCHIVES)
    script = block
    for pattern, replacement in CHANGES.items():
        script = re.sub(pattern, replacement, script)
    if not PUBLISHED.exists():
        script = re.sub(r"(split\.fetch_published).*", r"\1 --help", script)
    script = 'make() { command make -n "$@"; }\n' + script
    path = f"{Path(python()).parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = environment(PATH=path, DRY_RUN="" if "--check True" in block else "1")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=ready, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for line in block.splitlines():
        if line.strip().startswith("./cmds/shell_scrips/cifar"):
            assert done.stdout.count(" train_cifar.py") >= 40
        if line.startswith(("./cmds/shell_scrips/imagenet", "./cmds/shell_scrips/places")):
            assert done.stdout.count(" train_imagenet.py") >= 2
        if line.strip().startswith("./cmds/shell_scrips/bcl-cifar-100"):
            assert done.stdout.count(" --protocol bcl-") == 6 * 5 * 3 + 6 * 2
        if "exp_analyse" in line:
            assert "missing:" not in done.stdout
        if re.search(r"--check( True)?$", line):
            assert done.stdout.count("nothing was written") == (3 if "cmds/" in line else 1)


def test_documents_have_the_commands():
    text = "".join(block for _, block in COMMANDS)
    for name in ("make demo", "make test", "cifar-10-LT.sh", "cifar-100-LT.sh", "digits-LT.sh", "fashion-mnist-LT.sh",
                 "train_simCLR.py", "train_cifar.py", "exp_analyse.py", "split.verify", "torchrun",
                 "imagenet-100-res50-LT.sh", "imagenet-res50", "places-res50-LT.sh", "recipes.pretrained",
                 "bcl-cifar-100-LT.sh", "--paper bcl", "features.save", "--protocol bcl-100shot", "cmds/reproduce.sh",
                 "run.doctor", "-m tail", "-m probe", "features.embed", "features.export", "--check",
                 "split.fetch_published", "split.make_splits", "data.imagenet_extract", "--monitor knn"):  # fmt: skip
        assert name in text


def programs() -> dict[str, set[str]]:
    """From docs/programs.md: program -> the options that it lists."""
    text, options = DOCUMENTS["docs/programs.md"], {}
    for program, rest in re.findall(r"^\| `python (-m [\w.]+|\w+\.py)(.*)", text, re.M):
        options[program] = set(re.findall(r"(?<![\w-])--[\w-]+", rest))
    shared = set(re.findall(r"`(--[\w-]+)", text[text.index("All three take") : text.index("Of image files, there")]))
    return {program: options[program] | (shared if "train_" in program else set()) for program in options}


@pytest.mark.slow
@pytest.mark.parametrize("program", programs())
def test_programs_have_the_options_in_the_documents(script, program):
    done = script(*program.split(), "--help")
    assert done.returncode == 0, done.stderr
    missing = {option for option in programs()[program] if not re.search(rf"(?<![\w-]){option}(?![\w-])", done.stdout)}
    assert not missing


def test_recipes_have_the_options_in_the_documents():
    text = DOCUMENTS["docs/recipes.md"]
    text = text[text.index("\n## Options") : text.index("\n## Training scripts")]
    rows = re.findall(r"^\|([^|]*)\|", text, re.M)
    options = {option for row in rows for option in re.findall(r"`(--?\w+)", row)}
    assert len(options) > 30
    assert options <= {*SPELLINGS, *(f"--{name}" for name in OPTIONS)}


def test_make_has_the_targets_in_the_documents():
    rules = re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(), re.M)
    named = [target for text in DOCUMENTS.values() for target in re.findall(r"`make ([a-z-]+)", text)]
    assert {"demo", "test", "test-all", "check", "bench", "soak"} <= set(named) <= set(rules)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_placeholder_remains(name):
    assert not re.findall(r"<!-- .* here.*-->", DOCUMENTS[name])


def test_readme_is_short():
    assert len(DOCUMENTS["README.md"].splitlines()) <= 200


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    folder = (PROJECT / name).parent
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", DOCUMENTS[name]):
        target = folder / link if link else PROJECT / name
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target.read_text()), f"{link}#{anchor}"


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name != "CONTRIBUTING.md"])
def test_files_that_are_named_exist(name):
    for file in re.findall(rf"`((?:{ROOMS}|tests)/[\w./-]*)`", DOCUMENTS[name]):
        assert (PROJECT / file).exists() or file == "cmds/shell_scrips/NAME.sh", file


@pytest.mark.parametrize("probe", ["linear", "few-shot"])
def test_the_results_of_digits_beat_the_untrained_network(probe):
    text = (PROJECT / "results" / "digits.txt").read_text()
    rows = text[text.index(f"\n{probe} probe\n") :].splitlines()[4:15]
    accuracy = {row.split()[0]: float(row.split("  ")[-1].split(" ±")[0]) for row in rows}
    assert list(accuracy) == list(ORDER)
    assert min(v for k, v in accuracy.items() if k != "untrained") > accuracy["untrained"] + 10


STUDIES = ("cifar10_study", "cifar10_small", "cifar10_supervised")


@pytest.mark.parametrize("study", [pytest.param("digits", marks=pytest.mark.slow), *STUDIES])
def test_a_table_of_results_is_that_of_the_runs_that_are_kept(study, tmp_path):
    """The committed table and those of its runs, made anew, are equal but for what is measured of the machine."""
    module = importlib.import_module("benchmarks.digits_study" if study == "digits" else f"benchmarks.{study}")
    shutil.copytree(PROJECT / "results" / study, tmp_path / study)
    assert module.write_table(tmp_path / study) == (PROJECT / "results" / f"{study}.txt").read_text()


@pytest.mark.parametrize("study", ["cifar10_study", "cifar10_small"])
def test_results_in_the_readme_are_those_of_the_study(study):
    """Every row of the study's table is in the README, but for SDCLR's shares that were not chosen."""
    tables = (PROJECT / "results" / f"{study}.txt").read_text().split("how they were run")[0]
    rows = [row for row in tables.splitlines() if re.match(r"[\w.+-]+ +\d+(,\d+)* +\d", row)]
    chosen = re.search(r"^SDCLR's share.*: (.*)$", tables, re.M)
    rows = [row for row in rows if not chosen or not row.startswith("sdclr") or row.startswith(f"{chosen[1]} ")]
    assert len(rows) >= 5
    assert all(row in DOCUMENTS["README.md"] for row in rows)
