"""Rankings of training images by a tail score, and how well they find the tail classes."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from data.groups import GROUPS, group_of_each
from data.paths import has_control
from utils.text import align, printable

PARTS = {"all": 100, "10%": 10, "5%": 5, "1%": 1}  # of the ranking, percent
COLUMNS = ("sample_id", "path", "score", "rank", "class", "group")


def ranking(scores: np.ndarray) -> np.ndarray:
    """Sample ids [N] from the highest of scores [N] to the lowest; ties by id, those without a score (NaN) last."""
    return np.argsort(-scores, kind="stable")


def group_names(labels: np.ndarray, groups: dict[str, list[int]]) -> np.ndarray:
    """Group of each image, [N] words, from labels [N] and the classes of each group."""
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
        # No control characters, and never what a spreadsheet takes for a formula.
        path = f"./{names[i]}" if names[i].startswith(("=", "+", "-", "@")) else names[i]
        path = printable(path) if has_control(path) else path
        row = [i, path, score, rank, labels[i]]
        writer.writerow(row if groups is None else [*row, groups[i]])
    return text.getvalue().encode()


def evaluate(scores: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """How well scores [N] find the images of Few; groups [N] of GROUPS. Images without a score are left out.

    Returns:
        'auc' of Few against Many: the chance that an image of Few has a higher score than one of Many; 'precision': the
        share of Few among the k best of Few and Many, 'k' as many as Few has; 'chance': its expectation for random
        scores; all None where a group is empty. 'unscored' images. 'shares': of 'all', '10%', '5%' and '1%' (at least
        one image) of the ranking, 'images' and the share of each group. Shares are in [0, 1].
    """
    from sklearn.metrics import roc_auc_score  # takes a second, which tables do not need

    order = ranking(scores)[: np.isfinite(scores).sum()]
    best = groups[order]
    few = (best == "Few")[best != "Medium"]
    found = {"auc": None, "precision": None, "chance": None, "k": int(few.sum()), "unscored": len(scores) - len(order)}
    if 0 < found["k"] < len(few):
        auc = roc_auc_score(few, scores[order][best != "Medium"])
        found |= {"auc": float(auc), "precision": float(few[: found["k"]].mean()), "chance": float(few.mean())}
    shares = {}
    for name, percent in PARTS.items():
        part = best[: max(1, round(len(best) * percent / 100))]
        shares[name] = {"images": len(part), **{g: float((part == g).mean()) for g in GROUPS}}
    return {**found, "shares": shares}


def few_table(found: dict[str, dict[str, Any]]) -> str:
    """Aligned text of evaluate()'s numbers, score -> numbers: how well Few is found."""
    rows = [("", "AUC", "precision at k", "by chance", "k", "without a score")]
    for score, v in found.items():
        shares = ("-" if v[c] is None else f"{v[c]:.3f}" for c in ("auc", "precision", "chance"))
        rows.append((score, *shares, str(v["k"]), str(v["unscored"])))
    return f"Few against Many\n\n{align(rows)}"


def table(found: dict[str, dict[str, Any]]) -> str:
    """few_table, and below it who is at the top."""
    parts = {"the whole list": next(iter(found.values()))["shares"]["all"]}
    for score, v in found.items():
        parts |= {f"{score}, top {part}": share for part, share in v["shares"].items() if part != "all"}
    lines = [("share in %", "images", *GROUPS)]
    lines += [(name, str(v["images"]), *(f"{100 * v[g]:.1f}" for g in GROUPS)) for name, v in parts.items()]
    return f"{few_table(found)}\n\n{align(lines)}\n"
