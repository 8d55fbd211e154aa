"""Several processes on GPUs, by NCCL and with synchronised batch norm, take the step that one process takes."""

from pathlib import Path

import pytest
import torch
import torch.distributed
from torch import nn

from data.loader import Batch
from methods.sdclr import SDCLR
from methods.simclr import SimCLR
from models import build_encoder
from pretrain.epoch import Schedule, Training, step
from run.compute import Compute
from run.flags import Precision
from run.optim import sgd
from tests.gpu.places import GPUS, RATE, needs_gpu
from tests.reference import relative_error
from tests.warm import spawn
from utils.distributed import World

PAIRS = 16
TWO = [*needs_gpu, pytest.mark.skipif(GPUS < 2, reason="needs two GPUs")]
PLACES = [("cpu", 1), pytest.param("cuda", 1, marks=needs_gpu), pytest.param("cuda", 2, marks=TWO)]


def method_of(name: str) -> nn.Module:
    """In double precision, where the order of sums does not count."""
    torch.manual_seed(0)
    if name == "simclr":
        return SimCLR(build_encoder("res20_s", 16, 2), 0.2).double()
    return SDCLR(build_encoder("res20_s", 16, 3, prune=True, dual_bn=True), 0.2, 0.5).double()


def take_step(rank: int, size: int, kind: str, name: str, folder: str) -> None:
    """This process's share of a step; with `size` 0, the whole step alone. The first process saves the state."""
    torch.set_num_threads(1)
    world = World(rank, max(size, 1), torch.device("cuda", rank) if kind == "cuda" else torch.device("cpu"))
    compute = Compute(Precision("fp32", "channels_last", tf32=False, deterministic=False), world.device)
    if size:
        backend = "nccl" if kind == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, f"file://{folder}/join", rank=rank, world_size=size)
    method = compute.on_device(method_of(name)).train()
    method.start_epoch(1)
    optimizer, model = sgd(method.parameters(), RATE, 0.9, 1e-4), method
    if size:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(method) if kind == "cuda" else method
        model = compute.distributed(model, World(rank, 2, world.device))  # a single process is wrapped, too
        assert isinstance(model, nn.parallel.DistributedDataParallel)
    views = torch.rand(PAIRS, 2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    own = torch.arange(PAIRS)[rank :: world.size]
    batch = Batch(views[own].to(world.device), own.to(world.device), torch.zeros_like(own), [], 0)
    found = step(Training(model, [], optimizer, Schedule(9, RATE, "constant"), compute, world), batch)
    if rank == 0:
        state = {k: v.cpu() for k, v in method.state_dict().items()}
        gradient = torch.cat([p.grad.flatten().cpu() for p in method.parameters()])
        torch.save((state, gradient, found.losses.cpu()), f"{folder}/{size}.pt")
    if size:
        torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "processes"), PLACES)
@pytest.mark.parametrize("name", ["simclr", "sdclr"])
def test_processes_take_the_step_of_one(tmp_path: Path, kind, processes, name):
    take_step(0, 0, kind, name, str(tmp_path))
    spawn(take_step, (processes, kind, name, str(tmp_path)), processes)
    (alone, gradient, losses), (state, together, own) = (torch.load(tmp_path / f"{n}.pt") for n in (0, processes))
    assert relative_error(together, gradient) < 1e-6 and gradient.norm() > 0
    assert relative_error(own, losses[::processes]) < 1e-9
    assert state.keys() == alone.keys()
    for key, value in alone.items():  # running statistics are of all processes' images
        torch.testing.assert_close(state[key], value, rtol=1e-6, atol=1e-9)
