"""Exported files: each library loads what is written for it by its own means, and gives our features."""

import ast
import copy
import json
import re
import sys
import tomllib

import pytest
import safetensors
import timm
import torch
import torchvision
from safetensors.torch import load_file, save
from torch import nn

import features.targets.safetensors
from features.encoder import read_encoder
from features.flags import Reading
from features.targets import TARGETS, target, targets_of
from features.targets.base import Network
from features.targets.safetensors import encoded
from models import MODELS
from models.resnet import IMAGENET_MEAN, IMAGENET_STD, build_backbone
from tests.conftest import PROJECT, one_line_error, quick_first
from tests.features.test_export import theirs
from tests.probe.test_on_features import alone, network, same
from tests.probe.test_on_features import save as save_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")
MEAN, STD = [0.5, 0.25, 0.125], [0.5, 0.25, 0.5]  # numbers that float32 holds
SUFFIXES = {"safetensors": ".safetensors", "onnx": ".onnx"}


def case(to: str, name: str, stem: str = "cifar", slow: bool = False):
    return pytest.param(to, name, stem, id=f"{to}-{name}-{stem}", marks=[pytest.mark.slow] if slow else [])


CASES = [
    case("torchvision", "res10"),
    case("timm", "res18", "imagenet", slow=True),
    case("timm", "res18"),
    case("timm", "res50", "imagenet", slow=True),
    case("timm", "res50w2", slow=True),
    case("safetensors", "res10", "imagenet", slow=True),
    case("safetensors", "res10", slow=True),
    case("safetensors", "res20_s"),
    case("onnx", "res20_s", slow=True),
    case("onnx", "res32_s", slow=True),
    case("onnx", "res18", slow=True),
    case("onnx", "res10", "imagenet", slow=True),
]
ALL = [("torchvision", "res10"), ("timm", "res18"), ("safetensors", "res20_s")]


@pytest.fixture
def export(call, tmp_path):
    """Run features.export of a network; returns the file and what was printed."""

    def run_export(to: str, checkpoint, name: str, *options: object) -> tuple:
        out = tmp_path / f"out/encoder{SUFFIXES.get(to, '.pt')}"
        done = call("features/export.py", "--checkpoint", checkpoint, "--model", name, "--to", to, "--out", out,
                    *options)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert {path.name for path in out.parent.iterdir()} == {out.name, f"{out.name}.md"}
        return out, done.stdout

    return run_export


def normalising(name: str, stem: str) -> nn.Module:
    """A network of ours that was trained with a mean and a deviation of its own."""
    model = network(name, stem)
    model.normalize.mean[:], model.normalize.std[:] = torch.tensor(MEAN), torch.tensor(STD)
    return model


def read_pt(path, architecture: str, stem: str):
    model = theirs(architecture, stem)
    model.load_state_dict(torch.load(path, weights_only=True)["state_dict"], strict=True)
    return model


def read_timm(path, architecture: str, stem: str):
    if stem == "imagenet":
        return timm.create_model(architecture, num_classes=0, checkpoint_path=str(path)).eval()
    model = timm.create_model(architecture, num_classes=0)
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    timm.models.load_checkpoint(model, str(path), strict=True)
    return model.eval()


def read_safetensors(path, architecture: str, stem: str):
    with safetensors.safe_open(path, "pt") as file:
        told = file.metadata()
        keys = set(file.keys())
    assert (told["architecture"], told["stem"], told["format"]) == (architecture, stem, "pt")
    assert json.loads(told["mean"]) == MEAN and json.loads(told["std"]) == STD
    assert json.loads(told["source"])["file"] == "model.pt" and all(isinstance(v, str) for v in told.values())
    if architecture.endswith("_s"):
        model = build_backbone(architecture)
        assert keys == set(model.state_dict())
    else:
        model = theirs(architecture, stem)
    model.load_state_dict(load_file(path), strict=True)
    return model.eval()


def read_onnx(path, architecture: str, stem: str):
    import onnx
    import onnxruntime

    content = onnx.load(path)
    onnx.checker.check_model(content, full_check=True)
    told = {item.key: item.value for item in content.metadata_props}
    assert (told["architecture"], told["stem"]) == (architecture, stem) and json.loads(told["mean"]) == MEAN
    assert str(PROJECT).encode() not in path.read_bytes() and b"models/resnet.py" not in path.read_bytes()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    shapes = [(part.name, part.shape[1:2], len(part.shape)) for part in session.get_inputs() + session.get_outputs()]
    assert shapes[0] == ("images", [3], 4) and shapes[1][0] == "features" and shapes[1][2] == 2
    return lambda images: torch.tensor(session.run(None, {"images": images.numpy()})[0])


READ = {"torchvision": read_pt, "timm": read_timm, "safetensors": read_safetensors, "onnx": read_onnx}


@pytest.mark.parametrize(("to", "name", "stem"), quick_first(CASES))
def test_the_library_loads_it_and_gives_our_features(export, tmp_path, to, name, stem):
    """By its own means, by the lines that are printed, and by those of the model card, which name the file alone."""
    model = normalising(name, stem)
    out, said = export(to, save_checkpoint(model, tmp_path / "model.pt"), name)
    architecture = {"res50w2": "wide_resnet50_2"}.get(name, name if name.endswith("_s") else name.replace("s", "snet"))
    assert architecture in said.splitlines()[0] and f"{model.channels} features" in said.splitlines()[0]
    reference = READ[to](out, architecture, stem)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    for count, size in ((1, 33), (3, 40)):
        images = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(size))
        with torch.no_grad():
            inside = to == "onnx" or name.endswith("_s")
            given = images if inside else (images - mean) / std
            near(reference(given), alone(model, images), rounding(model, images))
            if to != "onnx":  # without rounding, which is larger on some processors
                exact = copy.deepcopy(model).double()
                found = copy.deepcopy(reference).double()(given.double() if inside else (images.double() - mean) / std)
                assert (found - alone(exact, images.double())).abs().max() < 1e-12 * found.abs().max()
    printed = said[said.index("\nimport ") :]
    card = re.search(r"^```python\n(.*?)^```$", out.with_name(f"{out.name}.md").read_text(), re.M | re.S)[1]
    assert printed.strip() == card.strip().replace(repr(out.name), repr(str(out)))
    images, found = run_lines(printed)
    assert images.shape[1:2] == (3,)
    near(found, alone(model, images), rounding(model, images))


def rounding(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """How far our own features in float32 are from those in float64, on this processor."""
    exact = alone(copy.deepcopy(model).double(), images.double())
    return (alone(model, images) - exact).abs().max()


def near(found: torch.Tensor, expected: torch.Tensor, rounding: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < max(1e-5 * expected.abs().max(), 4 * rounding)


def run_lines(lines: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The images that lines of Python make, and the features that they compute of them."""
    names: dict = {}
    exec(lines, names)
    return torch.as_tensor(names["images"]), torch.as_tensor(names["features"])


def test_the_lines_in_the_documents_are_those_that_are_printed():
    """Those are run above. The documents' network is the one that their command exports."""
    text = (PROJECT / "docs/checkpoints.md").read_text()
    found = re.findall(r"^```python\n(.*?)\n```$", text, re.M | re.S)
    shown = Network(None, "res18", "cifar", list(IMAGENET_MEAN), list(IMAGENET_STD), {}, {})
    small = shown._replace(name="res20_s", model=build_backbone("res20_s"))
    expected = [
        target("torchvision").lines("encoder.pt", shown),
        target("timm").lines("encoder.pt", shown),
        target("safetensors").lines("encoder.safetensors", shown),
        target("safetensors").lines("encoder.safetensors", small),
        target("onnx").lines("encoder.onnx", shown),
    ]
    # How it is written, quotes and blank lines, is the formatter's.
    assert [ast.dump(ast.parse(lines)) for lines in found] == [ast.dump(ast.parse(lines)) for lines in expected]


@pytest.mark.slow
@pytest.mark.parametrize("to", ["torchvision", *(pytest.param(to, marks=pytest.mark.slow) for to in ("timm", "onnx"))])
@pytest.mark.parametrize(("form", "stem"), [("solo-learn", "cifar-padded"), ("lightly-generator", "cifar-linear")])
def test_stems_of_other_libraries(export, tmp_path, to, form, stem):
    """A padding of 2 pixels, and no ReLU: what no key tells is in the lines, and in the graph."""
    model = build_backbone("res18", stem).eval()
    model.load_state_dict(network("res18").state_dict(), strict=False)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("normalize.")}
    if form == "lightly-generator":
        numbers = {"conv1": "0", "bn1": "1", **{f"layer{i}": str(i + 1) for i in range(1, 5)}}
        state = {".".join([numbers[k.split(".")[0]], *k.split(".")[1:]]): v for k, v in state.items()}
        state = {k.replace("downsample", "shortcut"): v for k, v in state.items()}
    torch.save({"state_dict": {f"backbone.{k}": v for k, v in state.items()}}, tmp_path / "model.pt")
    out, said = export(to, tmp_path / "model.pt", "res18", "--format", form)
    images, found = run_lines(said[said.index("\nimport ") :])
    expected = alone(model, images)
    near(found, expected, rounding(model, images))
    assert (alone(network("res18"), images) - expected).abs().max() > 1e-3 * expected.abs().max()
    assert form in out.with_name(f"{out.name}.md").read_text()


@pytest.mark.parametrize("to", ["torchvision", "safetensors"])
def test_what_is_written_is_read_again_with_its_stem_and_normalisation(export, tmp_path, to):
    """No key tells them: the file does."""
    state = {k: v for k, v in network("res10").state_dict().items() if not k.startswith(("normalize.", "fc."))}
    torch.save({"state_dict": {f"backbone.{k}": v for k, v in state.items()}}, tmp_path / "model.pt")
    mean, std = ["0.125", "0.25", "0.5"], ["0.5", "0.25", "1"]
    words = ["--format", "solo-learn", "--mean", ",".join(mean), "--std", ",".join(std)]
    out, _ = export(to, tmp_path / "model.pt", "res10", *words)
    found = read_encoder(out, Reading("", None, None)).encoder
    assert found.stem == "cifar-padded"
    assert found.state["normalize.mean"].tolist() == [float(n) for n in mean]
    assert found.state["normalize.std"].tolist() == [float(n) for n in std]


def test_a_probes_model_is_read_with_the_stem_of_its_encoder(tmp_path):
    """As cRT reads that of ce."""
    for config in ({"encoder": {"stem": "cifar-padded"}}, {"encoder": None}, {}):
        torch.save({"state_dict": network("res10").state_dict(), "config": config}, tmp_path / "best_model.pt")
        found = read_encoder(tmp_path / "best_model.pt", Reading("", None, None)).encoder
        assert found.stem == ("cifar-padded" if config.get("encoder") else "cifar")


def test_a_small_resnet_in_safetensors_is_read_again(export, call, tmp_path):
    model = normalising("res20_s", "cifar")
    out, _ = export("safetensors", save_checkpoint(model, tmp_path / "model.pt"), "res20_s")
    done = call("features/export.py", "--checkpoint", out, "--model", "res20_s", "--to", "safetensors", "--out",
                tmp_path / "again.safetensors")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert same(load_file(tmp_path / "again.safetensors"), load_file(out))


def test_the_same_weights_give_the_same_bytes():
    """The library's own order of the metadata is random."""
    state, told = {"b": torch.ones(3, 2), "a": torch.tensor(5)}, {k: k * 2 for k in "qwertyuiop"}
    contents = {encoded(state, told) for _ in range(5)}
    assert len(contents) == 1
    content = contents.pop()
    assert same(safetensors.torch.load(content), state)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["__metadata__"] == told and (8 + int.from_bytes(content[:8], "little")) % 8 == 0


# ---- the check


@pytest.mark.parametrize(("to", "name"), ALL)
def test_nothing_is_written_where_the_features_are_others(call, tmp_path, monkeypatch, to, name):
    """The file that would be written is read for the check, so that a fault on the way to it is noticed."""
    kind = type(target(to))
    encode = kind.encode

    def changed(self, network):
        with torch.no_grad():
            network.model.layer2[0].conv1.weight[3, 2, 1, 1] += 0.5
            content = encode(self, network)
            network.model.layer2[0].conv1.weight[3, 2, 1, 1] -= 0.5
        return content

    monkeypatch.setattr(kind, "encode", changed)
    checkpoint, out = save_checkpoint(network(name), tmp_path / "model.pt"), tmp_path / f"new/e{SUFFIXES.get(to, '')}"
    done = call("features/export.py", "--checkpoint", checkpoint, "--model", name, "--to", to, "--out", out)
    one_line_error(done, "nothing was written", name if name.endswith("_s") else name.replace("s", "snet"))
    assert not out.parent.exists()


@pytest.mark.parametrize(("to", "name"), [*ALL[1:], pytest.param("onnx", "res20_s", marks=pytest.mark.slow)])
def test_features_that_are_no_numbers_are_refused(call, tmp_path, to, name):
    model = network(name)
    model.layer2[0].bn1.running_var[4] = -1
    checkpoint, out = save_checkpoint(model, tmp_path / "model.pt"), tmp_path / f"new/e{SUFFIXES.get(to, '')}"
    done = call("features/export.py", "--checkpoint", checkpoint, "--model", name, "--to", to, "--out", out)
    one_line_error(done, "nothing was written", "damaged")
    assert not out.parent.exists()


# ---- what there is


def test_what_the_libraries_have():
    """Read off the libraries: the names that they have no network for are those that are refused."""
    for name in MODELS:
        own = {"res50w2": "wide_resnet50_2"}.get(name, name.replace("res", "resnet"))
        assert ("timm" in targets_of(name)) == timm.is_model(own)
        # torchvision has the parts of a ResNet-10, without a name for it.
        assert ("torchvision" in targets_of(name)) == (own in torchvision.models.list_models() or name == "res10")
        assert {"safetensors", "onnx"} <= set(targets_of(name)) <= set(TARGETS)


@pytest.mark.parametrize(
    ("to", "name", "others"),
    [
        ("timm", "res10", "choose --to torchvision or safetensors or onnx"),
        ("timm", "res32_s", "choose --to safetensors or onnx"),
        ("torchvision", "res20_s", "choose --to safetensors or onnx"),
    ],
)
def test_a_network_that_a_library_lacks(call, tmp_path, to, name, others):
    checkpoint = save_checkpoint(network(name), tmp_path / "model.pt")
    done = call("features/export.py", "--checkpoint", checkpoint, "--model", name, "--to", to, "--out", "new.pt")
    one_line_error(done, f"{to} has no {name}", others)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime", "timm"])
def test_a_package_that_is_missing(call, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    checkpoint, to = (
        save_checkpoint(network("res20_s"), tmp_path / "model.pt"),
        package if package == "timm" else "onnx",
    )
    out = f"new{SUFFIXES.get(to, '.pt')}"
    for name in ("onnx", "onnxscript", "onnxruntime") if to == "onnx" else ():
        if name != package and name not in sys.modules:
            monkeypatch.setitem(sys.modules, name, torch)  # quicker than the package
    done = call("features/export.py", "--checkpoint", checkpoint, "--model", "res20_s", "--to", to, "--out", out)
    one_line_error(done, f"the package {package} is missing", f"pip install {to}==")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_versions_are_the_same_everywhere():
    listed = (PROJECT / "requirements-dev.txt").read_text().split()
    groups = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = (PROJECT / "docs/checkpoints.md").read_text()
    for name in ("onnx", "timm"):
        install = target(name).install
        assert groups[name] == install.split() and set(install.split()) <= set(listed)
        assert [word.split("==")[0] for word in install.split()] == list(target(name).needs)
        assert f"pip install {install}" in text


def test_names_of_files(call, tmp_path):
    """A name that is of another kind of file is a mistake; so is one whose model card cannot be written."""
    good = save_checkpoint(network("res20_s"), tmp_path / "model.pt")
    card = save_checkpoint(network("res20_s"), tmp_path / "a.safetensors.md")
    (tmp_path / "b.safetensors.md").mkdir()
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    for to, out, checkpoint, *words in (
        ("torchvision", "a.safetensors", good, "--to safetensors"),
        ("timm", "a.onnx", good, "--to onnx"),
        ("safetensors", "a.pt", good, ".safetensors"),
        ("onnx", "a.safetensors", good, ".onnx"),
        ("onnx", "a", good, ".onnx"),
        ("jax", "a", good, "--to"),
        ("safetensors", "b.safetensors", good, "b.safetensors.md is a folder"),
        ("safetensors", "a.safetensors", card, "the checkpoint itself"),
    ):
        done = call("features/export.py", "--checkpoint", checkpoint, "--model", "res20_s", "--to", to, "--out", out)
        one_line_error(done, *words)
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_new_target_is_a_line_and_a_file(call, tmp_path, monkeypatch):
    """Nothing else knows the targets by name: one that is added is offered, checked and written."""

    class Raw(features.targets.safetensors.Safetensors):
        suffix = ".raw"

        def encode(self, network):
            return save(network.state())

    monkeypatch.setattr(features.targets.safetensors, "Raw", Raw, raising=False)
    monkeypatch.setitem(TARGETS, "raw", "features.targets.safetensors:Raw")
    checkpoint = save_checkpoint(network("res20_s"), tmp_path / "model.pt")
    words = ["features/export.py", "--checkpoint", checkpoint, "--model", "res20_s", "--out", "e.raw"]
    one_line_error(call(*words), "--to raw")
    done = call(*words, "--to", "raw")
    assert done.returncode == 0 and (tmp_path / "e.raw.md").is_file(), done.stderr
    own = {k: v for k, v in network("res20_s").state_dict().items() if not k.startswith("fc.")}
    assert same(safetensors.torch.load((tmp_path / "e.raw").read_bytes()), own)
