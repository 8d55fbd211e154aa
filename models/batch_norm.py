"""Dual batch norm: one set of statistics and affine parameters for each branch of SDCLR."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

DENSE, PRUNED = 0, 1
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class DualBatchNorm(nn.Module):
    """Two batch norms in place of one; `branch` selects that of the dense (0) or of the pruned branch (1).

    Pruned and dense features have different statistics, so SDCLR keeps one batch norm for each
    (SDCLR, ICML 2021, section 3.3). The keys `bn_list.0` and `bn_list.1` are those of the authors' checkpoints.

    Args:
        num_features: channels C of the input, [N, C, H, W] (or [N, C] with norm=nn.BatchNorm1d).
        norm: the batch norm class that is doubled.
    """

    def __init__(self, num_features: int, norm: type[nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.bn_list = nn.ModuleList([norm(num_features), norm(num_features)])
        self.branch = DENSE

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn_list[self.branch](x)


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """A context in which batch norms in training mode use the batch's statistics without updating the running ones."""
    tracking = [m for m in model.modules() if isinstance(m, BATCH_NORMS) and m.training and m.track_running_stats]
    for module in tracking:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in tracking:
            module.track_running_stats = True


def dual_batch_norm_1d(num_features: int) -> DualBatchNorm:
    """DualBatchNorm for the projection head's [N, C] features."""
    return DualBatchNorm(num_features, nn.BatchNorm1d)
