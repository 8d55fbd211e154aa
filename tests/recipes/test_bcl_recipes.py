"""Recipes of both papers: what each method launches, against the published settings; then real runs at a tiny size."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from data.sets.registry import data_set, pretraining_set
from methods.bcl import BCL
from methods.build import build_method
from methods.focal import Focal
from methods.sdclr import SDCLR
from methods.simclr import SimCLR
from pretrain.flags import parse as parse_pretraining
from probe.flags import parse_cifar, parse_imagenet
from run.optim import build_optimizer
from tests.conftest import one_line_error, quick_first, slow_but
from tests.recipes.test_recipes import TINY_CIFAR, bash, dry, options
from tests.warm import environment, python
from utils.errors import InputError

METHODS = {"simclr": "SimCLR", "focal": "Focal", "sdclr": "SDCLR", "bcl-i": "BCL-I", "bcl-d": "BCL-D"}
PAPERS = ("sdclr", "bcl")
PROTOCOLS = ("bcl-full", "bcl-100shot", "bcl-50shot")


class Memory(NamedTuple):
    """A recipe on data in memory: METHODS, sections 1, 2, 6 and 14; ours of digits and Fashion-MNIST."""

    dataset: str
    pretrain_name: str  # what train_simCLR.py calls it
    folder: str
    tags: tuple[str, str]  # in the experiment's name, before the settings and after the batch size
    model: str
    epochs: int
    batch: int
    pruned: float
    data: str
    download: bool
    more: dict[str, Any]

    @property
    def script(self) -> str:
        return f"shell_scrips/{self.dataset.replace('cifar', 'cifar-').replace('_', '-')}-LT.sh"

    @property
    def split(self) -> str:
        return f"{data_set(self.dataset).prefix}split1_D_i"


MEMORY = {
    m.dataset: m
    for m in (
        Memory("cifar10", "cifar", "checkpoints", ("", ""), "res18", 2000, 512, 0.9, "datasets", True, {}),
        Memory("cifar100", "cifar100", "checkpoints_cifar100", ("_cifar100", "_o128"), "res18", 2000, 512, 0.9,
               "datasets", True, {}),
        Memory("digits", "digits", "checkpoints_digits", ("_digits", "_o128"), "res20_s", 100, 128, 0.5, "", False,
               {"resizeLower": 0.4, "num_workers": 2}),
        Memory("fashion_mnist", "fashion_mnist", "checkpoints_fashion_mnist", ("_fashion_mnist", "_o128"), "res20_s",
               200, 512, 0.9, "datasets", False, {}),
    )
}  # fmt: skip


class Files(NamedTuple):
    """A recipe on image files; `lists` is the paper's list."""

    dataset: str
    pretrain_name: str
    folder: str
    lists: dict[str, str]
    pruned: float
    temperature: float  # of the methods that prune

    @property
    def script(self) -> str:
        return f"shell_scrips/{self.dataset}-res50-LT.sh"


FILES = {
    f.dataset: f
    for f in (
        Files("imagenet-100", "imagenet-100", "checkpoints_imagenet", {"sdclr": "imageNet_100_LT_train"}, 0.3, 0.3),
        Files("imagenet", "imagenet-LT", "checkpoints_imagenet",
              {"sdclr": "imageNet_LT_exp_train", "bcl": "ImageNet_LT_train"}, 0.1, 0.2),
        Files("places", "places", "checkpoints_places", {"sdclr": "Places_LT_train", "bcl": "Places_LT_train"}, 0.1,
              0.2),
    )
}  # fmt: skip
RECIPES: dict[str, Memory | Files] = {**MEMORY, **FILES}
FILE_CASES = [(recipe, paper) for recipe in FILES for paper in FILES[recipe].lists]
DUAL = {"sdclr", "bcl-d"}
launched = cache(dry)  # nothing of it changes


def parse(words: list[str]) -> dict[str, Any]:
    """What the script itself reads from its command line."""
    parsers = {"train_simCLR.py": parse_pretraining, "train_cifar.py": parse_cifar, "train_imagenet.py": parse_imagenet}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        patch.setenv("RANK", "0")  # as the launcher has it
        return vars(parsers[words[0]](""))


def settings(words: list[str]) -> dict[str, Any]:
    """parse, with weight decay and head layers as they are where they are not given; no name, no usual image size."""
    args = parse(words)
    del args["experiment"]
    if args["image_size"] == pretraining_set(args["dataset"])[0].size:
        del args["image_size"]
    if "head_layers" in args:
        args["head_layers"] = args["head_layers"] or (3 if args["prune_dual_bn"] else 2)
        args["weight_decay"] = 1e-4 if args["weight_decay"] is None else args["weight_decay"]
    return args


def defaults(script: str) -> dict[str, Any]:
    return settings([script, "x"])


def of_method(method: str, pruned: float, rand_k: dict[str, int], floor: float | None) -> dict[str, Any]:
    """Pre-training settings that are the method's: METHODS, sections 2, 3, 6."""
    wanted: dict[str, Any] = {"method": method}
    if method in DUAL:
        wanted |= {"prune": True, "prune_percent": pruned, "prune_dual_bn": True}
    if method == "focal":
        wanted |= {"focal": True, "focal_gamma": 2.0}
    if method.startswith("bcl"):
        wanted |= {"bcl": True, "momentum_loss_beta": 0.97, "rand_k": rand_k[method]}
        wanted |= {"rand_strength": 30.0, "rand_floor": floor}
    return wanted


def weight_decay(method: str, paper: str, recipe: Memory | Files) -> float:
    """METHODS, section 0, item 1; of BCL's ImageNet code only a later one is known, with 1e-4 throughout."""
    return 5e-4 if paper == "bcl" and isinstance(recipe, Memory) and method not in DUAL else 1e-4


def head_layers(method: str, paper: str) -> int:
    return 3 if paper == "sdclr" and method in DUAL else 2


def build(words: list[str]) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """What train_simCLR.py builds of its command line, with a small network."""
    words = [*words, "--model", "res20_s"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        args = parse_pretraining("")
    method = build_method(args, "cifar", 5)
    return method, build_optimizer(args.optimizer, method.parameters(), args.lr, args.weight_decay)


def check_build(words: list[str], method: str, layers: int, decay: float, temperature: float) -> None:
    """The flags have the effect that they are meant to have."""
    built, optimizer = build(words)
    assert isinstance(built, BCL) == method.startswith("bcl")
    inner = built.method if isinstance(built, BCL) else built
    assert type(inner) is (SDCLR if method in DUAL else Focal if method == "focal" else SimCLR)
    heads = [m for m in inner.encoder.fc.modules() if isinstance(m, torch.nn.Linear)]
    assert len(heads) == layers and heads[-1].out_features == 128
    assert [group["weight_decay"] for group in optimizer.param_groups] == [decay]
    assert inner.temperature == temperature


def linear_probe(recipe: Memory, few: bool) -> dict[str, Any]:
    """METHODS, section 10a."""
    dataset = data_set(recipe.dataset)
    few_list = dataset.split_list(recipe.split.replace("D_i", "S_b"))
    wanted = {"trainSplit": few_list if few else dataset.train_list, "valiSplit": dataset.val_list}
    wanted |= {"epochs": 100, "decreasing_lr": [40, 60], "test_freq": 5} if few else {
        "epochs": 30, "decreasing_lr": [10, 20], "test_freq": 1}  # fmt: skip
    return {**wanted, "lr": 30.0, "wd": 0.0, "batch_size": 128, "fixto": "layer4", "fixbn": True, "seed": 1}


# ---- commands


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("paper", PAPERS)
@pytest.mark.parametrize("name", MEMORY)
def test_commands_on_data_in_memory_are_the_published_ones(project_copy, name, paper, method):
    recipe = MEMORY[name]
    training, *probes = launched(project_copy, recipe.script, "--method", method, "--paper", paper, "-s", recipe.split)
    assert training[0] == "train_simCLR.py"
    decay, layers = weight_decay(method, paper, recipe), head_layers(method, paper)
    assert settings(training) == {
        **defaults("train_simCLR.py"), "save_dir": recipe.folder, "dataset": recipe.pretrain_name,
        "data": recipe.data, "download": recipe.download, "model": recipe.model, "epochs": recipe.epochs,
        "trainSplit": data_set(name).split_list(recipe.split), "batch_size": recipe.batch, "optimizer": "sgd",
        "lr": 0.5, "scheduler": "cosine", "temperature": 0.2, "output_ch": 128, "seed": 10, "num_workers": 5,
        "weight_decay": decay, "head_layers": layers, **recipe.more,
        **of_method(method, recipe.pruned, {"bcl-i": 1, "bcl-d": 2}, {"bcl-i": 10.0, "bcl-d": 5.0}.get(method)),
    }  # fmt: skip
    assert ("--head_layers" in training) == (paper == "bcl" and method in DUAL)
    check_build(training, method, layers, decay, 0.2)

    published = (
        f"{recipe.model}{recipe.tags[0]}_scheduling_sgd_temp0.2_wd{'5e-4' if decay == 5e-4 else '1e-4'}_lr0.5"
        f"_b{recipe.batch}{recipe.tags[1]}_twolayerProj_epoch{recipe.epochs}_{recipe.split}_newNT_s10"
    ) + (f"_pruneP{recipe.pruned}DualBN" if method in DUAL else "")
    experiment = training[1]
    assert experiment.startswith(published)
    if method == "simclr" or (method, paper) == ("sdclr", "sdclr"):
        assert experiment == published

    common = {
        **defaults("train_cifar.py"), "save_dir": f"{recipe.folder}_tune", "dataset": name, "data": recipe.data,
        "download": recipe.download, "model": recipe.model, "num_workers": recipe.more.get("num_workers", 5),
        "checkpoint": f"{recipe.folder}/{experiment}/model_{recipe.epochs}.pt", "cvt_state_dict": True,
        "bnNameCnt": 0 if method in DUAL else -1,
    }  # fmt: skip
    assert all(words[0] == "train_cifar.py" for words in probes)
    assert all(("--bnNameCnt" in words) == (method in DUAL) for words in probes)
    if paper == "bcl":
        assert [words[1] for words in probes] == [f"{experiment}__{protocol}" for protocol in PROTOCOLS]
        expected = [{**common, "protocol": p, "epochs": 500, "seed": 10} for p in PROTOCOLS]
    else:
        few = recipe.split.replace("D_i", "S_b")
        assert [words[1] for words in probes] == [
            f"{experiment}__f2layer4_d10d20_wd0_lr30_freezeBN",
            f"{experiment}__{few}_f2layer4_d40d60_wd0_lr30_freezeBN",
        ]
        expected = [{**common, **linear_probe(recipe, few)} for few in (False, True)]
    assert [settings(words) for words in probes] == expected


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "paper"), FILE_CASES)
def test_commands_on_image_files_are_the_published_ones(project_copy, name, paper, method):
    recipe, dataset = FILES[name], data_set(name)
    words = ["--method", method, "--paper", paper, "--data", "DIR", "-w", "10"]
    training, *probes = launched(project_copy, recipe.script, *words)
    assert training[0] == "train_simCLR.py"
    temperature, layers = recipe.temperature if method in DUAL else 0.2, head_layers(method, paper)
    assert settings(training) == {
        **defaults("train_simCLR.py"), "save_dir": recipe.folder, "dataset": recipe.pretrain_name, "data": "DIR",
        "imagenetCustomSplit": recipe.lists[paper], "model": "res50", "epochs": 500, "batch_size": 256,
        "optimizer": "sgd", "lr": 0.5, "scheduler": "cosine", "temperature": temperature, "output_ch": 128, "seed": 1,
        "num_workers": 10, "weight_decay": 1e-4, "head_layers": layers, "resizeLower": 0.08, "augment": "opencv",
        **of_method(method, recipe.pruned, {"bcl-i": 2, "bcl-d": 2}, 0.0),
    }  # fmt: skip
    assert "--weight_decay" not in training
    assert ("--head_layers" in training) == (paper == "bcl" and method in DUAL)
    check_build(training, method, layers, 1e-4, temperature)

    published = f"{recipe.lists[paper]}_res50_scheduling_sgd_lr0.5_temp{temperature}_epoch500_batch256"
    published += f"_pruneP{recipe.pruned}DualBN" if method in DUAL else ""
    experiment = training[1]
    assert experiment.startswith(published)
    if method == "simclr" or (method, paper) == ("sdclr", "sdclr"):
        assert experiment == published

    common = {
        **defaults("train_imagenet.py"), "save_dir": f"{recipe.folder}_tune", "dataset": name, "data": "DIR",
        "model": "res50", "num_workers": 10, "checkpoint": f"{recipe.folder}/{experiment}/model_500.pt",
        "cvt_state_dict": True, "bnNameCnt": 0 if method in DUAL else -1, "fixto": "layer4", "port": 4833,
    }  # fmt: skip
    assert all(words[0] == "train_imagenet.py" for words in probes)
    assert all(("--bnNameCnt" in words) == (method in DUAL) for words in probes)
    if paper == "bcl":
        (probe,) = probes  # there is no list of 50 images of a class, and no number of the full one
        assert probe[1] == f"{experiment}__bcl-100shot"
        assert settings(probe) == {**common, "protocol": "bcl-100shot", "epochs": 500, "seed": 10}
        return
    linear, few = probes
    sgd = {**common, "lr": 30.0, "wd": 0.0, "batch_size": 512, "seed": 1}
    of_linear = {"epochs": 30, "decreasing_lr": [10, 20], "test_freq": 2, "save_freq": 2, "fullset": True}
    of_few = {
        "epochs": 100,
        "decreasing_lr": [40, 60],
        "test_freq": 10,
        "save_freq": 10,
        "customSplit": dataset.few_shot,
    }
    assert settings(linear) == {**sgd, **of_linear}
    assert settings(few) == {**sgd, **of_few}
    assert linear[1] == f"{experiment}__lr30_wd0_epoch30_b512_d10d20" + "_s1" * (name == "imagenet-100")
    assert few[1] == f"{experiment}__{dataset.few_shot}_lr30_fix2layer4_wd0_epoch30_b512_d10d20"


@pytest.mark.parametrize("method", METHODS)
def test_bcls_cifar_recipe_is_the_other_one_with_bcls_paper(project_copy, method):
    words = ["--method", method, "-w", "8", "--split", "cifar100_split3_D_i"]
    ours = launched(project_copy, "shell_scrips/bcl-cifar-100-LT.sh", *words)
    assert ours == launched(project_copy, "shell_scrips/cifar-100-LT.sh", "--paper", "bcl", *words)
    assert ours != launched(project_copy, "shell_scrips/cifar-100-LT.sh", *words) and len(ours) == 4
    assert options(ours[0])["--num_workers"] == "8" and "cifar100_split3_D_i" in ours[0][1]


@pytest.mark.parametrize("name", [*MEMORY, "imagenet", "places"])
def test_papers_options_stand_for_the_methods_names(project_copy, name):
    recipe = RECIPES[name]
    sdclr = ["--prune", "True", "--prune_percent", str(recipe.pruned), "--prune_dual_bn", "True"]
    for paper in PAPERS:
        for method, same in (("simclr", []), ("sdclr", sdclr)):
            named = launched(project_copy, recipe.script, "--paper", paper, "--method", method)
            assert named == launched(project_copy, recipe.script, "--paper", paper, *same)


def experiments(project, script: str, *args: str) -> dict[str, list[dict[str, Any]]]:
    """Name of the experiment -> the settings of each method and paper that has this name."""
    found: dict[str, list[dict[str, Any]]] = {}
    for paper in PAPERS:
        for method in METHODS:
            training, *_ = launched(project, script, "--method", method, "--paper", paper, *args)
            found.setdefault(training[1], []).append(settings(training))
    return found


SPLIT_NAMES = [*((name, "", 10) for name in MEMORY), ("imagenet", "", 10), ("imagenet", "mine", 7), ("places", "", 7)]


@pytest.mark.parametrize(("name", "split", "names"), slow_but(("imagenet", "mine", 7), SPLIT_NAMES))
def test_names_differ_where_settings_differ_and_only_there(project_copy, name, split, names):
    """On the same list of files, SimCLR, Focal and BCL-I are set alike in both papers."""
    found = experiments(project_copy, RECIPES[name].script, *(["--split", split] if split else []))
    assert len(found) == names and sum(map(len, found.values())) == 10
    each = [same[0] for same in found.values()]
    assert all(other == same[0] for same in found.values() for other in same)
    assert all(a != b for i, a in enumerate(each) for b in each[:i])


OPTIONS = [
    ("bcl-i", "--rand_k", "3", "rand_k"), ("bcl-d", "--rand_k", "1", "rand_k"),
    ("bcl-d", "--rand_strength", "20", "rand_strength"), ("bcl-i", "--rand_strength", "12.5", "rand_strength"),
    ("bcl-i", "--momentum_loss_beta", "0.9", "momentum_loss_beta"), ("focal", "--focal_gamma", "1.5", "focal_gamma"),
    ("simclr", "--weight_decay", "3e-4", "weight_decay"), ("bcl-d", "--weight_decay", "0", "weight_decay"),
    ("simclr", "--head_layers", "3", "head_layers"), ("focal", "--head_layers", "3", "head_layers"),
    ("bcl-i", "--temp", "0.4", "temperature"), ("bcl-d", "--temp", "0.4", "temperature"),
    ("sdclr", "--prune_percent", "0.6", "prune_percent"), ("bcl-d", "--prune_percent", "0.6", "prune_percent"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "option", "word", "key"), OPTIONS)
@pytest.mark.parametrize(("name", "paper"), [("cifar100", "bcl"), ("digits", "sdclr"), ("places", "bcl"),
                                             ("imagenet", "sdclr")])  # fmt: skip
def test_options_reach_the_command_and_the_name(project_copy, name, paper, method, option, word, key):
    script = RECIPES[name].script
    plain, *_ = launched(project_copy, script, "--method", method, "--paper", paper)
    training, *probes = launched(project_copy, script, "--method", method, "--paper", paper, option, word)
    changed = settings(training)
    assert changed.pop(key) == float(word)
    before = settings(plain)
    if key == "rand_k" and name not in FILES:  # the smallest strength goes with it, where the recipe has none
        assert changed.pop("rand_floor") == (10 if word == "1" else 5) and before.pop("rand_floor") in (5, 10)
    assert before.pop(key) != float(word) and changed == before  # and nothing else changes
    assert training[1] != plain[1]
    # The probes are of this experiment.
    assert all(words[1].startswith(f"{training[1]}__") for words in probes) and probes
    assert all(options(words)["--checkpoint"].split("/")[1] == training[1] for words in probes)


def test_two_layers_for_sdclr_and_three_for_bcl_can_be_chosen(project_copy):
    """The one choice in the other's paper is named as it is there."""
    script = MEMORY["cifar100"].script
    two = launched(project_copy, script, "--method", "bcl-d", "--head_layers", "2")
    assert two[0] == launched(project_copy, script, "--method", "bcl-d", "--paper", "bcl")[0]
    three = launched(project_copy, script, "--method", "bcl-d", "--paper", "bcl", "--head_layers", "3")
    assert three[0] == launched(project_copy, script, "--method", "bcl-d")[0]


def test_an_explicit_list_wins_over_the_papers(project_copy):
    for split in ("imageNet_LT_exp_train", "mine"):
        for words in (["--split", split, "--paper", "bcl"], ["--paper", "bcl", "-s", split]):
            training, probe = launched(project_copy, FILES["imagenet"].script, "--method", "bcl-d", *words)
            assert options(training)["--imagenetCustomSplit"] == split
            assert training[1].startswith(f"{split}_res50_") and probe[1].startswith(training[1])


@pytest.mark.parametrize("name", ["cifar100", "digits", "imagenet", "places"])
def test_parts_of_bcls_recipe(project_copy, name):
    recipe = RECIPES[name]
    words = ["--paper", "bcl", "--method", "bcl-d", "-e", "7"]
    training, *probes = launched(project_copy, recipe.script, *words)
    assert settings(training)["epochs"] == 7
    assert all(options(p)["--checkpoint"] == f"{recipe.folder}/{training[1]}/model_7.pt" for p in probes)
    assert dry(project_copy, recipe.script, *words, "--only_finetuning", "True") == probes
    few = [p for p in probes if not p[1].endswith("bcl-full")]
    only_few = "--few_shot_only" if name in MEMORY else "--only_few_shot"
    assert dry(project_copy, recipe.script, *words, only_few, "True") == few and few
    if name in FILES:
        assert dry(project_copy, recipe.script, *words, "--only_pretraining", "True") == [training]
        both = launched(project_copy, recipe.script, *words, "-g", "2", "-p", "4867", "--image_size", "64")
        assert all(w[:4] == ["-m", "recipes.launch", "--nproc_per_node=2", "--master_port=4867"] for w in both)
        assert [parse(w[4:])["image_size"] for w in both] == [64, 64]
        assert parse(both[1][4:])["world_size"] == 2
    untrained = launched(project_copy, recipe.script, "--paper", "bcl", "--method", "untrained")
    assert settings(untrained[0])["epochs"] == 0
    assert all(options(p)["--checkpoint"].endswith("/model_0.pt") for p in untrained[1:])


@pytest.mark.parametrize("name", ["digits", "bcl-cifar-100-LT.sh", "places", "imagenet-100"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--paper", "focal"], "--paper focal"),
        (["--paper", "BCL"], "--paper BCL"),
        (["--method", "bcl"], "--method bcl"),
        (["--method", "BCL-D", "--paper", "bcl"], "--method BCL-D"),
        (["--paper", "bcl", "--only_finetuning", "True", "--test_only", "True"], "--test_only"),
        (["--rand_k"], "--rand_k"),
        (["--momentum_loss_beta", ""], "--momentum_loss_beta"),
    ],
)
def test_mistakes_are_one_line(project_copy, name, words, said):
    recipe = RECIPES.get(name)
    if name == "imagenet-100" and "--test_only" in words:
        said = "imagenet-100"
    done = bash(project_copy, recipe.script if recipe else f"shell_scrips/{name}", *words, DRY_RUN="1")
    assert one_line_error(done, said) and done.stdout == ""


@pytest.mark.parametrize("method", METHODS)
def test_imagenet_100_has_no_lists_of_bcls_probes(project_copy, method):
    done = bash(project_copy, FILES["imagenet-100"].script, "--method", method, "--paper", "bcl", DRY_RUN="1")
    assert one_line_error(done, "imagenet-100", "--paper bcl") and done.stdout == ""
    assert not any(data_set("imagenet-100").probe_lists(p) for p in ("bcl-100shot", "bcl-50shot"))


@pytest.mark.parametrize(
    ("method", "words", "flag"),
    [
        ("bcl-i", ["--rand_k", "0"], "--rand_k"),
        ("bcl-d", ["--momentum_loss_beta", "1"], "--momentum_loss_beta"),
        ("simclr", ["--weight_decay", "much"], "--weight_decay"),
        ("focal", ["--focal_gamma", "-1"], "--focal_gamma"),
    ],
)
def test_values_out_of_range_are_refused_by_the_parsers(project_copy, method, words, flag):
    training, *_ = launched(project_copy, MEMORY["digits"].script, "--method", method, *words)
    with pytest.raises(InputError, match=flag):
        parse(training)


# ---- from the recipe to the table


@pytest.fixture
def noted(tmp_path):
    """(a python that only notes what it is called with, but for the recipes themselves; the calls as words)."""
    log, program = tmp_path / "calls.txt", tmp_path / "python"
    ours = f'case "$2" in recipes | recipes.reproduce) exec {sys.executable} "$@" ;; esac'
    program.write_text(f'#!/bin/bash\n{ours}\nprintf "%q " "$@" >>"{log}"\necho >>"{log}"\n')
    program.chmod(0o755)

    def calls() -> list[list[str]]:
        return [shlex.split(line) for line in log.read_text().splitlines()]

    return program, calls


def reproduce(project, noted, root: Path, *words: str, splits: str = "1") -> list[list[str]]:
    """The commands that reproduce.sh starts."""
    program, calls = noted
    before = len(calls()) if program.with_name("calls.txt").exists() else 0
    done = bash(project, "reproduce.sh", *words, "--root", str(root), PYTHON=str(program), SPLITS=splits)
    assert done.returncode == 0, done.stderr
    return calls()[before:]


def fill(commands: list[list[str]], shift: float = 0) -> dict[tuple[str, str], float]:
    """results.json of each probe, all classes equally good; returns (experiment, protocol) -> accuracy."""
    made = {}
    for number, words in enumerate(words for words in commands if words[0] in ("train_cifar.py", "train_imagenet.py")):
        given, few = options(words), "S_b" in words[1] or "sub_balance" in words[1]
        protocol = given.get("--protocol") or ("sdclr-fewshot" if few else "sdclr-linear")
        classes = data_set(given["--dataset"]).classes
        made[words[1], protocol] = accuracy = 10 + number + shift
        counts = [(200, 50, 5)[c % 3] for c in range(classes)]
        content = {"protocol": protocol, "departs": {}, "lists": {}, "class_counts": counts}
        folder = Path(given["--save-dir"]) / words[1]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(json.dumps({**content, "per_class": [accuracy] * classes}))
    return made


def tables(printed: str) -> dict[str, dict[str, list[str]]]:
    """Probe -> name of the row -> its words."""
    found: dict[str, dict[str, list[str]]] = {}
    for part in printed.split("\n\n"):
        if match := re.search(r"\b(bcl-\w+|sdclr-\w+): test accuracy.*\Z", part):
            rows = found.setdefault(match[1], {})
        for name, words in re.findall(r"^([A-Z][\w-]+(?: \(published\))?) +(\S.*)$", part, re.M) if found else ():
            rows[name] = words.replace("|", " ").split()
    return found


CHAINS = [*((name, paper) for name in MEMORY for paper in PAPERS), *FILE_CASES]
CHANGED = ["--weight_decay", "3e-4", "--head_layers", "3", "--rand_k", "4", "--rand_strength", "20", "--temp", "0.4",
           "--focal_gamma", "1", "--momentum_loss_beta", "0.9", "--lr", "0.1", "--prune_percent", "0.6", "-e",
           "7"]  # fmt: skip


ALL_CHAINS = [
    *((*chain, []) for chain in CHAINS),
    *((*chain, CHANGED) for chain in (("digits", "bcl"), ("cifar100", "sdclr"), ("places", "bcl"))),
]


@pytest.mark.parametrize(("name", "paper", "more"), slow_but(("digits", "bcl", CHANGED), ALL_CHAINS))
def test_tables_find_what_the_recipes_write(project_copy, tmp_path, noted, call, name, paper, more):
    """Every method of a data set at once, as reproduce.sh runs them, with a python that only notes its calls."""
    data = name.replace("imagenet-100", "imagenet100")
    commands = reproduce(project_copy, noted, tmp_path / "out", data, *METHODS, "--", "--paper", paper, *more)
    *steps, table = commands
    made = fill(steps)
    assert table[0] == "exp_analyse.py" and table[-4::2] == ["--plot", "--report"]
    ending = "_bcl" if paper == "bcl" else ""
    assert table[-3::2] == [str(tmp_path / "out" / f"{kind}_{data}{ending}") for kind in ("figures", "report")]
    done = call(table[0], *table[1:-4])
    assert (done.returncode, done.stderr) == (0, "")
    found = tables(done.stdout)
    protocols = {protocol for _, protocol in made}
    assert found.keys() == protocols
    order = list(made.items())
    for position, method in enumerate(METHODS):
        each = len(order) // len(METHODS)
        for (_, protocol), accuracy in order[position * each : (position + 1) * each]:
            row = found[protocol][METHODS[method]]
            assert row[:4] == ["1", *[f"{accuracy:.2f}"] * 3], (method, protocol)
    assert "missing" not in done.stdout


@pytest.mark.parametrize(
    ("data", "method", "words", "changed"),
    quick_first(
        [
            ("digits", "simclr", [], ["--lr", "0.1"]),
            ("digits", "simclr", [], ["--weight_decay", "1e-3"]),
            ("digits", "simclr", ["--paper", "bcl"], ["--temp", "0.1"]),
            ("imagenet", "simclr", ["--paper", "bcl"], ["--lr", "0.1"]),
            ("imagenet", "simclr", [], ["--split", "ImageNet_LT_train"]),
            ("digits", "simclr", ["--paper", "bcl"], ["--lr", "0.1"]),
            ("digits", "simclr", ["--paper", "bcl"], ["--weight_decay", "1e-3"]),
            ("digits", "bcl-d", [], ["--rand_k", "3"]),
            ("digits", "focal", [], ["--focal_gamma", "1"]),
            ("digits", "simclr", [], ["--batch_size", "64"]),
        ]
    ),
)
def test_reproduce_tabulates_the_settings_that_it_was_given(
    project_copy, tmp_path, noted, call, data, method, words, changed
):
    """Those of an earlier run lie in the same folder."""
    for shift, more in ((0, []), (50, changed)):
        *steps, table = reproduce(project_copy, noted, tmp_path / "out", data, method, "--", *words, *more)
        (accuracy, *_) = fill(steps, shift).values()
        done = call(table[0], *table[1:-4])
        assert done.returncode == 0, done.stderr
        (rows, *_) = tables(done.stdout).values()
        assert rows[METHODS[method]][:2] == ["1", f"{accuracy:.2f}"]


@pytest.mark.slow
def test_reproduce_tabulates_the_few_shot_probes_where_only_those_were_wanted(project_copy, tmp_path, noted, call):
    words = ["digits", "bcl-i", "--", "--paper", "bcl", "--few_shot_only", "True"]
    *steps, table = reproduce(project_copy, noted, tmp_path / "out", *words)
    made = fill(steps)
    assert [protocol for _, protocol in made] == ["bcl-100shot", "bcl-50shot"]
    done = call(table[0], *table[1:-2])
    assert done.returncode == 0, done.stderr
    assert tables(done.stdout)["bcl-50shot"]["BCL-I"][:2] == ["1", "11.00"]


@pytest.mark.slow
def test_make_demo_passes_all_methods(project_copy):
    methods = "simclr sdclr focal bcl-i bcl-d"
    words = ["make", "demo", f"METHODS={methods}"]
    told = subprocess.run([*words, "-n"], cwd=project_copy, capture_output=True, text=True)
    assert f'SPLITS="1" TAIL=1 cmds/reproduce.sh digits {methods} -- --root demo' in told.stdout
    env = environment(DRY_RUN="1")
    done = subprocess.run([*words, "-o", ".venv/installed"], cwd=project_copy, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^== digits, split 1, (.+)$", done.stdout, re.M) == methods.split()
    commands = [shlex.split(line)[1:] for line in done.stdout.splitlines() if "train_simCLR.py" in line]
    assert [parse(words)["save_dir"] for words in commands] == ["demo/checkpoints_digits"] * 5
    of_method = [(parse(words)["focal"], parse(words)["bcl"], parse(words)["prune"]) for words in commands]
    assert of_method == [(False, False, False), (False, False, True), (True, False, False), (False, True, False),
                         (False, True, True)]  # fmt: skip
    assert not (project_copy / "demo").exists()


# ---- for real


@pytest.fixture(scope="module")
def project(project_copy, tmp_path_factory):
    """A project of its own, whose CIFAR is small and made up."""
    target = tmp_path_factory.mktemp("bcl") / "project"
    shutil.copytree(project_copy, target)
    stand_in = TINY_CIFAR
    for before, after in (
        ('"cifar100", 100, 600, 32, True, 1, 4, 1, 5,', '"cifar100", 100, 400, 32, True, 1, 3, 1, 3,'),
        ('published_name="CIFAR100"', 'shots=(2, 1), published_name="CIFAR100"'), ("10 * dataset.classes // 2", "100"),
    ):  # fmt: skip
        assert before in stand_in
        stand_in = stand_in.replace(before, after)
    with (target / "data" / "sets" / "cifar.py").open("a") as file:
        file.write(stand_in)
    return target


@pytest.fixture(scope="module")
def runs(project):
    """(method or paper -> how its recipes ended), two at a time; the papers' are below a folder of their name."""
    jobs = {}
    with ThreadPoolExecutor(2) as pool:
        for method in ("bcl-d", "focal"):
            words = ["--method", method, "-w", "0", "-e", "2", "--model", "res20_s", "--split", "cifar100_split1_D_i"]
            jobs[method] = pool.submit(bash, project, "shell_scrips/bcl-cifar-100-LT.sh", *words, OMP_NUM_THREADS="1")
        for paper in PAPERS:
            words = ["-e", "1", "-w", "0", "--paper", paper]
            words += ["--linear_epochs", "2", "--few_shot_epochs", "2"] if paper == "sdclr" else []
            words = ["digits", "bcl-i", "focal", "--", *words, "--root", paper]
            jobs[paper] = pool.submit(bash, project, "reproduce.sh", *words, SPLITS="1", OMP_NUM_THREADS="1")
        yield lambda name: jobs[name].result()


def results_of(root: Path) -> dict[tuple[str, str], dict]:
    """(experiment, end of the probe's name) -> results.json."""
    found = {}
    for file in sorted(root.glob("*_tune/*/results.json")):
        experiment, _, probe = file.parent.name.partition("__")
        found[experiment, probe] = json.loads(file.read_text())
    return found


def row_by_hand(result: dict) -> list[str]:
    """Many, Medium, Few, Std: thirds of the classes by their number of images, smallest first."""
    counts, accuracies = result["class_counts"], result["per_class"]
    third = len(counts) // 3
    order = sorted(range(len(counts)), key=lambda c: counts[c])
    parts = order[2 * third :], order[third : 2 * third], order[:third]
    means = [f"{sum(accuracies[c] for c in part) / len(part):.2f}" for part in parts]
    return [*means, f"{np.std([float(m) for m in means], ddof=1):.2f}"]


@pytest.mark.slow
def test_bcls_recipe_for_real_on_a_tiny_cifar100(project, runs):
    """Pre-train with two methods, three probes each, and the table."""
    for method in ("bcl-d", "focal"):
        assert runs(method).returncode == 0, runs(method).stderr
    published = "res20_s_cifar100_scheduling_sgd_temp0.2_wd{}_lr0.5_b512_o128_twolayerProj_epoch2_cifar100_split1_D_i_"
    boosted, focal = sorted((project / "checkpoints_cifar100").iterdir())
    assert boosted.name.startswith(published.format("1e-4") + "newNT_s10_pruneP0.9DualBN")
    assert focal.name.startswith(published.format("5e-4") + "newNT_s10_")
    for folder, memory in ((boosted, True), (focal, False)):
        commands = [shlex.split(line)[1:] for line in (folder / "bash_log.txt").read_text().splitlines()]
        assert [words[0] for words in commands] == ["train_simCLR.py", *["train_cifar.py"] * 3]
        content = torch.load(folder / "model_2.pt", weights_only=False)
        head = [k for k, v in content["state_dict"].items() if ".fc." in k and v.ndim == 2]
        assert len(head) == 2
        assert {group["weight_decay"] for group in content["optim"]["param_groups"]} == {1e-4 if memory else 5e-4}
        assert ("memory" in content) == memory
        if memory:
            images = np.load(project / "split" / options(commands[0])["--trainSplit"])
            assert content["memory"]["epochs"].tolist() == [2] * len(images)
            assert (content["memory"]["momentum_loss"] > 0).all()

    results = results_of(project)
    assert {probe for _, probe in results} == set(PROTOCOLS) and len(results) == 6
    for (_, probe), result in results.items():
        assert result["protocol"] == probe and result["seed"] == 10
        # A class has 2 and 1 labelled images here, not 100 and 50.
        departs = {"bcl-full": {}, "bcl-100shot": {"shots": [2, 100]}, "bcl-50shot": {"shots": [1, 50]}}
        assert result["departs"] == departs[probe]
        lists = [result["lists"][key]["path"] for key in result["lists"] if key.startswith("train")]
        shots = {"bcl-100shot": 2, "bcl-50shot": 1}.get(probe)
        few = [f"cifar100_split{n}_test_{shots}shot.npy" for n in range(1, 6)]
        assert lists == (few if shots else ["cifar100_trainIdxList.npy"])
        assert result["lists"]["group"]["path"] == "cifar100_split1_D_i.npy"
        # Classes differ by colour, which even these networks tell apart better than chance, which is 1.
        assert result["images"] == 100 and result["top1"] > 10
    train = np.load(project / "split" / "cifar100" / "cifar100_trainIdxList.npy")
    for n in range(1, 6):
        shot = np.load(project / "split" / "cifar100_imbSub_with_subsets" / f"cifar100_split{n}_test_2shot.npy")
        assert len(shot) == 200 and set(shot.tolist()) < set(train.tolist())

    command = [python(), "exp_analyse.py", "--paper", "bcl"]
    printed = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
    assert printed.returncode == 0, printed.stderr
    (rows,) = tables(printed.stdout).values()
    for folder, name in ((boosted, "BCL-D"), (focal, "Focal")):
        result = results[folder.name, "bcl-100shot"]
        assert rows[name][:5] == ["1", *row_by_hand(result)]
        groups = [result["groups"][group] for group in ("Many", "Medium", "Few")]
        assert [float(word) for word in rows[name][1:4]] == pytest.approx(groups, abs=0.00501)
    assert rows["BCL-D (published)"][:4] == ["53.98", "51.97", "49.52", "2.23"]  # METHODS, section 13
    assert rows["Focal (published)"][:4] == ["48.46", "46.73", "44.12", "2.18"]
    assert rows["SimCLR"][:5] == ["0", "-", "-", "-", "-"]
    assert "shots is 2, not the protocol's 100" in printed.stdout
    assert "missing: imagenet: no result below" in printed.stdout


@pytest.mark.slow
@pytest.mark.parametrize("paper", PAPERS)
def test_reproduce_for_real_prints_the_tables_of_either_paper(project, runs, paper):
    done = runs(paper)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^== (.+)$", done.stdout, re.M) == ["digits, split 1, bcl-i", "digits, split 1, focal"]
    results, printed = results_of(project / paper), done.stdout[done.stdout.rindex("On the best_model") :]
    found = tables(printed)
    assert list(found) == (list(PROTOCOLS) if paper == "bcl" else ["sdclr-linear", "sdclr-fewshot"])
    assert len(results) == 2 * len(found)
    for (experiment, _), result in results.items():
        row = found[result["protocol"]]["Focal" if "_focal2" in experiment else "BCL-I"]
        assert row[:4] == ["1", *row_by_hand(result)[:3]]
        assert paper == "sdclr" or row[4:] == row_by_hand(result)[3:]
        assert max(result["class_counts"]) == 120 and min(result["class_counts"]) == 6
    figures = project / paper / ("figures_digits_bcl" if paper == "bcl" else "figures_digits")
    assert (figures / "groups.png").stat().st_size > 10_000
    note = "shots is 20, not the protocol's 100" if paper == "bcl" else "epochs is 2, not the protocol's 30"
    assert note in printed and "missing" not in printed
