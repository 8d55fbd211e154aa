"""The GPUs of this machine, and why this build of PyTorch cannot compute on one, in one line."""

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
LEAST = 2**29  # bytes that must be free: the workspaces of CUDA's libraries take about as much
# In CUDA's error where there is no GPU to begin with: no driver, a PyTorch without CUDA, no card.
NO_GPU = ("Found no NVIDIA driver", "not compiled with CUDA", "No CUDA GPUs are available", "libcudart")


def visible_gpus() -> int:
    """The number of GPUs that this process may use: 0 where the machine has none, or none is to be used.

    Raises:
        InputError: CUDA_VISIBLE_DEVICES names GPUs that are not there, or there are some and CUDA does not start, for
            example as the driver is too old for this PyTorch. Silently training on the CPU would take days.
    """
    named = named_gpus(os.environ.get(VARIABLE))
    if named == []:
        return 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch would warn of what the error below says
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        reason = "" if count else _why_none()
    if reason and not any(words in reason for words in NO_GPU):
        advice = f"update the driver, install a PyTorch that fits it, or choose the CPU by {VARIABLE}=''"
        raise InputError(f"CUDA does not start: {reason}: {advice}")
    if named is not None and len(named) > count:
        problem = f"{VARIABLE}={','.join(named)} names {len(named)} GPU(s), of which this machine has {count}"
        raise InputError(f"{problem}: name others, unset it, or choose the CPU by {VARIABLE}=''")
    return count


def named_gpus(text: str | None) -> list[str] | None:
    """GPUs that CUDA_VISIBLE_DEVICES names: None where it is not set, [] where no GPU is to be used.

    As for CUDA, an empty word, `-1` or `NoDevFiles` ends the list.
    """
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    end = next((i for i, word in enumerate(words) if word in ("", "-1", "NoDevFiles")), len(words))
    return words[:end]


def _why_none() -> str:
    """Why CUDA has no GPU, the first sentence of PyTorch's error; '' if there is none."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).strip().splitlines()[0].partition(". ")[0].rstrip(".")
    return ""


def check_gpu(number: int) -> None:
    """Check that this process can compute on a GPU.

    Args:
        number: below visible_gpus().

    Raises:
        InputError: this PyTorch has no kernels for it, it has no memory left, or another process uses it exclusively.
    """
    each = number_from_environment("WORLD_SIZE", 1) > 1  # each process prints the error of its own GPU
    try:
        name, capability = torch.cuda.get_device_name(number), torch.cuda.get_device_capability(number)
        kernels = torch.cuda.get_arch_list()
        if not runs_on(capability, kernels):
            version = ".".join(map(str, capability))
            problem = f"GPU {number}, {name}, is of compute capability {version}, and this PyTorch has kernels for"
            raise InputError(f"{problem} {', '.join(kernels)}: install one that has them, or {ANOTHER}", each)
        free, total = torch.cuda.mem_get_info(number)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"GPU {number} cannot be used: {reason}: {ANOTHER}", each) from error
    if free < LEAST:
        problem = f"GPU {number}, {name}, has {size(free)} of {size(total)} free, another program uses it"
        raise InputError(f"{problem}: end that, or {ANOTHER}", each)


def runs_on(capability: tuple[int, int], kernels: Sequence[str]) -> bool:
    """Whether kernels for some architectures, as torch.cuda.get_arch_list names them, run on a compute capability.

    `sm_86` runs on 8.6 and later minor versions of 8; `sm_90a` on 9.0 alone; `compute_80` is compiled for any version
    from 8.0 on (CUDA C++ Programming Guide, "Application Compatibility"). Names of another form are ignored; where
    there are no others, the answer is True.
    """
    matches = [re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", name) for name in kernels]
    return not any(matches) or any(_runs_on(capability, match) for match in matches if match)


def _runs_on(capability: tuple[int, int], match: re.Match[str]) -> bool:
    """Whether a kernel runs on a compute capability; match: of (sm|compute), major and minor version, suffix."""
    built_for = int(match[2]), int(match[3])
    if match[4] == "a":
        return built_for == capability
    same_major, compiled_later = built_for[0] == capability[0], match[1] == "compute" and not match[4]
    return built_for <= capability and (same_major or compiled_later)
