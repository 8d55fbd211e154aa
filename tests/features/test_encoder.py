"""Encoders of other libraries: features are the source network's own; a file that is not whole is refused."""

import csv
import functools
import json

import numpy as np
import pytest
import timm
import torch
from lightly.utils.benchmarking import OnlineLinearClassifier
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torchvision.models.segmentation import deeplabv3_resnet50, fcn_resnet50

from features.encoder import Source, read_encoder
from features.extract import backbone_of
from features.flags import Reading
from models import build_classifier
from models.formats import FORMATS, encoders_in
from models.published import NORMALIZE
from models.resnet import build_backbone
from tests.conftest import one_line_error
from tests.features import sources
from tests.features.sources import CASES, READ_AS, SIZES, Case, modules, ten, without_fc
from utils.errors import InputError

MEAN, STD = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
AUTO = Reading("", None, None)
S_B = "digits_imbSub_with_subsets/digits_split1_S_b.npy"

# make test has one case of each kind of key, make test-all has all.
QUICK = ("torchvision", "timm.safetensors", "MoCo v3", "SimCLR", "solo-learn, ImageNet", "lightly, children", "DINO")
EACH = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in CASES]

pytestmark = pytest.mark.usefixtures("one_thread")


@functools.cache
def case_of(name: str) -> Case:
    torch.manual_seed(sum(map(ord, name)))
    return CASES[name]()


def written(path, name: str, content):
    if name.endswith(".safetensors"):
        save_file(content, path := path.with_suffix(".safetensors"))
    else:
        torch.save(content, path)
    return path


def network(source: Source) -> nn.Module:
    return backbone_of(source.encoder.state, source.model, source.encoder.stem, source.path).eval()


@torch.no_grad()
def difference(ours: nn.Module, case: Case, mean=MEAN, std=STD) -> float:
    """The largest one of features of random images, as a share of the largest feature."""
    worst = 0.0
    for size in SIZES[case.size]:
        images = torch.rand(3, 3, size, size)
        expected = case.network((images - mean) / std)
        assert expected.shape == (3, 512) and expected.std(0).max() > 1e-3  # images tell
        worst = max(worst, ((ours.features(images) - expected).abs().max() / expected.abs().max()).item())
    return worst


@pytest.mark.parametrize("name", EACH)
def test_features_are_those_of_the_source_network(tmp_path, name):
    case = case_of(name)
    source = read_encoder(written(tmp_path / "model.pt", name, case.content), AUTO)
    assert source.encoder.form.name == READ_AS[name]
    assert source.model == ("res18" if "timm" in name or name == "torchvision" else "res10")
    assert len(source.encoder.state) + sum(source.encoder.left_out.values()) == len(case.state)
    assert difference(network(source), case) < 1e-5


@pytest.mark.parametrize("name", EACH)
def test_one_wrong_prefix_or_one_exchanged_tensor_is_an_error(call, tmp_path, name):
    case = case_of(name)
    kept = dict(case.state)
    prefix, _, rest = case.key.rpartition("conv1")
    other = case.key.replace("layer2", "layer4").replace(".5.0.", ".7.0.").replace(".3.0.", ".5.0.")
    damaged = {
        "wrong prefix": ({f"x{k}" if k == case.key else k: v for k, v in kept.items()}, f"x{case.key}"),
        "wrong name": ({f"{prefix}conv9{rest}" if k == case.key else k: v for k, v in kept.items()}, "conv9"),
        "exchanged": (kept | {case.key: kept[other], other: kept[case.key]}, "layer2.0.conv1.weight"),
        "missing": ({k: v for k, v in kept.items() if k != case.key}, "layer2.0.conv1.weight"),
        "other": (kept | {"another.weight": torch.ones(2)}, "another.weight"),
    }
    for what, (state, word) in damaged.items():
        case.state.clear()
        case.state.update(state)
        try:
            path = written(tmp_path / "model.pt", name, case.content)
        finally:
            case.state.clear()
            case.state.update(kept)
        before = set(tmp_path.iterdir())
        done = call("features/save.py", "--dataset", "digits", "--checkpoint", path, "--out", tmp_path / "out.npz")
        line = one_line_error(done, path.name)
        assert word in line or what == "wrong prefix" and "module" in word and word.replace("module.", "") in line, line
        assert set(tmp_path.iterdir()) == before


def test_each_format_has_a_source_or_is_asked_for():
    rest = {"ours", "backbone", "timm-ema", "torchvision-ema"}  # below, and in tests/features/test_save.py
    assert {name for name, form in FORMATS.items() if not form.explicit} == {*READ_AS.values(), *rest}


def other_of(name: str) -> tuple[Case, str, str]:
    """A case whose other network is taken, its format, and the prefix of that network's keys."""
    return {
        "moco-key": (case_of("MoCo v2"), "module.encoder_k."),
        "mocov3-momentum": (case_of("MoCo v3"), "module.momentum_encoder."),
        "solo-learn-momentum": (case_of("solo-learn, CIFAR"), "momentum_backbone."),
        "dino-student": (case_of("DINO"), "module.backbone."),
    }[name]


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.explicit])
def test_the_other_network_of_a_file_is_read_where_it_is_asked_for(tmp_path, name):
    case, prefix = other_of(name)
    state = case.content["student"] if name == "dino-student" else case.state
    model = ten(name.startswith("solo"), padding=2)
    own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix) and ".fc." not in k}
    model.load_state_dict(own, strict=False)
    torch.save(case.content, tmp_path / "model.pt")
    source = read_encoder(tmp_path / "model.pt", Reading(name, None, None))
    assert difference(network(source), case._replace(network=sources.features(model.eval()))) < 1e-5


def test_a_file_of_old_pytorch_is_read(tmp_path):
    """Before version 1.6 torch.save wrote no archive, as the published files of MoCo and SwAV are."""
    case = case_of("MoCo v1")
    torch.save(case.content, tmp_path / "old.pth.tar", _use_new_zipfile_serialization=False)
    assert difference(network(read_encoder(tmp_path / "old.pth.tar", AUTO)), case) < 1e-5
    (tmp_path / "cut.pth.tar").write_bytes((tmp_path / "old.pth.tar").read_bytes()[:500_000])
    with pytest.raises(InputError, match="cut.pth.tar is not a checkpoint that can be read"):
        read_encoder(tmp_path / "cut.pth.tar", AUTO)


# ---- what is ambiguous


@pytest.mark.slow
def test_padding_that_no_key_tells_is_asked_for(call, tmp_path):
    """A 3x3 stem below `backbone.` alone: solo-learn pads it by 2 pixels, others by 1; a 7x7 one is clear."""
    for padding, name in ((1, "backbone"), (2, "solo-learn")):
        model = without_fc(ten(True, padding))
        torch.save({"state_dict": modules(backbone=model)}, tmp_path / "model.pt")
        done = call("features/export.py", "--checkpoint", "model.pt", "--out", tmp_path / "out.pt")
        one_line_error(done, "model.pt may be backbone", "or solo-learn", "--format")
        source = read_encoder(tmp_path / "model.pt", Reading(name, None, None))
        case = Case(None, {}, "", model, "small")
        assert difference(network(source), case) < 1e-5
        other = read_encoder(tmp_path / "model.pt", Reading({1: "solo-learn", 2: "backbone"}[padding], None, None))
        assert difference(network(other), case) > 1e-3
    torch.save({"state_dict": modules(backbone=without_fc(ten()))}, tmp_path / "model.pt")
    assert read_encoder(tmp_path / "model.pt", AUTO).encoder.form.name == "backbone"
    assert not (tmp_path / "out.pt").exists()


def test_averaged_weights_beside_others_are_asked_for(tmp_path):
    one, averaged = (sources.random(ten()) for _ in range(2))
    torch.save({"state_dict": one.state_dict(), "state_dict_ema": averaged.state_dict()}, tmp_path / "model.pt")
    with pytest.raises(InputError, match="torchvision .* or timm-ema .*--format"):
        read_encoder(tmp_path / "model.pt", AUTO)
    for name, model in (("torchvision", one), ("timm-ema", averaged)):
        source = read_encoder(tmp_path / "model.pt", Reading(name, None, None))
        assert difference(network(source), Case(None, {}, "", sources.features(model), "large")) < 1e-5


def test_averaged_weights_of_torchvision_are_asked_for_or_alone(tmp_path):
    """As its training script saves them, of a network that DistributedDataParallel wraps or does not."""
    one, averaged = sources.random(ten()), AveragedModel(sources.random(ten()), use_buffers=True)
    content = {"model": one.state_dict(), "model_ema": averaged.state_dict(), "optimizer": {}, "epoch": 3}
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(InputError, match="torchvision .* or torchvision-ema .*--format"):
        read_encoder(tmp_path / "model.pt", AUTO)
    for name, model in (("torchvision", one), ("torchvision-ema", averaged.module)):
        state = read_encoder(tmp_path / "model.pt", Reading(name, None, None)).encoder.state
        wanted = {k: v for k, v in model.state_dict().items() if not k.startswith("fc.")}
        assert state.keys() - NORMALIZE == wanted.keys() and all(torch.equal(state[k], v) for k, v in wanted.items())
    torch.save({"model_ema": averaged.state_dict()}, tmp_path / "model.pt")
    assert read_encoder(tmp_path / "model.pt", AUTO).encoder.form.name == "torchvision-ema"


@pytest.mark.parametrize("name", ["resnetaa50", "resnetblur18", "resnetblur50"])
def test_what_only_has_the_tensors_of_a_resnet_is_refused(tmp_path, name):
    with torch.device("meta"):
        other, plain = timm.create_model(name), timm.create_model(name.replace("aa", "").replace("blur", ""))
    shapes = [{k: v.shape for k, v in model.state_dict().items()} for model in (other, plain)]
    assert shapes[0] == shapes[1]  # so that no tensor tells them apart
    state = {"conv1.weight": torch.zeros(64, 3, 7, 7), "layer1.0.bn1.bias": torch.zeros(64)}
    for key in ("arch", "architecture"):
        torch.save({key: name, "state_dict": state}, tmp_path / "model.pt")
        for reading in (AUTO, Reading("torchvision", None, None)):
            with pytest.raises(InputError, match=f"is of a {name}"):
                read_encoder(tmp_path / "model.pt", reading)
        for usual in (
            "resnet18",
            "resnet18.a1_in1k",
            "gluon_resnet50_v1b",
            "wide_resnet50_2",
            "ResNet",
            "ResNetSimCLR",
        ):
            torch.save({key: usual, "state_dict": state}, tmp_path / "model.pt")
            assert read_encoder(tmp_path / "model.pt", AUTO).encoder.form.name == "torchvision"


@pytest.mark.parametrize("build", [fcn_resnet50, deeplabv3_resnet50])
@pytest.mark.parametrize("auxiliary", [True, None])
def test_segmentation_networks_are_refused(build, auxiliary):
    """Their backbones are dilated, so that their features differ from those of a ResNet."""
    with torch.device("meta"):
        model = build(weights=None, weights_backbone=None, aux_loss=auxiliary)
    found, (_, unknown) = encoders_in({"state_dict": model.state_dict()})
    assert not found and "classifier" in unknown


@pytest.mark.parametrize("head", ["classifier", "online_classifier"])
def test_classifiers_of_lightly_are_left_out(tmp_path, head):
    """OnlineLinearClassifier of its benchmarks, and a linear layer of its tutorials."""
    for layer in (OnlineLinearClassifier(512, 10), nn.Linear(512, 10)):
        state = modules(**{"backbone": without_fc(ten()), head: layer, "projection_head": nn.Linear(512, 8)})
        torch.save(state, tmp_path / "model.pt")
        encoder = read_encoder(tmp_path / "model.pt", AUTO).encoder
        assert encoder.form.name == "lightly" and encoder.left_out == {"classifier": 2, "projection head": 2}


@pytest.mark.parametrize("given", ["moco", "vissl", "solo-learn"])
def test_a_format_that_the_file_has_not_is_refused(tmp_path, given):
    case = case_of("SimCLR")
    torch.save(case.content, tmp_path / "model.pt")
    words = {"solo-learn": "backbone.fc.0.weight is of no part"}.get(given, "begin with backbone.conv1.weight")
    with pytest.raises(InputError, match=f"no encoder of format {given}.*{words}"):
        read_encoder(tmp_path / "model.pt", Reading(given, None, None))


OTHERS = {
    "vision transformer": ({"blocks.0.attn.qkv.weight": torch.ones(3, 3), "pos_embed": torch.ones(3)}, "blocks.0"),
    "VGG": ({"model": {"features.0.weight": torch.ones(1)}}, "features.0.weight"),
    "no tensors": ({"epoch": 3, "model": "resnet50"}, "no 'state_dict' of tensors"),
    "resnet50d": ({"conv1.0.weight": torch.ones(1), "layer1.0.conv1.weight": torch.ones(1)}, "conv1.0.weight"),
    "ours below another name": (
        {f"encoder_q.{k}": v for k, v in build_backbone("res20_s").state_dict().items()},
        "closest to format moco, of which encoder_q.normalize.mean is no part",
    ),
    "two wrappers": ({"module.bn1.bias": torch.ones(1), "bn1.bias": torch.ones(1)}, "two tensors for bn1.bias"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_networks_that_are_not_read_are_named(call, tmp_path, name):
    content, word = OTHERS[name]
    torch.save(content, tmp_path / "other.pt")
    done = call("features/export.py", "--checkpoint", "other.pt", "--out", "out.pt")
    one_line_error(done, word, "" if "two" in word else "other.pt")
    assert not (tmp_path / "out.pt").exists()


# ---- mean and deviation of the input


@pytest.mark.slow
def test_mean_and_deviation_are_given_or_those_of_an_export(call, tmp_path):
    case = case_of("SupContrast")
    torch.save(case.content, tmp_path / "model.pt")
    mean, std = [0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]
    own = [torch.tensor(values)[:, None, None] for values in (mean, std)]
    source = read_encoder(tmp_path / "model.pt", Reading("", mean, std))
    assert difference(network(source), case, *own) < 1e-5
    assert source.encoder.state.keys() >= NORMALIZE and source.record()["std"] == pytest.approx(std)
    words = ["--mean", ",".join(map(str, mean)), "--std", ",".join(map(str, std))]
    export = ["features/export.py", "--checkpoint", "model.pt", "--out", tmp_path / "out.pt"]
    done = call(*export, *words)
    assert done.returncode == 0 and "read as SupContrast's (supcontrast)" in done.stdout, done.stderr
    assert "4 of its projection head" in done.stdout and "warning" not in done.stderr
    assert difference(network(read_encoder(tmp_path / "out.pt", AUTO)), case, *own) < 1e-5
    assert "ImageNet's are taken" in call(*export).stderr
    for bad in (words[:2], words[2:], ["--mean", "1,2"], [*words[:3], "0.1,0,0.1"], ["--mean", "a,b,c"]):
        one_line_error(call(*export, *bad), bad[-2] if len(bad) > 2 else "--mean")


def test_a_checkpoint_of_ours_has_its_own_mean(call, tmp_path):
    state = {f"module.{k}": v for k, v in build_backbone("res10").state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "model.pt")
    done = call("features/export.py", "--checkpoint", "model.pt", "--out", "o.pt", "--mean", "0,0,0", "--std", "1,1,1")
    one_line_error(done, "model.pt has a mean and a deviation of its own", "--mean")


# ---- the programs


@pytest.mark.slow
def test_programs_read_them(call, tmp_path):
    """Features of digits by a stem of ImageNet on a data set of small images, and the line that tells the format."""
    case = case_of("MoCo v2")
    torch.save(case.content, tmp_path / "moco.pth.tar")
    words = ["--dataset", "digits", "--list", S_B, "--no-cuda"]
    done = call("features/save.py", "--checkpoint", "moco.pth.tar", *words, "--out", "f.npz")
    assert done.returncode == 0, done.stderr
    momentum = sum(".encoder_k." in key for key in case.state)
    left_out = f"4 of its projection head, {momentum} of its momentum network, 2 of its queue"
    assert f"moco.pth.tar: read as MoCo's query encoder (moco); tensors left out: {left_out}" in done.stdout
    assert np.load(tmp_path / "f.npz")["features"].shape == (50, 512)
    quiet = call("features/save.py", "--checkpoint", "moco.pth.tar", *words, "--out", "f.npz", "--quiet")
    assert "read as" not in quiet.stdout


@pytest.mark.slow
def test_a_probe_keeps_the_stem_of_its_encoder(call, tmp_path):
    """solo-learn's, which no kernel tells; also where it is resumed, or evaluated, without the checkpoint."""
    case = case_of("solo-learn, CIFAR")
    torch.save(case.content, tmp_path / "solo.ckpt")
    words = ["x", "--dataset", "digits", "--trainSplit", S_B, "--model", "res10", "--fixto", "layer4", "--fixbn",
             "--lr", "1", "--no-cuda", "--precision", "fp32", "--decreasing_lr", "9"]  # fmt: skip
    result = tmp_path / "checkpoints_tune/x/results.json"
    found = []
    resumed = ["--epochs", 2, "--resume", "--accept_changes"]
    for more in (["--epochs", 1, "--checkpoint", "solo.ckpt"], resumed, ["--test_only"]):
        done = call("train_cifar.py", *words, *more)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(result.read_text()))
        assert found[-1]["encoder"] == {"format": "solo-learn", "stem": "cifar-padded", "mean": None, "std": None}
    assert found[1]["per_class"] == found[2]["per_class"]
    log = (result.parent / "log.txt").read_text()
    assert "solo.ckpt, epoch 9, without normalize.mean and normalize.std: ImageNet's are taken; read as solo-l" in log
    best = torch.load(result.parent / "best_model.pt", weights_only=True)["state_dict"]
    model = build_classifier("res10", 10, "cifar-padded")
    model.load_state_dict(best)
    assert difference(model.eval(), case) < 1e-5
    mistake = call("train_cifar.py", "y", *words[1:], "--checkpoint", "solo.ckpt", "--format", "moco")
    one_line_error(mistake, "no encoder of format moco", "--format")
    assert not (tmp_path / "checkpoints_tune/y").exists()


@pytest.mark.slow
def test_tail_scores_features_of_another_librarys_encoder(call, tmp_path):
    """There is no head: disagreement is that of features, dense and pruned."""
    case = case_of("SupContrast")
    torch.save(case.content, tmp_path / "sup.pth")
    words = ["--checkpoint", "sup.pth", "--dataset", "digits", "--trainSplit", S_B, "--out", "tail", "--no-cuda"]
    done = call("tail/__main__.py", *words, "--scores", "disagreement", "loss", "--draws", 1)
    assert done.returncode == 0, done.stderr
    assert "read as SupContrast's (supcontrast)" in done.stdout and "the features before it" in done.stdout
    rows = list(csv.DictReader((tmp_path / "tail/disagreement.csv").open()))
    assert len(rows) == 50 and len({row["score"] for row in rows}) > 40
    one_line_error(call("tail/__main__.py", *words, "--scores", "memorisation"), "sup.pth")
