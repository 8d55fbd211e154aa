"""Which training images look like the tail to a checkpoint: three rankings without labels, and how right they are.

    python -m tail --checkpoint checkpoints/NAME/model.pt --out tail
    python -m tail --checkpoint model_2000.pt --dataset cifar10 --data DIR --model res18 \\
        --trainSplit cifar10_imbSub_with_subsets/split1_D_i.npy --out tail --scores disagreement loss

The scores (tail/scores.py): disagreement of the dense and the pruned network; memorisation, of BCL's
checkpoints; loss over augmented views. What no option says is as in the pre-training, by the checkpoint; the authors'
checkpoints have no settings: give data set, list and model. Of each score, --out gets NAME.csv, all images from rank 1,
the most tail-like, with their number in the training list, path (of images in memory the number in the data set), class
and group, which no score knows; and NAME_sheet.png, the first and last 24. tail.txt, tail.json, tail.png and tail.pdf
say how well the scores find the classes of Few: ROC AUC and precision against Many, and who is at the top. Use a new
--out for each checkpoint: files of scores that are not selected are not removed.
"""

import json
import sys

import numpy as np

from tail.figures import plot_sheet, plot_tail
from tail.flags import parse
from tail.ranks import evaluate, few_table, table, to_csv
from tail.setup import Setup, set_up, title
from utils.errors import InputError, run_main
from utils.files import replace_file
from utils.plotting import FORMATS, write_figure


def rank(setup: Setup) -> tuple[dict[str, np.ndarray], list[str]]:
    """Compute the scores, name -> [N] float64 for all images of the training list, and lines on what is missing.

    Raises:
        InputError: an image is bad, or no image has a score that is a number.
    """
    names, notes, scores = setup.names, list(setup.notes), dict(setup.known)
    if "disagreement" in names:
        scores["disagreement"] = setup.network.disagreement()
    if "loss" in names:
        scores["loss"] = setup.network.augmented_loss()
    setup.network.bad.report()
    ranked = {name: scores[name].numpy() for name in dict.fromkeys(names)}
    for name, values in ranked.items():
        values[np.isinf(values)] = np.nan  # an infinite value ranks nothing either
        missing, count = int(np.isnan(values).sum()), len(values)
        if missing == count:
            raise InputError(f"{setup.source} gives no image a {name} score that is a number: it is damaged")
        if missing:
            notes.append(f"{missing} of {count} images have no {name} score, and the last ranks")
    if setup.groups is None:
        notes.append("all classes of the list have as many images: there is no tail to evaluate by")
    return ranked, notes


def main() -> None:
    args, source = parse(__doc__)
    setup = set_up(args, source)
    data, groups, (ranked, notes) = setup.data, setup.groups, rank(setup)
    captions = [f"{c}" if groups is None else f"{groups[i]} {c}" for i, c in enumerate(data.labels.tolist())]
    for name, values in ranked.items():
        replace_file(args.out / f"{name}.csv", to_csv(values, data.images.names, data.labels, groups))
        write_figure(plot_sheet(data.images, values, captions, name), args.out / f"{name}_sheet.png")
    if groups is not None:
        results = {name: evaluate(values, groups) for name, values in ranked.items()}
        text = f"{title(args, source.content, groups)}\n\n{table(results)}"
        replace_file(args.out / "tail.txt", text.encode())
        replace_file(args.out / "tail.json", json.dumps(results, indent=1).encode())
        figure = plot_tail(results, ranked, groups)
        for suffix in FORMATS:
            write_figure(figure, args.out / f"tail{suffix}")
        print(f"{few_table(results)}\n" if args.quiet else text)
    print(*notes, f"{', '.join(ranked)}: {len(data):,} images in {args.out}", sep="\n")


if __name__ == "__main__":
    sys.exit(run_main(main))
