"""Print what every list is, and whether it keeps its promises.

    python -m split.verify                                  # every list below split/
    python -m split.verify --dataset cifar100 --data DIR    # with class counts, which need the labels

For each list: size, class counts (largest first), imbalance factor, hash (git blob id), source, and its overlap with
the other lists of its data set. A list with an index out of range or twice in it, of another data set, or that shares
an image with the validation list fails, and the exit code is 2.
"""

import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from data.datasets import SPECS, Spec, load
from split.lists import ROOT, IndexList, read_list, read_npy
from utils.cli import Parser
from utils.errors import InputError, run

_SPLIT = re.compile(r"split\d+(?=_)")


def labels_of(spec: Spec, data: str, file: str) -> np.ndarray | None:
    """Training labels [N] from a .npy file, or from the data set; None where neither is here.

    Raises:
        InputError: the file is not the data set's labels.
    """
    if file:
        labels, _ = read_npy(Path(file))
        fits = labels.shape == (spec.train_images,) and np.issubdtype(labels.dtype, np.integer)
        if not fits or labels.min() < 0 or labels.max() >= spec.classes:
            raise InputError(f"--labels {file} does not hold {spec.train_images} labels of {spec.name}")
        return labels.astype(np.int64)
    try:
        return load(spec.name, data, train=True).labels
    except InputError:
        return None


def describe(item: IndexList, labels: np.ndarray | None, others: list[IndexList]) -> list[str]:
    """Lines on one list; `others` are the lists that it is compared with."""
    lines = [f"  size {len(item.indices)}  source {item.source}  hash {item.sha1}"]
    if labels is None:
        lines.append("  class counts unknown: give the labels with --data or --labels")
    else:
        counts = sorted(Counter(labels[item.indices].tolist()).values(), reverse=True)
        missing = len(np.unique(labels)) - len(counts)
        text = f"{counts[0]} in each of {len(counts)}" if counts[0] == counts[-1] else " ".join(map(str, counts))
        lines.append(f"  class counts {text}" + (f" ({missing} classes without an image)" if missing else ""))
        lines.append(f"  imbalance factor {counts[0] / counts[-1]:.4g}")
    shared = ((other, len(np.intersect1d(item.indices, other.indices))) for other in others)
    text = [f"{o.path.stem} {n}{' (contained)' if n == len(item.indices) else ''}" for o, n in shared]
    return [*lines, "  images shared with " + (", ".join(text) or "no other list")]


def related(item: IndexList, lists: list[IndexList]) -> list[IndexList]:
    """The lists with which an overlap means something: train, validation, and those of the same split."""
    split = _SPLIT.search(item.path.stem)
    same = split.group() if split else None
    return [o for o in lists if o is not item and (not (found := _SPLIT.search(o.path.stem)) or found.group() == same)]


def verify(spec: Spec, root: Path, labels: np.ndarray | None) -> tuple[int, list[str]]:
    """Print all lists of a data set below `root`; returns how many there are, and what failed."""
    lists, failures = [], []
    val_path = root / spec.val_list
    folders = [val_path.parent, (root / spec.split_list("x")).parent]
    paths = sorted(p for folder in folders for p in folder.glob("*.npy"))
    for path in paths:
        try:
            against = val_path if path != val_path and val_path.is_file() else None
            lists.append(read_list(path, spec, read_list(against, spec) if against else None))
        except InputError as error:
            failures.append(str(error))
    for item in lists:
        print(item.path.relative_to(root))
        print(*describe(item, labels, related(item, lists)), sep="\n")
    return len(paths), failures


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--dataset", nargs="+", choices=list(SPECS), default=list(SPECS))
    parser.add_argument("--data", default="", help="folder of the data set, for the labels")
    parser.add_argument("--labels", default="", help=".npy file of all training labels, instead of --data")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of the lists; default split/")
    args = parser.parse_args()
    if args.labels and len(args.dataset) != 1:
        raise InputError("--labels needs one --dataset")
    total, failures = 0, []
    for name in args.dataset:
        spec = SPECS[name]
        count, failed = verify(spec, args.root, labels_of(spec, args.data, args.labels))
        total, failures = total + count, failures + failed
    if failures:
        raise InputError(f"{len(failures)} of {total} lists fail: " + "; ".join(failures))
    if not total:
        raise InputError(f"there are no lists below {args.root}: make them with `python -m split.make_splits`")
    print(f"{total} lists, all in order")


if __name__ == "__main__":
    sys.exit(run(main))
