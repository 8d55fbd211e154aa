"""Small images of files, decoded once: an array in memory, or a memory-mapped file that the next run uses, too."""

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

AT_ONCE = 1024  # images that are decoded before they are written


class Decoded(NamedTuple):
    """images [N, S, S, 3] uint8; bad: number -> message of those that could not be read, which are black."""

    images: np.ndarray
    bad: dict[int, str]


def square(image: Image.Image, size: int) -> np.ndarray:
    """The middle of an image [S, S, 3] uint8: its shorter side is resized to S pixels, where it has not as many."""
    if image.size != (size, size):
        scale = size / min(image.size)
        image = image.resize([max(size, round(side * scale)) for side in image.size], Image.Resampling.BICUBIC)
        left, top = ((side - size) // 2 for side in image.size)
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image)


def squares(images: np.ndarray, size: int) -> np.ndarray:
    """`square` of each image [N, H, W, 3] uint8: [N, S, S, 3]; the images themselves where they are S x S pixels."""
    if images.shape[1:3] == (size, size):
        return images
    return np.stack([square(Image.fromarray(image), size) for image in images])


def decode(
    files: ImageFiles, size: int, show: bool, folder: Path | None = None, disk: bool = False, keep_bad: bool = True
) -> Decoded:
    """All images of a list at S x S pixels.

    Args:
        files: as PIL images. show: a bar on a terminal. folder: where a memory-mapped file of them is, or is made;
            None: in memory, or with `disk` in a file without a name, which is gone when the program ends.
        keep_bad: off, a file is made only where all images are whole.

    Raises:
        InputError: there is no room for them.
    """
    shape = (len(files), size, size, 3)
    if folder is None:
        try:
            images = _without_a_name(shape) if disk else np.empty(shape, np.uint8)
        except MemoryError as error:
            raise InputError(f"{len(files):,} images of {size} pixels do not fit into the memory") from error
        return Decoded(images, dict(_fill(images, files, show)))
    path = folder / f"images_{size}_{_digest(files)}.npy"
    with locked(folder):  # processes that run together need it at the same time
        bad_ones = path.with_suffix(".bad")
        if not path.exists():
            temporary = path.with_suffix(".part")
            try:
                images = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
                with temporary.open("r+b") as file:  # a page that finds no room would end the process by a bus error
                    os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
                bad = dict(_fill(images, files, show))
                if bad and not keep_bad:
                    return Decoded(images, bad)
                images.flush()
                bad_ones.write_text("".join(f"{number} {message}\n" for number, message in bad.items()), "utf-8")
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        lines = bad_ones.read_text("utf-8").splitlines()
    bad = {int(number): message for number, _, message in (line.partition(" ") for line in lines)}
    return Decoded(np.load(path, mmap_mode="r"), bad)


def _without_a_name(shape: tuple[int, ...]) -> np.ndarray:
    with tempfile.TemporaryFile() as file:
        os.posix_fallocate(file.fileno(), 0, math.prod(shape))
        return np.memmap(file, np.uint8, "r+", shape=shape)


def _fill(images: np.ndarray, files: ImageFiles, show: bool) -> Iterator[tuple[int, str]]:
    """Write the images of all files; gives numbers and messages of the bad ones."""
    size = images.shape[1]

    def one(number: int) -> str:
        try:
            images[number] = square(files[number], size)
        except BadImage as error:
            images[number] = 0
            return str(error)
        return ""

    # Pillow decodes without holding Python's lock.
    with ThreadPoolExecutor(cores()) as pool, tqdm(desc="decoding images", total=len(files), unit=" images", delay=1,
                                                   disable=None if show else True) as bar:  # fmt: skip
        for start in range(0, len(files), AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, len(files)))
            for number, message in zip(numbers, pool.map(one, numbers), strict=True):
                if message:
                    yield number, message
            bar.update(len(numbers))


def _digest(files: ImageFiles) -> str:
    """What tells the images of a list from others: their names, sizes and the times of their last changes."""
    found = hashlib.sha256(files.identity)
    for name in files.names:
        try:
            status = (files.root / name).stat()
            found.update(b"%d %d\n" % (status.st_size, status.st_mtime_ns))
        except OSError:
            found.update(b"-\n")
    return found.hexdigest()[:16]
