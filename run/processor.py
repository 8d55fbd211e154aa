"""The processor's name and abilities, from Linux's /proc/cpuinfo."""

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def processor() -> str:
    """The model of the processor; where the system does not name it, its architecture, such as arm64."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def processor_flags() -> set[str]:
    """Abilities of the processor, as the kernel names them, such as avx512_bf16; empty where it does not list them."""
    return set(_cpuinfo("flags").split())


def _cpuinfo(name: str) -> str:
    """The first value of this name in /proc/cpuinfo; '' for none."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return ""
    values = (value.strip() for key, _, value in (line.partition(":") for line in lines) if key.strip() == name)
    return next(values, "")
