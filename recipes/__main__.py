"""A recipe: pre-training on one list, then the probes of a paper, as the scripts of cmds/shell_scrips/ have them set.

    python -m recipes --dataset digits --method focal+bcl -e 20
    python -m recipes SETTINGS OF A SCRIPT -- OPTIONS OF ITS USER

DRY_RUN=1 in the environment prints the commands instead of running them.
"""

import shlex
import sys
from pathlib import Path

from recipes.flags import parse_recipe
from recipes.running import Programs, dry_run, end
from recipes.settings import Recipe
from recipes.steps import commands
from utils.errors import run


def run_steps(recipe: Recipe) -> None:
    """Run the steps of a recipe, the first that fails being the last; where they are checked, all of them.

    Each command is printed, unless it is to be quiet, and noted in the folder of the pre-training.
    """
    failed = False
    with Programs() as programs:
        for words in commands(recipe):
            line = shlex.join(words)
            # What a check has to say does not name the run.
            if dry_run() or recipe.on("check") or not recipe.on("quiet"):
                print(line, flush=True)
            if dry_run():
                continue
            if not recipe.on("check"):
                _note(Path(recipe.folder) / recipe.experiment, line)
                programs.run_or_end(words)
            elif programs.run(words):
                failed = True  # and on with the next one: all that is wrong is told
            if programs.code:
                end(programs.code)
    if failed:
        sys.exit(2)


def _note(folder: Path, line: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "bash_log.txt").open("a", errors="surrogateescape") as log:
        log.write(line + "\n")


def main() -> None:
    run_steps(parse_recipe(sys.argv[1:], __doc__))


if __name__ == "__main__":
    sys.exit(run(main))
