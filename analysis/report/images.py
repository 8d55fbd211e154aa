"""Pictures that runs have left, within a page: views of a first batch, and sheets of what looks like the tail."""

import base64
from pathlib import Path
from typing import NamedTuple

from analysis.report.markup import Html, scrolling, tag
from analysis.table import Table
from methods import choose, label_of
from run.names import VIEWS
from utils.errors import InputError
from utils.files import read_file

SHEET = "_sheet.png"  # how the names of python -m tail's sheets end
LARGEST = 1 << 24  # bytes of a picture
WIDE = 140  # pixels of the page for the views of a method
_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


class Picture(NamedTuple):
    """A PNG file: as a data: address, and its pixels."""

    address: str
    width: int
    height: int

    def image(self, alternative: str, zoom: float, class_: str) -> Html:
        """Args: alternative: text in its place. zoom: pixels of the page for one of the picture."""
        size = {"width": round(self.width * zoom), "height": round(self.height * zoom)}
        return tag("img", src=self.address, alt=alternative, class_=class_, **size)


def read_picture(path: Path) -> Picture | None:
    """A PNG file; None where there is none, or another kind of file."""
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
    found: dict[str, Html] = {}
    for table in tables:
        for method, row in table.rows.items():
            for n, (pretrained, _) in row.folders.items():
                if method not in found and (picture := read_picture(pretrained / VIEWS)):
                    what = f"{method}, split {n}" if n else method
                    told = f"Views of the first images of the first batch of {what}: a row for each image."
                    image = picture.image(told, _zoom(picture.width), "views")
                    found[method] = tag("figure", image, tag("figcaption", what), class_="card")
    return list(found.values())


def _zoom(width: int) -> float:
    """What is small is enlarged by a whole number, what is large made smaller."""
    return WIDE / width if width > WIDE else WIDE // max(width, 1)


def sheets(tables: list[Table]) -> list[Html]:
    """A figure for each sheet in tail_DATASET/METHOD beside the checkpoints folders, where recipes have them."""
    found: dict[Path, Html] = {}
    for table in tables:
        for name in dict.fromkeys(filter(None, (table.wanted.dataset, table.dataset.name))):
            of = {path: _label(path.parent.name) for path in (table.wanted.root / f"tail_{name}").glob(f"*/*{SHEET}")}
            known = [path for path in sorted(of) if of[path] in table.rows and path not in found]
            for path in sorted(known, key=lambda path: table.methods.index(of[path])):
                if picture := read_picture(path):
                    found[path] = _sheet(path, of[path], picture)
    return list(found.values())


def _label(folder: str) -> str:
    try:
        return label_of(choose(folder).name)
    except InputError:
        return ""


def _sheet(path: Path, label: str, picture: Picture) -> Html:
    score = path.name.removesuffix(SHEET)
    told = f"{label}: the images with the highest and the lowest {score} scores, class group and class below each."
    image = picture.image(told, 1000 / max(picture.width, 1), "sheet")
    caption = tag("figcaption", tag("strong", f"{label}, {score}"), " ", _of(path.with_name("tail.txt")))
    return tag("figure", scrolling(image, f"{label}, {score}"), caption)


def _of(path: Path) -> str:
    """What a sheet is of, by the first two lines of tail.txt."""
    try:
        lines = read_file(path, 1 << 20).decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "; ".join(line for line in lines[:2] if line)
