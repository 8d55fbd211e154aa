"""All splits of a data set with each method, then tables and a report; run again, it goes on where it stopped.

    python -m recipes.reproduce DATASET [METHOD ...] [-- RECIPE OPTIONS]

It is cmds/reproduce.sh; SPLITS and TAIL in the environment are explained there. DRY_RUN=1 prints the commands.
"""

import os
import shlex
import subprocess
import sys
from pathlib import PurePath

from data.sets.base import DataSet, Split
from recipes.reproduce.flags import Reproduction, parse_reproduce
from recipes.running import Programs, dry_run, end, program, switched_on
from recipes.steps import TABLE_3
from utils.errors import InputError, run_main


def _splits(dataset: DataSet) -> list[int]:
    """Numbers of the splits: SPLITS of the environment, else all that are published.

    Raises:
        InputError: SPLITS has a word that is no number.
    """
    words = os.environ.get("SPLITS", "").split()
    if bad := next((word for word in words if not word.isdecimal()), None):
        raise InputError(f"SPLITS are numbers of splits, such as '1 2', not {bad!r}")
    several = len(dataset.splits) > 1 or dataset.own
    return [int(word) for word in words] if words and several else list(dataset.splits)


def _recipe(dataset: DataSet, split: int) -> list[str]:
    """The command of the recipe of one split; a data set of one split has its list in the recipe."""
    script = [f"cmds/shell_scrips/{dataset.recipe}"]
    recipe = script if dataset.recipe else [program(), "-m", "recipes", "--dataset", dataset.name]
    if list(dataset.splits) == [split]:
        return recipe
    return [*recipe, "--split", dataset.list_of(Split(split, True, ""))]


def run_recipes(wanted: Reproduction, splits: list[int], programs: Programs) -> list[PurePath]:
    """Run the recipe of each split and method.

    Returns:
        The checkpoint of each pre-training that is probed: the tables are of these alone, not of others in the folders.
    """
    resume = str(not wanted.recipe.on("overwrite"))
    checkpoints = []
    for split in splits:
        for method, options in wanted.methods.items():
            print(f"== {wanted.data}, split {split}, {method}", flush=True)
            command = [*_recipe(wanted.recipe.dataset, split), "--method", method, "--resume", resume, *options]
            planned = subprocess.run(command, env={**os.environ, "DRY_RUN": "1"}, stdout=subprocess.PIPE, text=True)
            if planned.returncode:
                end(planned.returncode)
            words = shlex.split(planned.stdout)
            if "--checkpoint" in words:
                checkpoints.append(PurePath(words[words.index("--checkpoint") + 1]))
            if dry_run():
                print(planned.stdout, end="", flush=True)
            else:
                programs.run(command, go_on=wanted.recipe.on("check"))
    if programs.failed:
        end(2)
    return checkpoints


def _table(wanted: Reproduction, splits: list[int], experiments: list[str]) -> list[str]:
    """The command of the tables and figures and of the report."""
    dataset, recipe = wanted.recipe.dataset, wanted.recipe
    command = [program(), "exp_analyse.py", "--dataset", wanted.data, "--method", *wanted.methods]
    command += ["--root", recipe.values["root"], "--experiments", *experiments]
    bcl, chosen = recipe.values["paper"] == "bcl", dataset.split_of(recipe.values["split"])
    if chosen and chosen.shape and not bcl:
        command += ["--shape", chosen.shape]
    if dataset.own:
        command += ["--data", recipe.values["data"]]
    if len(dataset.splits) > 1 or splits != list(dataset.splits):
        command += ["--splits", *map(str, splits)]
    long_tailed = ["--LT", str(chosen is None or chosen.long_tailed)]
    table = TABLE_3 if recipe.supervised else ["--paper", "bcl"] if bcl else long_tailed
    command += [*table, "--probe", *(p.label for p in recipe.protocols)]
    command += ["--quiet", "True"] if recipe.on("quiet") else []
    for kind, option in {"tables": "--out", "figures": "--plot", "report": "--report"}.items():
        command += [option, wanted.folder(kind)]
    return command


def main() -> None:
    wanted = parse_reproduce(sys.argv[1:], __doc__)
    recipe, quiet = wanted.recipe, wanted.recipe.on("quiet")
    splits = _splits(recipe.dataset)
    with Programs() as programs:
        checkpoints = run_recipes(wanted, splits, programs)
        if dry_run() or recipe.on("only_pretraining") or recipe.on("check"):
            return
        tail = wanted.folder("tail") if switched_on("TAIL") else ""
        for method, checkpoint in zip(wanted.methods, checkpoints if tail else [], strict=False):
            print(f"== tail of {wanted.data}, {method}", flush=True)
            out = ["--checkpoint", str(checkpoint), "--out", f"{tail}/{method}", "--quiet", str(quiet)]
            programs.run([program(), "-m", "tail", *out])
        # Last, as the report shows the tail, too.
        programs.run(_table(wanted, splits, [checkpoint.parent.name for checkpoint in checkpoints]))
    if quiet:
        folder = checkpoints[0].parent.parent
        print(f"\nlogs: log.txt in each folder of {folder} and {folder}_tune")
        kinds = ["tables", "figures", "tail"] if tail else ["tables", "figures"]
        print("; ".join(f"{kind}: {wanted.folder(kind)}" for kind in kinds))
        print(f"report: {wanted.folder('report')}/index.html")


if __name__ == "__main__":
    sys.exit(run_main(main))
