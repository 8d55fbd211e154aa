"""What differs between versions of PyTorch: DistributedDataParallel as it was before 2.13, in two processes."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from run import versions
from tests.warm import free_port, spawn


class Before(nn.parallel.DistributedDataParallel):
    """With the names of older versions; without broadcast_buffers its start leaves buffers out, as theirs."""

    def __init__(
        self, module: nn.Module, broadcast_buffers: bool = True, gradient_as_bucket_view: bool = False
    ) -> None:
        super().__init__(module, broadcast_buffers=broadcast_buffers, gradient_as_bucket_view=gradient_as_bucket_view)


class Network(nn.Module):
    """A layer whose weights and mask each process draws by itself."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        torch.manual_seed(rank)
        self.layer = nn.Linear(3, 2)
        self.register_buffer("mask", torch.rand(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x * self.mask)


def process(rank: int, port: int, older: bool, out: str) -> None:
    if older:
        versions.DistributedDataParallel = Before
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    model = versions.distributed(Network(rank), gradient_as_bucket_view=True)
    begun = {k: v.clone() for k, v in model.module.state_dict().items()}
    model.module.mask.add_(rank)  # what moves later stays each one's own
    model(torch.ones(1, 3)).sum().backward()
    found = {"begun": begun, "mask": model.module.mask, "gradient": model.module.layer.weight.grad}
    torch.save(found, f"{out}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore:.*broadcast_buffers.*")
@pytest.mark.parametrize("older", [False, True])
def test_processes_begin_with_the_first_ones_weights_and_buffers(tmp_path, older):
    spawn(process, (free_port(), older, str(tmp_path)), 2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    expected = Network(0).state_dict()
    for found in (first, second):
        assert all(torch.equal(found["begun"][name], value) for name, value in expected.items())
    assert torch.equal(second["mask"], first["mask"] + 1)
    mean = (first["mask"] + second["mask"]) / 2
    assert torch.allclose(first["gradient"], mean.expand(2, 3)) and torch.equal(first["gradient"], second["gradient"])
