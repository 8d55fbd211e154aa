"""The random generators of Python, NumPy and torch: seeded, saved in checkpoints, restored."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_generators(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch; `seed` is at least 0."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def generator_states(device: torch.device) -> dict[str, Any]:
    """States of the generators of Python, NumPy and torch, as numbers, strings, lists and tensors."""
    version, words, gauss = random.getstate()
    numpy = np.random.get_state()
    state = {
        "python": [version, torch.tensor(words), gauss],
        "numpy": [numpy[0], torch.from_numpy(numpy[1].astype(np.int64)), *numpy[2:]],
        "torch": torch.get_rng_state(),
    }
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_generators(state: dict[str, Any], device: torch.device) -> None:
    """Restore generator_states(); KeyError, TypeError, ValueError, AttributeError or RuntimeError if it is damaged."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """A context that restores the generators at its end, whatever is drawn inside."""
    states = generator_states(device)
    try:
        yield
    finally:
        set_generators(states, device)
