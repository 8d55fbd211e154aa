"""Rankings of training images by a tail score, and how well they find the tail classes."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from data.groups import GROUPS, group_of_each
from data.paths import has_control
from utils.text import align, printable

PARTS = {"all": 100, "10%": 10, "5%": 5, "1%": 1}  # top parts of the ranking, in percent
COLUMNS = ("sample_id", "path", "score", "rank", "class", "group")


def ranking(scores: np.ndarray) -> np.ndarray:
    """Sample ids [N] from the highest of scores [N] to the lowest; ties by id, those without a score (NaN) last."""
    return np.argsort(-scores, kind="stable")


def group_names(labels: np.ndarray, groups: dict[str, list[int]]) -> np.ndarray:
    """The name of each image's group, [N] strings, from labels [N] and the classes of each group."""
    return np.array(GROUPS)[group_of_each(labels, groups)]


def to_csv(scores: np.ndarray, names: Sequence[str], labels: np.ndarray, groups: np.ndarray | None) -> bytes:
    """The ranking as a CSV file in UTF-8: COLUMNS, best rank first; an image without a score has an empty one.

    Args:
        names: [N] file paths, or numbers within the data set. groups: [N], None where there are none.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS if groups is not None else COLUMNS[:-1])
    for rank, i in enumerate(ranking(scores).tolist(), 1):
        score = "" if np.isnan(scores[i]) else f"{scores[i]:.9g}"
        # A spreadsheet must not take the path for a formula, nor a terminal for a command.
        path = f"./{names[i]}" if names[i].startswith(("=", "+", "-", "@")) else names[i]
        path = printable(path) if has_control(path) else path
        row = [i, path, score, rank, labels[i]]
        writer.writerow(row if groups is None else [*row, groups[i]])
    return text.getvalue().encode()


def evaluate(scores: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """How well scores [N] find the images of Few; groups: [N], of GROUPS. Images without a score are left out.

    Returns:
        'auc' of Few against Many: the probability that an image of Few has a higher score than one of Many;
        'precision': the share of Few among the k highest scores of Few and Many, where 'k' is the number of images of
        Few; 'chance': its expectation for random scores; these three are None where Few or Many is empty.
        'unscored': the number of images without a score. 'shares': for the top 'all', '10%', '5%' and '1%' (at least
        one image) of the ranking, 'images', their number, and the share of each group. Shares are in [0, 1].
    """
    from sklearn.metrics import roc_auc_score  # here, as the import takes a second that tables need not wait

    order = ranking(scores)[: np.isfinite(scores).sum()]
    ranked = groups[order]
    extremes = ranked != "Medium"
    few = (ranked == "Few")[extremes]
    k = int(few.sum())
    result = {"auc": None, "precision": None, "chance": None, "k": k, "unscored": len(scores) - len(order)}
    if 0 < k < len(few):
        auc = roc_auc_score(few, scores[order][extremes])
        result |= {"auc": float(auc), "precision": float(few[:k].mean()), "chance": float(few.mean())}
    shares = {}
    for name, percent in PARTS.items():
        part = ranked[: max(1, round(len(ranked) * percent / 100))]
        shares[name] = {"images": len(part), **{g: float((part == g).mean()) for g in GROUPS}}
    return {**result, "shares": shares}


def few_table(results: dict[str, dict[str, Any]]) -> str:
    """Aligned text: how well each score finds Few; results: score -> numbers of evaluate()."""
    rows = [("", "AUC", "precision at k", "by chance", "k", "without a score")]
    for score, result in results.items():
        numbers = ("-" if result[c] is None else f"{result[c]:.3f}" for c in ("auc", "precision", "chance"))
        rows.append((score, *numbers, str(result["k"]), str(result["unscored"])))
    return f"Few against Many\n\n{align(rows)}"


def table(results: dict[str, dict[str, Any]]) -> str:
    """few_table, and below it the shares of the groups in the whole list and at the top of each ranking."""
    parts = {"the whole list": next(iter(results.values()))["shares"]["all"]}
    for score, result in results.items():
        parts |= {f"{score}, top {part}": share for part, share in result["shares"].items() if part != "all"}
    rows = [("share in %", "images", *GROUPS)]
    rows += [(name, str(v["images"]), *(f"{100 * v[g]:.1f}" for g in GROUPS)) for name, v in parts.items()]
    return f"{few_table(results)}\n\n{align(rows)}\n"
