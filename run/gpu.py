"""The GPUs of this machine, and what keeps this build of PyTorch from computing on one, told in one line."""

import os
import re
import warnings
from collections.abc import Sequence

import torch

from utils.distributed import number_from_environment
from utils.errors import InputError
from utils.text import size

VARIABLE = "CUDA_VISIBLE_DEVICES"
ANOTHER = f"choose another GPU by {VARIABLE}, or the CPU by {VARIABLE}=''"
LEAST = 2**29  # bytes that must be free: the libraries' own workspaces take about as much
# What CUDA answers where there is no GPU to begin with: no driver, no part for CUDA in this PyTorch, no card.
NO_GPU = ("Found no NVIDIA driver", "not compiled with CUDA", "No CUDA GPUs are available", "libcudart")


def visible_gpus() -> int:
    """GPUs that this process may use: 0 where the machine has none, or none is to be used.

    Raises:
        InputError: CUDA_VISIBLE_DEVICES names GPUs that are not there, or there are some and CUDA does not start: the
            driver is too old for this PyTorch, say. To train on the CPU instead would take days, and say nothing.
    """
    named = named_gpus(os.environ.get(VARIABLE))
    if named == []:
        return 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns of what is told below
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        reason = "" if count else _why_none()
    if reason and not any(words in reason for words in NO_GPU):
        advice = f"update the driver, install a PyTorch that fits it, or choose the CPU by {VARIABLE}=''"
        raise InputError(f"CUDA does not start: {reason}: {advice}")
    if named is not None and len(named) > count:
        told = f"{VARIABLE}={','.join(named)} names {len(named)} GPU(s), of which this machine has {count}"
        raise InputError(f"{told}: name others, unset it, or choose the CPU by {VARIABLE}=''")
    return count


def named_gpus(text: str | None) -> list[str] | None:
    """What CUDA_VISIBLE_DEVICES names: None where it is not set, [] where no GPU is to be used; `-1` ends the list."""
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    ends = next((i for i, word in enumerate(words) if word in ("", "-1", "NoDevFiles")), len(words))
    return words[:ends]


def _why_none() -> str:
    """Why CUDA has no GPU, the first sentence of what PyTorch says; '' if it does not say."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).strip().splitlines()[0].partition(". ")[0].rstrip(".")
    return ""


def check_gpu(number: int) -> None:
    """Look whether this process can compute on a GPU, one of visible_gpus().

    Raises:
        InputError: this PyTorch has no kernels for it, it has no memory left, or another process has it for itself.
    """
    each = number_from_environment("WORLD_SIZE", 1) > 1  # has a GPU of its own
    try:
        name, capability = torch.cuda.get_device_name(number), torch.cuda.get_device_capability(number)
        kernels = torch.cuda.get_arch_list()
        if not runs_on(capability, kernels):
            version = ".".join(map(str, capability))
            told = f"GPU {number}, {name}, is of compute capability {version}, and this PyTorch has kernels for"
            raise InputError(f"{told} {', '.join(kernels)}: install one that has them, or {ANOTHER}", each)
        free, total = torch.cuda.mem_get_info(number)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"GPU {number} cannot be used: {reason}: {ANOTHER}", each) from error
    if free < LEAST:
        told = f"GPU {number}, {name}, has {size(free)} of {size(total)} free, another program uses it"
        raise InputError(f"{told}: end that, or {ANOTHER}", each)


def runs_on(capability: tuple[int, int], kernels: Sequence[str]) -> bool:
    """Whether kernels for such architectures, as torch.cuda.get_arch_list names them, run on a compute capability.

    `sm_86` runs on 8.6 and on later ones of 8; `sm_90a` on 9.0 alone; `compute_80` is compiled on any from 8.0 on
    (CUDA C++ Programming Guide, "Application Compatibility"). Names of another form say nothing.
    """
    found = [re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", name) for name in kernels]
    return not any(found) or any(_runs_on(capability, match) for match in found if match)


def _runs_on(capability: tuple[int, int], match: re.Match[str]) -> bool:
    of = int(match[2]), int(match[3])
    if match[4] == "a":
        return of == capability
    return of <= capability and (of[0] == capability[0] or match[1] == "compute" and not match[4])
