"""Open a list by its name: find, fetch or make it, and check it."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from data.images import ImageList
from data.sets.files import FileSet
from data.sets.folder import FolderSet
from split.ensure import ensure_folder_list, ensure_list, ensure_path_list
from split.lists import ROOT, read_list, read_path_list
from utils.errors import InputError

if TYPE_CHECKING:
    from data.opened import Opened


class Lists:
    """Lists below split/; a missing one is fetched or made there.

    Args:
        root: a folder in place of split/, where missing lists are made but not fetched.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root, self._fetching = root or ROOT, root is None

    def find(self, name: str, data: "Opened") -> Path:
        """The file of a list, which is made if it is missing, but not read.

        Raises:
            InputError: no list of that name can be made.
        """
        if isinstance(data.dataset, FolderSet):
            return ensure_folder_list(name, data.dataset, self._root, fetching=self._fetching)
        ensure = ensure_path_list if isinstance(data.dataset, FileSet) else ensure_list
        return ensure(name, data.dataset, data.lists_from, self._root, fetching=self._fetching)

    def open(self, name: str, data: "Opened", apart: Iterable[ImageList] = ()) -> ImageList:
        """The list, checked, with the labels of its images; it shares no image with the lists `apart`.

        Args:
            name: a file, or as in the published commands: a path below split/ for images in memory, a name for files.
            data: the data set, from which a missing list is made.

        Raises:
            InputError: no list of that name can be made, or it is bad.
        """
        if (listed := data.listed(name)) is not None:
            return listed
        path = self.find(name, data)
        read = read_path_list if isinstance(data.dataset, FileSet) else read_list
        item = read(path, data.dataset, tuple(apart), data.lists_from)
        made_on_trial = not self._fetching and path.is_relative_to(self._root) and not path.is_symlink()
        return replace(item, source="generated") if made_on_trial else item

    def open_training(self, name: str, data: "Opened") -> ImageList:
        """A list of training images: it shares none with the validation list, nor with a test list below split/.

        Raises:
            InputError: as `open`.
        """
        if (listed := data.listed(name)) is not None:
            return listed
        path, dataset = self.find(name, data), data.dataset
        if not isinstance(dataset, FileSet):
            return read_list(path, dataset, (self.open(dataset.val_list, data),), data.lists_from)
        held_out = (self._root / dataset.path(held) for held in (dataset.val_list, dataset.test_list))
        apart = tuple(read_path_list(p, dataset, (), data.lists_from) for p in held_out if p.is_file())
        return read_path_list(path, dataset, apart, data.lists_from)


@contextmanager
def lists_on_trial() -> Iterator[Lists]:
    """A context in which missing lists are made in a temporary folder, beside links to those in split/."""
    with tempfile.TemporaryDirectory(prefix="lists-") as name:
        root = Path(name)
        for path in [*ROOT.glob("*/*.npy"), *ROOT.glob("*/*.txt")]:
            link = root / path.relative_to(ROOT)
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(path)
        try:
            yield Lists(root)
        except InputError as error:
            raise InputError(str(error).replace(str(root), str(ROOT.name))) from error
