"""Options of exp_analyse.py: none is ignored, and a data set has all its names."""

import re
import shlex

import pytest

from data.sets.registry import ALIASES
from tests.analysis.experiments import accuracies, counts_of, experiment, result, write
from tests.conftest import PROJECT, one_line_error

# Words -> what the refusal says.
REFUSED = {
    "--dataset cifar10 --LT --method simclr --prune": "--prune and --method",
    "--dataset cifar10 --probe linear --fewShot": "--fewShot and --probe",
    "--dataset cifar10 --data /nowhere": "--data is of your own images: add --dataset folder",
    "--data /nowhere": "--data is of your own images",
    "--paper bcl --data /nowhere": "--data is of your own images",
    "--paper bcl --dataset imagenet --shape exp": "BCL's table of imagenet has the lists of shape pareto, not exp",
    "--paper bcl --table 3 --dataset imagenet --shape exp": "lists of shape pareto, not exp",
    "--paper bcl --shape exp": "--shape needs --dataset",
    "--paper bcl --table 3 --shape pareto": "--shape needs --dataset",
}
# These choose nothing twice.
ACCEPTED = [
    "--method simclr --prune False", "--probe linear --fewShot False", "--dataset cifar10 --data=",
    "--paper bcl --dataset imagenet --shape pareto", "--paper bcl --dataset digits --shape imb50",
    "--paper bcl --dataset folder --data photos --shape exp", "--dataset folder --data photos --shape all",
]  # fmt: skip


@pytest.mark.parametrize("words", REFUSED)
def test_options_that_contradict_others_are_refused(tmp_path, call, words):
    done = call("exp_analyse.py", *words.split())
    assert "no result" not in one_line_error(done, REFUSED[words]) and done.stdout == ""


@pytest.mark.parametrize("words", ACCEPTED)
def test_options_that_change_nothing_are_accepted(tmp_path, call, words):
    done = call("exp_analyse.py", *words.split())
    if done.returncode:  # no table, as there are no results in this folder
        one_line_error(done, "no result")


@pytest.mark.parametrize("alias", ALIASES)
@pytest.mark.parametrize("paper", ["sdclr", "bcl"])
def test_other_names_of_a_data_set(tmp_path, call, alias, paper):
    """Recipes pass the name as the user gave it."""
    words = ["exp_analyse.py", "--paper", paper, "--probe", "linear", "--dataset"]
    done, same = call(*words, alias), call(*words, ALIASES[alias])
    assert done == same
    one_line_error(done, "no result")


def test_the_alias_of_cifar10_shows_its_results(tmp_path, call):
    _, probed = experiment(tmp_path, "cifar10", 1)
    write(probed / "results.json", result(accuracies(10, 1), counts_of(10, 1)))
    outputs = [call("exp_analyse.py", "--LT", "--splits", 1, "--dataset", name).stdout for name in ("cifar", "cifar10")]
    assert outputs[0] == outputs[1] and re.search(r"^SimCLR +1 +\d", outputs[0], re.M)


def commands() -> list[str]:
    """Those of the documents and scripts, without their continuations."""
    files = [
        PROJECT / "README.md",
        PROJECT / "exp_analyse.py",
        *PROJECT.glob("docs/*.md"),
        *PROJECT.rglob("cmds/**/*.sh"),
    ]
    lines = "\n".join(file.read_text() for file in files).splitlines()
    found = {
        line.split("#")[0].strip() for line in lines if re.match(r" *(python|\"?\$PYTHON\"?) exp_analyse\.py ", line)
    }
    return sorted(found)


def test_published_commands_are_accepted(tmp_path, call):
    """Each ends with a table, or as there are no results here."""
    assert len(commands()) > 30
    for command in commands():
        done = call(*(word for word in shlex.split(command)[1:] if word != "DIR"), *(["x"] if "DIR" in command else []))
        if done.returncode:
            one_line_error(done, "no result")
