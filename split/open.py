"""Open a list: from a data set and the name of a list to the checked list."""

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
        """The file of a list, made where it is missing; not read yet.

        Raises:
            InputError: nothing makes a list of that name.
        """
        if isinstance(data.dataset, FolderSet):
            return ensure_folder_list(name, data.dataset, self._root, fetching=self._fetching)
        ensure = ensure_path_list if isinstance(data.dataset, FileSet) else ensure_list
        return ensure(name, data.dataset, data.lists_from, self._root, fetching=self._fetching)

    def open(self, name: str, data: "Opened", apart: Iterable[ImageList] = ()) -> ImageList:
        """The list, checked, with the labels of its images; it shares no image with those `apart`.

        Args:
            name: a file, or as in the published commands: of images in memory a path below split/, of files a name.
            data: the data set, which a list that is missing is made of.

        Raises:
            InputError: nothing makes a list of that name, or it is bad.
        """
        if (found := data.listed(name)) is not None:
            return found
        path = self.find(name, data)
        if isinstance(data.dataset, FileSet):
            found = read_path_list(path, data.dataset, tuple(apart), data.lists_from)
        else:
            found = read_list(path, data.dataset, tuple(apart), data.lists_from)
        made_on_trial = not self._fetching and path.is_relative_to(self._root) and not path.is_symlink()
        return replace(found, source="generated") if made_on_trial else found

    def open_training(self, name: str, data: "Opened") -> ImageList:
        """A list of training images: it shares none with validation, nor with test images that are here as files.

        Raises:
            InputError: as `open`.
        """
        if (found := data.listed(name)) is not None:
            return found
        path, dataset = self.find(name, data), data.dataset
        if not isinstance(dataset, FileSet):
            return read_list(path, dataset, (self.open(dataset.val_list, data),), data.lists_from)
        held_out = (self._root / dataset.path(held) for held in (dataset.val_list, dataset.test_list))
        apart = tuple(read_path_list(p, dataset, (), data.lists_from) for p in held_out if p.is_file())
        return read_path_list(path, dataset, apart, data.lists_from)


@contextmanager
def lists_on_trial() -> Iterator[Lists]:
    """Inside, lists that are missing are made in a temporary folder beside links to those that are there."""
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
