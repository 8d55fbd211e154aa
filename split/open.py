"""Open a list: from a data set and the name of a list to the checked list."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.images import ImageList
from data.sets.base import ListSpec, Spec
from split.ensure import ensure_list, ensure_path_list, known_list
from split.lists import ROOT, read_list, read_path_list
from utils.errors import InputError


class Lists:
    """Lists below split/; a missing one is fetched or made there.

    Args:
        root: a folder in place of split/, where missing lists are made but not fetched.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root = {} if root is None else {"root": root}
        self._how = {} if root is None else {"root": root, "fetching": False}

    def find(self, name: str, spec: Spec | ListSpec, source: np.ndarray | str) -> Path:
        """The file of a list, made where it is missing; not read yet.

        Args:
            source: what it is made of: labels [N] of all training images in memory, or the folder of image files.

        Raises:
            InputError: nothing makes a list of that name.
        """
        ensure = ensure_path_list if isinstance(spec, ListSpec) else ensure_list
        return ensure(name, spec, source, **self._how)

    def open(
        self, name: str, spec: Spec | ListSpec, source: np.ndarray | str, apart: tuple[ImageList, ...] = ()
    ) -> ImageList:
        """The list, checked, with the labels of its images; it shares no image with those `apart`.

        Args:
            source: as in `find`. apart: one list at most of images in memory.

        Raises:
            InputError: nothing makes a list of that name, or it is bad.
        """
        path = self.find(name, spec, source)
        if isinstance(spec, ListSpec):
            found = read_path_list(path, spec, apart)
        else:
            found = read_list(path, spec, apart[0] if apart else None, source)
        made_on_trial = self._how and path.is_relative_to(self._how["root"]) and not path.is_symlink()
        return replace(found, source="generated") if made_on_trial else found

    def held_out(self, spec: ListSpec) -> tuple[ImageList, ...]:
        """The validation and the test list of image files, as far as they are there."""
        known = (known_list(spec, name, **self._root) for name in (spec.val, spec.test))
        return tuple(read_path_list(path, spec) for path in known if path)


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
