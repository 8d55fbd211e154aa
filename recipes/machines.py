"""A run on several machines: their meeting place, the error where they do not meet, and that where one is lost.

torchrun takes a machine's address from its name, which often stands for the loopback; here the address is that of the
network which leads to the meeting place. torchrun notices that a machine is gone when its connections are closed, which
does not happen where the power or the cable is cut; here the machines send heartbeats.
"""

import argparse
import contextlib
import fcntl
import ipaddress
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import NamedTuple, Never
from urllib.parse import urlsplit

from torch.distributed import TCPStore

from utils.errors import UNSAVED, InputError

MEETING_PORT = 29400  # torchrun's, where none is given
MEETING_TIME = 600  # seconds from a machine's start until all have met, torchrun's join_timeout
SILENCE = 60  # seconds without a heartbeat after which a machine is lost
BEAT = 2.0  # seconds between two heartbeats
ANSWER = 5.0  # seconds for an answer of the store, on the machine that keeps the heartbeats
READ_TIME = 300  # seconds that torchrun waits for an answer: more than SILENCE, so that the lost machine is reported
TRY = 10.0  # seconds for one attempt to reach the meeting place
LATE = 15.0  # seconds in which torchrun itself may notice that the time to meet is over
ADDRESS_OF_INTERFACE = 0x8915  # Linux's SIOCGIFADDR
ALL_PORTS = "see that no firewall keeps the machines apart, on any port"
GO_ON = "when the machines reach each other again, resume the run on all of them"


class Place(NamedTuple):
    """The meeting place. name, port: as given. address: of the name. local: this machine's address on the way there."""

    name: str
    port: int
    address: str
    local: str

    def __str__(self) -> str:
        return f"{self.name}:{self.port}"

    @property
    def here(self) -> bool:
        """Whether the place is on this machine."""
        return self.local == self.address


class Meeting:
    """The time that machines have to meet; where it is over, or SIGTERM comes before, this process ends.

    Until `end_wait`, a pending SIGTERM ends this process although it is blocked: recipes.launch blocks it until the
    processes run.

    Args:
        place: where they meet. seconds: from now.

    `reported`: whether a process of the run has printed why it ended.
    """

    reported = False

    def __init__(self, place: Place, seconds: float) -> None:
        self.place, self.seconds, self.end = place, seconds, time.monotonic() + seconds
        advice = f"start the same recipe on all of them, with the same meeting place; {ALL_PORTS}"
        self.timeout_message = f"the machines did not meet at {place} within {seconds:g} seconds: {advice}"
        self._met = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def end_wait(self) -> None:
        """End the watch: the machines have met, or it is known why they have not."""
        self._met.set()

    def _watch(self) -> None:
        # torchrun itself waits without a time limit to be admitted to a run that has all its machines.
        while not self._met.wait(1):
            if signal.SIGTERM in signal.sigpending():
                end_at_once("interrupted: the machines had not met", UNSAVED)
            if time.monotonic() > self.end + LATE:
                end_at_once(f"error: {self.timeout_message}")

    @property
    def left(self) -> int:
        """Whole seconds until the time is over, at least 1."""
        return max(int(self.end - time.monotonic()), 1)

    @property
    def open(self) -> bool:
        """Whether the machines have not met yet, and there is time left."""
        return not self._met.is_set() and time.monotonic() < self.end

    def wait_for_place(self) -> None:
        """Return when something answers at the place, or at once where it is on this machine.

        Raises:
            InputError: nothing answered in time.
        """
        while not self.place.here:
            try:
                socket.create_connection((self.place.address, self.place.port), timeout=min(self.left, TRY)).close()
            except OSError as error:
                if time.monotonic() >= self.end:
                    waited = f"within {self.seconds:g} seconds ({error.strerror or error})"
                    advice = f"start the recipe on that machine, too; {ALL_PORTS}"
                    raise InputError(f"nothing answered at {self.place} {waited}: {advice}") from error
                time.sleep(min(1.0, self.left))
            else:
                return


def prepare(args: argparse.Namespace) -> Meeting | None:
    """Complete torchrun's arguments about the meeting place, and wait for it; None where machines do not meet.

    GLOO_SOCKET_IFNAME, gloo's network interface, is set in the environment unless it is set already.

    Args:
        args: torchrun's; rdzv_endpoint, rdzv_conf and local_addr are changed.

    Raises:
        InputError: there is no such place, no way to it, or nothing answers there in time.
    """
    if args.rdzv_backend != "c10d" or not args.rdzv_endpoint:
        return None
    place = find(args.rdzv_endpoint)
    given = dict(pair.split("=", 1) for pair in args.rdzv_conf.split(",") if "=" in pair)
    try:
        seconds = float(given.get("join_timeout", MEETING_TIME))
    except ValueError as error:
        raise InputError(f"join_timeout={given['join_timeout']} is no number of seconds") from error
    _choose_network(place)
    meeting = Meeting(place, seconds)
    meeting.wait_for_place()
    # With 'localhost', several torchruns on one machine agree themselves which of them opens the port.
    args.rdzv_endpoint = f"localhost:{place.port}" if place.here else f"{place.address}:{place.port}"
    args.local_addr = args.local_addr or (place.name if _is_loopback(place.local) else place.local)
    remote = {} if place.here else {"is_host": "0"}
    conf = {"read_timeout": READ_TIME, **remote, **given, "join_timeout": meeting.left}
    args.rdzv_conf = ",".join(f"{name}={value}" for name, value in conf.items())
    return meeting


def find(endpoint: str) -> Place:
    """The meeting place HOST:PORT, its address, and this machine's address on the way to it.

    Raises:
        InputError: it is no HOST:PORT, no machine has that name, or no way leads there.
    """
    try:
        parts = urlsplit(f"//{endpoint}")
        name, port = parts.hostname, parts.port or MEETING_PORT
    except ValueError:
        name = None
    if not name or parts.netloc != endpoint or "@" in endpoint:
        raise InputError(f"the machines cannot meet at '{endpoint}': it is no HOST:PORT")
    try:
        family, _, _, _, address = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)  # sends nothing
            local = probe.getsockname()[0]
    except socket.gaierror as error:
        raise InputError(
            f"the machines cannot meet at {endpoint}: {name} is not known here ({error.strerror})"
        ) from error
    except OSError as error:
        raise InputError(f"the machines cannot meet at {endpoint}: no way leads there ({error.strerror})") from error
    return Place(name, port, address[0], local)


def _choose_network(place: Place) -> None:
    """Let gloo use the network that leads to the meeting place; by default it uses that of the machine's name."""
    addresses = {name: address for _, name in socket.if_nameindex() if (address := _address_of(name))}
    if place.name in ("localhost", place.address) and _is_loopback(place.address):
        return  # all processes are on this machine
    if _is_loopback(place.local):
        # On some systems a machine's own name stands for its loopback; the others reach it by another network.
        interfaces = [name for name, address in addresses.items() if not _is_loopback(address)]
    else:
        interfaces = [name for name, address in addresses.items() if address == place.local]
    if len(interfaces) == 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interfaces[0])


def _address_of(interface: str) -> str:
    """IPv4 address of a network interface; '' if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket, contextlib.suppress(OSError):
        answer = fcntl.ioctl(any_socket, ADDRESS_OF_INTERFACE, struct.pack("256s", interface.encode()[:15]))
        return socket.inet_ntoa(answer[20:24])
    return ""


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


class Heartbeats:
    """Signs of life that the machines of a run exchange while its processes run, by a TCPStore at MASTER_ADDR.

    Machines are numbered from 0, as torchrun's GROUP_RANK. Only time in which this process runs counts as silence, so
    no machine is lost where all are suspended for a while.

    Args:
        name: of this machine in the messages of the others. environment: that of one of its processes, by torchrun.
        lost: called once, with a line for the user, when another machine is lost. silence: seconds without a heartbeat
            after which it is.
    """

    def __init__(
        self, name: str, environment: Mapping[str, str], lost: Callable[[str], None], silence: float = SILENCE
    ) -> None:
        self.name, self.environment, self.lost, self.silence = name, environment, lost, silence
        self.rank, count = int(environment["GROUP_RANK"]), int(environment["GROUP_WORLD_SIZE"])
        self.quiet = {other: 0.0 for other in range(count) if other != self.rank}  # seconds
        self.last = dict.fromkeys(self.quiet, b"")
        self.stopped, self.last_word = threading.Event(), ""
        # Two threads, since a store whose machine is gone may never answer.
        self.threads = [threading.Thread(target=run, daemon=True) for run in (self._talk, self._watch)]
        if self.quiet:
            for thread in self.threads:
                thread.start()

    def stop(self, done: bool) -> None:
        """Send no more heartbeats; `done`: this machine's processes have done their work, so that it is not lost."""
        self.last_word = "done" if done else ""
        self.stopped.set()
        if self.quiet:
            self.threads[0].join(ANSWER)

    def _talk(self) -> None:
        store, beats = None, 0
        with contextlib.suppress(RuntimeError):
            while not self.stopped.is_set():
                with contextlib.suppress(RuntimeError):  # the store does not answer: all others are silent
                    store, beats = store or self._store(), beats + 1
                    self._exchange(store, f"{self.name} {beats}")
                self.stopped.wait(BEAT)
            if store and self.last_word:
                self._exchange(store, self.last_word)

    def _watch(self) -> None:
        before = time.monotonic()
        while not self.stopped.wait(BEAT):
            now = time.monotonic()
            for other in self.quiet:
                self.quiet[other] += min(now - before, 3 * BEAT)  # without the time in which this process was suspended
            before = now
            if lost := [other for other, seconds in self.quiet.items() if seconds >= self.silence]:
                self.lost(self._message(lost))
                return

    def _exchange(self, store: TCPStore, word: str) -> None:
        store.set(self._key(self.rank), word)
        for other in self.quiet:
            key = self._key(other)
            if store.check([key]) and (heard := store.get(key)) != self.last[other]:
                self.last[other], self.quiet[other] = heard, 0.0
            if self.last[other] == b"done":
                self.quiet[other] = 0.0

    def _store(self) -> TCPStore:
        address, port = self.environment["MASTER_ADDR"], int(self.environment["MASTER_PORT"])
        return TCPStore(address, port, is_master=False, timeout=timedelta(seconds=ANSWER))

    def _key(self, rank: int) -> str:
        return f"recipes.machines/{self.environment.get('TORCHELASTIC_RESTART_COUNT', 0)}/{rank}"

    def _message(self, lost: list[int]) -> str:
        names = [self.last[rank].decode().split(" ")[0] or f"{rank + 1} of {len(self.quiet) + 1}" for rank in lost]
        all_known = all(self.last[rank] for rank in lost)
        advice = GO_ON if all_known else ALL_PORTS  # one that was never heard of is behind a firewall, perhaps
        reason = f"nothing was heard of machine {', '.join(names)} for {self.silence:g} seconds"
        return f"lost the other machines: {reason}; {advice}"


def end_at_once(line: str, code: int = 2) -> Never:
    """End this process with a line on standard error and an exit code, also while other threads wait."""
    print(line, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(code)
