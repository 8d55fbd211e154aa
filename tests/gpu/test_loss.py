"""NT-Xent on a device is the published form's in double precision, in one block of products or in many."""

import pytest
import torch

from benchmarks import published
from methods import log_sum_exp
from methods.simclr import nt_xent
from tests.reference import relative_error


def loss_and_gradient(loss, views: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    views = [view.clone().requires_grad_() for view in views]
    value = loss(*views, 0.2)
    value.backward()
    return value.detach().double().cpu(), torch.cat([view.grad for view in views]).double().cpu()


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("block", [2**27, 5000, 1])
def test_nt_xent(device, monkeypatch, dtype, bound, block):
    """Its gradient, too. Products of float32 are not made of TF32, which would be off by 1e-3."""
    monkeypatch.setattr(log_sum_exp, "BLOCK", block)
    monkeypatch.setattr(log_sum_exp, "GPU_BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    views = [torch.randn(150, 32, generator=generator, dtype=torch.float64) for _ in range(2)]
    ours = loss_and_gradient(lambda *v: nt_xent(*v).mean(), [view.to(device, dtype) for view in views])
    theirs = loss_and_gradient(published.nt_xent, views)
    assert all(relative_error(one, other) < bound for one, other in zip(ours, theirs, strict=True))
