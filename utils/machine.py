"""What utils.doctor says of the machine: packages, device, precision, free memory and disk, a line for each.

Nothing but the standard library is imported until it is known to be there.
"""

import contextlib
import io
import platform
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from utils.errors import InputError

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements.txt"
T = TypeVar("T")


class Report:
    """Lines `ok|warning|error  what  detail` on the terminal, printed as they come; `counts` of each level."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.out = sys.stdout

    def line(self, level: str, what: str, detail: object) -> None:
        """One line of level ok, warning or error."""
        self.counts[level] += 1
        print(f"{level:<9}{what:<14}{' '.join(str(detail).split())}", file=self.out, flush=True)

    def check(self, fine: bool, what: str, detail: str, otherwise: str, level: str = "error") -> None:
        """A line `ok` with the detail, or one of `level` that has also what is wrong."""
        self.line("ok" if fine else level, what, detail if fine else f"{detail}: {otherwise}")

    def attempt(self, what: str, function: Callable[..., T], *args: Any) -> T | None:
        """function(*args); None and an error line where it fails, whatever the reason. What it prints gets a line."""
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said):
                result = function(*args)
        except Exception as error:
            known = isinstance(error, InputError | OSError)
            self.line("error", what, error if known else f"{type(error).__name__}: {error}")
            result = None
        for line in said.getvalue().splitlines():
            self.line("ok", what, line)
        return result


def installation(report: Report) -> bool:
    """Python, and the packages of requirements.txt; whether all are there that a run needs."""
    report.check(sys.version_info >= (3, 11, 4), "python", platform.python_version(), "3.11.4 or newer is needed")
    needed, _, development = REQUIREMENTS.read_text().partition("# development")
    errors = report.counts["error"]
    for text, level in ((needed, "error"), (development, "warning")):
        pins = dict(re.findall(r"^([\w-]+)==(\S+)", text, re.M))
        found = {name: _version(name) for name in pins}
        others = [f"{name} {found[name]}, not {pin}" for name, pin in pins.items() if found[name] not in ("", pin)]
        if missing := [name for name in pins if not found[name]]:
            fix = "`python -m pip install -r requirements.txt`"
            report.line(level, "packages", f"{', '.join(missing)} not installed: {fix}")
        elif others:
            report.line("warning", "packages", f"not as in requirements.txt, nor tested: {'; '.join(others)}")
        else:
            first, version = next(iter(found.items()))
            report.line("ok", "packages", f"{first} {version} and {len(found) - 1} more as in requirements.txt")
    if report.counts["error"] == errors:
        report.attempt("packages", _import)
    return report.counts["error"] == errors


def size(amount: float) -> str:
    """An amount of bytes for people."""
    return f"{amount / 2**30:.2f} GiB" if amount >= 2**30 else f"{amount / 2**20:.3g} MiB"


def _version(package: str) -> str:
    """Of an installed package, without the build's name (`+cu130`); '' where there is none."""
    try:
        return metadata.version(package).split("+")[0]
    except metadata.PackageNotFoundError:
        return ""


def _import() -> None:
    """Fails where a library of the system is missing, or torchvision is of another torch than the installed one."""
    import cv2  # noqa: F401
    import sklearn  # noqa: F401
    import torch
    import torchvision

    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)


def device(report: Report, folder: Path) -> None:
    """Device, precisions, free memory, and free space of the disk that `folder` is on."""
    import torch

    from utils.compute import DTYPES, has_bf16
    from utils.distributed import cores

    kind = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    threads = f"{cores()} cores, {torch.get_num_threads()} threads"
    report.line("ok", "processor", f"{torch.backends.cpu.get_cpu_capability()}, {threads}")
    for i in range(torch.cuda.device_count() if kind.type == "cuda" else 0):
        name, (free, total) = torch.cuda.get_device_name(i), torch.cuda.mem_get_info(i)
        report.line("ok", "GPU", f"{i}: {name}, {size(free)} of {size(total)} free")
    if kind.type == "cpu":
        report.line("ok", "GPU", "none: networks run on the processor")
    native = has_bf16(kind)
    for name in DTYPES:
        note = {"bf16": "native" if native else "not native, hence slow", "fp16": "scaled gradients"}.get(name, "")
        auto = "what --precision auto takes" if name == ("bf16" if native else "fp32") else ""
        if report.attempt(name, _convolution, kind, DTYPES[name]):
            report.line("ok", name, ", ".join(filter(None, ["a convolution and its gradient run", note, auto])))
    memory(report, 0, "free memory")
    disk(report, folder, 0)


def _convolution(kind: Any, dtype: Any) -> bool:
    import torch

    layer = torch.nn.Conv2d(3, 8, 3).to(kind)
    with torch.autocast(kind.type, dtype, enabled=dtype != torch.float32):
        layer(torch.ones(2, 3, 8, 8, device=kind)).float().sum().backward()
    return bool(torch.isfinite(layer.weight.grad).all())


def memory(report: Report, needed: float, what: str = "memory", how: str = "") -> None:
    """Compare free memory with what is needed, in bytes; above nine tenths of it is a warning."""
    free = free_memory()
    if free is None:
        report.line("warning", what, f"{how}the system does not tell how much is free")
        return
    level = "error" if needed > free else "warning"
    report.check(needed <= 0.9 * free, what, f"{how}{size(free)} free", "lower the batch size or free some", level)


def free_memory() -> int | None:
    """Bytes that processes may still take: of the machine, or of this one's control group where those are fewer.

    None where the system is not Linux.
    """
    try:
        available = re.search(r"MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text())
        groups = re.findall(r"^\d+:(memory)?:/(.*)$", Path("/proc/self/cgroup").read_text(), re.M)
    except OSError:
        return None
    free = [1024 * int(available[1])] if available else []
    root = Path("/sys/fs/cgroup")
    for version1, name in groups:
        top = root / "memory" if version1 else root
        names = ("limit_in_bytes", "usage_in_bytes") if version1 else ("max", "current")
        for folder in (top / name, *(top / name).parents):
            if not folder.is_relative_to(root):
                break
            with contextlib.suppress(OSError, ValueError):  # no such file, or the word max
                limit, used = (int((folder / f"memory.{end}").read_text()) for end in names)
                cache = re.search(r"^(?:total_)?inactive_file (\d+)", (folder / "memory.stat").read_text(), re.M)
                free.append(limit - used + int(cache[1] if cache else 0))
    return max(0, min(free)) if free else None


def resident() -> int:
    """Most bytes that this process has had resident so far."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def disk(report: Report, folder: Path, needed: float, what: str = "disk", how: str = "") -> None:
    """Compare free space of the disk that `folder` is or will be on with what is needed, in bytes."""
    free = shutil.disk_usage(existing(folder)).free
    report.check(needed <= free, what, f"{how}{size(free)} free", "free some, or choose another --save-dir")


def existing(path: Path) -> Path:
    """The path, or the nearest one above it that exists."""
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
