"""One process or several: torchrun's environment variables, and collectives that do nothing in a single process."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from utils.errors import InputError


@dataclass(frozen=True)
class World:
    """This process's place: rank of `size` processes, and the device it computes on."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        """True for the one process that prints and writes."""
        return self.rank == 0


def local_processes() -> int:
    """Processes of this run on this machine."""
    return number_from_environment("LOCAL_WORLD_SIZE", 1)


def number_from_environment(name: str, alone: int) -> int:
    """A whole number that torchrun sets in the environment; `alone` where it is not set, so for a single process.

    Raises:
        InputError: it is not a whole number.
    """
    text = os.environ.get(name, str(alone))
    if not text.isdecimal():
        raise InputError(f"the environment has {name}='{text}', which is no number: unset it, or start by torchrun")
    return int(text)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def join(world: World) -> None:
    """Join the process group, NCCL on CUDA, gloo on a CPU; nothing happens in a single process or when joined already.

    Raises:
        InputError: the processes do not reach each other, or the port is in use.
    """
    if world.size > 1 and not dist.is_initialized():
        try:
            dist.init_process_group("nccl" if world.device.type == "cuda" else "gloo")
        except (RuntimeError, ValueError) as error:
            address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
            reason = str(error).splitlines()[0]
            message = f"the processes cannot join at {address}, choose another port perhaps: {reason}"
            # Each process that fails prints it: one may fail while others, rank 0 perhaps, wait until they are ended.
            raise InputError(message, each=True) from error


def _several() -> bool:
    """Whether more than one process has joined."""
    return dist.is_initialized() and dist.get_world_size() > 1


class _AllGather(torch.autograd.Function):
    """all_gather, differentiable: the gradient is summed over the processes, and each gets that of its features."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x)
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[dist.get_rank()]


def all_gather(z1: torch.Tensor, z2: torch.Tensor) -> tuple[tuple[torch.Tensor, torch.Tensor], int]:
    """Features [n, D] of every process as two [processes * n, D], in rank order, and the row of this process's first.

    Gradients flow back to the process that computed the features. All processes have the same n.
    """
    if not _several():
        return (z1, z2), 0
    gathered = _AllGather.apply(torch.stack([z1, z2]))  # [processes, 2, n, D]
    return tuple(gathered.transpose(0, 1).flatten(1, 2)), dist.get_rank() * len(z1)


def gather_rows(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Rows of tensors [n, ...] of every process, in rank order, without gradient; all processes have the same n."""
    if not _several():
        return tensors
    gathered = []
    for tensor in tensors:
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor.contiguous())
        gathered.append(torch.cat(parts))
    return tuple(gathered)


def gather_samples(index: torch.Tensor, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Sample ids [n] and rows [n, ...] of every process, ordered by id; n may differ between processes."""
    if _several():
        lengths = gather_rows(torch.tensor([len(index)], device=index.device))[0].tolist()
        longest, positions = max(lengths), torch.arange(max(lengths), device=index.device)
        padded = [torch.cat([t, t.new_zeros(longest - len(t), *t.shape[1:])]) for t in (index, *tensors)]
        unpadded = torch.cat([rank * longest + positions[:n] for rank, n in enumerate(lengths)])
        index, *tensors = (t[unpadded] for t in gather_rows(*padded))
    order = index.argsort()
    return tuple(t[order] for t in (index, *tensors))


def mean_over_processes(values: torch.Tensor) -> torch.Tensor:
    """Average of a tensor over the processes, in float64."""
    values = values.double()
    if _several():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return values


def in_all_processes(flag: torch.Tensor) -> torch.Tensor:
    """Whether a flag, a scalar tensor, is true in every process: a scalar on the same device, without a wait for it."""
    if _several():
        flag = flag.to(torch.int32)
        dist.all_reduce(flag, dist.ReduceOp.MIN)
    return flag


def sum_over_processes(counts: np.ndarray, device: torch.device) -> np.ndarray:
    """Sum of an array of whole numbers over the processes, exact."""
    if not _several():
        return counts
    total = torch.from_numpy(counts).to(device)
    dist.all_reduce(total)
    return total.cpu().numpy()


def gather_objects(item: Any) -> list[Any]:
    """The items of all processes, in rank order."""
    if not _several():
        return [item]
    parts = [None] * dist.get_world_size()
    dist.all_gather_object(parts, item)
    return parts


def union_over_processes(items: set[str]) -> set[str]:
    """The items that any of the processes has."""
    return set().union(*gather_objects(items))


def take_buffers(module: torch.nn.Module) -> None:
    """Replace a module's buffers, such as running statistics of batch norm, by the main process's, in all processes."""
    if _several():
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)


def wait_for_all() -> None:
    """Return when every process has called it."""
    if _several():
        dist.barrier()
