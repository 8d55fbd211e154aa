"""How well the three tail scores find the images of rare classes, over methods, splits and seeds: one table.

    python -m benchmarks.tail_study FOLDER ... [--data DIR] [--draws 10] [--out results/tail.txt]

Each FOLDER is that of a pre-training; the images are scored with its newest checkpoint as `python -m tail` does, with
the settings of the training. Runs with the same data set, method and share of pruned weights share a row: mean and
population standard deviation over them.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from methods import choose, method_of
from run.checkpoint import newest_checkpoint
from tail.__main__ import rank
from tail.flags import parse
from tail.ranks import evaluate
from tail.scores import SCORES
from tail.setup import set_up
from utils.cli import Parser, positive
from utils.errors import InputError, run_main
from utils.files import replace_file
from utils.text import align


def study(folder: Path, options: argparse.Namespace) -> tuple[tuple[str, str], str, dict[str, dict]]:
    """Score the images with the newest checkpoint in a folder.

    Returns:
        Its row (data set, method); its list and seed; score -> the numbers of tail.ranks.evaluate.

    Raises:
        InputError: there is no checkpoint, or its images cannot be scored.
    """
    newest = newest_checkpoint(folder)
    if newest is None or not isinstance(newest[1].get("config"), dict):
        raise InputError(f"{folder} has no checkpoint with its settings")
    words = ["--checkpoint", str(newest[0]), "--out", ".", "--draws", str(options.draws)]
    config = newest[1]["config"]
    args, source = parse("", [*words, *(["--data", options.data] if options.data else [])])
    setup = set_up(args, source)
    if setup.groups is None:
        raise InputError(f"{folder} was trained on a list without a tail")
    ranked, _ = rank(setup)
    data = f"{args.dataset}, {len(setup.data):,} images, epoch {source.content.get('epoch')}"
    method = f"{choose(method_of(config)).label}, {100 * args.prune_percent:g}% pruned"
    run = f"{Path(args.trainSplit).stem}, seed {args.seed}"
    return (data, method), run, {name: evaluate(values, setup.groups) for name, values in ranked.items()}


def cell(values: list[float | None]) -> str:
    """Mean and standard deviation; '-' if no value is known."""
    values = [v for v in values if v is not None]
    return f"{np.mean(values):.3f} ± {np.std(values):.3f}" if values else "-"


def table(results: dict[tuple[str, str], list[dict[str, dict]]], key: str) -> str:
    """A row for each data set and method: the number of runs, and the number `key` of evaluate's for each score."""
    rows = [("data set", "method", "n", *SCORES, "by chance")]
    for (data, method), runs in results.items():
        chance = [next(iter(r.values()))["chance"] for r in runs] if key == "precision" else [0.5] * len(runs)
        cells = [cell([r[s][key] for r in runs if s in r]) for s in SCORES]
        rows.append((data, method, str(len(runs)), *cells, f"{np.mean(chance):.3f}"))
    return align(rows)


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="folders of pre-trainings")
    parser.add_argument("--data", default="", help="folder of the data set, of all")
    parser.add_argument("--draws", type=positive, default=10, help="augmented passes of the loss")
    parser.add_argument("--out", type=Path, default=Path("results/tail.txt"))
    options = parser.parse_args()
    results: dict[tuple[str, str], list[dict[str, dict]]] = {}
    lines = []
    for folder in options.folders:
        row, run, scores = study(folder, options)
        results.setdefault(row, []).append(scores)
        aucs = ", ".join(f"{name} {v['auc']:.3f}" for name, v in scores.items() if v["auc"] is not None)
        lines.append(f"{', '.join(row)}, {run}: {aucs}")
        if not options.quiet:
            print(lines[-1], flush=True)
    results = dict(sorted(results.items()))
    text = (
        "Few against Many by the scores of python -m tail, mean ± population standard deviation over splits or seeds\n"
        f"python -m benchmarks.tail_study FOLDER ... --draws {options.draws}; float32, settings as in training\n\n"
        f"ROC AUC\n\n{table(results, 'auc')}\n\nPrecision at k, the number of images of Few\n\n"
        f"{table(results, 'precision')}\n\nAUC of each run\n\n" + "\n".join(sorted(lines)) + "\n"
    )
    replace_file(options.out, text.encode())
    print(f"\n{text}")


if __name__ == "__main__":
    sys.exit(run_main(main))
