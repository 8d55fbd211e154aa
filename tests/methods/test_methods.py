"""NT-Xent, SimCLR and SDCLR against slow oracles; the same gradient from one process and from two."""

import itertools
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.parallel import DistributedDataParallel

import pretrain.flags
from data.loader import EpochSampler
from methods import METHODS
from methods.base import Delegate, Method, Wrapper
from methods.build import build_method
from methods.moclr import MoCLR
from methods.sdclr import SDCLR
from methods.simclr import SimCLR, nt_xent
from models import build_encoder
from models.mask import MaskedConv2d, pruned
from tests.conftest import quick_first
from tests.oracles import nt_xent_loops
from tests.reference import relative_error
from tests.warm import spawn


def small(kind: str, dual_bn: bool = True) -> Method:
    torch.manual_seed(0)
    if kind == "moclr":
        method = MoCLR(build_encoder("res20_s", 16, 2), 0.2, 4)
        method.average.load_state_dict(build_encoder("res20_s", 16, 2).state_dict())
        return method
    if kind == "simclr":
        return SimCLR(build_encoder("res20_s", 16, 2), 0.2)
    return SDCLR(build_encoder("res20_s", 16, 3, prune=True, dual_bn=dual_bn), 0.2, 0.9)


@given(st.integers(1, 6), st.integers(2, 5), st.sampled_from([0.05, 0.2, 1.0]), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_nt_xent_equals_the_definition(n, d, temperature, seed):
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randn(n, d, generator=g), torch.randn(n, d, generator=g)
    ours = nt_xent(a.double(), b.double(), temperature)
    assert np.allclose(ours.numpy(), nt_xent_loops(a, b, temperature), rtol=1e-9, atol=1e-12)
    assert ours.min() >= -1e-12 and ours.max() <= np.log(2 * n - 1) + 2 / temperature + 1e-12


@given(st.integers(0, 1000), st.floats(0.01, 100), st.permutations(range(5)))
@settings(max_examples=20, deadline=None)
def test_nt_xent_ignores_scale_and_follows_permutations(seed, scale, order):
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randn(5, 4, generator=g).double(), torch.randn(5, 4, generator=g).double()
    loss = nt_xent(a, b, 0.2)
    torch.testing.assert_close(nt_xent(a * scale, b, 0.2), loss)
    torch.testing.assert_close(nt_xent(a[order], b[order], 0.2), loss[order])
    torch.testing.assert_close(nt_xent(b, a, 0.2), loss)


def test_nt_xent_survives_what_overflows_plain_exponentials():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(4, 3, generator=g).double(), torch.randn(4, 3, generator=g).double()
    with pytest.raises(OverflowError):
        nt_xent_loops(a, b, 0.001)
    # At such a temperature the loss is the margin to the nearest other view.
    both = torch.nn.functional.normalize(torch.cat([a, b]), dim=1)
    s = (both @ both.T).fill_diagonal_(-9)
    margin = (s.max(1).values - torch.cat([s.diagonal(4), s.diagonal(4)])) / 0.001
    torch.testing.assert_close(nt_xent(a, b, 0.001), (margin[:4] + margin[4:]) / 2, rtol=1e-3, atol=1.0)


def test_nt_xent_gradient():
    a, b = (torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x, y: nt_xent(x, y, 0.2), (a, b))


def test_blocks_of_anchors_against_all_keys_equal_the_whole():
    a, b = torch.randn(6, 4).double(), torch.randn(6, 4).double()
    parts = [nt_xent(a[i : i + 2], b[i : i + 2], 0.2, (a, b), i) for i in (0, 2, 4)]
    torch.testing.assert_close(torch.cat(parts), nt_xent(a, b, 0.2))


def test_simclr_mixes_both_views_in_the_batch_statistics():
    method = small("simclr").double().train()
    views = torch.rand(4, 2, 3, 8, 8, dtype=torch.float64)
    loss = method(views, torch.arange(4))
    z = method.encoder(torch.cat([views[:, 0], views[:, 1]]))
    torch.testing.assert_close(loss, nt_xent(z[:4], z[4:], 0.2), rtol=1e-9, atol=1e-9)
    assert loss.shape == (4,)


def test_sdclr_gradient_is_the_sum_of_the_two_published_half_steps():
    method = small("sdclr").double().train()
    method.start_epoch(1)
    views = torch.rand(4, 2, 3, 8, 8, dtype=torch.float64)
    method(views, torch.arange(4)).mean().backward()
    ours = [p.grad.clone() for p in method.parameters()]

    method.zero_grad()
    encoder = method.encoder
    with pruned(encoder), torch.no_grad():
        competitor = encoder(views[:, 1])
    dense = encoder(views[:, 0])
    nt_xent(dense, competitor, 0.2).mean().backward()
    with pruned(encoder):
        competitor = encoder(views[:, 1])
        nt_xent(dense.detach(), competitor, 0.2).mean().backward()
    for ours_p, p in zip(ours, method.parameters(), strict=True):
        torch.testing.assert_close(ours_p, p.grad, rtol=1e-9, atol=1e-12)


def test_sdclr_step_does_two_forwards_and_one_backward(monkeypatch):
    method = small("sdclr").train()
    method.start_epoch(1)
    forwards, backwards = itertools.count(), itertools.count()
    method.encoder.register_forward_hook(lambda *_: (next(forwards), None)[1])
    original = torch.autograd.backward
    monkeypatch.setattr(torch.autograd, "backward", lambda *a, **k: (next(backwards), original(*a, **k))[1])
    stem = itertools.count()
    method.encoder.conv1.weight.register_hook(lambda g: (next(stem), None)[1])
    method(torch.rand(4, 2, 3, 8, 8), torch.arange(4)).mean().backward()
    assert (next(forwards), next(backwards), next(stem)) == (2, 1, 1)


def test_sdclr_with_one_batch_norm_shares_it():
    method = small("sdclr", dual_bn=False).train()
    method.start_epoch(1)
    method(torch.rand(4, 2, 3, 8, 8), torch.arange(4)).mean().backward()
    assert method.encoder.bn1.num_batches_tracked == 2
    assert all(p.grad is not None for p in method.parameters())


def test_mask_is_made_anew_each_epoch_and_frozen_inside_it():
    method = small("sdclr")
    method.start_epoch(1)
    layers = [m for m in method.encoder.modules() if isinstance(m, MaskedConv2d)]
    first = [m.mask.clone() for m in layers]
    with torch.no_grad():
        for m in layers:
            m.weight.copy_(torch.randn_like(m.weight))
    assert all(torch.equal(a, m.mask) for a, m in zip(first, layers, strict=True))
    method.start_epoch(2)
    assert not all(torch.equal(a, m.mask) for a, m in zip(first, layers, strict=True))


@pytest.mark.parametrize("name", METHODS)
def test_projections_of_every_method_have_their_graph(monkeypatch, name):
    words = ["x", "x", "--method", name, "--model", "res20_s", "--output_ch", "16", "--temperature", "0.2"]
    monkeypatch.setattr(sys, "argv", words)
    method = build_method(pretrain.flags.parse(""), "cifar", 6).train()
    method.start_phase(0)
    method.start_epoch(1, lambda: torch.rand(6, 64))
    method(torch.rand(6, 2, 3, 8, 8), torch.arange(6))
    assert method.projections.shape[:2] == (2, 6)
    for view in (0, 1):
        (gradient,) = torch.autograd.grad(
            method.projections[view].square().sum(), method.encoder.conv1.weight, retain_graph=True, allow_unused=True
        )
        assert gradient is None or gradient.isfinite().all()
        assert gradient is not None or view == 1  # keys of another network have none


def gradients(rank: int, size: int, folder: str) -> None:
    """One process of `size`: for each method, the gradient of its share of a global batch."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/join{size}", rank=rank, world_size=size)
    for kind in ("simclr", "sdclr", "moclr"):
        torch.save(gradient(kind, share(rank, size), parallel=True), f"{folder}/{kind}_{size}_{rank}.pt")
    torch.distributed.destroy_process_group()


def share(rank: int, size: int) -> list[int]:
    """This process's part of seven images, which neither two nor three processes divide: the sampler pads."""
    return [index for _, index in EpochSampler(range(7), size, rank, shuffle=True, seed=3)]


def gradient(kind: str, index: list[int], parallel: bool) -> torch.Tensor:
    """The gradient after DDP's average, flat; batch norm in evaluation mode."""
    method = small(kind).double()
    views = torch.rand(7, 2, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model = DistributedDataParallel(method) if parallel else method
    method.start_epoch(1)
    model.eval()
    model(views[index], torch.tensor(index)).mean().backward()
    return torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])


@pytest.mark.parametrize("size", quick_first([2, 3]))
def test_several_processes_give_the_gradient_of_one(tmp_path, size):
    spawn(gradients, (size, str(tmp_path)), size)
    whole = [index for rank in range(size) for index in share(rank, size)]
    assert sorted(set(whole)) == list(range(7)) and len(whole) == -(-7 // size) * size
    for kind in ("simclr", "sdclr", "moclr"):
        one = gradient(kind, whole, parallel=False)
        assert one.norm() > 0
        for rank in range(size):
            assert relative_error(torch.load(tmp_path / f"{kind}_{size}_{rank}.pt"), one) < 1e-5


def test_a_delegate_has_every_hook_of_the_inner_method_or_its_own():
    """A hook that Delegate does not name would be Method's default around a method that has another."""
    hooks = {name for name in vars(Method) if not name.startswith("_")} | set(Method.__annotations__)
    of_a_class = {"add_options", "encoder_options", "build"}
    assert hooks - of_a_class <= vars(Delegate).keys()

    class Inner(Method):
        smallest_batch, static_graph = 3, False

    class Around(Delegate):
        static_graph = True

    class AroundThat(Wrapper):
        def __init__(self, method):
            super().__init__(method)
            self.boost = "set"

    method = AroundThat(Around(Inner()))
    assert (method.smallest_batch, method.static_graph, method.boost) == (3, True, "set")
    assert method.method.boost is None and Around.smallest_batch is not None
    method.method.smallest_batch = 2
    assert method.smallest_batch == 2
