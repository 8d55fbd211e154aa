"""What differs between the versions of PyTorch that the project runs with, pyproject.toml's range."""

import inspect
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


def distributed(module: torch.nn.Module, **options: Any) -> DistributedDataParallel:
    """The module under DistributedDataParallel: all processes begin with the first one's parameters and buffers, and
    no buffer is sent after that.

    Args:
        options: further ones of DistributedDataParallel.
    """
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters:  # torch 2.13
        return DistributedDataParallel(module, forward_sync_buffers=False, **options)
    # What it is called before leaves the buffers out of the beginning, too.
    for buffer in module.buffers():
        dist.broadcast(buffer, 0)
    return DistributedDataParallel(module, broadcast_buffers=False, **options)
