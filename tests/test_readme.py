"""Every command of README and docs/ runs: recipes with DRY_RUN, training for one epoch, the rest as it stands."""

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis import bcl_table
from data.sets.registry import TRANSFER_SETS, data_sets
from models import build_encoder
from recipes.flags import OPTIONS, SPELLINGS
from recipes.pretrained import ARCHIVES
from tests.analysis.test_transfer_table import write as write_transfer
from tests.conftest import PROJECT
from tests.scripts.test_folder import photographs
from tests.warm import environment, python

PUBLISHED = PROJECT.parent / "shared" / "published_splits"
DOCUMENTS = {file.relative_to(PROJECT).as_posix(): file.read_text() for file in [
    PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")), PROJECT / "CONTRIBUTING.md"
]}  # fmt: skip
COMMANDS = [
    (name, block)
    for name, text in DOCUMENTS.items()
    if name != "CONTRIBUTING.md"  # whose commands need what its steps make: test_contributing.py
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S)
]
ROOMS = "analysis|benchmarks|cmds|data|docs|features|methods|models|pretrain|probe|recipes|results|run|split|tail|utils"
# What a command's block is here: at most one epoch of training; of CIFAR there are no images; there is no network to
# get archives from, and no ImageNet to unpack or to make lists of.
HERE = {
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
PROBES = ("f2layer4_d10d20_wd0_lr30_freezeBN", "{}S_b_f2layer4_d40d60_wd0_lr30_freezeBN")


def fabricate_results(project: Path) -> None:
    """results.json of every probe that the table commands look for, with random accuracies."""
    rng = np.random.RandomState(0)
    for data, tag, classes in (("cifar10", "", 10), ("cifar100", "cifar100_", 100), ("digits", "digits_", 10)):
        folder = project / ("checkpoints_tune" if data == "cifar10" else f"checkpoints_{data}_tune")
        for n in range(1, 6):
            for kind, epochs, suffix in (
                ("D_i", 9, ""),
                ("D_b", 9, ""),
                ("D_i", 9, "_pruneP0.9DualBN"),
                ("D_i", 0, ""),
            ):
                split = f"{tag}split{n}_"
                for probe, protocol in zip(PROBES, ("sdclr-linear", "sdclr-fewshot"), strict=True):
                    name = f"m_epoch{epochs}_{split}{kind}_newNT_s10{suffix}__{probe.format(split)}"
                    counts = (rng.permutation(classes) + 1).tolist()
                    result = {"per_class": rng.uniform(0, 100, classes).tolist(), "class_counts": counts, "lists": {}}
                    (folder / name).mkdir(parents=True)
                    content = json.dumps({**result, "protocol": protocol, "departs": {}})
                    (folder / name / "results.json").write_text(content)


def write_result(folder: Path, rng: np.random.RandomState, classes: int, protocol: str) -> None:
    """results.json with random accuracies."""
    folder.mkdir(parents=True)
    result = {"per_class": rng.uniform(0, 100, classes).tolist(), "lists": {}, "departs": {},
              "class_counts": rng.randint(1, 200, classes).tolist(), "protocol": protocol}  # fmt: skip
    (folder / "results.json").write_text(json.dumps(result))


BCL = ("", "_focal2", "_dncK5", "_pruneP0.9DualBN_head2", "_bclK1", "_pruneP0.9DualBN_head2_bclK2")


def fabricate_bcl(project: Path) -> None:
    """Results of BCL's probes, and checkpoints as its authors'."""
    rng = np.random.RandomState(2)
    splits = [(100, f"cifar100_tune/m_epoch9_cifar100_split{n}_D_i_newNT_s10") for n in range(1, 6)]
    splits += [(1000, "imagenet_tune/ImageNet_LT_train_res50_lr0.5_temp0.2_epoch500_batch256")]
    splits += [(365, "places_tune/Places_LT_train_res50_lr0.5_temp0.2_epoch500_batch256")]
    for classes, name in splits:
        for suffix in BCL:
            for protocol in ("bcl-full", "bcl-100shot", "bcl-50shot"):
                folder = project / f"checkpoints_{name}{suffix}__{protocol}"
                write_result(folder, rng, classes, protocol)
    for name, dual in (("bcl_bcl_i", False), ("bcl_sdclr", True)):
        folder = project / "checkpoints_cifar100" / f"{name}_split1"
        folder.mkdir(parents=True)
        state = build_encoder("res18", 128, 2, prune=dual, dual_bn=dual).state_dict()
        if dual:
            renamed = {re.sub(r"downsample\.0", "downsample.conv", k): v for k, v in state.items()}
            renamed = {"backbone." + k.replace("downsample.1", "downsample.bn"): v for k, v in renamed.items()}
        else:
            renamed = {("backbone." + k).replace("backbone.fc.", "projector."): v for k, v in state.items()}
        torch.save({"epoch": 2000, "state_dict": renamed, "optim": {}}, folder / "model.pt")


def fabricate_supervised(project: Path) -> None:
    """Results of supervised learning from random weights and from all methods of BCL's table 3."""
    rng = np.random.RandomState(3)
    names = [(100, f"cifar100_tune/m_epoch{{}}_cifar100_split{n}_D_i_newNT_s10") for n in range(1, 6)]
    names += [(1000, "imagenet_tune/ImageNet_LT_train_res50_lr0.5_temp0.2_epoch{}_batch256")]
    for classes, name in names:
        for epochs, suffix in [(0, ""), *((500, suffix) for suffix in BCL)]:
            for protocol in ("ce", "crt", "la"):
                folder = project / f"checkpoints_{name.format(epochs)}{suffix}__{protocol}"
                write_result(folder, rng, classes, protocol)


def fabricate_imagenet(project: Path) -> None:
    """The same for the data sets of image files."""
    rng = np.random.RandomState(1)
    for dataset in data_sets("imagenet").values():
        folder = project / ("checkpoints_places_tune" if dataset.name == "places" else "checkpoints_imagenet_tune")
        for list_name in [name for pair in dataset.long_tailed for name in pair]:
            for suffix in ("", "_pruneP0.3DualBN"):
                base = f"{list_name}_res50_scheduling_sgd_lr0.5_temp0.2_epoch500_batch256{suffix}__"
                for tag, protocol in (("", "sdclr-linear"), (f"{dataset.few_shot}_", "sdclr-fewshot")):
                    counts = rng.randint(1, 200, dataset.classes).tolist()
                    accuracies = rng.uniform(0, 100, dataset.classes).tolist()
                    result = {"per_class": accuracies, "class_counts": counts, "lists": {}}
                    (folder / f"{base}{tag}lr30_x").mkdir(parents=True)
                    content = json.dumps({**result, "protocol": protocol, "departs": {}})
                    (folder / f"{base}{tag}lr30_x" / "results.json").write_text(content)


def fabricate_transfer(project: Path) -> None:
    """Results of every method on every fine-grained set."""
    for method in bcl_table.METHODS:
        for name in TRANSFER_SETS:
            write_transfer(project, method, name, 50.0)


def fabricate_folder(project: Path) -> None:
    """Own images, and results of a split of them."""
    photographs(project / "photos", {"owl": 24, "cat": 18, "dog": 12})
    for suffix in ("", "_pruneP0.5DualBN"):
        for probe, protocol in (("", "sdclr-linear"), ("split1_S_b_", "sdclr-fewshot")):
            name = f"split1_D_i_res18_scheduling_sgd_lr0.5_temp0.2_epoch9_batch9{suffix}__{probe}lr30_x"
            folder = project / "checkpoints_photos_tune" / name
            folder.mkdir(parents=True)
            result = {"per_class": [10.0, 20.0, 30.0], "class_counts": [9, 2, 1], "lists": {}, "departs": {}}
            (folder / "results.json").write_text(json.dumps({**result, "protocol": protocol}))


@pytest.fixture(scope="module")
def ready(project_copy, tmp_path_factory):
    """A copy of the project with results to tabulate, and a server of the published lists."""
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
    """Whether a block trains or extracts for real, which takes seconds; a check does one step."""
    return bool(re.search(r"\btrain_\w+\.py (?!.* --check$)|-m (tail|features|probe)\b", block, re.M))


def takes_long(name: str, block: str) -> bool:
    """Whether make test-all alone runs a block: it trains, is of all splits, or of another document than the README."""
    return trains(block) or "reproduce.sh" in block or name != "README.md"


def command_params() -> list:
    """The blocks as parameters, named by file and first line."""
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
    for ours, here in HERE.items():
        script = re.sub(ours, here, script)
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
    """Of docs/programs.md: program -> the options that it says it has."""
    text, found = DOCUMENTS["docs/programs.md"], {}
    for program, rest in re.findall(r"^\| `python (-m [\w.]+|\w+\.py)(.*)", text, re.M):
        found[program] = set(re.findall(r"(?<![\w-])--[\w-]+", rest))
    shared = set(re.findall(r"`(--[\w-]+)", text[text.index("All three take") : text.index("Of image files, there")]))
    return {program: found[program] | (shared if "train_" in program else set()) for program in found}


@pytest.mark.slow
@pytest.mark.parametrize("program", programs())
def test_programs_have_the_options_that_are_told(script, program):
    done = script(*program.split(), "--help")
    assert done.returncode == 0, done.stderr
    missing = {option for option in programs()[program] if not re.search(rf"(?<![\w-]){option}(?![\w-])", done.stdout)}
    assert not missing


def test_recipes_have_the_options_that_are_told():
    text = DOCUMENTS["docs/recipes.md"]
    text = text[text.index("\n## Options") : text.index("\n## Training scripts")]
    rows = re.findall(r"^\|([^|]*)\|", text, re.M)
    options = {option for row in rows for option in re.findall(r"`(--?\w+)", row)}
    assert len(options) > 30
    assert options <= {*SPELLINGS, *(f"--{name}" for name in OPTIONS)}


def test_make_has_the_targets_that_are_told():
    rules = re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(), re.M)
    told = [target for text in DOCUMENTS.values() for target in re.findall(r"`make ([a-z-]+)", text)]
    assert {"demo", "test", "test-all", "check", "bench", "soak"} <= set(told) <= set(rules)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_placeholder_remains(name):
    assert not re.findall(r"<!-- .* here.*-->", DOCUMENTS[name])


def test_readme_is_short():
    assert len(DOCUMENTS["README.md"].splitlines()) <= 200


def anchors(text: str) -> set[str]:
    """What links to the headings of a document end with, as GitHub makes them."""
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


@pytest.mark.parametrize("table", ["sdclr-linear", "sdclr-fewshot"])
def test_the_results_of_digits_beat_the_untrained_network(table):
    text = (PROJECT / "results" / "digits.txt").read_text()
    rows = text[text.index(table) :].splitlines()[1:10]
    accuracy = {
        row.split()[0]: float(row.split("  ")[-1].split(" ±")[0]) for row in rows if "±" in row and row[0] != "d"
    }
    assert accuracy.keys() == {"untrained", "SimCLR", "Focal", "SDCLR", "BCL-I", "BCL-D"}
    assert min(v for k, v in accuracy.items() if k != "untrained") > accuracy["untrained"] + 10


@pytest.mark.parametrize("study", ["cifar10_study", "cifar10_small"])
def test_results_in_the_readme_are_those_of_the_study(study):
    """Every row of the table is in the README."""
    tables = (PROJECT / "results" / f"{study}.txt").read_text().split("how they were run")[0]
    rows = [row for row in tables.splitlines() if re.match(r"[\w.+-]+ +\d+(,\d+)* +\d", row)]
    assert len(rows) >= 5
    assert all(row in DOCUMENTS["README.md"] for row in rows)
