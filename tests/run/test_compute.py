"""How a run computes: precision, memory format, losses that stay on the device, optimizer state."""

import argparse
import copy
import functools
import math
from collections import Counter

import pytest
import torch
from torch import nn
from tqdm import tqdm

import run.compute
import run.processor
from data.loader import AugmentedImages, Batch, EpochSampler, view_loader
from data.sets.memory import load
from data.sets.registry import data_set
from data.views.batches import PretrainViews
from methods.base import Method, Wrapper
from methods.measures import spread
from methods.simclr import SimCLR
from models import build_encoder
from pretrain.epoch import Schedule, Training, one_epoch
from run.bad_images import BadImages
from run.checkpoint import load_optimizer
from run.compute import Compute, has_bf16
from run.log import Log
from run.meters import Meters
from run.optim import build_optimizer, sgd
from run.reporter import Reporter
from tests.conftest import quick_first
from tests.reference import relative_error
from utils.distributed import World
from utils.errors import InputError

CPU = torch.device("cpu")
LR = 1e-4  # larger steps on an untrained network blow up any rounding
ALONE, QUIET = World(0, 1, CPU), Log(None, main=False)


def compute(precision: str = "fp32", memory_format: str = "channels_last", deterministic: bool = False) -> Compute:
    how = {"precision": precision, "memory_format": memory_format, "tf32": False, "deterministic": deterministic}
    return Compute(argparse.Namespace(**how), CPU)


def epoch(model, loader, optimizer, how: Compute, print_freq: int = 50, scheduler: str = "constant") -> None:
    training = Training(model, loader, optimizer, Schedule(100, LR, scheduler), how, ALONE)
    reporter = Reporter(QUIET, tqdm(disable=True), BadImages("error", QUIET), print_freq)
    one_epoch(training, 1, Meters(len(loader)), reporter)


# ---- precision


@pytest.mark.parametrize("able", [False, True])
def test_auto_is_bf16_where_the_device_has_it(monkeypatch, able):
    monkeypatch.setattr(run.compute, "has_bf16", lambda device: able)
    expected = ("bf16", torch.bfloat16) if able else ("fp32", torch.float32)
    assert (compute("auto").precision, compute("auto").dtype) == expected
    assert [compute(name).precision for name in ("fp32", "bf16", "fp16")] == ["fp32", "bf16", "fp16"]
    assert str(compute("auto", "contiguous_format")) == f"precision {expected[0]}, contiguous_format"
    assert [compute(name).scaler.is_enabled() for name in ("fp32", "bf16", "fp16")] == [False, False, True]


def test_devices_that_have_bf16(monkeypatch, tmp_path):
    for capability, able in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        assert has_bf16(torch.device("cuda", 0)) == able
    told = "processor\t: 0\nmodel name\t: any\nflags\t\t: fpu {}\nbugs\t\t: amx_tile\n"
    for flags, able in (("avx512f avx512_vnni", False), ("avx512_bf16", True), ("amx_tile sse", True)):
        (tmp_path / "cpuinfo").write_text(told.format(flags))
        monkeypatch.setattr(run.processor, "CPUINFO", tmp_path / "cpuinfo")
        assert has_bf16(CPU) == able
    monkeypatch.setattr(run.processor, "CPUINFO", tmp_path / "none")
    assert not has_bf16(CPU)


class Recorded(Wrapper):
    """A method, and the losses of its steps."""

    def __init__(self, method: Method) -> None:
        super().__init__(method)
        self.losses = []

    def forward(self, views, index):
        losses = super().forward(views, index)
        self.losses.append(losses.detach())
        return losses


def trained(
    how: Compute, optimizer: str = "sgd", dtype: torch.dtype = torch.float32
) -> tuple[Recorded, torch.optim.Optimizer]:
    """SimCLR after one step on digits: from the second on, an untrained network blows up the rounding of the first."""
    data = load(data_set("digits"), "", train=True)
    images = AugmentedImages(data.images[:16], data.labels[:16], PretrainViews(28, False), 3, views=2)
    torch.manual_seed(0)
    method = how.on_device(SimCLR(build_encoder("res20_s", 16, 2), 0.2).to(dtype))
    model, rule = Recorded(method), build_optimizer(optimizer, method.parameters(), LR)
    model.start = [p.detach().clone() for p in method.parameters()]
    if how.precision == "fp16":
        how.scaler = torch.amp.GradScaler("cpu", 2**8)  # else the first steps are skipped until it is small enough
    loader = view_loader(images, EpochSampler(images, 1, 0, seed=1), 16, 0, CPU)
    epoch(model, [batch._replace(views=batch.views.to(dtype)) for batch in loader], rule, how)
    return model, rule


def gradient(model: Recorded) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters()])


# A number of d binary digits is rounded by up to 2^-d of it, the loss, of cosines divided by 0.2, by a few of these. Of
# the values before ReLUs a share like that falls on the other side, and whose share of the gradient's square is wrong:
# its own error goes with the root, and is 6 to 8 times that, where another network's is 100% and more.
ROUNDING = {"bf16": 2**-8, "fp16": 2**-11}
OF_LOSS, OF_GRADIENT = 6, 12


@functools.cache
def plain() -> tuple[torch.Tensor, torch.Tensor]:
    """Losses and gradient of the first step in float32."""
    model, _ = trained(compute())
    return model.losses[0], gradient(model)


CASES = [("bf16", "sgd"), ("bf16", "adam"), ("bf16", "lars"), ("fp16", "sgd"), ("fp16", "lars")]  # slow in fp16


@pytest.mark.parametrize(("precision", "optimizer"), quick_first(CASES))
def test_weights_statistics_optimizer_and_loss_stay_float32(precision, optimizer):
    """And the step is that of float32, up to the precision's rounding."""
    model, rule = trained(compute(precision), optimizer)
    assert {t.dtype for t in model.state_dict().values()} <= {torch.float32, torch.int64, torch.bool}
    states = [v for entries in rule.state.values() for v in entries.values() if isinstance(v, torch.Tensor)]
    assert states and {v.dtype for v in states} == {torch.float32}
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())
    assert all(torch.isfinite(t).all() for t in (*model.state_dict().values(), *states))
    (ours,), (theirs, expected) = model.losses, plain()
    assert ours.dtype == torch.float32 and torch.isfinite(ours).all()
    assert not torch.equal(ours, theirs)
    assert float(ours.mean()) == pytest.approx(float(theirs.mean()), rel=OF_LOSS * ROUNDING[precision])
    assert relative_error(gradient(model), expected) < OF_GRADIENT * ROUNDING[precision] ** 0.5
    if optimizer == "adam":
        return
    # The update is the formula's of the gradient above in float32, where one in the precision would be rounded away.
    (group,) = rule.param_groups
    for p, start in zip(model.parameters(), model.start, strict=True):
        velocity = rule.state[p]["momentum_buffer"]
        if optimizer == "sgd":
            torch.testing.assert_close(velocity, p.grad + group["weight_decay"] * start, rtol=1e-5, atol=1e-9)
            velocity = group["lr"] * velocity
        torch.testing.assert_close(p.detach(), start - velocity, rtol=3e-7, atol=1e-12)


def test_a_first_step_that_the_scaler_skips_leaves_no_garbage():
    """PyTorch's own fused SGD would go on from a momentum buffer that nothing was written to."""
    how, weight = compute("fp16"), nn.Parameter(torch.zeros(512, 512))
    optimizer = sgd([weight], 0.5, 0.9, 0.0)
    garbage = [torch.full((512, 512), math.nan) for _ in range(8)]
    del garbage  # memory that is taken again
    how.backward((weight * 1e38).sum(), optimizer)
    how.step(optimizer)
    assert (weight == 0).all() and how.scaler.get_scale() == 2**15
    assert (optimizer.state[weight]["momentum_buffer"] == 0).all()
    how.backward((weight * 2).sum(), optimizer)
    how.step(optimizer)
    assert (weight == -1).all() and (optimizer.state[weight]["momentum_buffer"] == 2).all()
    how.backward((weight * 2).sum(), optimizer)
    how.step(optimizer)
    torch.testing.assert_close(weight.detach(), torch.full((512, 512), -1 - 0.5 * (0.9 * 2 + 2)))


# ---- memory format


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "lars"])
def test_state_that_was_saved_contiguous_goes_on_the_same_in_channels_last(optimizer):
    torch.manual_seed(0)
    start = [nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1), nn.Linear(6, 7)]
    gradients = [[torch.randn_like(p) for m in start for p in m.parameters()] for _ in range(4)]

    def steps(modules, rule, some) -> list[torch.Tensor]:
        parameters = [p for m in modules for p in m.parameters()]
        for step in some:
            for p, g in zip(parameters, step, strict=True):
                p.grad = torch.empty_like(p).copy_(g)
            rule.step()
        return parameters

    def optimizer_of(modules):
        return build_optimizer(optimizer, [p for m in modules for p in m.parameters()], 0.1, 0.01)

    modules, whole = copy.deepcopy(start), copy.deepcopy(start)
    expected = steps(whole, optimizer_of(whole), gradients)
    rule = optimizer_of(modules)
    steps(modules, rule, gradients[:2])
    content = {"epoch": 2, "optim": copy.deepcopy(rule.state_dict())}
    resumed = [compute().on_device(m) for m in copy.deepcopy(modules)]
    assert resumed[0].weight.stride() != modules[0].weight.stride()
    rule = optimizer_of(resumed)
    load_optimizer(rule, content["optim"])
    for ours, theirs in zip(steps(resumed, rule, gradients[2:]), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


# In double precision to nearly all digits; in single, batch norms sum up statistics in another order, and rounding
# decides on the sides of ReLUs.
@pytest.mark.parametrize(
    ("dtype", "of_loss", "of_gradient"), [(torch.float64, 1e-11, 1e-9), (torch.float32, 1e-3, 0.1)]
)
def test_channels_last_is_the_same_step_as_contiguous_up_to_rounding(dtype, of_loss, of_gradient):
    losses, gradients, moves = [], [], []
    for name in ("channels_last", "contiguous_format"):
        model, rule = trained(compute(memory_format=name), dtype=dtype)
        convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
        assert len(convolutions) == 19
        for conv in convolutions:
            for t in (conv.weight, conv.weight.grad, rule.state[conv.weight]["momentum_buffer"]):
                assert t.is_contiguous(memory_format=torch.channels_last) == (name == "channels_last")
                assert t.is_contiguous() == (name == "contiguous_format")
        losses.append(model.losses[0])
        gradients.append(gradient(model))
        moves.append(
            torch.cat([(p.detach() - s).flatten() for p, s in zip(model.parameters(), model.start, strict=True)])
        )
    torch.testing.assert_close(*losses, rtol=of_loss, atol=0)
    assert relative_error(*gradients) < of_gradient
    assert dtype == torch.float32 or relative_error(*moves) < of_gradient
    assert moves[0].norm() > 0


# ---- losses


class Stub(Method):
    """Losses as given for each step, with a gradient of nothing."""

    projections = torch.eye(2).expand(2, 2, 2)

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.weight, self.values = nn.Parameter(torch.zeros(3)), iter(values)

    def forward(self, views, index):
        return next(self.values) + 0 * self.weight.sum() * views.flatten(1).sum(1)


def batches(sizes: list[int]) -> list[Batch]:
    return [Batch(torch.zeros(n, 2, 3, 4, 4), torch.arange(n), torch.zeros(n), [], 0) for n in sizes]


def test_the_mean_is_over_images_that_were_read():
    meters = Meters(4)
    assert (meters.loss, meters.images, meters.done) == (0, 0, 0)
    for value, size in ((1.0, 3), (2.0, 5)):
        meters.add(torch.full((size,), value), torch.arange(size))
    assert (meters.loss, meters.images, meters.done) == (0, 0, 2)
    meters.measure("norm", torch.tensor(3.0))
    assert meters.mean("norm") is None
    meters.read(ALONE, str)
    assert (meters.loss, meters.images, meters.last, meters.mean("norm")) == ((3 + 10) / 8, 8, 2.0, 3.0)
    meters.add(torch.tensor([6.0, 8.0]), torch.arange(2))
    meters.measure("norm", torch.tensor(4.0))
    meters.read(ALONE, str)
    assert meters.loss == pytest.approx((3 + 10 + 14) / 10) and meters.mean("norm") == 3.5
    meters.add(torch.tensor([math.nan, 1.0, math.inf]), torch.tensor([70, 9, 12]))
    with pytest.raises(InputError, match="the loss is nan in step 3, sample ids 12, 70: "):
        meters.read(ALONE, "step {}".format)
    for size, error in ((1, InputError), (2, SystemExit)):  # the main process tells, the others end
        meters = Meters(1)
        meters.add(torch.tensor([math.inf]), torch.arange(1))
        with pytest.raises(error):
            meters.read(World(size - 1, size, CPU), str)


def test_many_samples_are_counted_and_where_only_the_sum_overflows_all_are_named():
    meters = Meters(1)
    meters.add(torch.full((25,), math.nan), torch.arange(25) * 3)
    with pytest.raises(InputError, match=r"sample ids 0, 3, 6, 9, 12, 15, 18, 21, 24, 27 and 15 more: "):
        meters.read(ALONE, str)
    meters = Meters(1)
    meters.add(torch.full((3,), 3e38), torch.tensor([5, 2, 11]))
    with pytest.raises(InputError, match="the loss is inf in 0, sample ids 2, 5, 11: "):
        meters.read(ALONE, str)


def test_meters_go_on_from_their_state():
    whole, first, second = (Meters(4) for _ in range(3))
    for step in range(4):
        for meters in (whole, first if step < 2 else second):
            meters.add(torch.rand(3, generator=torch.Generator().manual_seed(step)), torch.arange(3))
            meters.measure("norm", torch.tensor(step / 7))
            meters.read(ALONE, str)
        if step == 1:
            second.load_state_dict(first.state_dict())
    assert second.state_dict() == whole.state_dict() and second.loss == whole.loss
    for bad in ({"done": 5}, {"done": 0}, {"done": -1}, {"measured": {"norm": 1}}, {"total": None}):
        with pytest.raises((ValueError, TypeError)):
            Meters(4).load_state_dict(first.state_dict() | bad)
    with pytest.raises(KeyError):
        Meters(4).load_state_dict({"done": 1})


def test_spread_is_1_for_uniform_features_and_0_for_collapsed_ones():
    z = torch.randn(20_000, 64, generator=torch.Generator().manual_seed(0))
    scales = torch.rand(20_000, 1, generator=torch.Generator().manual_seed(1)) + 0.1
    views = (z * scales).unflatten(0, (2, -1))
    assert spread(views).item() == pytest.approx(1, abs=0.01)
    assert spread(torch.ones(2, 5, 64) * scales[:5]).item() == pytest.approx(0, abs=1e-5)
    unit = (z / z.norm(dim=1, keepdim=True)).double().numpy()
    assert spread(views).item() == pytest.approx(unit.std(0, ddof=1).mean() * 8, rel=1e-5)


class Alike(Stub):
    """The same projections for all images."""

    projections = (torch.ones(6, 8) + 1e-3 * torch.eye(6, 8)).view(2, 3, 8)


@pytest.mark.parametrize(("model", "told"), [(Alike, True), (Stub, False)])
def test_collapse_is_told_once_an_epoch(tmp_path, model, told):
    model = model([1.0] * 5)
    optimizer, loader = sgd(model.parameters(), 0.1, 0.9, 0.0), batches([2] * 5)
    training = Training(model, loader, optimizer, Schedule(1, LR, "constant"), compute(), ALONE)
    reporter = Reporter(Log(tmp_path), tqdm(disable=True), BadImages("error", QUIET), 2)
    one_epoch(training, 1, Meters(len(loader)), reporter)
    assert (tmp_path / "log.txt").read_text().count("warning: the features have collapsed in epoch 1") == told


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_gradient_norm(precision):
    layer, how = nn.Linear(5, 3), compute(precision)
    loss = layer(torch.rand(7, 5)).square().sum()
    expected = torch.autograd.grad(loss, list(layer.parameters()), retain_graph=True)
    rule = sgd(layer.parameters(), 0.1, 0.9, 0.0)
    how.backward(loss, rule)
    norm = how.step(rule, measure=True)
    assert norm.item() == pytest.approx(math.sqrt(sum(g.double().square().sum().item() for g in expected)), rel=1e-5)
    how.backward(layer(torch.rand(7, 5)).sum(), rule)
    assert how.step(rule) is None


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("step", [0, 1, 3, 4, 8, 9])
def test_the_first_step_whose_loss_is_not_finite_is_named(wrong, step):
    """Between two prints, at one, and the last; later ones are not finite, either."""
    model = Stub([1.0] * step + [wrong] + [math.nan] * 9)
    optimizer = sgd(model.parameters(), 0.1, 0.9, 0.0)
    # The rate rises by a hundredth of its value in each step of the ten warm-up epochs.
    with pytest.raises(
        InputError,
        match=rf"the loss is {wrong} in epoch 1, step {step}, lr {LR * (step + 1) / 100:g}, sample ids 0, 1: ",
    ):
        epoch(model, batches([2] * 10), optimizer, compute(), print_freq=4, scheduler="cosine")


READERS = ("item", "tolist", "numpy", "cpu", "__float__", "__int__", "__bool__", "__index__", "nonzero")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_nothing_is_read_from_the_device_between_prints(monkeypatch, precision, optimizer):
    how, layer, calls = compute(precision), nn.Linear(96, 1), Counter()
    model = Stub([0.0] * 10)
    model.weight, model.forward = layer.weight, lambda views, index: layer(views.flatten(1))[:, 0]
    rule = build_optimizer(optimizer, layer.parameters(), 0.1)
    loader = batches([2] * 10)
    for name in READERS:
        original = getattr(torch.Tensor, name)

        def counted(self, *args, name=name, original=original):
            calls[name] += 1
            return original(self, *args)

        monkeypatch.setattr(torch.Tensor, name, counted)
    epoch(model, loader, rule, how, print_freq=4)
    monkeypatch.undo()
    assert calls == {"tolist": 4}  # after steps 0, 4, 8 and the last


def test_deterministic_asks_for_deterministic_operations():
    assert not torch.are_deterministic_algorithms_enabled()
    try:
        compute(deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
