"""The frozen backbone, and the probe on it: the features, and the classifier, of the network trained as a whole."""

import argparse
import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from tqdm import tqdm

from data.loader import Batch
from data.sets.memory import load
from data.sets.registry import data_set
from models import build_classifier
from models.frozen import FrozenBackbone
from probe.epoch import Schedule, Training, train_epoch
from probe.network import Network, freeze, frozen_modules
from run.compute import Compute
from run.log import Log
from run.optim import sgd
from run.reporter import Reporter
from tests.conftest import quick_first
from tests.oracles import hits_within
from tests.reference import relative_error
from tests.trees import images_in_memory
from utils.distributed import World

CPU = torch.device("cpu")
ALONE, QUIET = World(0, 1, CPU), Log(None, main=False)
NO_BAD = SimpleNamespace(take=lambda *_, **__: None, report=lambda: 0)
LR = 0.05
NETWORKS = [("res18", "cifar", 32), ("res50", "imagenet", 64), ("res20_s", "cifar", 28)]


def network(name: str, stem: str = "cifar", classes: int = 10) -> nn.Module:
    """A classifier, not trained, whose batch norms have neither the statistics nor the weights that they start with."""
    torch.manual_seed(2)
    model = build_classifier(name, classes, stem)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.2, 0.2)
                module.running_mean.uniform_(-0.3, 0.3)
                module.running_var.uniform_(0.5, 2)
    return model


def compute(precision: str = "fp32") -> Compute:
    how = {"precision": precision, "memory_format": "channels_last", "tf32": False, "deterministic": False}
    return Compute(argparse.Namespace(**how), CPU)


def images(n: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def features(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Of a copy in evaluation mode."""
    return copy.deepcopy(model).eval().features(x)


# Each weight and each activation is rounded to 8 (bf16) or 11 (fp16) binary digits, in up to 50 layers.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 3e-2}


@pytest.mark.parametrize("dtype", quick_first(TOLERANCE), ids=str)
@pytest.mark.parametrize(("name", "stem", "size"), NETWORKS)
def test_features_are_those_of_evaluation_mode(name, stem, size, dtype):
    model, x = network(name, stem).train(), images(6, size)
    frozen = FrozenBackbone(model, dtype)
    found, expected = frozen.features(x), features(model, x)
    assert found.dtype == torch.float32 and found.shape == (6, model.channels) and frozen.channels == model.channels
    assert relative_error(found, expected) < TOLERANCE[dtype]
    if dtype != torch.float32:
        assert relative_error(found, expected) > 1e-5  # it does compute in that type
    with torch.no_grad():
        assert relative_error(copy.deepcopy(model).features(x), expected) > 0.1  # training mode has others
    assert not [m for m in frozen.modules() if isinstance(m, nn.BatchNorm2d)]


def test_synchronised_batch_norms_are_folded_like_others():
    """A network that several processes train is evaluated as that of one."""
    model, x = network("res20_s"), images(4, 28)
    expected = FrozenBackbone(model, torch.bfloat16).features(x)
    synchronised = torch.nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model))
    found = FrozenBackbone(synchronised, torch.bfloat16)
    assert not any("BatchNorm" in type(module).__name__ for module in found.modules())
    assert torch.equal(found.features(x), expected)
    assert any(isinstance(module, torch.nn.SyncBatchNorm) for module in synchronised.modules())


def test_the_original_is_neither_followed_nor_changed():
    model, x = network("res20_s").train(), images(4, 28)
    before, frozen = copy.deepcopy(model.state_dict()), FrozenBackbone(model)
    first = frozen.features(x)
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    model(x).sum().backward()  # running statistics move
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1
    assert torch.equal(frozen.features(x), first)
    assert relative_error(FrozenBackbone(model).features(x), first) > 0.1
    assert not any(p.requires_grad for p in frozen.parameters())
    frozen.train()  # nothing is left that has two modes
    assert torch.equal(frozen.features(x), first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_classifier_trains_on_the_features(dtype):
    """Tensors of inference mode could not be saved for the backward pass."""
    frozen, layer = FrozenBackbone(network("res20_s"), dtype), nn.Linear(64, 3)
    found = frozen.features(images(5, 28))
    assert not found.is_inference() and not found.requires_grad
    layer(found).logsumexp(1).sum().backward()
    with torch.no_grad():
        logits = (found @ layer.weight.T + layer.bias).softmax(1)
    torch.testing.assert_close(layer.weight.grad, logits.T @ found)


# ---- the probe


class Recorded(list):
    """Batches in place of a loader's, the same in each epoch."""

    @property
    def sampler(self):
        return Sampler(self)


class Sampler(list):
    def __init__(self, batches):
        super().__init__(label for batch in batches for label in batch.labels)

    def set_epoch(self, epoch: int, skip: int = 0) -> None:
        pass


def digits(n: int, size: int) -> Recorded:
    """Batches of `size` of the first n digits."""
    data, found = load(data_set("digits"), "", train=True), Recorded()
    for x, labels, ids in images_in_memory(type(data)(data.dataset, data.images[:n], data.labels[:n]), size):
        found.append(Batch(x[:, None], ids, labels, [], 0))
    return found


SCHEDULE = Schedule(3, LR, [3])
REPORTER = Reporter(QUIET, tqdm(disable=True), NO_BAD, 4)


def train(model: nn.Module, loader, how: str = "fp32", fixto: str = "layer4", epochs: int = 3, batch: int = 32):
    """The network after the probe's epochs."""
    freeze(model, fixto, True)
    net = Network(model, frozen_modules(model, fixto), True, compute(how), ALONE)
    optimizer = sgd([p for p in model.parameters() if p.requires_grad], LR, 0.9, 1e-4)
    for epoch in range(1, epochs + 1):
        train_epoch(Training(net, loader, optimizer, SCHEDULE, batch, ALONE), epoch, REPORTER)
    return net


def slow_probe(model: nn.Module, loader) -> None:
    """The whole network in evaluation mode, the gradient of its classifier alone, momentum written out."""
    model.eval()
    velocity = [torch.zeros_like(p) for p in model.fc.parameters()]
    for epoch in (1, 2, 3):
        for batch in loader:
            loss = nn.functional.cross_entropy(model(batch.views[:, 0]), batch.labels)
            found = torch.autograd.grad(loss, list(model.fc.parameters()))
            with torch.no_grad():
                for p, v, g in zip(model.fc.parameters(), velocity, found, strict=True):
                    v.mul_(0.9).add_(g + 1e-4 * p)
                    p -= (LR / 10 if epoch == 3 else LR) * v


# ... of bf16: features within a few times 2^-8, on which nine steps of a convex problem are taken: they enlarge little.
@pytest.mark.parametrize(("how", "tolerance"), [("fp32", 1e-4), ("bf16", 16 * 2**-8)])
def test_a_classifier_on_features_is_that_of_the_network_trained_as_a_whole(how, tolerance):
    model, loader = network("res20_s"), digits(90, 32)
    slow, start = copy.deepcopy(model), copy.deepcopy(model.state_dict())
    net = train(model, loader, how)
    assert net.backbone is not None
    slow_probe(slow, loader)
    ours, theirs = (torch.cat([m.fc.weight.detach(), m.fc.bias.detach()[:, None]], 1) for m in (model, slow))
    assert relative_error(ours, theirs) < tolerance
    assert relative_error(theirs[:, :-1], start["fc.weight"]) > 0.5
    assert all(torch.equal(v, start[k]) for k, v in model.state_dict().items() if not k.startswith("fc."))


def test_batches_of_several_steps_give_the_steps_of_one_by_one():
    """Features of 8 steps' images are extracted together; steps, rates and the short last one stay."""
    one, eight = (copy.deepcopy(network("res20_s")) for _ in range(2))
    train(one, digits(90, 16), batch=16)
    train(eight, digits(90, 64), batch=16)
    assert relative_error(eight.fc.weight.detach(), one.fc.weight.detach()) < 1e-5


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """Images of each pass through a frozen backbone."""
    calls, original = [], FrozenBackbone.features
    monkeypatch.setattr(FrozenBackbone, "features", lambda self, x: calls.append(len(x)) or original(self, x))
    return calls


def test_validation_features_are_extracted_once(calls):
    net = train(network("res20_s"), digits(64, 32), epochs=1)
    data = load(data_set("digits"), "", train=False)
    val = type(data)(data.dataset, data.images[:50], data.labels[:50])
    calls.clear()
    scores = []
    for _ in range(3):
        scores.append(net.evaluate(images_in_memory(val, 20), 10))
        hits = features(net.model, torch.from_numpy(val.images).permute(0, 3, 1, 2) / 255)
        sure, may_be = hits_within(net.model.fc(hits).detach(), val.labels)
        assert 100 * sure.mean() - 1e-6 <= scores[-1]["top1"] <= 100 * may_be.mean() + 1e-6
        assert scores[-1]["images"] == 50
        with torch.no_grad():
            net.model.fc.weight.copy_(net.model.fc.weight.roll(1, 0))  # the classifier is read anew
    assert calls == [20, 20, 10]
    assert len({tuple(np.nan_to_num(np.array(s["per_class"], float), nan=-1)) for s in scores}) == 3


def test_a_backbone_that_trains_is_read_anew_at_each_evaluation(calls):
    model = network("res20_s")
    net = train(model, digits(64, 32), fixto="layer2", epochs=1)
    assert net.backbone is None and not calls
    data = load(data_set("digits"), "", train=False)
    x, labels = torch.from_numpy(data.images[:40]).permute(0, 3, 1, 2) / 255, torch.from_numpy(data.labels[:40])
    top5 = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        with torch.no_grad():
            for p in (model.layer3[2].bn2.weight, model.fc.weight):
                p.normal_()
            model.fc.bias.copy_(-(features(model, x) @ model.fc.weight.T).mean(0))  # so that images tell classes apart
            sure, may_be = hits_within(copy.deepcopy(model).eval()(x), labels, 5)
        calls.clear()
        top5.append(net.evaluate([(x, labels, torch.arange(40))], 10)["top5"])
        assert 100 * sure.mean() - 1e-6 <= top5[-1] <= 100 * may_be.mean() + 1e-6 and calls == [40]
    assert top5[0] != top5[1]


def test_batch_norms_of_frozen_stages_move_unless_they_are_fixed():
    """Without --fixbn the network runs as a whole, in training mode; features would change."""
    model = network("res20_s")
    before = copy.deepcopy(model.state_dict())
    freeze(model, "layer4", False)
    net = Network(model, {}, False, compute(), ALONE)
    assert net.backbone is None
    optimizer = sgd(model.fc.parameters(), 0.5, 0.9, 0.0)
    train_epoch(Training(net, digits(64, 32), optimizer, SCHEDULE, 32, ALONE), 1, REPORTER)
    assert not torch.equal(model.bn1.running_mean, before["bn1.running_mean"])
    assert torch.equal(model.conv1.weight, before["conv1.weight"])
