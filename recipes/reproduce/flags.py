"""Options of recipes.reproduce."""

from collections.abc import Sequence
from typing import NamedTuple

from data.sets.registry import data_set
from methods import choose
from recipes.flags import OPTIONS, check, print_help, read, recipe_of, refusals, relative_to_caller
from recipes.settings import Recipe
from utils.errors import InputError


class Reproduction(NamedTuple):
    """What recipes.reproduce is to run.

    data: name of the data set as the user gave it. methods: name of each method as the user gave it -> options of its
    recipe. recipe: that of the first method, without the settings of a script.
    """

    data: str
    methods: dict[str, list[str]]
    recipe: Recipe

    def folder(self, kind: str) -> str:
        """Folder of what is made from all runs, for each table another one.

        Args:
            kind: 'tables', 'figures', 'report', or 'tail', which no table has a part in.
        """
        name = self.recipe.dataset.short_name if self.recipe.dataset.own else self.data
        return self.recipe.below(f"{kind}_{name}{'' if kind == 'tail' else self.of_table}")

    @property
    def of_table(self) -> str:
        """What the names of folders have for another table than SDCLR's."""
        if self.recipe.supervised:
            return "_bcl_table3"
        return "_bcl" if self.recipe.values["paper"] == "bcl" else ""


def parse_reproduce(words: Sequence[str], description: str) -> Reproduction:
    """`DATASET [METHOD ...] [-- RECIPE OPTIONS]`; each method's recipe gets those options that have an effect on it.

    Raises:
        InputError: as parse_recipe, or a data set or method is unknown, or an option has no effect on any method.
        SystemExit: as parse_recipe.
    """
    if words[:1] in (["-h"], ["--help"]):
        print_help(description)
    if not words:
        raise InputError("name a data set (see --help)")
    dataset, at = data_set(words[0]).name, words.index("--") if "--" in words else len(words)
    methods = words[1:at] or ["simclr", "sdclr"]
    try:
        for name in methods:
            choose(name)
    except InputError as error:
        raise InputError(f"{error}; recipe's options go behind --") from error
    user = read(words[at + 1 :], OPTIONS, description)
    relative_to_caller(user)
    if "method" in user.values:
        raise InputError("methods are named before --, not by --method")
    if "split" in user.values and (len(data_set(dataset).splits) > 1 or data_set(dataset).own):
        raise InputError("splits are named by SPLITS in the environment, not by --split: SPLITS='1 2', say")
    recipes = {name: recipe_of({"dataset": dataset, "method": name}, user) for name in methods}
    for recipe in recipes.values():
        check(recipe)
    messages = {name: refusals(recipe, user) for name, recipe in recipes.items()}
    first, *others = messages.values()
    for setting, message in first.items():
        if all(setting in other for other in others):
            raise InputError(message)
    options = {name: user.words(without=messages[name]) for name in methods}
    return Reproduction(words[0], options, next(iter(recipes.values())))
