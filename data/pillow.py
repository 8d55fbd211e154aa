"""An image file read by Pillow: its formats, what is refused, and Pillow's settings meanwhile."""

import threading
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

PUBLISHED_FORMATS = ("JPEG", "PNG")
OWN_FORMATS = (*PUBLISHED_FORMATS, "WEBP", "BMP", "GIF", "TIFF")  # of an animation, the first frame
LONGEST = 200  # largest ratio of an image's longer side to its shorter one
PROFILE = 64 * 2**20  # most bytes of an image's colour profile or text, decompressed


class _Settings:
    """`with settings:` sets Pillow and its warnings for reading; the last thread that leaves restores them.

    Both belong to the process, not to a thread: one that restored them alone would change them for the others.
    """

    def __init__(self) -> None:
        self.lock, self.readers, self.before = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            self.readers += 1
            if self.readers > 1:
                return
            self.before.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")  # such as those about unusual metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # from 89 million pixels on
            self.before.callback(setattr, PngImagePlugin, "MAX_TEXT_CHUNK", PngImagePlugin.MAX_TEXT_CHUNK)
            # A PNG whose colour profile or text has more than 1 MiB may have all its pixels.
            PngImagePlugin.MAX_TEXT_CHUNK = PROFILE

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.readers -= 1
            if not self.readers:
                self.before.close()


_READING = _Settings()


def rgb(file: Image.Image) -> Image.Image:
    """An opened image as RGB of 8 bits.

    Raises:
        OSError: it has 32 bits a pixel, whose range is unknown.
    """
    if file.mode == "F" or (file.mode == "I" and file.format != "PNG"):
        raise OSError("it has 32 bits a pixel: convert it to 8 or 16")
    if file.mode.startswith("I"):  # grey of 16 bits, which Pillow's convert would clip at 255
        return Image.fromarray((np.asarray(file) / 257 + 0.5).astype(np.uint8)).convert("RGB")
    return file.convert("RGB")


def read_image(path: Path, read: Callable[[Image.Image], Any] = rgb, formats: tuple[str, ...] = OWN_FORMATS) -> Any:
    """`read` of an opened image file. Formats are restricted because Pillow runs EPS, a program, in Ghostscript.

    Raises:
        Exception: it is missing, no plain file, damaged, or would take gigabytes of memory, decoded or resized.
    """
    if path.exists() and not path.is_file():
        raise OSError("it is no plain file")  # a pipe would never end
    with _READING:
        try:
            file = Image.open(path, formats=formats)
        except UnidentifiedImageError as error:
            raise OSError(_what_it_is(path, formats)) from error
        with file:
            # The centre crop resizes by the shorter side first: a long, narrow image would become huge.
            if max(file.size) > LONGEST * min(file.size):
                raise OSError(f"{file.width} x {file.height} pixels are too narrow")
            return read(file)


def _what_it_is(path: Path, formats: tuple[str, ...]) -> str:
    """Why Pillow cannot read a file as one of `formats`. Images from the web are often WebP files named .jpg."""
    with path.open("rb") as file:
        start = file.read(12)
    if start.startswith(b"\xff\xd8\xff"):
        return "its header is damaged"
    kind = "WebP" if start[8:] == b"WEBP" else "GIF" if start.startswith(b"GIF8") else ""
    other = "neither JPEG nor PNG" if formats == PUBLISHED_FORMATS else f"none of {', '.join(formats)}"
    return f"it is {kind or other}, whatever its name: convert it" if start else "it is empty"
