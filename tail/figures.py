"""Figures of `python -m tail`: contact sheets of the top and bottom images; the groups at the top of the rankings."""

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

from data.groups import GROUPS
from data.images import BadImage, ImageArrays, ImageFiles
from tail.ranks import ranking
from tail.scores import SCORES
from utils.plotting import legend_below, new_figure, styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN, ACROSS = 24, 12  # images of each end of a ranking, images in a row
THUMBNAIL = 96  # pixels of a side, for image files
GREY = 160  # value of the pixels of an image that cannot be read


def thumbnail(images: ImageArrays | ImageFiles, index: int) -> np.ndarray:
    """[S, S, 3] uint8: an image in memory as it is, the middle of an image file, grey where it cannot be read."""
    if isinstance(images, ImageArrays):
        return images.images[index]
    try:
        image = images[index]
    except BadImage:
        return np.full((THUMBNAIL, THUMBNAIL, 3), GREY, np.uint8)
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    method = Image.Resampling.BICUBIC if min(image.size) > THUMBNAIL else Image.Resampling.NEAREST
    return np.asarray(ImageOps.fit(image, (THUMBNAIL, THUMBNAIL), method))


def sheet(images: ImageArrays | ImageFiles, ids: np.ndarray) -> np.ndarray:
    """Thumbnails of the images `ids` on white, ACROSS in a row, with space for a line of text below each."""
    tiles = [thumbnail(images, i) for i in ids.tolist()]
    size = len(tiles[0])
    step = size + -(-size // 4)
    page = np.full((-(-len(tiles) // ACROSS) * step, ACROSS * step, 3), 255, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = (k * step for k in divmod(i, ACROSS))
        page[top : top + size, left : left + size] = tile
    return page


def plot_sheet(images: ImageArrays | ImageFiles, scores: np.ndarray, captions: list[str], name: str) -> "Figure":
    """The SHOWN images with the highest scores and those with the lowest, each with its caption below.

    Args:
        scores: [N], NaN for images that are not shown. captions: [N]. name: of the score.
    """
    order = ranking(scores)[: np.isfinite(scores).sum()]
    figure = new_figure(2, 1, width=7.5, height=1.5)
    ends = {"highest": order[:SHOWN], "lowest": order[-SHOWN:][::-1]}
    for axis, (end, ids) in zip(figure.axes, ends.items(), strict=True):
        page = sheet(images, ids)
        axis.imshow(page, interpolation="nearest")
        axis.set_axis_off()
        first, last = scores[ids[0]], scores[ids[-1]]
        title = f"{name}: the {len(ids)} {end} of {len(order):,} images, scores {first:.3g} to {last:.3g}"
        axis.set_title(title, fontsize=8)
        step = page.shape[1] // ACROSS
        size = step * 4 // 5  # of a thumbnail; the rest is for the caption
        for i, sample_id in enumerate(ids.tolist()):
            row, column = divmod(i, ACROSS)
            place = column * step + size / 2 - 0.5, row * step + size - 0.5
            axis.text(*place, captions[sample_id], fontsize=5, ha="center", va="top")
    return figure


def plot_tail(results: dict[str, dict[str, Any]], scores: dict[str, np.ndarray], groups: np.ndarray) -> "Figure":
    """For each score the groups' shares in the whole list and at the top, and the ROC curves of Few against Many.

    Args:
        results: score -> numbers of tail.ranks.evaluate. scores: score -> [N]. groups: [N].
    """
    from sklearn.metrics import roc_curve

    looks = styles([*GROUPS, *SCORES])
    figure = new_figure(1, len(results) + 1, width=2.5, height=2.8)
    for axis, (name, result) in zip(figure.axes, results.items(), strict=False):
        parts, bottom = result["shares"], np.zeros(len(result["shares"]))
        for group in reversed(GROUPS):
            height = 100 * np.array([share[group] for share in parts.values()])
            axis.bar(
                range(len(parts)), height, 0.75, bottom, color=looks[group].colour, hatch=looks[group].hatch,
                edgecolor="black", linewidth=0.5, label=group,
            )  # fmt: skip
            bottom += height
        labels = [f"{'' if part == 'all' else 'top '}{part}\n{share['images']:,}" for part, share in parts.items()]
        axis.set_xticks(range(len(parts)), labels)
        axis.set(xlabel="part of the ranking, images", ylabel="share (%)", ylim=(0, 100))
        axis.set_title(name, fontsize=8)
    axis = figure.axes[-1]
    for name, values in scores.items():
        if (auc := results[name]["auc"]) is not None:
            chosen = np.isfinite(values) & (groups != "Medium")
            many, few, _ = roc_curve(groups[chosen] == "Few", values[chosen])
            look = {"color": looks[name].colour, "linestyle": looks[name].dashes, "linewidth": 1.2}
            axis.plot(100 * many, 100 * few, **look, label=f"{name}, AUC {auc:.2f}")
    axis.plot([0, 100], [0, 100], color="black", linewidth=0.5, label="by chance")
    axis.set(xlabel="of Many above a score (%)", ylabel="of Few above it (%)", xlim=(0, 100), ylim=(0, 101))
    axis.set_title("Few against Many", fontsize=8)
    legend_below(figure, columns=7)
    return figure
