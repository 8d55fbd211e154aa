"""Pictures that runs have written, within a page: views of a first batch, and sheets of images that look like the tail.

The sheets are those of python -m tail.
"""

import base64
from pathlib import Path
from typing import NamedTuple

from analysis.report.markup import Html, scrolling, tag
from analysis.table import Table
from methods import choose, label_of
from run.names import VIEWS
from utils.errors import InputError
from utils.files import read_file

SHEET = "_sheet.png"  # end of a sheet's file name
LARGEST = 1 << 24  # bytes of a picture
WIDTH = 140  # pixels of the page for the views of a method
_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


class Picture(NamedTuple):
    """A PNG file: its content as a data: address, and its size in pixels."""

    address: str
    width: int
    height: int

    def image(self, alternative: str, zoom: float, class_: str) -> Html:
        """An `img` element.

        Args:
            alternative: text in its place. zoom: pixels of the page per pixel of the picture.
        """
        size = {"width": round(self.width * zoom), "height": round(self.height * zoom)}
        return tag("img", src=self.address, alt=alternative, class_=class_, **size)


def read_picture(path: Path) -> Picture | None:
    """A PNG file; None where it is missing or of another kind."""
    try:
        content = read_file(path, LARGEST)
    except OSError:
        return None
    if not content.startswith(_PNG) or len(content) < 24:
        return None
    width, height = (int.from_bytes(content[i : i + 4], "big") for i in (16, 20))
    return Picture(f"data:image/png;base64,{base64.b64encode(content).decode()}", width, height)


def views(tables: list[Table]) -> list[Html]:
    """A figure for each method: the views of the first batch of the first split that has them."""
    figures: dict[str, Html] = {}
    for table in tables:
        for method, row in table.rows.items():
            for n, (pretrained, _) in row.folders.items():
                if method not in figures and (picture := read_picture(pretrained / VIEWS)):
                    caption = f"{method}, split {n}" if n else method
                    alternative = f"Views of the first images of the first batch of {caption}: a row for each image."
                    image = picture.image(alternative, _zoom(picture.width), "views")
                    figures[method] = tag("figure", image, tag("figcaption", caption), class_="card")
    return list(figures.values())


def _zoom(width: int) -> float:
    """Small views are enlarged by a whole number, large ones are reduced to WIDTH."""
    return WIDTH / width if width > WIDTH else WIDTH // max(width, 1)


def sheets(tables: list[Table]) -> list[Html]:
    """A figure for each sheet in tail_DATASET/METHOD beside the checkpoints folders, where the recipes put them."""
    figures: dict[Path, Html] = {}
    for table in tables:
        for name in dict.fromkeys(filter(None, (table.wanted.dataset, table.dataset.short_name))):
            paths = sorted((table.wanted.root / f"tail_{name}").glob(f"*/*{SHEET}"))
            labels = {path: _label(path.parent.name) for path in paths}
            new = [path for path in paths if labels[path] in table.rows and path not in figures]
            for path in sorted(new, key=lambda path: table.methods.index(labels[path])):
                if picture := read_picture(path):
                    figures[path] = _sheet(path, labels[path], picture)
    return list(figures.values())


def _label(folder: str) -> str:
    """Label of the method after which a folder is named; '' for another folder."""
    try:
        return label_of(choose(folder).name)
    except InputError:
        return ""


def _sheet(path: Path, label: str, picture: Picture) -> Html:
    score = path.name.removesuffix(SHEET)
    shows = f"{label}: the images with the highest and the lowest {score} scores, class group and class below each."
    image = picture.image(shows, 1000 / max(picture.width, 1), "sheet")
    caption = tag("figcaption", tag("strong", f"{label}, {score}"), " ", _origin(path.with_name("tail.txt")))
    return tag("figure", scrolling(image, f"{label}, {score}"), caption)


def _origin(path: Path) -> str:
    """The first two lines of tail.txt, which say what a sheet was made from; '' where there are none."""
    try:
        lines = read_file(path, 1 << 20).decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "; ".join(line for line in lines[:2] if line)
