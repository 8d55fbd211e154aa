"""The processor, as Linux tells it."""

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def processor() -> str:
    """The processor's model, where the system tells it; else its kind, such as arm64."""
    return _told("model name") or platform.processor() or platform.machine()


def processor_flags() -> set[str]:
    """What the processor can, in the kernel's words such as avx512_bf16; none where the system does not tell."""
    return set(_told("flags").split())


def _told(name: str) -> str:
    """The first value of this name; '' for none."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return ""
    values = (value.strip() for key, _, value in (line.partition(":") for line in lines) if key.strip() == name)
    return next(values, "")
