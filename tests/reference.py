"""Reads the reference figures of the published procedure, and makes their weights and images (see their README)."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).resolve().parent / "reference_figures"


def figures() -> dict:
    """Case -> its numbers."""
    return json.loads((FOLDER / "figures.json").read_text())


def arrays(case: str) -> dict[str, torch.Tensor]:
    """The tensors of a case, by their names within it."""
    with np.load(FOLDER / "figures.npz") as archive:
        return {k[len(case) + 1 :]: torch.from_numpy(archive[k]) for k in archive if k.startswith(case + "/")}


def tensor_of(key: str, shape: list[int]) -> torch.Tensor:
    """The deterministic tensor that the figures' README defines for a key of a state dict."""
    r = np.random.RandomState(zlib.crc32(key.encode()) & 0x7FFFFFFF)
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if key == "module.normalize.mean":
        return torch.tensor([0.485, 0.456, 0.406])
    if key == "module.normalize.std":
        return torch.tensor([0.229, 0.224, 0.225])
    if key.endswith("running_var"):
        value = r.random_sample(shape) + 0.5
    elif key.endswith("running_mean"):
        value = 0.1 * r.standard_normal(shape)
    elif len(shape) == 1 and key.endswith("weight"):
        value = 1 + 0.1 * r.standard_normal(shape)
    elif len(shape) == 1:
        value = 0.1 * r.standard_normal(shape)
    else:
        value = r.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(value, np.float32))


def state_of(case: dict) -> dict[str, torch.Tensor]:
    """The state dict of a case, with the keys of the authors' checkpoints."""
    return {key: tensor_of(key, shape) for key, shape in case["keys"]}


def images_of(seed: int, shape: list[int]) -> torch.Tensor:
    """Random images in [0, 1], as the README defines them."""
    return torch.from_numpy(np.random.RandomState(seed).random_sample(shape).astype(np.float32))


def relative_error(ours: torch.Tensor, reference: torch.Tensor) -> float:
    """|ours - reference| / |reference|, in the L2 norm."""
    return float((ours.double() - reference.double()).norm() / reference.double().norm())
