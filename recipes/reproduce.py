"""All splits of a data set with each method, then the tables; run again, it goes on where it stopped.

    python -m recipes.reproduce DATASET [METHOD ...] [-- RECIPE OPTIONS]

It is cmds/reproduce.sh; SPLITS, TAIL and DRY_RUN in the environment are explained there.
"""

import os
import shlex
import subprocess
import sys
from pathlib import PurePath

from data.sets.base import DataSet, Split
from recipes.flags import Reproduction, parse_reproduce
from recipes.running import Programs, dry_run, end, program
from recipes.styles import STYLES
from utils.errors import InputError, run


def _splits(dataset: DataSet) -> list[int]:
    """Numbers of the splits: SPLITS of the environment, else all that are published.

    Raises:
        InputError: SPLITS are no numbers.
    """
    said = os.environ.get("SPLITS", "").split()
    if bad := next((word for word in said if not word.isdecimal()), None):
        raise InputError(f"SPLITS are numbers of splits, such as '1 2', not {bad!r}")
    return [int(word) for word in said] if said and len(dataset.splits) > 1 else list(dataset.splits)


def _split_of(dataset: DataSet, number: int) -> list[str]:
    """The options that choose a split; none for a data set of one split, whose recipe has its list."""
    if len(dataset.splits) == 1:
        return []
    return ["--split", dataset.list_of(Split(number, True, ""))]


def _recipe(dataset: DataSet) -> list[str]:
    return (
        [f"cmds/shell_scrips/{dataset.recipe}"]
        if dataset.recipe
        else [program(), "-m", "recipes", "--dataset", dataset.name]
    )


def _told(words: list[str]) -> tuple[int, str]:
    """Exit code of a recipe, and the commands that it would run."""
    done = subprocess.run(words, env={**os.environ, "DRY_RUN": "1"}, stdout=subprocess.PIPE, text=True)
    return done.returncode, done.stdout


def _named(told: str) -> tuple[str, str]:
    """(name of the pre-training, its checkpoint) of the commands of a recipe's probes, '' where there is none."""
    commands = [shlex.split(line) for line in told.splitlines()]
    scripts = {style.script for style in STYLES.values()}
    named = [words[i + 1] for words in commands for i, word in enumerate(words) if word in scripts]
    names = [name.partition("__")[0] for name in named]
    checkpoints = [words[words.index("--checkpoint") + 1] for words in commands if "--checkpoint" in words]
    return next(iter(names), ""), next(iter(checkpoints), "")


def run_recipes(wanted: Reproduction, splits: list[int], programs: Programs) -> list[tuple[str, str]]:
    """Run the recipe of each split and method.

    Returns:
        Name and checkpoint of each pre-training; the table is of these, whatever else is in the folders.
    """
    resume = str(not wanted.recipe.on("overwrite"))
    failed, found = False, []
    for split in splits:
        for method, options in wanted.methods.items():
            print(f"== {wanted.data}, split {split}, {method}", flush=True)
            command = [*_recipe(wanted.recipe.dataset), *_split_of(wanted.recipe.dataset, split)]
            command += ["--method", method, "--resume", resume, *options]
            code, told = _told(command)
            if code:
                end(code)
            found.append(_named(told))
            if dry_run():
                print(told, end="", flush=True)
            elif not wanted.recipe.on("check"):
                programs.run_or_end(command)
            elif programs.run(command):
                failed = True  # and on: all that is wrong is told
                if programs.code:
                    end(programs.code)
    if failed:
        end(2)
    return found


def _table(wanted: Reproduction, splits: list[int], experiments: list[str]) -> list[str]:
    """The command of the tables."""
    dataset, recipe = wanted.recipe.dataset, wanted.recipe
    command = [program(), "exp_analyse.py", "--dataset", wanted.data, "--method", *wanted.methods]
    command += ["--root", recipe.values["root"], "--experiments", *experiments]
    bcl = recipe.values["paper"] == "bcl"
    if not bcl and dataset.bcl_shape and recipe.values["split"] == dataset.split_name(1, True, dataset.bcl_shape):
        command += ["--shape", dataset.bcl_shape]
    if len(dataset.splits) > 1:
        command += ["--splits", *map(str, splits)]
    command += [*(["--paper", "bcl"] if bcl else ["--LT"]), "--probe", *(p.label for p in recipe.protocols)]
    command += ["--quiet", "True"] if recipe.on("quiet") else []
    return [*command, "--out", recipe.below(f"tables_{wanted.data}"), "--plot", recipe.below(f"figures_{wanted.data}")]


def main() -> None:
    wanted = parse_reproduce(sys.argv[1:], __doc__)
    splits = _splits(wanted.recipe.dataset)
    recipe, quiet = wanted.recipe, wanted.recipe.on("quiet")
    with Programs() as programs:
        names = run_recipes(wanted, splits, programs)
        if dry_run() or recipe.on("only_pretraining") or recipe.on("check"):
            return
        programs.run_or_end(_table(wanted, splits, [name for name, _ in names]))
        tail = recipe.below(f"tail_{wanted.data}") if os.environ.get("TAIL") else ""
        for method, (_, checkpoint) in zip(wanted.methods, names if tail else [], strict=False):
            print(f"== tail of {wanted.data}, {method}", flush=True)
            out = ["--checkpoint", checkpoint, "--out", f"{tail}/{method}", "--quiet", str(quiet)]
            programs.run_or_end([program(), "-m", "tail", *out])
    if quiet:
        folder = PurePath(names[0][1]).parent.parent
        tables, figures = recipe.below(f"tables_{wanted.data}"), recipe.below(f"figures_{wanted.data}")
        print(f"\nlogs: log.txt in each folder of {folder} and {folder}_tune")
        print(f"tables: {tables}; figures: {figures}" + (f"; tail: {tail}" if tail else ""))


if __name__ == "__main__":
    sys.exit(run(main))
