"""The user's own images, opened: files that are decoded each time, or images that are decoded once into an array."""

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
from data.tree import first_few
from data.views.batches import PretrainViews, ShiftedViews
from data.views.boost import Boost
from data.views.published import pretrain_transform, probe_transform
from utils.distributed import World, local_processes
from utils.errors import InputError

SHARE = 4  # with cache 'auto', the images of all processes take at most a quarter of the machine's memory


class OpenedFolder(OpenedFiles):
    """Own images. `dataset.cached`: whether they are decoded once.

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
        """SHA-256 of the training and the test images of an .npz file; None for image files."""
        hashes = {part: hashlib.sha256(images).hexdigest() for part, images in self.tree.pixels.items()}
        return {**hashes, "source": "own"} if hashes else None

    @property
    def notes(self) -> list[str]:
        parts, classes = self.tree.parts, len(self.tree.classes)
        by_part = ", ".join(f"{len(part):,} in {name}" for name, part in parts.items()) if len(parts) > 1 else ""
        count = f"{sum(map(len, parts.values())):,} images{f' ({by_part})' if by_part else ''}"
        kind = f"{classes} classes" if classes else "no classes"
        where = "in memory" if self.tree.pixels else {"memory": "decoded once into memory", "none": "files"}.get(
            self.where, "decoded once into a memory-mapped file")  # fmt: skip
        lines = [f"{count}, {kind}, {where}", *self.tree.notes]
        if left := len(self.tree.unlisted):
            names = first_few(self.tree.unlisted)
            lines.append(f"{left:,} images have names that no list can hold, and are left out: {names}")
        return lines

    def keep(self, folder: Path) -> None:
        """Keep the scan in the run's folder, for its next start."""
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
        # Monitors, and methods that look at features, ask for the same images again. The list is kept with them so that
        # no other list gets its id().
        _, decoded = self._kept.get((id(chosen), views.size), (None, None))
        if decoded is None:
            decoded = self._decode(chosen, views)
        if decoded.bad and not views.skip_bad:
            raise InputError(f"{first_few(list(decoded.bad.values()), '; ')}: get again, or {SKIP_BAD}")
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
        """Images [N, S, S, 3] of an .npz file, by their names in a list: `train/3/000041`, part, label and number."""
        places = [path.split("/") for path in chosen.paths]
        parts = {place[0] for place in places}
        if len(parts) > 1 or not parts <= self.tree.pixels.keys() or not all(map(_of_an_array, places)):
            raise InputError(f"list {chosen.path} names images that are not of this .npz file: make it again")
        part = parts.pop()
        images = self.tree.pixels[part]
        numbers = np.array([int(place[2]) for place in places])
        if numbers.max() >= len(images):
            raise InputError(f"list {chosen.path} names image {numbers.max()} of {len(images)}: make it again")
        labels = self.tree.parts[part].labels[numbers]
        if not np.array_equal(labels, [int(place[1]) for place in places]):
            raise InputError(f"list {chosen.path} has other labels than this .npz file: make it again")
        return squares(images[numbers], views.size)

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
    """Whether a name in a list, split at its slashes, is that of an image in an .npz file: part, label, number."""
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
    needed = images * size * size * 3 * local_processes()  # each process decodes its own
    return "memory" if needed <= memory / SHARE else "disk"
