"""What results.json tells of the pre-training: from its checkpoint, whatever the experiments are called."""

import json

import pytest
import torch

from data.sets.registry import data_set
from probe.pretraining import pretraining_of, tailed_list_of
from split.lists import blob_sha1

SETTINGS = {
    "experiment": "mine", "dataset": "cifar100", "trainSplit": "cifar100_imbSub_with_subsets/cifar100_split3_D_b.npy",
    "epochs": 2000, "temperature": 0.2, "prune": False, "precision": "bf16", "augment": "batched", "lr": 0.5,
}  # fmt: skip


def told(path, config=None, converted=True, **content):
    if config is not None:
        content["config"] = config
    torch.save({"state_dict": {"a": torch.zeros(1)}, **content}, path)
    return pretraining_of({"checkpoint": str(path), "cvt_state_dict": converted})


def test_a_checkpoint_of_ours(tmp_path):
    found = told(tmp_path / "m.pt", SETTINGS, epoch=1000)
    assert found["settings"] == SETTINGS and found["epochs"] == 1000 and found["method"] is None
    assert (found["experiment"], found["dataset"], found["split"]) == ("mine", "cifar100", 3)
    assert found["list"]["name"] == SETTINGS["trainSplit"]
    assert told(tmp_path / "m.pt", {**SETTINGS, "method": "focal+bcl"}, epoch=1)["method"] == "focal+bcl"


def test_image_files_and_the_default_list(tmp_path):
    files = {**SETTINGS, "dataset": "imagenet-LT", "imagenetCustomSplit": "ImageNet_BL_train"}
    found = told(tmp_path / "m.pt", files, epoch=5)
    assert (found["dataset"], found["list"]["name"], found["split"]) == ("imagenet", "ImageNet_BL_train", 1)
    found = told(tmp_path / "m.pt", {**files, "imagenetCustomSplit": ""}, epoch=5)
    assert (found["list"]["name"], found["split"]) == ("ImageNet_LT_train", 1)
    found = told(tmp_path / "m.pt", {**SETTINGS, "dataset": "cifar", "trainSplit": "trainIdxList.npy"}, epoch=5)
    assert (found["dataset"], found["list"]["name"]) == ("cifar10", "cifar10/trainIdxList.npy")
    assert found["split"] is None


def test_a_list_that_is_here_has_its_hash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.npy").write_bytes(b"anything")
    found = told(tmp_path / "m.pt", {**SETTINGS, "trainSplit": "own.npy"}, epoch=5)
    assert found["list"] == {"name": "own.npy", "path": "own.npy", "sha1": blob_sha1(b"anything"), "source": "own"}
    assert found["split"] is None


def test_what_tells_nothing(tmp_path):
    path = tmp_path / "m.pt"
    assert pretraining_of({"checkpoint": "", "cvt_state_dict": False}) is None
    assert pretraining_of({"checkpoint": str(tmp_path / "gone.pt"), "cvt_state_dict": True}) is None
    assert told(path) is None and told(path, config=[1]) is None
    how = {"precision": "bf16", "augment": "batched"}
    assert told(path, SETTINGS, converted=False) == how  # of a probe
    supervised = {name: value for name, value in SETTINGS.items() if name != "temperature"} | {"protocol": "ce"}
    assert told(path, supervised) == how
    assert told(path, {**SETTINGS, "dataset": "unknown"}) == how
    assert told(path, {**SETTINGS, "dataset": ["x"]}) == how


def test_the_long_tailed_list_is_also_that_of_a_supervised_run(tmp_path):
    settings = {"protocol": "ce", "dataset": "cifar100", "trainSplit": SETTINGS["trainSplit"], "epochs": 200}
    torch.save({"state_dict": {"a": torch.zeros(1)}, "config": settings}, tmp_path / "m.pt")
    probed, wanted = {"checkpoint": str(tmp_path / "m.pt"), "cvt_state_dict": True}, "cifar100_split3_D_i.npy"
    assert tailed_list_of(probed, data_set("cifar100")) == f"cifar100_imbSub_with_subsets/{wanted}"
    assert tailed_list_of(probed, data_set("cifar10")) == ""
    assert tailed_list_of({**probed, "cvt_state_dict": False}, data_set("cifar100")) == ""


@pytest.mark.parametrize("odd", [torch.zeros(2), {1: 2, "a": None}, float("nan"), (1, 2)])
def test_settings_of_any_kind_can_be_written(tmp_path, odd):
    found = told(tmp_path / "m.pt", {**SETTINGS, "odd": odd}, epoch=torch.tensor(3))
    assert json.loads(json.dumps(found)).keys() == found.keys() and found["epochs"] is None
