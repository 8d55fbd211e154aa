"""Small image files decoded once, into an array in memory or a memory-mapped file that later runs use, too."""

import hashlib
import math
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from data.images import BadImage, ImageFiles
from utils.distributed import cores
from utils.errors import InputError
from utils.files import locked

AT_ONCE = 1024  # images given to the decoding threads at a time


class Decoded(NamedTuple):
    """images [N, S, S, 3] uint8; bad: number -> message of those that could not be read and are black in `images`."""

    images: np.ndarray
    bad: dict[int, str]


def square(image: Image.Image, size: int) -> np.ndarray:
    """The middle square [S, S, 3] uint8 of an image after resizing its shorter side to S; an S x S image as it is."""
    if image.size != (size, size):
        scale = size / min(image.size)
        image = image.resize([max(size, round(side * scale)) for side in image.size], Image.Resampling.BICUBIC)
        left, top = ((side - size) // 2 for side in image.size)
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image)


def squares(images: np.ndarray, size: int) -> np.ndarray:
    """`square` of each image [N, H, W, 3] uint8: [N, S, S, 3]; the same array if they are S x S pixels already."""
    if images.shape[1:3] == (size, size):
        return images
    return np.stack([square(Image.fromarray(image), size) for image in images])


def decode(
    files: ImageFiles, size: int, show: bool, folder: Path | None = None, disk: bool = False, keep_bad: bool = True
) -> Decoded:
    """All images of a list at S x S pixels.

    Args:
        files: as PIL images. show: a progress bar on a terminal. folder: of the memory-mapped file, which is made if it
            is missing; None: in memory, or with `disk` in an unnamed file, which is gone when the program ends.
        keep_bad: False: the file is kept only if all images could be read.

    Raises:
        InputError: they do not fit into memory.
    """
    shape = (len(files), size, size, 3)
    if folder is None:
        try:
            images = _without_a_name(shape) if disk else np.empty(shape, np.uint8)
        except MemoryError as error:
            raise InputError(f"{len(files):,} images of {size} pixels do not fit into the memory") from error
        return Decoded(images, dict(_fill(images, files, show)))
    path = folder / f"images_{size}_{_digest(files)}.npy"
    with locked(folder):  # the processes of a run need the file at the same time, and one of them makes it
        messages_path = path.with_suffix(".bad")
        if path.exists() and any(_can_be_read(files, number) for number in _messages(messages_path)):
            path.unlink()  # a file that had no permission, say, or was on a network drive that was gone
        if not path.exists():
            temporary = path.with_suffix(".part")
            try:
                images = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
                with temporary.open("r+b") as file:  # on a full disk, writing to a mapped page is a fatal bus error
                    os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
                bad = dict(_fill(images, files, show))
                if bad and not keep_bad:
                    return Decoded(images, bad)
                images.flush()
                messages_path.write_text("".join(f"{number} {message}\n" for number, message in bad.items()), "utf-8")
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        bad = _messages(messages_path)
    return Decoded(np.load(path, mmap_mode="r"), bad)


def _messages(path: Path) -> dict[int, str]:
    """Number -> message of the images that could not be read when a memory-mapped file was made."""
    lines = path.read_text("utf-8").splitlines()
    return {int(number): message for number, _, message in (line.partition(" ") for line in lines)}


def _can_be_read(files: ImageFiles, number: int) -> bool:
    try:
        files[number]
    except BadImage:
        return False
    return True


def _without_a_name(shape: tuple[int, ...]) -> np.ndarray:
    with tempfile.TemporaryFile() as file:
        os.posix_fallocate(file.fileno(), 0, math.prod(shape))
        return np.memmap(file, np.uint8, "r+", shape=shape)


def _fill(images: np.ndarray, files: ImageFiles, show: bool) -> Iterator[tuple[int, str]]:
    """Decode all files into `images`; yields numbers and messages of the bad ones."""
    size = images.shape[1]

    def decode_into(number: int) -> str:
        try:
            images[number] = square(files[number], size)
        except BadImage as error:
            images[number] = 0
            return str(error)
        return ""

    # Threads suffice: Pillow releases Python's global interpreter lock while it decodes.
    with ThreadPoolExecutor(cores()) as pool, tqdm(desc="decoding images", total=len(files), unit=" images", delay=1,
                                                   disable=None if show else True) as bar:  # fmt: skip
        for start in range(0, len(files), AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, len(files)))
            for number, message in zip(numbers, pool.map(decode_into, numbers), strict=True):
                if message:
                    yield number, message
            bar.update(len(numbers))


def _digest(files: ImageFiles) -> str:
    """Identifies the images of a list by their names, sizes in bytes and times of last change."""
    digest = hashlib.sha256(files.identity)
    for name in files.names:
        try:
            status = (files.root / name).stat()
            digest.update(b"%d %d\n" % (status.st_size, status.st_mtime_ns))
        except OSError:
            digest.update(b"-\n")
    return digest.hexdigest()[:16]
