"""Results with random accuracies, images and checkpoints, for the commands of the documents to read."""

import json
import re
from pathlib import Path

import numpy as np
import torch

from analysis import bcl_table
from data.sets.registry import TRANSFER_SETS, data_sets
from models import build_encoder
from tests.analysis.test_transfer_table import write as write_transfer
from tests.scripts.test_folder import photographs

PROBES = ("f2layer4_d10d20_wd0_lr30_freezeBN", "{}S_b_f2layer4_d40d60_wd0_lr30_freezeBN")


def fabricate_results(project: Path) -> None:
    """Write results.json of every probe that the table commands read, with random accuracies."""
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
    """Write a results.json with random accuracies."""
    folder.mkdir(parents=True)
    result = {"per_class": rng.uniform(0, 100, classes).tolist(), "lists": {}, "departs": {},
              "class_counts": rng.randint(1, 200, classes).tolist(), "protocol": protocol}  # fmt: skip
    (folder / "results.json").write_text(json.dumps(result))


BCL = ("", "_focal2", "_dncK5", "_pruneP0.9DualBN_head2", "_bclK1", "_pruneP0.9DualBN_head2_bclK2")


def fabricate_bcl(project: Path) -> None:
    """Write results of BCL's probes, and checkpoints in the format of its authors."""
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
    """Write results of supervised learning from random weights and from all methods of BCL's table 3."""
    rng = np.random.RandomState(3)
    names = [(100, f"cifar100_tune/m_epoch{{}}_cifar100_split{n}_D_i_newNT_s10") for n in range(1, 6)]
    names += [(1000, "imagenet_tune/ImageNet_LT_train_res50_lr0.5_temp0.2_epoch{}_batch256")]
    for classes, name in names:
        for epochs, suffix in [(0, ""), *((500, suffix) for suffix in BCL)]:
            for protocol in ("ce", "crt", "la"):
                folder = project / f"checkpoints_{name.format(epochs)}{suffix}__{protocol}"
                write_result(folder, rng, classes, protocol)


def fabricate_imagenet(project: Path) -> None:
    """Write results of the probes on the data sets of image files."""
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
    """Write results of every method on every fine-grained data set."""
    for method in bcl_table.METHODS:
        for name in TRANSFER_SETS:
            write_transfer(project, method, name, 50.0)


def fabricate_folder(project: Path) -> None:
    """Make a folder of images, and results of one of its splits."""
    photographs(project / "photos", {"owl": 24, "cat": 18, "dog": 12})
    for suffix in ("", "_pruneP0.5DualBN"):
        for probe, protocol in (("", "sdclr-linear"), ("split1_S_b_", "sdclr-fewshot")):
            name = f"split1_D_i_res18_scheduling_sgd_lr0.5_temp0.2_epoch9_batch9{suffix}__{probe}lr30_x"
            folder = project / "checkpoints_photos_tune" / name
            folder.mkdir(parents=True)
            result = {"per_class": [10.0, 20.0, 30.0], "class_counts": [9, 2, 1], "lists": {}, "departs": {}}
            (folder / "results.json").write_text(json.dumps({**result, "protocol": protocol}))
