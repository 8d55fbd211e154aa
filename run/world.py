"""This process's place among those of its run, from the environment that a launcher sets, and its device."""

import os

import torch

from run.gpu import check_gpu, visible_gpus
from utils.distributed import World, local_processes, number_from_environment
from utils.errors import InputError


def world_from_environment(no_cuda: bool = False) -> World:
    """Read torchrun's RANK, WORLD_SIZE and LOCAL_RANK; without them this is the only process.

    Raises:
        InputError: they are no numbers or contradict each other; this machine has GPUs, but fewer than processes; or
            the GPU cannot be used (run/gpu.py).
    """
    rank, size = number_from_environment("RANK", 0), number_from_environment("WORLD_SIZE", 1)
    local, here = number_from_environment("LOCAL_RANK", 0), local_processes()
    if rank >= size or local >= size:
        # Each process prints it, as there may be no rank 0.
        problem = f"the environment has RANK={rank} and LOCAL_RANK={local} of WORLD_SIZE={size} processes"
        raise InputError(f"{problem}: unset them, or start by torchrun", each=True)
    count = 0 if no_cuda else visible_gpus()
    if not count:
        return World(rank, size, torch.device("cpu"))
    if max(here, local + 1) > count:
        raise InputError(f"{max(here, local + 1)} processes for {count} GPU(s): start at most {count} on this machine")
    check_gpu(local)
    return World(rank, size, torch.device("cuda", local))


def launched_by_hand(local_rank: int | None, world_size: int, port: int) -> None:
    """Set the environment of processes that are started one by one, by the options of the authors' scripts:
    --local_rank, --world_size and --port.

    An environment that torchrun or torch.distributed.launch has set takes precedence.

    Args:
        local_rank: in 0..world_size - 1; None only for a single process.
    """
    if "RANK" in os.environ or world_size == 1:
        return
    place = {"RANK": local_rank, "LOCAL_RANK": local_rank, "WORLD_SIZE": world_size, "LOCAL_WORLD_SIZE": world_size}
    os.environ.update({name: str(value) for name, value in place.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
