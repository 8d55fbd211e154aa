"""MoCLR: its loss against loops over the equation, the moving average against arithmetic, checkpoints, head widths."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from methods import method_in
from methods.moclr import MOMENTUM, MoCLR, info_nce, momentum_at
from models import build_encoder
from models.heads import ProjectionHead
from pretrain.epoch import step
from recipes.settings import settle
from recipes.steps import commands
from run.checkpoint import read_checkpoint, write_checkpoint
from tests.conftest import one_line_error
from tests.pretrain.test_hooks import batch, training_of
from tests.run.test_resume import SMALL, equal
from tests.scripts.test_train_scripts import PROBE, S_B, same
from tests.warm import spawn

pytestmark = pytest.mark.usefixtures("one_thread")


def info_nce_loops(anchors, keys, temperature: float) -> np.ndarray:
    """Straight from the equation: Python loops, float64."""
    q, k = ([np.asarray(v, np.float64) for v in x] for x in (anchors, keys))
    q, k = ([v / np.sqrt((v * v).sum()) for v in x] for x in (q, k))
    losses = []
    for i, anchor in enumerate(q):
        total = sum(math.exp(float(anchor @ key) / temperature) for key in k)
        losses.append(-math.log(math.exp(float(anchor @ k[i]) / temperature) / total))
    return np.array(losses)


def moclr(epochs: int = 4) -> MoCLR:
    """In double precision, with an average that is another network than the online one."""
    torch.manual_seed(0)
    method = MoCLR(build_encoder("res20_s", 16, 2), 0.2, epochs).double()
    method.average.load_state_dict(build_encoder("res20_s", 16, 2).state_dict())
    return method


def views(n: int = 5) -> torch.Tensor:
    return torch.rand(n, 2, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


# ---- the loss


@given(st.integers(1, 6), st.integers(2, 5), st.sampled_from([0.05, 0.2, 1.0]), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_info_nce_equals_the_definition(n, d, temperature, seed):
    q, k = torch.randn(2, n, d, generator=torch.Generator().manual_seed(seed)).double()
    assert np.allclose(info_nce(q, k, temperature).numpy(), info_nce_loops(q, k, temperature), rtol=1e-9, atol=1e-12)


def test_info_nce_gradient():
    q, k = torch.randn(2, 4, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: info_nce(x, k, 0.2), q.requires_grad_())


def test_info_nce_ignores_scale_and_follows_permutations_and_blocks():
    q, k = torch.randn(2, 6, 4).double()
    loss, order = info_nce(q, k, 0.2), [3, 1, 5, 0, 2, 4]
    torch.testing.assert_close(info_nce(q * 7, k / 3, 0.2), loss)
    torch.testing.assert_close(info_nce(q[order], k[order], 0.2), loss[order])
    torch.testing.assert_close(torch.cat([info_nce(q[i : i + 2], k, 0.2, i) for i in (0, 2, 4)]), loss)


def test_the_loss_of_an_image_is_the_mean_of_both_directions():
    method, x = moclr().eval(), views()
    with torch.no_grad():
        q1, q2, k1, k2 = (net(x[:, view]) for net in (method.encoder, method.average) for view in (0, 1))
    expected = (info_nce_loops(q1, k2, 0.2) + info_nce_loops(q2, k1, 0.2)) / 2
    losses = method(x, torch.arange(5))
    assert np.allclose(losses.detach().numpy(), expected, rtol=1e-9)
    torch.testing.assert_close(method.projections, torch.stack([q1, q2]))


def test_both_views_share_the_batch_statistics_of_either_network():
    method, x = moclr().train(), views()
    losses = method(x, torch.arange(5))
    with torch.no_grad():
        q, k = (net(torch.cat([x[:, 0], x[:, 1]])) for net in (method.encoder, method.average))
    expected = (info_nce(q[:5], k[5:], 0.2) + info_nce(q[5:], k[:5], 0.2)) / 2
    torch.testing.assert_close(losses.detach(), expected)


def test_the_gradient_is_the_online_networks_alone():
    """By finite differences along the gradient itself; none for the average."""
    method, x = moclr().eval(), views()
    method(x, torch.arange(5)).mean().backward()
    assert all(p.grad is None and not p.requires_grad for p in method.average.parameters())
    square, found = sum((p.grad**2).sum() for p in method.encoder.parameters()), []
    for far in (1e-5, -1e-5):
        with torch.no_grad():
            for p in method.encoder.parameters():
                p += far / square.sqrt() * p.grad
            found.append(method(x, torch.arange(5)).mean().item())
            for p in method.encoder.parameters():
                p -= far / square.sqrt() * p.grad
    assert (found[0] - found[1]) / 2e-5 == pytest.approx(square.sqrt().item(), rel=1e-5)


# ---- the moving average


def test_the_momentum_rises_from_its_start_to_one():
    assert momentum_at(0) == MOMENTUM == 0.996
    assert momentum_at(0.5) == pytest.approx(0.998) and momentum_at(1) == pytest.approx(1)
    assert momentum_at(0.25) == pytest.approx(1 - 0.004 * (math.cos(math.pi / 4) + 1) / 2)


def test_the_average_follows_after_each_step():
    method = moclr(epochs=2).train()
    training, images = training_of(method, lr=0.5), batch(6)
    images = images._replace(views=images.views.double())
    averages = [p.clone() for p in method.average.parameters()]
    for i in range(4):
        method.start_step(i / 2)
        step(training, images)
        m = 1 - 0.004 * (math.cos(math.pi * (i / 2) / 2) + 1) / 2
        averages = [m * v + (1 - m) * w.detach() for v, w in zip(averages, method.encoder.parameters(), strict=True)]
    for found, expected in zip(method.average.parameters(), averages, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    # Statistics are those of the keys, and moved once a step.
    assert method.average.bn1.num_batches_tracked == method.encoder.bn1.num_batches_tracked == 4
    assert not torch.equal(method.average.bn1.running_mean, method.encoder.bn1.running_mean)


def three_steps(model: nn.Module, method: MoCLR, index: torch.Tensor) -> dict[str, torch.Tensor]:
    """The state after steps on the images `index`; batch norm in evaluation mode, whose statistics no process moves."""
    model.eval()
    optimizer = torch.optim.SGD(method.encoder.parameters(), 0.5)
    for i in range(3):
        method.start_step(i / 3)
        optimizer.zero_grad()
        losses = model(views(8)[index], index)
        losses.mean().backward()
        optimizer.step()
        method.remember(index, losses.detach())
    return method.state_dict()


def one_of_two(rank: int, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/join", rank=rank, world_size=size)
    method = moclr()
    torch.save(three_steps(DistributedDataParallel(method), method, torch.arange(8)[rank::size]), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_the_average_of_two_processes_is_that_of_one(tmp_path):
    spawn(one_of_two, (2, str(tmp_path)), 2)
    method = moclr()
    start = {name: value.clone() for name, value in method.state_dict().items()}
    one = three_steps(method, method, torch.cat([torch.arange(8)[rank::2] for rank in (0, 1)]))
    assert not torch.equal(one["average.conv1.weight"], start["average.conv1.weight"])
    for rank in (0, 1):
        for name, value in torch.load(tmp_path / f"{rank}.pt").items():
            torch.testing.assert_close(value, one[name], rtol=1e-9, atol=1e-9)


def test_the_checkpoint_holds_both_networks_and_the_average_begins_where_the_network_does(call, tmp_path):
    assert call("train_simCLR.py", "first", *SMALL, "--epochs", "1").returncode == 0
    first = tmp_path / "checkpoints/first/model.pt"
    words = ["--method", "moclr", "--epochs", "1", "--checkpoint", first]
    assert call("train_simCLR.py", "run", *SMALL, *words).returncode == 0
    content = read_checkpoint(tmp_path / "checkpoints/run/model.pt")
    network = {k.removeprefix("module."): v for k, v in content["state_dict"].items()}
    average = {k.removeprefix("average."): v for k, v in content["memory"].items()}
    begun = {k.removeprefix("module."): v for k, v in read_checkpoint(first)["state_dict"].items()}
    assert network.keys() == average.keys() == begun.keys()
    moved, far = ((net["conv1.weight"] - begun["conv1.weight"]).norm() for net in (average, network))
    assert 0 < moved < 0.02 * far
    state = content["optim"]["state"]
    assert len(state) == len([k for k in network if k.endswith((".weight", ".bias"))])


def test_a_method_of_another_memory_is_not_resumed(call, tmp_path):
    assert call("train_simCLR.py", "run", *SMALL, "--epochs", "1").returncode == 0
    words = ["--method", "moclr", "--epochs", "2", "--resume", "--accept_changes"]
    one_line_error(call("train_simCLR.py", "run", *SMALL, *words), "it has no memory of this method")


@pytest.mark.slow
def test_bcl_around_moclr_and_bf16_run_and_are_resumed_to_the_bit(call, tmp_path, interrupted):
    options = [*SMALL, "--method", "moclr+bcl", "--precision", "bf16", "--optimizer", "adam", "--lr", "0.001"]
    assert call("train_simCLR.py", "whole", *options).returncode == 0
    interrupted(4)
    assert call("train_simCLR.py", "parts", *options).returncode == 143
    assert call("train_simCLR.py", "parts", *options, "--resume").returncode == 0
    assert equal(tmp_path / "checkpoints/whole", tmp_path / "checkpoints/parts")


# ---- the width of the head


def test_the_width_is_of_the_hidden_layers_alone():
    torch.manual_seed(0)
    for layers in (2, 3):
        head = ProjectionHead(8, 4, layers, False, 32)
        shapes = [tuple(getattr(head, f"fc{i}").weight.shape) for i in range(1, layers + 1)]
        assert shapes == [(32, 8), *[(32, 32)] * (layers - 2), (4, 32)]
        assert head(torch.rand(3, 8)).shape == (3, 4) and head.hidden(torch.rand(3, 8)).shape == (3, 32)
        assert head.of_width(0) is head and head.of_width(32) is head
    narrow = ProjectionHead(8, 4, 3, True)
    assert narrow.of_width(8) is narrow and narrow.of_width(16).fc2.weight.shape == (16, 16)
    assert narrow.of_width(16).dual_bn and narrow.of_width(16).layers == 3


@pytest.mark.slow
def test_a_width_is_read_back_by_the_tail_and_probes(call, tmp_path):
    options = [*SMALL, "--method", "moclr", "--head_width", "96", "--epochs", "1"]
    assert call("train_simCLR.py", "run", *options).returncode == 0
    checkpoint = tmp_path / "checkpoints/run/model.pt"
    state = read_checkpoint(checkpoint)["state_dict"]
    assert state["module.fc.fc1.weight"].shape == (96, 64) and state["module.fc.fc2.weight"].shape == (16, 96)
    words = ["--dataset", "digits", "--trainSplit", S_B, "--checkpoint", checkpoint, "--model", "res20_s", "--draws", 1]
    done = call("tail/__main__.py", *words, "--num_workers", 0, "--out", tmp_path / "tail")
    assert done.returncode == 0, done.stderr
    probe = [*PROBE, "--fixto", "layer4", "--fixbn", "--lr", "0.5", "--trainSplit", S_B, "--epochs", "1"]
    done = call("train_cifar.py", "probe", *probe, "--checkpoint", checkpoint, "--cvt_state_dict")
    assert done.returncode == 0, done.stderr
    done = call("train_simCLR.py", "run", *options, "--epochs", "2", "--head_width", "32", "--resume")
    one_line_error(done, "head_width was 96, is 32")
    # Wider ones only: a plain head is as it was.
    assert call("train_simCLR.py", "plain", *SMALL, "--epochs", "1", "--head_width", "64").returncode == 0
    assert call("train_simCLR.py", "usual", *SMALL, "--epochs", "1").returncode == 0
    plain, usual = (read_checkpoint(tmp_path / f"checkpoints/{name}/model.pt") for name in ("plain", "usual"))
    assert same(plain["state_dict"], usual["state_dict"])


@pytest.mark.parametrize("width", [0, 65537])
def test_an_odd_width_of_a_file_is_one_line(call, tmp_path, width):
    encoder = build_encoder("res20_s", 16, 2)
    state = {**encoder.state_dict(), "fc.fc1.weight": torch.zeros(width, 1)}
    write_checkpoint(tmp_path / "odd.pt", {"state_dict": state})
    words = ["--dataset", "digits", "--trainSplit", S_B, "--checkpoint", tmp_path / "odd.pt", "--model", "res20_s"]
    done = call("tail/__main__.py", *words, "--num_workers", 0, "--out", tmp_path / "tail")
    one_line_error(done, "no projection head")


def test_a_width_that_is_none_is_one_line(call):
    for word in ("-1", "1.5", "wide", "70000"):
        one_line_error(call("train_simCLR.py", "run", *SMALL, "--head_width", word), "--head_width")


@pytest.mark.parametrize("data", ["digits", "imagenet-100"])
def test_recipes_name_a_width_where_it_is_another(data):
    for said, words, ending in (
        ({}, [], "_moclr"),
        ({"head_width": "4096"}, ["--head_width", "4096"], "_width4096_moclr"),
    ):
        recipe = settle({"dataset": data, "data": "images"}, {"method": "moclr", **said})
        training = commands(recipe)[0]
        assert recipe.experiment.endswith(ending) and method_in(ending) == "moclr"
        at = training.index("--method")
        assert training[at - len(words) : at + 2] == [*words, "--method", "moclr"]
        assert bool(words) == ("--head_width" in training)
