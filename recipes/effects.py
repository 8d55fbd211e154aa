"""Which settings of a recipe have no effect, and why: what is given in vain is told, not passed over."""

from recipes.settings import GENERAL, LINES, METHOD_OPTIONS, OF_PROTOCOLS, Recipe
from run.schedule import TWO_STAGE


def without_effect(recipe: Recipe, name: str, value: str) -> str:
    """Why a setting that was given has no effect, as the end of a sentence that begins with its option.

    Returns:
        '' where it has an effect, or asks for nothing.
    """
    dataset, values, method = recipe.dataset, recipe.values, recipe.method.name
    if name in METHOD_OPTIONS:
        return "" if any(name in names for _, names in recipe.lines) else _of_other_method(recipe, name, value)
    if name == "prune" and (value == "True") != any(line.flag == name for line, _ in recipe.lines):
        return f"{value} contradicts --method {method}"
    if name == "epochs" and method == "untrained" and value != "0":
        return "has no effect with --method untrained"
    if name in recipe.style.other and value != GENERAL[name]:
        return f"is of {recipe.style.of}, not of {dataset.name}"
    owners = {protocol for protocol, settings in OF_PROTOCOLS.items() if name in settings}
    if owners and not owners & {protocol.name for protocol in recipe.protocols}:
        return f"has no effect {_chosen_protocols(recipe)}"
    if name in ("stage_epochs", "stage_decay") and values["scheduler"] != TWO_STAGE:
        return f"has no effect without --scheduler {TWO_STAGE}"
    if name == "cache" and value != GENERAL[name] and not dataset.own:
        return "is of own images"
    if name in ("rdzv", "rdzv_wait") and recipe.count("nodes") < 2:
        return "has no effect without -n 2 or more"
    if name == "monitor_freq" and "knn" not in values["monitor"]:
        return "has no effect without --monitor knn"
    return ""


def _chosen_protocols(recipe: Recipe) -> str:
    """What the protocols are chosen by, in words."""
    if recipe.values["protocols"]:
        return f"with --protocols {recipe.values['protocols']}"
    if recipe.on("supervised"):
        return "with --supervised True"
    return "with --paper bcl" if recipe.values["paper"] == "bcl" else "without --supervised True"


def _of_other_method(recipe: Recipe, name: str, value: str) -> str:
    """What to tell of an option that the recipe's method does not have; '' for a value that asks for nothing."""
    owners = [owner for owner, line in LINES.items() if name in line.options]
    lines = [LINES[owner] for owner in owners]
    nothing = [line.left_out_at(part) for line in lines for part in line.parts if part.option == name]
    if value in ("False", *nothing):
        return ""
    chosen = f"with --method {recipe.values['method']}" if recipe.values["method"] else "without --method"
    also = ", which --prune True chooses, too" if [LINES[owner].flag for owner in owners] == ["prune"] else ""
    return f"has no effect {chosen}: it is of {' and '.join(owners)}{also}"
