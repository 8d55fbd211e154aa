"""A recipe: pre-training on one list, then the probes of a paper, as the scripts of cmds/shell_scrips/ have them set.

    python -m recipes --dataset digits --method focal+bcl -e 20
    python -m recipes SETTINGS OF A SCRIPT -- OPTIONS OF ITS USER

DRY_RUN=1 in the environment prints the commands instead of running them.
"""

import shlex
import sys
from contextlib import nullcontext
from pathlib import Path

from recipes.flags import parse_recipe
from recipes.own import summary
from recipes.running import Programs, dry_run, logged
from recipes.steps import commands
from utils.errors import run_main


def main() -> None:
    """Run the steps of a recipe one after another, up to the first that fails; with --check True, run all of them.

    Each command is printed, except with --quiet True, and logged in the folder of the pre-training, except in a check.
    """
    recipe = parse_recipe(sys.argv[1:], __doc__)
    if recipe.dataset.own and not recipe.on("quiet") and not dry_run():
        print(summary(recipe.dataset, recipe.values), flush=True)
    check, folder = recipe.on("check"), Path(recipe.folder) / recipe.experiment
    with Programs() as programs:
        for words in commands(recipe):
            line = shlex.join(words)
            # The output of a check does not name its run, so its command is always printed.
            if dry_run() or check or not recipe.on("quiet"):
                print(line, flush=True)
            if dry_run():
                continue
            with nullcontext() if check else logged(line, folder):
                programs.run(words, go_on=check)
    if programs.failed:
        sys.exit(2)


if __name__ == "__main__":
    sys.exit(run_main(main))
