"""Check the installation and the machine: versions, processor, GPU, shared memory, disk.

    python -m run.doctor

A line for each: `ok`, `warning` or `error`, what was looked at, what was found. Exit code 0, or 2 with an error.
To check a training command, run the training script itself with --check.
Nothing but the standard library is imported until it is known to be installed.
"""

import platform
import re
import shutil
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path

from run.flags import AUTO_PRECISION, OTHER_FOLDER
from utils.cli import Parser
from utils.errors import InputError, run_main
from utils.files import PROJECT
from utils.text import size

SHARED_MEMORY = Path("/dev/shm")
LITTLE = 2**30  # bytes of disk or shared memory below which a warning is due


class Report:
    """Prints lines `ok|warning|error  subject  detail`; `counts` has the number of lines of each level.

    Args:
        quiet: print no lines of level ok.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        self.quiet = quiet

    def line(self, level: str, subject: str, detail: str) -> None:
        """Count and print one line of level ok, warning or error."""
        self.counts[level] += 1
        if level == "ok" and self.quiet:
            return
        print(f"{level:<9}{subject:<14}{detail}", flush=True)


def check_packages(report: Report, requirements: Path, level: str) -> None:
    """Compare the installed packages with the exact pins of a requirements file.

    Args:
        level: of the line on missing packages; other versions are a warning.
    """
    pins = dict(re.findall(r"^([\w-]+)==(\S+)", requirements.read_text(), re.M))
    installed = {name: _version(name) for name in pins}
    if missing := [name for name, version in installed.items() if not version]:
        fix = f"`python -m pip install -r {requirements.name}`"
        report.line(level, "packages", f"{', '.join(missing)} not installed: {fix}")
    elif others := [f"{name} {installed[name]}, not {pin}" for name, pin in pins.items() if installed[name] != pin]:
        report.line("warning", "packages", f"not as in {requirements.name}, nor tested: {'; '.join(others)}")
    else:
        report.line("ok", "packages", f"{len(pins)} as in {requirements.name}")


def _version(package: str) -> str:
    """The version of an installed package, without the build's name (`+cu130`); '' where it is not installed."""
    try:
        return metadata.version(package).split("+")[0]
    except metadata.PackageNotFoundError:
        return ""


def check_imports(report: Report) -> bool:
    """Whether the compiled packages import: a system library may be missing, or torchvision not fit torch."""
    try:
        import cv2  # noqa: F401
        import sklearn  # noqa: F401
        import torch
        import torchvision

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:  # whatever a broken installation raises
        report.line("error", "packages", f"{type(error).__name__}: {' '.join(str(error).split())}")
        return False
    return True


def check_devices(report: Report) -> None:
    """The processor, the GPUs, and whether a convolution runs in each precision."""
    import torch

    from run.compute import DTYPES, has_bf16
    from utils.distributed import cores

    threads = f"{cores()} cores, {torch.get_num_threads()} threads"
    report.line("ok", "processor", f"{torch.backends.cpu.get_cpu_capability()}, {threads}")
    device = torch.device("cuda" if check_gpus(report) else "cpu")
    native = has_bf16(device)
    for name, dtype in DTYPES.items():
        note = {"bf16": "native" if native else "not native, hence slow", "fp16": "scaled gradients"}.get(name, "")
        auto = AUTO_PRECISION if name == ("bf16" if native else "fp32") else ""
        try:
            _convolution(device, dtype)
        except Exception as error:  # whatever a driver or a kernel raises
            report.line("error", name, f"{type(error).__name__}: {' '.join(str(error).split())}")
        else:
            report.line("ok", name, ", ".join(filter(None, ["a convolution and its gradient run", note, auto])))


def check_gpus(report: Report) -> int:
    """Report each GPU, or that there is none; returns how many can be used."""
    import torch

    from run.gpu import check_gpu, visible_gpus

    try:
        count = visible_gpus()
    except InputError as error:
        report.line("error", "GPU", str(error))
        return 0
    usable = 0
    for i in range(count):
        try:
            check_gpu(i)
        except InputError as error:
            report.line("error", "GPU", str(error))
            continue
        usable += 1
        name, (free, total) = torch.cuda.get_device_name(i), torch.cuda.mem_get_info(i)
        report.line("ok", "GPU", f"{i}: {name}, {size(free)} of {size(total)} free")
    if not count:
        report.line("ok", "GPU", "none: networks run on the processor")
    return usable


def _convolution(device: "torch.device", dtype: "torch.dtype") -> None:  # noqa: F821 - torch may not be installed
    import torch

    layer = torch.nn.Conv2d(3, 8, 3).to(device)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        layer(torch.ones(2, 3, 8, 8, device=device)).float().sum().backward()
    if not torch.isfinite(layer.weight.grad).all():
        raise ArithmeticError("the gradient of a convolution is not finite")


def check_space(report: Report, subject: str, folder: Path, advice: str) -> None:
    """Report the free space where `folder` is; below LITTLE it is a warning with advice."""
    free = shutil.disk_usage(folder).free
    level, more = ("ok", "") if free >= LITTLE else ("warning", f": {advice}")
    report.line(level, subject, f"{size(free)} free{more}")


def main() -> None:
    report = Report(Parser(__doc__).parse_args().quiet)
    recent = sys.version_info >= (3, 11, 4)  # the first one with tarfile's data filter
    needed = "" if recent else ": 3.11.4 or newer is needed"
    report.line("ok" if recent else "error", "python", f"{platform.python_version()}{needed}")
    check_packages(report, PROJECT / "requirements.txt", "error")
    check_packages(report, PROJECT / "requirements-dev.txt", "warning")
    if not report.counts["error"] and check_imports(report):
        check_devices(report)
    if SHARED_MEMORY.is_dir():
        check_space(report, "shared memory", SHARED_MEMORY, "loaders' workers pass batches through it")
    check_space(report, "disk", Path.cwd(), f"checkpoints may not fit: free some, or {OTHER_FOLDER}")
    errors, warnings = report.counts["error"], report.counts["warning"]
    print(f"{report.counts.total()} checks: {errors} error(s), {warnings} warning(s)")
    if errors:
        sys.exit(2)


if __name__ == "__main__":
    sys.exit(run_main(main))
