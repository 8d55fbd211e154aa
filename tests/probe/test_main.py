"""python -m probe: the protocols of another library's encoder, as the scripts run them, and their table."""

import json
import re

import pytest
import torch

from data.groups import summarise
from data.sets.registry import data_set
from models.resnet import build_backbone
from tests.conftest import one_line_error
from tests.features.sources import moco, random, ten
from tests.scripts.test_folder import photographs
from tests.trees import take_lists_from

D_I = "digits_imbSub_with_subsets/digits_split{}_D_i.npy"
PROBE = ["--dataset", "digits", "--no-cuda", "--precision", "fp32", "--epochs", 2]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    state = random(build_backbone("res20_s")).state_dict()
    torch.save({k: v for k, v in state.items() if not k.startswith("normalize.")}, tmp_path / "my net.pth")
    return tmp_path / "my net.pth"


def rows(text: str) -> dict[str, list[str]]:
    """Protocol -> words of its row."""
    return {words[0]: words[1:] for line in text.splitlines() if len(words := line.split()) == 6 and "-" in words[0]}


@pytest.mark.slow
def test_supervised_learning_begins_with_the_encoder(call, tmp_path, checkpoint):
    """On the long-tailed list of the split, and with as many epochs of ce before the classifier."""
    options = [*PROBE, "--epochs", 1, "--protocol", "la", "crt"]
    done = call("probe/__main__.py", "--checkpoint", checkpoint, *options)
    assert done.returncode == 0, done.stderr
    found = {path.parent: json.loads(path.read_text()) for path in tmp_path.glob("probes/*/results.json")}
    assert sorted(result["protocol"] for result in found.values()) == ["crt", "la"]
    for folder, result in found.items():
        assert result["lists"]["train"]["path"] == "digits_split1_D_i.npy"
        assert result["departs"]["epochs"] == [1, 10 if result["protocol"] == "crt" else 200]
        first = folder / "ce" if result["protocol"] == "crt" else folder
        assert "my net.pth" in (first / "log.txt").read_text()


@pytest.mark.slow
def test_protocols_are_as_the_scripts_run_them(call, tmp_path, checkpoint):
    """One with a classifier on features, one on images; accuracies of train_cifar.py with the published options."""
    done = call("probe/__main__.py", "--checkpoint", checkpoint, *PROBE, "--protocol", "bcl-100shot", "sdclr-linear")
    assert done.returncode == 0, done.stderr
    found = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("probes/*/results.json")}
    assert {re.sub("-[0-9a-f]{8}__", "-HASH__", name) for name in found} == {
        "my_net-HASH__bcl-100shot", "my_net-HASH__sdclr-linear"
    }  # fmt: skip
    shared = ["--dataset", "digits", "--checkpoint", checkpoint, "--model", "res20_s", "--no-cuda", "--precision",
              "fp32", "--groupSplit", D_I.format(1), "--epochs", 2]  # fmt: skip
    linear = ["--trainSplit", "digits/digits_trainIdxList.npy", "--fixto", "layer4", "--fixbn", "--lr", 30, "--wd", 0,
              "--decreasing_lr", "10,20", "--batch-size", 128, "--seed", 1]  # fmt: skip
    told = rows(done.stdout)
    for protocol, options in (("bcl-100shot", ["--protocol", "bcl-100shot"]), ("sdclr-linear", linear)):
        assert call("train_cifar.py", protocol, *shared, *options).returncode == 0
        wanted = json.loads((tmp_path / "checkpoints_tune" / protocol / "results.json").read_text())
        (own,) = (result for name, result in found.items() if name.endswith(protocol))
        for key in ("per_class", "protocol", "dataset", "model", "lists", "encoder", "class_counts", "departs"):
            assert own[key] == wanted[key], key
        groups = summarise(own["per_class"], data_set("digits").groups(own["class_counts"]))
        assert told[protocol] == [f"{value:.2f}" for value in groups.values()]
    assert own["encoder"] == {"format": "torchvision", "stem": "cifar", "mean": None, "std": None}
    assert "note: sdclr-linear departs from its protocol: epochs 2, not 30" in done.stdout
    assert "my net.pth: read as torchvision's or timm's (torchvision)" in done.stdout
    assert "groups by digits_split1_D_i" in done.stdout


@pytest.mark.slow
def test_it_is_refused_or_resumed_or_overwritten_as_the_scripts_are(call, tmp_path, checkpoint):
    words = ["--checkpoint", checkpoint, *PROBE, "--protocol", "sdclr-fewshot", "--name", "x", "--save-dir", "kept"]
    first = call("probe/__main__.py", *words)
    one_line_error(call("probe/__main__.py", *words), "holds a run", "--resume", "--overwrite")
    again = call("probe/__main__.py", *words, "--resume", "--quiet")
    assert again.returncode == 0 and rows(again.stdout) == rows(first.stdout) != {}
    assert "finished before" in again.stdout
    (result,) = tmp_path.glob("kept/x__sdclr-fewshot/results.json")
    assert json.loads(result.read_text())["lists"]["train"]["path"] == "digits_split1_S_b.npy"
    other = call("probe/__main__.py", *words, "--overwrite", "--groupSplit", D_I.format(2))
    assert other.returncode == 0 and "groups by digits_split2_D_i" in other.stdout
    lists = json.loads(result.read_text())["lists"]
    assert lists["train"]["path"] == "digits_split2_S_b.npy" and lists["group"]["path"] == "digits_split2_D_i.npy"


@pytest.mark.slow
def test_a_pretraining_of_ours_is_grouped_by_its_own_list(call, tmp_path):
    """With dual batch norm, its dense branch; the model is the checkpoint's."""
    words = ["--dataset", "digits", "--trainSplit", D_I.format(3), "--model", "res20_s", "--epochs", 1, "--optimizer",
             "sgd", "--lr", "0.1", "--temperature", "0.2", "--output_ch", 16, "--batch_size", 128, "--prune",
             "--prune_percent", "0.5", "--prune_dual_bn"]  # fmt: skip
    assert call("train_simCLR.py", "pre", *words).returncode == 0
    done = call("probe/__main__.py", "--checkpoint", "checkpoints/pre/model.pt", *PROBE, "--protocol", "bcl-50shot")
    assert done.returncode == 0, done.stderr
    assert "groups by digits_split3_D_i" in done.stdout and "bcl-50shot" in rows(done.stdout)
    (result,) = tmp_path.glob("probes/*/results.json")
    assert json.loads(result.read_text())["pretraining"]["experiment"] == "pre"


@pytest.mark.slow
def test_image_files_by_an_encoder_of_moco(call, tmp_path, images, monkeypatch):
    take_lists_from(images[1], monkeypatch.setattr)
    torch.manual_seed(0)
    torch.save(moco(2).content, tmp_path / "moco.pth.tar")
    words = ["--checkpoint", "moco.pth.tar", "--dataset", "imagenet-100", "--data", images[0], "--image_size", 32]
    words += ["--num_workers", 0, "--no-cuda", "--epochs", 1, "--protocol", "sdclr-linear", "sdclr-fewshot"]
    done = call("probe/__main__.py", *words)
    assert done.returncode == 0, done.stderr
    assert rows(done.stdout).keys() == {"sdclr-linear", "sdclr-fewshot"} and "read as MoCo's query" in done.stdout
    for path in tmp_path.glob("probes/*/results.json"):
        result = json.loads(path.read_text())
        assert result["model"] == "res10" and result["encoder"]["stem"] == "imagenet"
        assert result["protocol"] == path.parent.name.split("__")[1]


@pytest.mark.slow
def test_own_images_by_an_encoder_of_torchvision(call, tmp_path, ledger, monkeypatch):
    take_lists_from(tmp_path / "lists", monkeypatch.setattr)
    (tmp_path / "lists").mkdir()
    sizes = {"a": 20, "b": 12, "c": 8}
    own = photographs(
        tmp_path / "own", {f"train/{name}": n for name, n in sizes.items()} | {f"test/{c}": 4 for c in sizes}
    )
    torch.manual_seed(0)
    torch.save(random(ten(small=True)).state_dict(), tmp_path / "ten.pth")
    words = ["--checkpoint", "ten.pth", "--dataset", "folder", "--data", own, "--num_workers", 0, "--no-cuda"]
    done = call("probe/__main__.py", *words, "--epochs", 1, "--protocol", "sdclr-linear", "sdclr-fewshot")
    assert done.returncode == 0, done.stderr
    assert rows(done.stdout).keys() == {"sdclr-linear", "sdclr-fewshot"}
    for path in tmp_path.glob("probes/*/results.json"):
        result = json.loads(path.read_text())
        assert result["class_counts"] == [18, 11, 7] and result["images"] == 12  # without validation images
        assert "image_size" not in result["departs"]


def test_mistakes_are_one_line_and_leave_nothing(call, tmp_path, checkpoint, images):
    (tmp_path / "cut.safetensors").write_bytes(b"\x40" + bytes(7) + b'{"a":')
    torch.save({"state_dict": {"module.encoder_q.conv1.weight": torch.ones(1)}}, tmp_path / "part.pt")
    before = set(tmp_path.iterdir())
    words = ["--dataset", "digits", "--no-cuda", "--protocol", "bcl-full"]
    files = ["--dataset", "imagenet-100", "--data", images[0], "--protocol", "bcl-50shot"]
    for options, *parts in (
        (["--checkpoint", "cut.safetensors", *words], "cut.safetensors", "truncated or damaged"),
        (["--checkpoint", "gone.pt", *words], "gone.pt", "does not exist"),
        (["--checkpoint", "part.pt", *words], "part.pt", "encoder_q.conv1.weight"),
        (["--checkpoint", checkpoint, *words, "--model", "res50"], "another model"),
        (["--checkpoint", checkpoint, *words, "--format", "moco"], "--format"),
        (["--checkpoint", checkpoint, *words, "--bnNameCnt", "1"], "bnNameCnt 1"),
        (["--checkpoint", checkpoint, *words, "--groupSplit", "none.npy"], "none.npy"),
        (["--checkpoint", checkpoint, *words, "--image_size", "7"], "--image_size"),
        (["--checkpoint", checkpoint, *words, "--name", "../x"], "--name"),
        (["--checkpoint", checkpoint, *words, "--mean", "0,0,0"], "--std"),
        (["--checkpoint", checkpoint, *words, "knn"], "knn"),
        (["--checkpoint", checkpoint, *files], "no lists for protocol bcl-50shot"),
        (["--checkpoint", checkpoint, "--dataset", "digits"], "--protocol"),
        (words, "--checkpoint"),
    ):
        one_line_error(call("probe/__main__.py", *options), *parts)
        assert set(tmp_path.iterdir()) == before, options


@pytest.mark.slow
def test_check_tries_every_protocol_and_writes_nothing(call, tmp_path, checkpoint):
    words = ["--checkpoint", checkpoint, "--dataset", "digits", "--no-cuda", "--check"]
    done = call("probe/__main__.py", *words, "--protocol", "bcl-100shot", "sdclr-linear")
    assert done.returncode == 0 and done.stdout.count("nothing was written") == 2
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.name]
