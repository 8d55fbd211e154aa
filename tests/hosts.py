"""Two hosts on one machine, joined by a cable: namespaces of the kernel for users, networks and host names.

Each has an address, a loopback and a host name of its own, which the other one cannot resolve, and the same files. They
need no root where the kernel lets everybody make user namespaces. What they are made of ends with their last process:
nothing has a name outside, so nothing can be left behind.
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

NETWORK = "10.77.9"  # of the cable alone
KINDS = ["--user", "--net", "--uts"]
WAITING = ["sh", "-c", 'hostname "$0" && ip link set lo up && echo ready && exec cat']


class Host:
    """A host, which lives until `end`; `address` is its own on the cable."""

    def __init__(self, name: str, address: str, words: list[str]) -> None:
        self.address = address
        # Its input ends with this process, and it does with its input.
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        self._init = subprocess.Popen([*words, *WAITING, name], start_new_session=True, **pipes)
        self.works = self._init.stdout.readline() == "ready\n"
        self._network = _network_of(self._init.pid) if self.works else None

    @property
    def entry(self) -> list[str]:
        """The words before a command that is to run here."""
        return ["nsenter", f"--target={self._init.pid}", *KINDS, "--preserve-credentials"]

    def start(self, words: list[str], cwd: Path, **env: str) -> subprocess.Popen:
        """A command on this host; its output and errors are pipes of text, and tests.warm's Python runs here too."""
        variables = environment(WARM_NAMESPACES=str(self._init.pid), **env)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([*self.entry, *map(str, words)], cwd=cwd, env=variables, **pipes)

    def ip(self, *words: str) -> None:
        """The program ip on this host."""
        subprocess.run([*self.entry, "ip", *words], check=True, capture_output=True)

    def processes(self) -> list[int]:
        """All processes that run here."""
        numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
        return [number for number in numbers if self.works and _network_of(number) == self._network]

    def kill(self) -> None:
        """Kill all that runs here, as the kernel does at a crash; the host and its network remain."""
        deadline = time.monotonic() + 10
        while (running := [n for n in self.processes() if n != self._init.pid]) and time.monotonic() < deadline:
            for number in running:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            time.sleep(0.02)

    def end(self) -> None:
        """The host with all that runs on it, and its end of the cable."""
        self.kill()
        self._init.kill()
        self._init.communicate()


def _network_of(process: int) -> str | None:
    """The network namespace of a process; None of one that has ended, or is another user's."""
    try:
        return str(Path(f"/proc/{process}/ns/net").readlink())
    except OSError:
        return None


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts; the test is skipped where they are not allowed."""
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
