"""The exported encoder: torchvision's own networks load it and give our features; what is refused leaves no file."""

import hashlib
import os

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock
from torchvision.models.resnet import ResNet as TorchvisionResNet

import features.targets.torchvision
from features.targets.base import NAMES
from models import build_classifier
from models.resnet import build_backbone
from tests.conftest import one_line_error, quick_first
from tests.fabricated import fabricate_bcl
from tests.features.test_save import FORMATS, rewrite
from tests.probe.test_on_features import alone, choose, network, same, save

KEYS = {"state_dict", "architecture", "stem", "mean", "std", "features", "source", "provenance"}
SMALL = ["--model", "res10"]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def export(call, tmp_path):
    """Run features.export; returns the file's content and what was printed."""

    def run_export(checkpoint, *options: object) -> tuple[dict, str]:
        out = tmp_path / "out/encoder.pt"
        done = call("features/export.py", "--checkpoint", checkpoint, "--out", out, *options)
        assert done.returncode == 0, done.stderr
        assert {path.name for path in out.parent.iterdir()} == {out.name, f"{out.name}.md"}
        return torch.load(out, weights_only=True), done.stdout

    return run_export


def theirs(name: str, stem: str) -> nn.Module:
    """torchvision's network without classifier, [N, 3, H, W] -> [N, features]; torchvision has no name for resnet10."""
    kinds = {"resnet10": lambda: TorchvisionResNet(BasicBlock, [1, 1, 1, 1])}
    model = kinds.get(name, getattr(torchvision.models, name, None))()
    model.fc = nn.Identity()
    if stem == "cifar":
        model.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        model.maxpool = nn.Identity()
    return model.eval()


@torch.no_grad()
def check(content: dict, model: nn.Module, size: int = 40) -> None:
    """torchvision's network takes all weights, and none is left over; its features are the model's, image by image."""
    reference = theirs(content["architecture"], content["stem"])
    assert content["state_dict"].keys() == reference.state_dict().keys()
    reference.load_state_dict(content["state_dict"], strict=True)
    images = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(7))
    mean, std = (torch.tensor(content[k])[:, None, None] for k in ("mean", "std"))
    expected = alone(model, images)
    assert (reference((images - mean) / std) - expected).abs().max() < 1e-5 * expected.abs().max()
    assert content["features"] == model.channels


@pytest.mark.parametrize(
    ("name", "stem", "architecture", "more"),
    quick_first(
        [
            ("res18", "cifar", "resnet18", []),  # the default
            pytest.param("res50", "imagenet", "resnet50", [], marks=pytest.mark.slow),  # the default of ImageNet's stem
            ("res18", "imagenet", "resnet18", ["--model", "res18"]),
            pytest.param("res50", "cifar", "resnet50", ["--model", "res50"], marks=pytest.mark.slow),
            ("res10", "cifar", "resnet10", SMALL),
            ("res10", "imagenet", "resnet10", SMALL),
        ]
    ),
)
def test_torchvisions_networks_load_it_and_give_our_features(export, tmp_path, name, stem, architecture, more):
    model = network(name, stem)
    checkpoint = save(model, tmp_path / "model.pt")
    content, said = export(checkpoint, *more)
    assert content.keys() == KEYS
    assert (content["architecture"], content["stem"]) == (architecture, stem)
    assert content["mean"] == [0.485, 0.456, 0.406] and content["std"] == [0.229, 0.224, 0.225]
    assert content["source"] == {"file": "model.pt", "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest()}
    assert content["provenance"]["torch"] == torch.__version__ and "git" in content["provenance"]
    assert str(tmp_path) not in str({k: v for k, v in content.items() if k != "state_dict"})
    check(content, model, size=64 if stem == "imagenet" else 24)
    assert architecture in said and f"{model.channels} features" in said


@pytest.mark.parametrize(
    ("name", "architecture"),
    [("res34", "resnet34"), ("res101", "resnet101"), ("res152", "resnet152"), ("res50w2", "wide_resnet50_2")],
)
def test_the_larger_networks_have_torchvisions_keys_and_shapes(name, architecture):
    assert NAMES[name] == architecture
    with torch.device("meta"):
        for stem in ("cifar", "imagenet"):
            ours, reference = build_backbone(name, stem).state_dict(), theirs(architecture, stem).state_dict()
            shapes = {k: v.shape for k, v in ours.items() if not k.startswith("normalize.")}
            assert shapes == {k: v.shape for k, v in reference.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "stem"), [("res10", "imagenet"), ("res18", "cifar")])
def test_the_lines_that_are_printed_load_it(export, tmp_path, name, stem):
    model = network(name, stem)
    content, said = export(save(model, tmp_path / "model.pt"), "--model", name)
    names: dict = {}
    exec(said[said.index("import torch") :], names)
    assert same(names["model"].state_dict(), content["state_dict"])
    expected = theirs(content["architecture"], stem)
    expected.load_state_dict(content["state_dict"])
    x = torch.rand(2, 3, 40, 40)
    with torch.no_grad():
        assert torch.equal(names["model"].eval()(x), expected(x))


@pytest.mark.slow
def test_the_checkpoints_settings_name_the_model(export, tmp_path):
    model = network("res10")
    state = {f"module.{k}": v for k, v in model.state_dict().items()}
    torch.save({"epoch": 1, "state_dict": state, "config": {"model": "res10"}}, tmp_path / "model.pt")
    check(export(tmp_path / "model.pt")[0], model)


@pytest.mark.parametrize(
    ("form", "dual"),
    quick_first([*((form, False) for form in FORMATS), ("ours", True), ("SDCLR", True), ("BCL's SDCLR", True)]),
)
def test_one_network_in_any_format_gives_one_file(export, tmp_path, form, dual):
    """Of dual batch norm it is the dense branch's, and not the pruned one's."""
    model = network("res10", dual_bn=dual)
    content, _ = export(rewrite(model, form, tmp_path / "file.pt"), *SMALL)
    choose(model, 0)
    check(content, model)
    kept = "|".join(content["state_dict"])
    assert not any(part in kept for part in ("bn_list", "fc.", "projector", "normalize", "module.", "backbone", "mask"))
    own = {k.replace(".bn_list.0", ""): v for k, v in model.state_dict().items() if ".bn_list.1" not in k}
    assert same(content["state_dict"], {k: v for k, v in own.items() if not k.startswith(("fc.", "normalize."))})
    if dual:
        with pytest.raises(AssertionError):
            check(content, choose(model, 1))


@pytest.mark.parametrize("name", quick_first(["bcl_bcl_i", "bcl_sdclr"]))
def test_files_like_the_authors(export, tmp_path, name):
    fabricate_bcl(tmp_path)
    content, _ = export(tmp_path / f"checkpoints_cifar100/{name}_split1/model.pt")
    assert content["architecture"] == "resnet18" and content["stem"] == "cifar"
    theirs("resnet18", "cifar").load_state_dict(content["state_dict"], strict=True)


@pytest.mark.slow
def test_a_probes_model_and_other_numbers(export, tmp_path):
    """Its classifier is left out; float64 and half-precision weights become float32, which networks are built in."""
    model = network("res10")
    probed = build_classifier("res10", 10)
    probed.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("fc.")}, strict=False)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in probed.state_dict().items()}
        torch.save({"epoch": 3, "state_dict": state, "best_prec1": 50.0}, tmp_path / "best_model.pt")
        content, _ = export(tmp_path / "best_model.pt", *SMALL)
        assert all(v.dtype in (torch.float32, torch.int64) for v in content["state_dict"].values())
        check(content, network("res10") if dtype != torch.bfloat16 else rounded(model))


def rounded(model: nn.Module) -> nn.Module:
    """With the weights of a half-precision checkpoint, mean and standard deviation of the input among them."""
    return model.to(torch.bfloat16).float()


@pytest.mark.slow
def test_mean_and_deviation_are_the_checkpoints(export, tmp_path):
    model = network("res10")
    model.normalize.mean[:], model.normalize.std[:] = torch.tensor([0.5, 0.25, 0.125]), 0.5
    content, _ = export(save(model, tmp_path / "model.pt"), *SMALL)
    assert content["mean"] == [0.5, 0.25, 0.125] and content["std"] == [0.5, 0.5, 0.5]
    check(content, model)


@pytest.mark.slow
def test_quiet_does_not_say_how_to_load_it(export, tmp_path):
    checkpoint = save(network("res10"), tmp_path / "model.pt")
    told, quiet = (export(checkpoint, *SMALL, *words)[1].splitlines() for words in ([], ["--quiet"]))
    assert quiet == told[:1]


@pytest.mark.slow
def test_the_same_checkpoint_gives_the_same_file(export, call, tmp_path):
    checkpoint = save(network("res10"), tmp_path / "model.pt")
    export(checkpoint, *SMALL)
    before = (tmp_path / "out/encoder.pt").read_bytes()
    export(checkpoint, *SMALL)  # it may be written over
    assert (tmp_path / "out/encoder.pt").read_bytes() == before


# ---- the check


def changed_weight(model: nn.Module) -> None:
    model.layer2[0].conv1.weight[3, 2, 1, 1] += 0.5


def changed_statistic(model: nn.Module) -> None:
    model.layer4[0].bn2.running_var *= 1.1


def changed_constant(model: nn.Module) -> None:
    model.layer1[0].bn1.eps = 1e-3


@pytest.mark.parametrize(
    ("change", "stem"),
    [
        (changed_weight, "cifar"),
        (changed_weight, "imagenet"),
        (changed_statistic, "cifar"),
        (changed_constant, "imagenet"),
    ],
)
def test_another_network_is_noticed(call, tmp_path, monkeypatch, change, stem):
    class Changed(TorchvisionResNet):
        """One that does not hold what it has loaded."""

        def load_state_dict(self, *args, **options):
            super().load_state_dict(*args, **options)
            with torch.no_grad():
                change(self)

    def build(name: str, stem: str) -> nn.Module:
        model = theirs("resnet10", stem)
        model.__class__ = Changed
        return model

    checkpoint = save(network("res10", stem), tmp_path / "model.pt")
    monkeypatch.setattr(features.targets.torchvision, "torchvision_model", build)
    done = call("features/export.py", "--checkpoint", checkpoint, *SMALL, "--out", tmp_path / "out/encoder.pt")
    one_line_error(done, "nothing was written", "resnet10")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("zero", [False, True])
def test_features_that_are_no_numbers_are_refused(call, tmp_path, zero):
    """Each weight is finite: the root of a variance below zero, or what is divided by a deviation of zero, is not."""
    model = network("res10")
    if zero:
        model.normalize.std[1] = 0
    else:
        model.layer3[0].bn1.running_var[4] = -1
    checkpoint = save(model, tmp_path / "model.pt")
    done = call("features/export.py", "--checkpoint", checkpoint, *SMALL, "--out", tmp_path / "out/encoder.pt")
    one_line_error(done, "nothing was written", "damaged")
    assert not (tmp_path / "out").exists()


# ---- bad input


@pytest.mark.slow
def test_mistakes_are_one_line_and_leave_no_file(call, tmp_path):
    model = network("res10")
    good, state = save(model, tmp_path / "good.pt"), model.state_dict()
    small = save(network("res20_s"), tmp_path / "small.pt")
    (tmp_path / "cut.pt").write_bytes(good.read_bytes()[:5000])
    (tmp_path / "text.pt").write_text("no checkpoint")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("what was here")
    (tmp_path / "link.pt").symlink_to("good.pt")
    (tmp_path / "loop.pt").symlink_to("loop.pt")
    os.link(good, tmp_path / "hard.pt")
    torch.save({"state_dict": {**state, "conv1.weight": state["conv1.weight"] / 0}}, tmp_path / "nan.pt")
    torch.save({"state_dict": {k: v for k, v in state.items() if "layer4" not in k}}, tmp_path / "part.pt")
    torch.save({"state_dict": {**state, "conv1.weight": torch.tensor(1.0)}}, tmp_path / "point.pt")
    torch.save({"state_dict": {}}, tmp_path / "empty.pt")
    for name, said in (("odd", ["res10"]), ("other", "vit"), ("small_config", "res20_s")):
        own = network("res20_s").state_dict() if name == "small_config" else state
        torch.save({"state_dict": own, "config": {"model": said}}, tmp_path / f"{name}.pt")
    out = ["--out", tmp_path / "new.pt"]
    before = {path: path.lstat() for path in tmp_path.rglob("*")}
    for options, *words in (
        ([small, "--model", "res20_s", *out], "res20_s", "small ResNet", "--to safetensors or onnx"),
        ([tmp_path / "small_config.pt", *out], "res20_s", "small ResNet"),
        ([small, *out], "small.pt", "another model"),
        ([good, *out], "good.pt", "another model"),
        ([good, "--model", "res34", *out], "good.pt", "another model"),
        ([good, "--model", "resnet18", *out], "--model", "res18"),
        ([tmp_path / "gone.pt", *out], "gone.pt", "does not exist"),
        ([tmp_path / "folder", *out], "folder", "does not exist"),
        ([tmp_path / "cut.pt", *SMALL, *out], "cut.pt", "truncated or damaged"),
        ([tmp_path / "text.pt", *SMALL, *out], "text.pt", "truncated or damaged"),
        ([tmp_path / "nan.pt", *SMALL, *out], "nan.pt", "conv1.weight"),
        ([tmp_path / "part.pt", *SMALL, *out], "part.pt", "another model", "layer4"),
        ([tmp_path / "point.pt", *SMALL, *out], "point.pt", "conv1.weight"),
        ([tmp_path / "empty.pt", *SMALL, *out], "empty.pt"),
        ([tmp_path / "odd.pt", *out], "unknown model", "res18"),
        ([tmp_path / "other.pt", *out], "unknown model 'vit'", "res18"),
        ([good, *SMALL, "--out", good], "good.pt", "the checkpoint itself"),
        ([good, *SMALL, "--out", tmp_path / "folder/../good.pt"], "the checkpoint itself"),
        ([good, *SMALL, "--out", tmp_path / "link.pt"], "the checkpoint itself"),
        ([tmp_path / "link.pt", *SMALL, "--out", good], "the checkpoint itself"),
        ([good, *SMALL, "--out", tmp_path / "hard.pt"], "the checkpoint itself"),
        ([tmp_path / "loop.pt", *SMALL, *out], "loop.pt"),
        ([good, *SMALL, "--out", tmp_path / "file/new.pt"], "file/new.pt", "cannot be written"),
        ([good, *SMALL, "--out", "/proc/none/new.pt"], "/proc/none/new.pt", "cannot be written"),
        ([good, *SMALL, "--out", tmp_path / "folder"], "folder"),
        ([good, *SMALL, "--out", ""], "--out"),
        ([good, *SMALL, "--out", "."], "--out"),
        ([good, *SMALL, "--out", ".."], "--out"),
        ([good, *SMALL, "--out", "/"], "--out"),
        ([good, *SMALL, "--out", "x" * 300], "x" * 300),
        ([good, *SMALL], "--out"),
    ):
        one_line_error(call("features/export.py", "--checkpoint", *options), *words)
        assert {path: path.lstat() for path in tmp_path.rglob("*")}.keys() == before.keys(), options
    assert {p: (s.st_size, s.st_mtime_ns) for p, s in before.items()} == {
        p: (p.lstat().st_size, p.lstat().st_mtime_ns) for p in tmp_path.rglob("*")
    }
    one_line_error(call("features/export.py", *SMALL, *out), "--checkpoint")


def test_a_link_that_leads_round_in_circles_is_replaced(call, tmp_path):
    checkpoint, out = save(network("res10"), tmp_path / "model.pt"), tmp_path / "loop.pt"
    out.symlink_to(out.name)
    done = call("features/export.py", "--checkpoint", checkpoint, *SMALL, "--out", out)
    assert done.returncode == 0, done.stderr
    assert not out.is_symlink() and "state_dict" in torch.load(out, weights_only=True)
