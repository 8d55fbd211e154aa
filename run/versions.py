"""What differs between the versions of PyTorch that pyproject.toml allows."""

import inspect
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


def distributed(module: torch.nn.Module, **options: Any) -> DistributedDataParallel:
    """The module under DistributedDataParallel: all processes begin with the parameters and buffers of rank 0, and no
    buffer is sent after that.

    Args:
        options: other options of DistributedDataParallel.
    """
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters:  # torch 2.13
        return DistributedDataParallel(module, forward_sync_buffers=False, **options)
    # Before, broadcast_buffers=False also leaves the buffers out at the start.
    for buffer in module.buffers():
        dist.broadcast(buffer, 0)
    return DistributedDataParallel(module, broadcast_buffers=False, **options)
