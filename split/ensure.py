"""Find the list that a command line names; where it is missing, fetch or make its whole family and say which."""

from pathlib import Path

import numpy as np

from data.datasets import Spec
from split.fetch_published import fetch
from split.lists import ROOT, blob_sha1, origin, read_list
from split.make_splits import make_lists, settings_of, write_lists
from utils.errors import InputError
from utils.files import locked


def ensure_list(name: str, spec: Spec, labels: np.ndarray, root: Path = ROOT) -> Path:
    """Path of the list `name`: a file, or a path below split/ as in the published commands.

    A missing list is fetched with its data set's other published lists; where those cannot be had, or there are
    none, all are generated. The two kinds are never mixed.

    Args:
        name: such as `cifar10_imbSub_with_subsets/split1_D_i.npy`. labels: [N] of all training images.

    Raises:
        InputError: nothing makes a list of that name, or generating it would mix the two kinds.
    """
    for path in (root / name, Path(name)):
        if path.is_file():
            return path
    settings = settings_of(spec, name) or {}
    lists = make_lists(spec, labels, **settings)
    if name not in lists:
        example = spec.split_list(f"{spec.prefix}split1_D_i")
        raise InputError(f"list {name} does not exist below {root}; a list of {spec.name} is called {example}, say")
    own = "imb_factor" in settings
    if own:
        # A list of another shape goes beside those that are here, and keeps off their validation images.
        val = read_list(ensure_list(spec.val_list, spec, labels, root), spec)
        lists = make_lists(spec, labels, val=val.indices, **settings)
    with locked(root):
        if (root / name).is_file():
            return root / name
        why = ""
        if spec.fetchable and not own:
            try:
                fetch(spec, root)
                print(f"{name} was missing: fetched the published lists of {spec.name}", flush=True)
                return root / name
            except InputError as error:
                why = f" ({error})"
        if not own:
            _refuse_to_mix(spec, root)
        written = write_lists(lists, root)
        print(f"{name} was missing: generated {len(written)} lists of {spec.name} in {root}{why}", flush=True)
    return root / name


def _refuse_to_mix(spec: Spec, root: Path) -> None:
    folders = [(root / name).parent for name in (spec.val_list, spec.split_list("x"))]
    here = [path for folder in folders for path in folder.glob("*.npy")]
    if any(origin(blob_sha1(p.read_bytes()))[0] == "published" for p in here):
        raise InputError(
            f"a list of {spec.name} is missing beside published ones, and generated lists do not go with those: "
            f"run `python -m split.fetch_published --dataset {spec.name}`"
        )
