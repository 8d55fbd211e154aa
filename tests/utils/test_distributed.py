"""Processes that do not meet say so, each of them."""

import pytest
import torch
import torch.distributed

from utils.distributed import World, join
from utils.errors import run


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_cannot_join_says_so(monkeypatch, capsys, rank):
    """Of two, one may fail and the other wait for it until the launcher ends it: it must not be the silent one."""

    def fail(backend: str) -> None:
        raise RuntimeError("Connection reset\nat some line of C++")

    monkeypatch.setattr(torch.distributed, "init_process_group", fail)
    for name, value in (("RANK", rank), ("MASTER_ADDR", "node1"), ("MASTER_PORT", 4833)):
        monkeypatch.setenv(name, str(value))
    with pytest.raises(SystemExit) as end:
        run(lambda: join(World(rank, 2, torch.device("cpu"))))
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error [rank {rank}]: the processes cannot join at node1:4833")
    assert error.endswith("Connection reset\n") and error.count("\n") == 1
