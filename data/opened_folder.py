"""Own images, opened: files, or small ones that are decoded once and then are images in memory."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from data.cache import Decoded, decode, squares
from data.flags import DECODED, SKIP_BAD, Views
from data.images import ImageArrays, ImageFiles, ImageList, ImageSet
from data.kept import keep
from data.loader import Batch, Transform
from data.opened import ArrayBatches, OpenedFiles
from data.sets.base import Opening
from data.sets.folder import ALL, SMALL, FolderSet
from data.tree import some
from data.views.batches import PretrainViews, ShiftedViews
from data.views.boost import Boost
from data.views.published import pretrain_transform, probe_transform
from utils.distributed import World
from utils.errors import InputError

SHARE = 4  # a quarter of the machine's memory at most is taken by images that nobody asked to be there


class OpenedFolder(OpenedFiles):
    """Own images. `dataset.cached`: they are decoded once.

    Args:
        dataset: with its tree.
    """

    dataset: FolderSet

    def __init__(self, dataset: FolderSet, opening: Opening) -> None:
        self.tree, self.opening = dataset.tree, opening
        where = "memory" if self.tree.pixels else _where(dataset, opening)
        super().__init__(replace(dataset, cached=where != "none"), str(self.tree.root))
        self.where, self._kept = where, {}

    @cached_property
    def everything(self) -> ImageList:
        """All training images: the list `all`."""
        part = self.tree.parts["train"]
        return ImageList(Path(ALL), "", "own", part.labels, paths=part.paths)

    def listed(self, name: str) -> ImageList | None:
        return self.everything if name == ALL else None

    @cached_property
    def pixels(self) -> dict[str, str] | None:
        """Of an .npz file alone: SHA-256 of its training and its test images."""
        hashes = {part: hashlib.sha256(images).hexdigest() for part, images in self.tree.pixels.items()}
        return {**hashes, "source": "own"} if hashes else None

    @property
    def told(self) -> list[str]:
        """What was found, in lines."""
        parts, classes = self.tree.parts, len(self.tree.classes)
        found = ", ".join(f"{len(part):,} in {name}" for name, part in parts.items()) if len(parts) > 1 else ""
        count = f"{sum(map(len, parts.values())):,} images{f' ({found})' if found else ''}"
        kind = f"{classes} classes" if classes else "no classes"
        how = "in memory" if self.tree.pixels else {"memory": "decoded once into memory", "none": "files"}.get(
            self.where, "decoded once into a memory-mapped file")  # fmt: skip
        left = len(self.tree.unlisted)
        odd = [f"{left:,} images have names that no list can hold, and are left out: {some(self.tree.unlisted)}"]
        return [f"{count}, {kind}, {how}", *self.tree.told, *(odd if left else [])]

    def keep(self, folder: Path) -> None:
        """Keep in a run's folder what was found, for its next start."""
        keep(self.tree, folder)

    def plain(
        self, chosen: ImageList | None, views: Views, batch: int, world: World, numbers: Sequence[int] | None = None
    ) -> Iterable[Batch]:
        if not self.dataset.cached:
            return super().plain(chosen, views, batch, world, numbers)
        decoded = self._decoded(chosen, views)
        return ArrayBatches(ImageSet(self.dataset, decoded.images, chosen.labels), batch, world, numbers, decoded.bad)

    def _images(self, chosen: ImageList, views: Views) -> ImageArrays | ImageFiles:
        if not self.dataset.cached:
            return ImageFiles(self.lists_from, chosen, views.engine != "pillow", views.skip_bad, own=True)
        decoded = self._decoded(chosen, views)
        return ImageArrays(decoded.images, None, chosen.paths, decoded.bad, by_pixels=bool(self.tree.pixels))

    def _decoded(self, chosen: ImageList, views: Views) -> Decoded:
        # Asked for again by monitors, and by methods that look at features. The list is kept so that its id stays its.
        _, decoded = self._kept.get((id(chosen), views.size), (None, None))
        if decoded is None:
            decoded = self._decode(chosen, views)
        if decoded.bad and not views.skip_bad:
            raise InputError(f"{some(list(decoded.bad.values()), '; ')}: get again, or {SKIP_BAD}")
        self._kept[id(chosen), views.size] = chosen, decoded
        return decoded

    def _decode(self, chosen: ImageList, views: Views) -> Decoded:
        if self.tree.pixels:
            return Decoded(self._pixels(chosen, views), {})
        files = ImageFiles(self.lists_from, chosen, False, views.skip_bad, own=True)
        kept, disk = self.opening.kept, self.where == "disk"
        folder = kept.parent / DECODED if kept and disk else None
        return decode(files, views.size, self.opening.show, folder, disk, views.skip_bad)

    def _pixels(self, chosen: ImageList, views: Views) -> np.ndarray:
        """Images [N, S, S, 3] of an .npz file, by their names."""
        places = [path.split("/") for path in chosen.paths]
        parts = {place[0] for place in places}
        if len(parts) > 1 or not parts <= self.tree.pixels.keys() or not all(map(_of_an_array, places)):
            raise InputError(f"list {chosen.path} names images that are not of this .npz file: make it again")
        part = parts.pop()
        of = self.tree.pixels[part]
        numbers = np.array([int(place[2]) for place in places])
        if numbers.max() >= len(of):
            raise InputError(f"list {chosen.path} names image {numbers.max()} of {len(of)}: make it again")
        labels = self.tree.parts[part].labels[numbers]
        if not np.array_equal(labels, [int(place[1]) for place in places]):
            raise InputError(f"list {chosen.path} has other labels than this .npz file: make it again")
        return squares(of[numbers], views.size)

    def _pretrain_transform(self, views: Views, boost: Boost | None) -> Transform:
        if not self.dataset.cached:
            return super()._pretrain_transform(views, boost)
        how = (views.size, True, views.strength, views.smallest_crop)
        return pretrain_transform(*how) if views.engine == "pillow" else PretrainViews(*how, boost)

    def _probe_transform(self, views: Views) -> Transform:
        if not self.dataset.cached:
            return super()._probe_transform(views)
        return (probe_transform if views.engine == "pillow" else ShiftedViews)(views.size, True)


def _of_an_array(place: list[str]) -> bool:
    """Whether a name in a list is that of an image in an .npz file: part, class, number."""
    return len(place) == 3 and place[1].isdecimal() and place[2].isdecimal()


def _where(dataset: FolderSet, opening: Opening) -> str:
    """Where images are decoded to: 'memory', 'disk' or 'none'."""
    if opening.cache != "auto":
        return opening.cache
    size = opening.size or dataset.size
    if max(size, dataset.size) > SMALL:
        return "none"
    images = sum(map(len, dataset.tree.parts.values()))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return "memory" if images * size * size * 3 <= memory / SHARE else "disk"
