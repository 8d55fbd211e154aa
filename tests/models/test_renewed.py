"""Networks with new weights are as new ones; those with single batch norm are the dense branch."""

import pytest
import torch

from models import build_encoder
from models.batch_norm import DualBatchNorm
from models.renewed import renewed, with_single_batch_norm
from tests.conftest import slow_but


@pytest.mark.parametrize("name", slow_but("res18", ["res20_s", "res18", "res50"]))
def test_new_weights_are_those_that_a_new_network_has(name):
    torch.manual_seed(0)
    network = build_encoder(name, 16, 3)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(7.0)
        for b in network.buffers():
            b.add_(3)
    with torch.no_grad():  # what is no weight of a layer is the network's own
        network.normalize.mean.sub_(3), network.normalize.std.sub_(3)
    network.requires_grad_(False)
    new = renewed(network)
    assert all((p == 7).all() for p in network.parameters()) and all(p.requires_grad for p in new.parameters())
    for key, value in new.state_dict().items():
        old = before[key]
        if value.dim() < 2 and "fc1.bias" not in key:  # batch norms start alike, as normalisation does
            torch.testing.assert_close(value, old, rtol=0, atol=1e-6)
        else:
            # As many numbers of the same deviation: that of a sample of n is off by 1 / sqrt(2 n).
            off = 5 / (2 * value.numel()) ** 0.5
            assert not torch.equal(value, old) and value.std() == pytest.approx(old.std().item(), rel=off * 2)
            assert abs(value.mean()) < 5 * value.std() / value.numel() ** 0.5


def test_single_batch_norm_is_the_dense_branch():
    torch.manual_seed(0)
    dual = build_encoder("res20_s", 16, 2, prune=True, dual_bn=True).train()
    x = torch.rand(6, 3, 8, 8)
    dual(x)
    expected, copied = dual.eval()(x), with_single_batch_norm(renewed(dual))
    assert not any(isinstance(m, DualBatchNorm) for m in copied.modules())
    assert copied.state_dict().keys() == build_encoder("res20_s", 16, 2).state_dict().keys()
    torch.testing.assert_close(with_single_batch_norm(dual)(x), expected)
