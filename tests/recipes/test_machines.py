"""Where machines meet, and what they hear of each other; on one machine alone, in one process."""

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from torch.distributed import TCPStore

from recipes import machines
from recipes.machines import Heartbeats, Meeting, Place, find, prepare
from tests.conftest import PROJECT
from tests.warm import free_port
from utils.errors import UNSAVED, InputError


@pytest.fixture(autouse=True)
def no_network_is_chosen(monkeypatch):
    """What a test chooses for gloo is forgotten after it; to remove what is not there would not be undone."""
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "any")
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")


@pytest.mark.parametrize(
    ("endpoint", "place"),
    [
        ("127.0.0.1:29500", Place("127.0.0.1", 29500, "127.0.0.1", "127.0.0.1")),
        ("127.0.0.1", Place("127.0.0.1", 29400, "127.0.0.1", "127.0.0.1")),
    ],
)
def test_a_place_on_this_machine(endpoint, place):
    assert find(endpoint) == place and place.here
    assert find("localhost:29500").here


@pytest.mark.parametrize("endpoint", ["", ":29400", "host:port", "host:99999", "http://host:1", "me@host:1", "[::1:1"])
def test_no_place(endpoint):
    with pytest.raises(InputError, match=re.escape(f"'{endpoint}': it is no HOST:PORT")):
        find(endpoint)


def test_torchrun_is_told():
    """Of a run on one machine alone nothing but the time; gloo's network is left as it is."""
    args = argparse.Namespace(
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:29500",
        rdzv_conf="join_timeout=7,close_timeout=3",
        local_addr=None,
    )
    meeting = prepare(args)
    meeting.end_wait()
    told = dict(pair.split("=") for pair in args.rdzv_conf.split(","))
    assert args.rdzv_endpoint == "localhost:29500" and args.local_addr == "127.0.0.1"
    assert 1 <= int(told.pop("join_timeout")) < 7  # whole seconds that are left
    assert told == {"close_timeout": "3", "read_timeout": "300"}
    assert "GLOO_SOCKET_IFNAME" not in os.environ
    args.rdzv_conf = "join_timeout=soon"
    with pytest.raises(InputError, match="join_timeout=soon"):
        prepare(args)
    args.rdzv_backend = "static"  # of a single machine
    assert prepare(args) is None


@pytest.mark.parametrize(("name", "chosen"), [("first", "cable"), ("localhost", None), ("127.0.1.1", None)])
def test_a_name_that_stands_for_the_loopback(monkeypatch, name, chosen):
    """As on Debian: the others take the name for another address, on the one network that there is."""
    monkeypatch.setattr(machines, "find", lambda endpoint: Place(name, 1, "127.0.1.1", "127.0.1.1"))
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (2, "cable"), (3, "down")])
    monkeypatch.setattr(machines, "_address_of", {"lo": "127.0.0.1", "cable": "10.0.0.1", "down": ""}.get)
    args = argparse.Namespace(rdzv_backend="c10d", rdzv_endpoint=f"{name}:1", rdzv_conf="", local_addr=None)
    prepare(args).end_wait()
    assert args.local_addr == name and os.environ.get("GLOO_SOCKET_IFNAME") == chosen


@pytest.mark.skipif(sys.platform != "linux", reason="asked as Linux is")
def test_the_loopback_is_found_by_its_address():
    assert machines._address_of("lo") == "127.0.0.1"
    assert machines._address_of("no such") == ""


def test_a_machine_waits_for_the_place():
    """It may come after those that want to meet there."""
    with socket.socket() as late:
        late.bind(("127.0.0.1", 0))
        port = late.getsockname()[1]
        timer = threading.Timer(0.5, late.listen)
        timer.start()
        meeting = Meeting(Place("there", port, "127.0.0.1", "127.0.0.2"), 20)
        meeting.wait_for_place()
        meeting.end_wait()
        timer.join()


def test_a_place_where_nothing_answers():
    place = Place("there", free_port(), "127.0.0.1", "127.0.0.2")
    meeting = Meeting(place, 0.1)
    with pytest.raises(InputError, match=rf"^nothing answered at there:{place.port} within 0.1 seconds \(Connection r"):
        meeting.wait_for_place()
    meeting.end_wait()


class Pair:
    """Two machines' heartbeats; `given_up` has (rank, line) of each that gave the other one up."""

    def __init__(self, monkeypatch) -> None:
        self.given_up, self.said = [], threading.Event()
        monkeypatch.setattr(machines, "BEAT", 0.05)
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def start(self, rank: int) -> Heartbeats:
        def lost(line: str) -> None:
            self.given_up.append((rank, line))
            self.said.set()

        told = {"GROUP_RANK": rank, "GROUP_WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": self.store.port}
        return Heartbeats(f"10.0.0.{rank}", {name: str(value) for name, value in told.items()}, lost, silence=1)


@pytest.mark.slow
def test_a_machine_that_falls_silent_is_given_up(monkeypatch):
    pair = Pair(monkeypatch)
    first, second = pair.start(0), pair.start(1)
    assert not pair.said.wait(2.5)  # longer than the silence
    second.stop(done=False)
    assert pair.said.wait(20)
    told = "lost the other machines: nothing was heard of machine 10.0.0.1 for 1 seconds; when the machines "
    ((rank, line),) = pair.given_up
    assert rank == 0 and line.startswith(told)
    first.stop(done=True)


def test_a_machine_that_was_never_heard_of_is_given_up(monkeypatch):
    pair = Pair(monkeypatch)
    first = pair.start(0)
    assert pair.said.wait(20)
    assert "machine 2 of 2 for 1 seconds; see that no firewall" in pair.given_up[0][1]
    first.stop(done=True)


@pytest.mark.slow
def test_a_machine_that_is_done_is_not_given_up(monkeypatch):
    pair = Pair(monkeypatch)
    first, second = pair.start(0), pair.start(1)
    assert not pair.said.wait(0.5)
    second.stop(done=True)
    assert not pair.said.wait(2.5)
    first.stop(done=True)


@pytest.mark.slow
def test_sigterm_ends_a_machine_that_waits_for_the_others():
    """It is held for the processes, which are not there yet."""
    words = ["--nnodes=2", "--rdzv_backend=c10d", f"--rdzv_endpoint=localhost:{free_port()}", "tests/trees.py"]
    process = subprocess.Popen([sys.executable, "-m", "recipes.launch", *words], cwd=PROJECT, stderr=subprocess.PIPE)
    status = Path(f"/proc/{process.pid}/status")
    held = 0
    while not held >> (signal.SIGTERM - 1) & 1:
        held = int(re.search(r"SigBlk:\t(\w+)", status.read_text())[1], 16)
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=300)[1] == b"interrupted: the machines had not met\n"
    assert process.returncode == UNSAVED
