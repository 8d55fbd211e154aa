"""The steps of a recipe: the command lines of pre-training and probes, in the published order of words."""

from collections.abc import Mapping

from data.sets.base import Split
from data.sets.registry import pretraining_name
from methods import choose, method_of
from probe.protocols import Protocol, options_of
from recipes.running import program
from recipes.settings import GENERAL, OF_PROTOCOLS, Recipe
from run.names import PROBE_ENDINGS, SDCLR_FLAG, probe_name, unusual_head_layers
from run.schedule import TWO_STAGE

# Options of a probe on features and of supervised learning, in order, the same for both families of scripts.
FEATURES = "save-dir dataset data model protocol num_workers checkpoint cvt_state_dict resume"
SUPERVISED = (
    "save-dir dataset data model trainSplit customSplit protocol epochs ce_epochs num_workers ce checkpoint "
    "cvt_state_dict resume"
)


TABLE_3 = ["--paper", "bcl", "--table", "3"]  # of supervised learning


def commands(recipe: Recipe) -> list[list[str]]:
    """The command lines of all steps of a recipe, in order."""
    few_shot_only = recipe.on("few_shot_only")
    steps = [_pretraining(recipe)] if _pretrains(recipe) else []
    if recipe.on("only_pretraining") and not few_shot_only:
        return steps
    steps += [_probe(recipe, protocol) for protocol in recipe.protocols if protocol.few_shot or not few_shot_only]
    split = recipe.dataset.split_of(recipe.values["split"])
    # Own lists of other names have no table; BCL's table 3 is of long-tailed lists.
    if recipe.dataset.own and split and not recipe.on("check") and (split.long_tailed or not recipe.supervised):
        steps.append(_table(recipe, split))
    return steps


def _pretrains(recipe: Recipe) -> bool:
    return not recipe.on("only_finetuning") and not recipe.on("few_shot_only")


def _table(recipe: Recipe, split: Split) -> list[str]:
    """The command that tabulates the probes of the user's own images; of other data sets recipes.reproduce does."""
    options = {"dataset": recipe.dataset.name, "data": recipe.values["data"], "root": recipe.values["root"]}
    options |= {"experiments": recipe.experiment, "method": recipe.method.name}
    words = [program(), "exp_analyse.py", *_words(options), "--probe", *(p.label for p in recipe.protocols)]
    words += TABLE_3 if recipe.supervised else []
    words += ["--splits", str(split.number)] if split.number else []
    words += ["--LT", str(split.long_tailed)] if split.number and not recipe.supervised else []
    words += ["--shape", split.shape] if split.shape else []
    return words + _non_default(recipe, "quiet")


def _pretraining(recipe: Recipe) -> list[str]:
    dataset, values = recipe.dataset, recipe.values
    options = _shared(recipe) | {
        "save-dir": recipe.folder,
        "dataset": pretraining_name(dataset),
        dataset.list_flag: dataset.split_list(values["split"]),
        "optimizer": "sgd",
        "temperature": values["temp"],
        **{name: values[name] for name in ("epochs", "batch_size", "lr", "output_ch", "seed", "print_freq")},
        "scheduler": values["scheduler"],
    }
    middle, end = _method_options(recipe)
    return [
        *_launch(recipe, "pretrain"), "train_simCLR.py", recipe.experiment,
        *_words(options, recipe.style.pretraining), *_non_default(recipe, "resizeLower"), *_images(recipe),
        *_non_default(recipe, "weight_decay"), *_schedule(recipe), *middle,
        *_non_default(recipe, "compile", "monitor", "monitor_freq", "tensorboard", "wandb"), *_saving(recipe),
        *_non_default(recipe, "check"), *end, *_non_default(recipe, "quiet"),
    ]  # fmt: skip


def _schedule(recipe: Recipe) -> list[str]:
    """Options of the learning rate's schedule, as far as they differ from the defaults."""
    names = [] if "scheduler" in recipe.style.pretraining.split() else ["scheduler"]
    if recipe.values["scheduler"] == TWO_STAGE:
        names += ["stage_epochs", "stage_decay"]
    return _non_default(recipe, *names)


def _method_options(recipe: Recipe) -> tuple[list[str], list[str]]:
    """The options that choose and set the method: those in the middle of the command, and SDCLR's, which end it.

    The method is chosen by the published flags of its lines; where one of these has no flag, by its name.
    """
    values, middle, end = recipe.values, [], []
    if head_layers := unusual_head_layers(values):
        middle += ["--head_layers", head_layers]
    middle += _non_default(recipe, "head_width")
    chosen_by_flags = choose(method_of({line.flag: True for line, _ in recipe.lines}))
    by_flags = chosen_by_flags.lines == recipe.method.lines
    if not by_flags:
        middle += ["--method", recipe.method.name]
    for line, names in recipe.lines:
        options = {line.flag: "True"} if by_flags and line.flag else {}
        options |= {name: values[name] for name in names if recipe.style.omitted.get(name) != values[name]}
        place = end if by_flags and line.flag == SDCLR_FLAG else middle
        place += _words(options)
    return middle, end


def _probe(recipe: Recipe, protocol: Protocol) -> list[str]:
    """The command of a probe, or of supervised learning; several processes run it only for image files."""
    dataset, style, values = recipe.dataset, recipe.style, recipe.values
    options = _shared(recipe) | {
        "save-dir": f"{recipe.folder}_tune",
        "dataset": dataset.name,
        "checkpoint": f"{recipe.folder}/{recipe.experiment}/model_{values['epochs']}.pt",
        "cvt_state_dict": "True",
        "world_size": str(recipe.count("GPU_NUM") * recipe.count("nodes")),
        "port": values["port"],
    }
    if protocol.name not in PROBE_ENDINGS:
        options["protocol"] = protocol.name
    settings = {**values, "few_shot": recipe.few_shot_list}
    name = probe_name(recipe.experiment, protocol.name, dataset.style, settings)
    step = {"sdclr-linear": "linear", "sdclr-fewshot": "few_shot"}.get(protocol.name, protocol.name)
    launcher = _launch(recipe, step) if style.processes else [program()]

    evaluates = recipe.on("test_only") and not protocol.classifier
    saving = ["--test_only", "True"] if evaluates else _saving(recipe)
    # A check writes nothing, so the checkpoint of this recipe's pre-training does not exist yet.
    untrained = ["--untrained", "True"] if recipe.on("check") and _pretrains(recipe) else []
    check = _non_default(recipe, "check") + untrained
    dense = ["--bnNameCnt", "0"] if recipe.on("prune_dual_bn") else []  # dual batch norm: the unpruned network's branch

    last = [*saving, *check, *dense, *_words(options, style.end), *_images(recipe)]
    if protocol.supervised:
        arguments = _words(_supervised_options(recipe, protocol, options), SUPERVISED) + last
    elif protocol.classifier:
        arguments = _words(options, FEATURES) + last
    else:
        arguments = _words(options | _image_probe_options(recipe, protocol), style.probe)
        arguments += [*_images(recipe), *dense, *saving, *check]
    return [*launcher, style.script, name, *arguments, *_non_default(recipe, "quiet")]


def _supervised_options(recipe: Recipe, protocol: Protocol, options: Mapping[str, str]) -> dict[str, str]:
    """A probe's options with the list and, where the recipe sets them, the epochs of supervised learning.

    A protocol that begins with a finished run of protocol ce has that run's folder in place of the checkpoint.
    """
    epochs = _protocol_settings(recipe, protocol)
    options = {**options, recipe.style.few_shot: recipe.dataset.split_list(recipe.values["split"]), **epochs}
    names = [p.name for p in recipe.protocols]
    ce_comes_first = "ce" in names[: names.index(protocol.name)]
    # In a check, ce has not been run; an evaluation alone begins with the network that it evaluates.
    begins_with_ce = protocol.after_ce and not recipe.on("check") and not recipe.on("test_only")
    if begins_with_ce and ce_comes_first:
        ce = probe_name(recipe.experiment, "ce", recipe.dataset.style, recipe.values)
        options["ce"] = f"{options['save-dir']}/{ce}"
        for name in ("checkpoint", "cvt_state_dict", "ce_epochs"):
            options.pop(name, None)
    return options


def _image_probe_options(recipe: Recipe, protocol: Protocol) -> dict[str, str]:
    """Options of a probe that trains on images: the protocol's, those that the recipe sets, and the lists."""
    dataset = recipe.dataset
    options = options_of(protocol, dataset.style) | _protocol_settings(recipe, protocol)
    if protocol.few_shot:
        lists = {recipe.style.few_shot: dataset.split_list(recipe.few_shot_list)}
    else:
        lists = {"trainSplit": dataset.train_list, "fullset": "True"}
    return options | lists | {"valiSplit": dataset.val_list}


def _protocol_settings(recipe: Recipe, protocol: Protocol) -> dict[str, str]:
    """Option of the probe -> value, for the settings of this protocol that the recipe has."""
    option_of = OF_PROTOCOLS.get(protocol.name, {})
    return {option: recipe.values[name] for name, option in option_of.items() if recipe.values[name]}


def _words(options: Mapping[str, str], order: str = "") -> list[str]:
    """Options as words, `--name value`; with an order, only those that it names, in its order."""
    names = order.split() if order else options
    return [word for name in names if name in options for word in ("--" + name, options[name])]


def _non_default(recipe: Recipe, *names: str) -> list[str]:
    """Those of the settings that differ from their defaults, as words."""
    return _words({name: recipe.values[name] for name in names if recipe.values[name] != GENERAL[name]})


def _shared(recipe: Recipe) -> dict[str, str]:
    """Options that pre-training and probes have in common."""
    values = recipe.values
    return {
        "num_workers": values["workers"],
        **{name: values[name] for name in ("data", "download", "model", "resume")},
    }


def _images(recipe: Recipe) -> list[str]:
    """Options of how images are read and computed with, as far as they differ from the defaults."""
    always = {name: recipe.values[name] for name in recipe.style.always}
    return _words(always) + _non_default(recipe, "precision", "augment", "image_size", "cache")


def _saving(recipe: Recipe) -> list[str]:
    return _non_default(recipe, "overwrite", "accept_changes", "save_steps")


def _launch(recipe: Recipe, step: str) -> list[str]:
    """The words before a script: Python, or the launcher of several processes.

    Args:
        step: a name that keeps the steps of a recipe apart, whose machines meet at the same place.
    """
    values, launcher = recipe.values, [program(), "-m", "recipes.launch"]
    processes = f"--nproc_per_node={values['GPU_NUM']}"
    if recipe.count("nodes") > 1:
        meeting = [f"--rdzv_endpoint={values['rdzv']}", f"--rdzv_id={recipe.experiment}-{step}"]
        if values["rdzv_wait"] != GENERAL["rdzv_wait"]:
            meeting.append(f"--rdzv_conf=join_timeout={values['rdzv_wait']}")
        return [*launcher, f"--nnodes={values['nodes']}", processes, "--rdzv_backend=c10d", *meeting]
    if recipe.count("GPU_NUM") > 1:
        return [*launcher, processes, f"--master_port={values['port']}"]
    return [program()]
