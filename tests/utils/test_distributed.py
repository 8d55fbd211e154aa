"""Processes that do not meet say so, each of them."""

import pytest
import torch
import torch.distributed

from run.world import world_from_environment
from utils.distributed import World, join
from utils.errors import run_main

ODD = [
    {"RANK": "1"}, {"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "9" * 30, "WORLD_SIZE": "8"}, {"WORLD_SIZE": "0"},
    {"LOCAL_RANK": "8", "WORLD_SIZE": "8"}, {"RANK": ""}, {"WORLD_SIZE": "two"}, {"LOCAL_RANK": "-1"},
]  # fmt: skip


@pytest.mark.parametrize("variables", ODD, ids=str)
def test_variables_that_no_launcher_sets_are_one_line(monkeypatch, capsys, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as end:
        run_main(world_from_environment)
    name, value = next(iter(variables.items()))
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.startswith("error") and said.count("\n") == 1 and name in said and value in said


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_cannot_join_says_so(monkeypatch, capsys, rank):
    """Of two, one may fail and the other wait for it until the launcher ends it: it must not be the silent one."""

    def fail(backend: str) -> None:
        raise RuntimeError("Connection reset\nat some line of C++")

    monkeypatch.setattr(torch.distributed, "init_process_group", fail)
    for name, value in (("RANK", rank), ("MASTER_ADDR", "node1"), ("MASTER_PORT", 4833)):
        monkeypatch.setenv(name, str(value))
    with pytest.raises(SystemExit) as end:
        run_main(lambda: join(World(rank, 2, torch.device("cpu"))))
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error [rank {rank}]: the processes cannot join at node1:4833")
    assert error.endswith("Connection reset\n") and error.count("\n") == 1
