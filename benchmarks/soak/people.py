"""Bad input as it happens in practice: image trees that other programs have changed, checkpoints of other libraries,
a launcher's environment variables without the launcher. benchmarks/soak/cases.py calls these functions."""

import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.soak import files

LEFT = [".ipynb_checkpoints", "__MACOSX", "@eaDir", ".Trash-0", "lost+found", "images", "N10000000", "n1", "class 5"]
NUMBERS = ["", " ", "x", "-1", "1.5", "²", "0x1", "1e3", "None", "9" * 30, "\x1b[2J"]
PREFIXES = [
    "encoder_q.",
    "module.encoder_q.",
    "base_encoder.",
    "encoder.",
    "student.",
    "backbone.net.",
    "blocks.0.attn.",
]
TOPS = ["model", "net", "model_state_dict", "classy_state_dict", "teacher", "weights", "params", "ema", "module"]


def _flat(folder: Path) -> None:
    """Move all files below a folder into the folder itself."""
    for file in [path for path in folder.rglob("*") if path.is_file()]:
        file.rename(folder / file.name)
    for inner in [path for path in folder.iterdir() if path.is_dir()]:
        shutil.rmtree(inner)


def _spoil(rng: random.Random, tree: Path) -> None:
    """Change a tree as a user or another program might."""
    part = tree / rng.choice(["train", "val"])
    classes = sorted(part.iterdir())
    mistake = rng.choice(["left", "left", "gone", "flat", "empty", "file", "renamed", "case", "nested", "names"])
    if mistake == "left":
        shutil.copytree(classes[0], part / rng.choice(LEFT), dirs_exist_ok=True)
    elif mistake == "gone":
        shutil.rmtree(part)
    elif mistake == "flat":
        _flat(part)
    elif mistake == "nested":  # an archive unpacked into a folder of its name
        part.rename(tree / "inner")
        part.mkdir()
        (tree / "inner").rename(part / part.name)
    elif mistake in ("empty", "file"):
        shutil.rmtree(classes[-1])
        classes[-1].mkdir() if mistake == "empty" else classes[-1].write_bytes(b"x")
    elif mistake in ("renamed", "case"):
        name = f"{classes[1].name} " if mistake == "renamed" else classes[1].name.upper()
        classes[1].rename(part / name)
    else:
        for file in classes[2].iterdir():
            file.rename(file.with_name(f"{file.name}{rng.choice(['.txt', '.tmp', '~', '.JPEG.part'])}"))


def image_tree(rng: random.Random, folder: Path, tree: Path) -> list[str]:
    """A command with a tree of too few classes that was changed, or with a wrong folder of it."""
    shutil.copytree(tree, folder / "tree")
    _spoil(rng, folder / "tree")
    data = rng.choice(["tree"] * 4 + ["tree/train", "tree/train/n10000000", ".", "tree/val"])
    if not (folder / data).is_dir():
        data = "tree"
    if rng.random() < 0.5:
        return ["split.verify", "--dataset", "imagenet-100", "--data", data]
    dataset = rng.choice(["imagenet-100", "imagenet", "places"])
    return ["split.make_splits", "--dataset", dataset, "--data", data, "--out", "lists"]


def variables(rng: random.Random, words: list[str]) -> list[str]:
    """A right command after environment variables of a launcher with invalid values."""
    good = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "localhost"}
    bad = rng.choice(["RANK", "WORLD_SIZE", "LOCAL_RANK"])
    good |= {bad: rng.choice(NUMBERS)} if rng.random() < 0.8 else {"RANK": "3", "WORLD_SIZE": "2", "LOCAL_RANK": "3"}
    return [*(f"{name}={value}" for name, value in good.items()), *words]


def _safetensors(rng: random.Random, state: dict) -> bytes:
    header, data = {}, b""
    for name, value in state.items():
        raw = value.to(torch.float32).numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[: rng.choice([0, 9, len(data)])]


def _numpy(rng: random.Random, state: dict) -> bytes:
    buffer = io.BytesIO()
    if rng.random() < 0.5:
        np.savez(buffer, **{name: value.numpy() for name, value in state.items()})
    else:
        np.save(buffer, np.zeros(9))
    return buffer.getvalue()


def _other_file(rng: random.Random, state: dict) -> bytes:
    return rng.choice([
        b"\x89HDF\r\n\x1a\n" + rng.randbytes(400), b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        b"\n<!DOCTYPE html><html>sign in</html>", b"\x08\x08\x12\x07pytorch" + rng.randbytes(99), files.junk(rng),
    ])  # fmt: skip


def _other_content(rng: random.Random, state: dict) -> bytes:
    """A checkpoint of another library, or one of ours with an unsupported value beside the weights."""
    prefix, top = rng.choice(PREFIXES), rng.choice(TOPS)
    moved = {f"{prefix}{name}": value for name, value in state.items()}
    odd = rng.choice([np.zeros(3), Path("runs/1"), list(range(100_001)), {"a": [np.ones(2)]}, np.array(["x"]), 2**70])
    content = rng.choice([
        {top: state}, {top: moved}, {"state_dict": moved, "epoch": 3}, moved, {"state_dict": state, "history": odd},
        {"state_dict": state, "epoch": 1, "args": odd},
    ])  # fmt: skip
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def checkpoint(rng: random.Random, good: Path) -> bytes:
    """A checkpoint in another library's format, or one of ours with values that users store beside the weights."""
    makers: list[Callable[[random.Random, dict], bytes]] = [_safetensors, _numpy, _other_file, *[_other_content] * 4]
    return rng.choice(makers)(rng, torch.load(good, weights_only=True)["state_dict"])
