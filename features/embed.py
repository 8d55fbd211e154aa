"""A figure of features in the plane, by t-SNE or PCA, coloured by class or by Many, Medium and Few.

    python -m features.embed --dataset digits --model res20_s --checkpoint checkpoints_digits/NAME/model.pt \\
        --out tsne.png
    python -m features.embed --dataset cifar100 --data datasets --features features.npz --method pca \\
        --groupSplit cifar100_imbSub_with_subsets/cifar100_split1_D_i.npy --out pca.pdf

t-SNE (van der Maaten and Hinton, JMLR 2008) is of the first 50 principal components, starts from the first two, and
has a perplexity of 30, less for fewer than 91 images; in one thread, the same seed gives the same figure.
Its axes have no unit, and distances between its clusters mean little; those of PCA are the features' own.
"""

import sys
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.groups import GROUPS
from data.opened import Opened
from data.sets.registry import data_set
from features.flags import SHOW_GROUPS, parse_embed
from features.setup import set_up, subset
from split.lists import group_sizes
from split.open import Lists
from utils.errors import InputError, run_main
from utils.plotting import STYLES, Style, legend_below, new_figure, write_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST, MOST_CLASSES = 4, 10
MARKERS = "os^DvPX<>p"
# Light, middle and dark also in greyscale; Few is drawn last, hence on top.
OF_GROUPS = dict(zip(GROUPS, (STYLES[0]._replace(colour="#CCCCCC"), STYLES[1], STYLES[3]), strict=True))


def read_features(path: str) -> tuple[np.ndarray, np.ndarray]:
    """`features` [N, C] float32 and `labels` [N] of a file that features.save wrote; InputError for other files."""
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{path} does not exist: python -m features.save writes it")
    try:
        with zipfile.ZipFile(file) as archive:
            # features.save compresses nothing, but NumPy would decompress a file of any expanded size.
            if sum(member.file_size for member in archive.infolist()) > file.stat().st_size:
                raise ValueError("its parts are larger than it is")
        with warnings.catch_warnings(action="ignore"), np.load(file, allow_pickle=False) as arrays:
            values, labels = arrays["features"], arrays["labels"]
        if values.ndim != 2 or labels.shape != values.shape[:1] or (values.dtype, labels.dtype) != ("f4", "i8"):
            raise ValueError("not features [N, C] float32 and labels [N] int64")
    except Exception as error:
        # NumPy raises anything on a bad file, from BadZipFile to TokenError, and may quote the file.
        why = str(error)[:99]
        raise InputError(f"{path} is not a whole file of features.save ({why}); make it again") from error
    return values, labels


def find_groups(name: str, data: Opened) -> dict[str, list[int]]:
    """The classes of Many, Medium and Few; InputError if the list is bad, or all its classes have the same size."""
    sizes = group_sizes(Lists().open(name, data), data.dataset.classes)
    if min(sizes) == max(sizes):
        raise InputError(f"all classes of {name} have {sizes[0]} images: give a long-tailed list")
    return data.dataset.groups(sizes)


def plane(values: np.ndarray, method: str, seed: int) -> tuple[np.ndarray, list[str]]:
    """Points [N, 2] of features [N, C], and the names of the axes; InputError if the features allow no figure."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    count, channels = values.shape
    if count < LEAST or channels < 2:
        raise InputError(f"{count} images of {channels} features are too few for {method}: {LEAST} of 2 at least")
    if not np.isfinite(values).all() or (values == values[0]).all():
        raise InputError("the features are not finite, or the same for all images: there is nothing to see")
    with threadpool_limits(1):  # several threads add in varying order
        # For some shapes the automatic choice is a randomised, approximate solver.
        pca = PCA(2 if method == "pca" else min(50, count, channels), svd_solver="covariance_eigh")
        values = values.astype(np.float64)
        points = pca.fit_transform(values - values.mean(0))  # centred here, as a large mean would cost digits
        if method == "pca":
            shares = enumerate(pca.explained_variance_ratio_, 1)
            return points, [f"PCA {i} ({share:.1%} of the variance)" for i, share in shares]
        tsne = TSNE(perplexity=min(30, (count - 1) / 3), init="pca", random_state=seed)
        # At a fixed scale, as t-SNE works in float32; its perplexity adapts to any scale.
        return tsne.fit_transform(points / points.std()), ["t-SNE 1", "t-SNE 2"]


def class_styles(classes: list[int]) -> dict[int, Style]:
    """A style for each class: Petroff's ten colours for colour-blind readers (arXiv:2107.02270), and markers.

    More than ten classes have the colours of a rainbow, which show whether classes are apart, but not which ones.
    """
    from matplotlib import colormaps, style
    from matplotlib.colors import to_hex

    if len(classes) > MOST_CLASSES:
        rainbow = colormaps["turbo"](np.linspace(0, 1, len(classes)))
        return {c: Style(to_hex(colour), "", "o", "-") for c, colour in zip(classes, rainbow, strict=True)}
    colours = style.library["petroff10"]["axes.prop_cycle"].by_key()["color"]
    # Up to ten classes have a style by their number, so that figures of one data set agree.
    places = classes if max(classes, default=0) < MOST_CLASSES else range(len(classes))
    return {c: Style(colours[i], "", MARKERS[i], "-") for c, i in zip(classes, places, strict=True)}


def draw(points: np.ndarray, axes: list[str], parts: list[tuple[str, np.ndarray, Style]], title: str) -> "Figure":
    """The figure of points [N, 2].

    Args:
        axes: their names. parts: (label, mask of its points [N] bool, style), the last on top.
    """
    figure = new_figure(height=3.4)
    axis, size = figure.axes[0], float(np.clip(6000 / len(points), 4, 20))
    for label, chosen, style in parts:
        axis.scatter(*points[chosen].T, s=size, c=style.colour, marker=style.marker, linewidths=0, label=label)
    axis.set(xlabel=axes[0], ylabel=axes[1])
    axis.set_aspect("equal", adjustable="datalim")
    axis.set_title(title, fontsize=8)
    legend_below(figure, columns=5 if len(parts) > len(GROUPS) else len(GROUPS))
    for legend in figure.legends:
        for handle in legend.legend_handles:
            handle.set_sizes([20])  # as points are small in a figure of many images
    return figure


def main() -> None:
    args = parse_embed(__doc__)
    dataset = data_set(args.dataset)
    if args.features:
        values, labels = read_features(args.features)
        listed, chosen = len(labels), subset(len(labels), args.images, args.seed)
        values, labels = values[chosen], labels[chosen]
    else:
        extraction = set_up(args)
        arrays, listed = extraction.arrays(), extraction.listed
        if not arrays:
            return
        values, labels = arrays["features"], arrays["labels"]
    if len(labels) and dataset.classes and not 0 <= labels.min() <= labels.max() < dataset.classes:
        raise InputError(f"{args.features} has labels outside 0..{dataset.classes - 1}: it is not of {dataset.name}")
    note = ""
    if args.colour == "class":
        styles = class_styles(np.unique(labels).tolist())
        mark = "_" if len(styles) > MOST_CLASSES else ""  # Matplotlib leaves labels that begin with it out of legends
        parts = [(f"{mark}{c}", labels == c, style) for c, style in styles.items()]
        note = mark and f" ({len(styles)}, too many for a legend: {SHOW_GROUPS})"
    else:
        groups = find_groups(args.groupSplit, dataset.open(args.data, args.download))
        parts = [(g, np.isin(labels, members), OF_GROUPS[g]) for g, members in groups.items()]
        parts = [part for part in parts if part[1].any()]
    points, axes = plane(values, args.method, args.seed)
    write_figure(draw(points, axes, parts, f"{dataset.name}: {len(points)} images by {args.colour}"), args.out)
    most = f", {args.images} of {listed} at random (seed {args.seed})" if args.images < listed else ""
    source = args.features or f"{args.list} by {args.checkpoint}"
    print(f"{args.out}: {args.method} of {len(points)} images{most}, by {args.colour}{note}; {dataset.name} {source}")


if __name__ == "__main__":
    sys.exit(run_main(main))
