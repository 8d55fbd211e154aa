"""Two hosts on one machine, joined by a virtual cable: Linux namespaces for users, networks and host names.

Each has an address, a loopback and a host name of its own, which the other cannot resolve; they share the files. This
needs no root if the kernel allows unprivileged user namespaces. The namespaces have no names outside and end with their
last process, so nothing can be left behind.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.warm import environment

NETWORK = "10.77.9"  # exists on the cable only
KINDS = ["--user", "--net", "--uts"]
WAITING = ["sh", "-c", 'hostname "$0" && ip link set lo up && echo ready && exec cat']


class Host:
    """A host, which exists until `end`. address: its own on the cable. works: whether it could be made."""

    def __init__(self, name: str, address: str, words: list[str]) -> None:
        self.address = address
        # Its first process ends with its input, a pipe that closes when this process ends.
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        self._init = subprocess.Popen([*words, *WAITING, name], start_new_session=True, **pipes)
        self.works = self._init.stdout.readline() == "ready\n"
        self._network = _network_of(self._init.pid) if self.works else None

    @property
    def entry(self) -> list[str]:
        """The command words that run the command after them on this host."""
        return ["nsenter", f"--target={self._init.pid}", *KINDS, "--preserve-credentials"]

    def start(self, words: list[str], cwd: Path, **env: str) -> subprocess.Popen:
        """Start a command on this host, with text pipes for stdout and stderr; tests.warm's Python works here, too."""
        variables = environment(WARM_NAMESPACES=str(self._init.pid), **env)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([*self.entry, *map(str, words)], cwd=cwd, env=variables, **pipes)

    def ip(self, *words: str) -> None:
        """Run the program ip on this host."""
        subprocess.run([*self.entry, "ip", *words], check=True, capture_output=True)

    def processes(self) -> list[int]:
        """The ids of all processes on this host."""
        numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
        return [number for number in numbers if self.works and _network_of(number) == self._network]

    def kill(self) -> None:
        """Kill all processes here but the first, as in a crash; the host and its network remain."""
        deadline = time.monotonic() + 10
        while (running := [n for n in self.processes() if n != self._init.pid]) and time.monotonic() < deadline:
            for number in running:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            time.sleep(0.02)

    def end(self) -> None:
        """End the host with all its processes, and its end of the cable."""
        self.kill()
        self._init.kill()
        self._init.communicate()


def _network_of(process: int) -> str | None:
    """The network namespace of a process; None if it has ended or belongs to another user."""
    try:
        return str(Path(f"/proc/{process}/ns/net").readlink())
    except OSError:
        return None


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts; the test is skipped if they cannot be made."""
    if not all(map(shutil.which, ("ip", "unshare", "nsenter", "hostname"))):
        pytest.skip("the programs ip, unshare, nsenter and hostname are needed")
    with contextlib.ExitStack() as stack:
        first = Host("first", f"{NETWORK}.1", ["unshare", *KINDS, "--map-root-user"])
        stack.callback(first.end)
        if not first.works:
            pytest.skip("namespaces are not allowed here")
        second = Host("second", f"{NETWORK}.2", [*first.entry[:2], "--user", first.entry[-1], "unshare", *KINDS[1:]])
        stack.callback(second.end)
        try:
            first.ip(*f"link add cable type veth peer name cable netns {second._init.pid}".split())
            for host in (first, second):
                host.ip("addr", "add", f"{host.address}/24", "dev", "cable")
                host.ip("link", "set", "cable", "up")
        except subprocess.CalledProcessError:
            pytest.skip("a network between namespaces is not allowed here")
        yield first, second
