"""Whether the fast settings cost accuracy: float32 with Pillow's views against bfloat16 with batched ones, by seed.

    python -m benchmarks.accuracy --data /usr/share/datasets/fashion-mnist [--methods simclr sdclr] [--seeds 1 2 3]

Fashion-MNIST-LT, split 1, every tenth image of its long-tailed list (class sizes of 5400 to 54 become 540 to 6):
pre-training of res20_s, a linear probe on every tenth labelled image, and the few-shot probe, each tested on the 10,000
test images. Both sides have the same seeds. Writes results/precision.txt and the runs' folders below --root; started
again, it continues with the runs that are missing.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

from data.groups import COLUMNS
from data.sets.registry import data_set
from split.lists import npy
from split.open import Lists
from utils.cli import Parser, natural, positive
from utils.errors import InputError, run_main

PROJECT = Path(__file__).resolve().parents[1]
SIDES = {
    "fp32, Pillow": ["--precision", "fp32", "--augment", "pillow"],
    "bf16, batched": ["--precision", "bf16", "--augment", "batched"],
}
METHODS = {"simclr": [], "sdclr": ["--prune", "True", "--prune_percent", "0.5", "--prune_dual_bn", "True"]}
PROBES = {
    "linear": ["--epochs", 30, "--decreasing_lr", "10,20"],
    "few-shot": ["--epochs", 100, "--decreasing_lr", "40,60", "--test_freq", 5],
}


def parse() -> argparse.Namespace:
    """The options; raises InputError for a bad one."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--data", required=True, help="folder of Fashion-MNIST")
    add("--root", type=Path, default=Path("accuracy"), help="where the runs go")
    add("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    add("--seeds", nargs="+", type=natural, default=[1, 2, 3])
    add("--epochs", type=positive, default=40, help="of pre-training")
    add("--thin", type=positive, default=10, help="every n-th image of the lists")
    add("--model", default="res20_s")
    add("--out", type=Path, default=PROJECT / "results" / "precision.txt")
    args = parser.parse_args()
    args.data = str(Path(args.data).absolute())
    return args


def thinned(args: argparse.Namespace) -> dict[str, Path]:
    """Write the long-tailed and the labelled list with every n-th image of each class below the root; their paths."""
    data = data_set("fashion_mnist").open(args.data)
    paths = {}
    for name, whole in {
        "pretrain": data.dataset.split_list("fashion_mnist_split1_D_i"),
        "linear": data.dataset.train_list,
    }.items():
        chosen = Lists().open(whole, data)
        indices, labels = chosen.ids, chosen.labels
        kept = np.concatenate([indices[labels == c][:: args.thin] for c in range(data.dataset.classes)])
        paths[name] = args.root.absolute() / f"{name}_thin{args.thin}.npy"
        paths[name].parent.mkdir(parents=True, exist_ok=True)
        paths[name].write_bytes(npy(np.sort(kept)))
    return paths


def call(script: str, experiment: str, *words: object) -> None:
    """Run one of the project's scripts, whose output is also in the experiment's log.txt.

    Raises:
        InputError: it failed.
    """
    command = [sys.executable, script, experiment, *map(str, words)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1] if done.stderr else done.returncode
        raise InputError(f"{script} failed: {reason}")


def study(args: argparse.Namespace, method: str, seed: int, side: str, lists: dict[str, Path]) -> dict[str, dict]:
    """Pre-train and probe with one seed; probe -> group -> accuracy in percent."""
    settings = f"{side.replace(', ', '_')}_{args.model}_thin{args.thin}_e{args.epochs}_s{seed}"
    folder, name = args.root.absolute() / f"{method}_{settings}", "fashion_mnist_split1_D_i"
    common = ["--dataset", "fashion_mnist", "--data", args.data, "--model", args.model]
    last = folder / name / f"model_{args.epochs}.pt"
    if not last.exists():
        call(
            "train_simCLR.py", name, *common, "--save-dir", folder, "--trainSplit", lists["pretrain"],
            "--epochs", args.epochs, "--batch_size", 128, "--optimizer", "sgd", "--lr", 0.5, "--temperature", 0.2,
            "--output_ch", 128, "--seed", seed, "--resume", "True", "--num_workers", 1, *METHODS[method], *SIDES[side],
        )  # fmt: skip
    groups = {}
    few_shot_list = "fashion_mnist_imbSub_with_subsets/fashion_mnist_split1_S_b.npy"
    for probe, words in PROBES.items():
        train = lists["linear"] if probe == "linear" else few_shot_list
        results = folder / f"{name}__{probe}" / "results.json"
        if not results.exists():
            call(
                "train_cifar.py", f"{name}__{probe}", *common, "--save-dir", folder, "--trainSplit", train,
                "--checkpoint", last, "--cvt_state_dict", "True", "--bnNameCnt", 0 if method == "sdclr" else -1,
                "--fixto", "layer4", "--fixbn", "--lr", 30, "--wd", 0, "--num_workers", 1,
                "--seed", seed, *words, *SIDES[side],
            )  # fmt: skip
        groups[probe] = json.loads(results.read_text())["groups"]
    return groups


def table(method: str, probe: str, groups: dict[str, list[dict]]) -> list[str]:
    """The lines of a table: mean and standard deviation (n - 1) over seeds of each side, and the difference of means.

    Args:
        groups: side -> group -> accuracy in percent, of each seed.
    """
    lines = [f"{method}, {probe}".ljust(24) + "".join(group.rjust(16) for group in COLUMNS)]
    for side, seeds in groups.items():
        columns = [[seed[group] for seed in seeds] for group in COLUMNS]
        cells = [
            f"{statistics.mean(c):.2f} ± {statistics.stdev(c) if len(c) > 1 else 0:.2f}".rjust(16) for c in columns
        ]
        lines.append(f"  {side}".ljust(24) + "".join(cells))
    means = [[statistics.mean(seed[group] for seed in seeds) for group in COLUMNS] for seeds in groups.values()]
    lines.append("  difference".ljust(24) + "".join(f"{b - a:+.2f}".rjust(16) for a, b in zip(*means, strict=True)))
    return lines


def main() -> None:
    args = parse()
    lists = thinned(args)
    lines = [
        f"Fashion-MNIST-LT, split 1, every {args.thin}th image, {args.model}, {args.epochs} epochs, seeds "
        f"{' '.join(map(str, args.seeds))}: test accuracy in %, mean ± standard deviation over seeds",
    ]
    for method in args.methods:
        results = {side: [study(args, method, seed, side, lists) for seed in args.seeds] for side in SIDES}
        for probe in PROBES:
            groups = {side: [probes[probe] for probes in of_seeds] for side, of_seeds in results.items()}
            lines += ["", *table(method, probe, groups)]
    print("\n".join(lines))
    args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(run_main(main))
