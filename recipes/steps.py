"""The steps of a recipe: the command lines of pre-training and probes, in the published order of words."""

from collections.abc import Iterable, Mapping

from data.sets.registry import pretraining_name
from probe.protocols import Protocol
from recipes.running import program
from recipes.settings import LINES, Recipe
from run.names import (
    FIRST,
    few_shot_probe_name,
    few_shot_split,
    linear_probe_name,
    protocol_name,
    usual_head_layers,
)


def commands(recipe: Recipe) -> list[list[str]]:
    """The command lines of all steps that a recipe is to do, in order."""
    probes_alone, few_alone = recipe.on("only_finetuning"), recipe.on("few_shot_only")
    found = []
    if not probes_alone and not few_alone:
        found.append(_pretraining(recipe))
    if recipe.on("only_pretraining") and not few_alone:
        return found
    make = {"sdclr-linear": _linear_probe, "sdclr-fewshot": _few_shot_probe}
    for protocol in recipe.protocols:
        if protocol.few_shot or not few_alone:
            other = _feature_probe if protocol.classifier else _image_probe
            found.append(make.get(protocol.name, other)(recipe, protocol))
    return found


def _pretraining(recipe: Recipe) -> list[str]:
    dataset, values = recipe.dataset, recipe.values
    split = values["split"]
    given = _shared(recipe) | {
        "save-dir": recipe.folder,
        "dataset": pretraining_name(dataset),
        dataset.list_flag: dataset.split_list(split),
        "optimizer": "sgd",
        "scheduler": "cosine",
        "temperature": values["temp"],
        **{name: values[name] for name in ("epochs", "batch_size", "lr", "output_ch", "seed", "print_freq")},
    }
    crop = ["--resizeLower", values["resizeLower"]] if values["resizeLower"] else []
    before, after = _of_method(recipe)
    return [
        *_launch(recipe, "pretrain"), "train_simCLR.py", recipe.experiment, *_words(recipe.style.pretraining, given),
        *crop, *_images(recipe), *before, *_saving(recipe), *_check(recipe, False), *after, *_quiet(recipe),
    ]  # fmt: skip


def _of_method(recipe: Recipe) -> tuple[list[str], list[str]]:
    """The options that make the method: those in the middle of the command, and SDCLR's, which are its end.

    Each line's published flag chooses it; where one has none, the method is chosen by its name.
    """
    values, before, after = recipe.values, [], []
    if values["weight_decay"] != "1e-4":
        before += ["--weight_decay", values["weight_decay"]]
    if values["head_layers"] not in ("", usual_head_layers(values)):
        before += ["--head_layers", values["head_layers"]]
    by_flags = all(line.flag or line is LINES["simclr"] for line, _ in recipe.lines)
    if not by_flags:
        before += ["--method", recipe.method.name]
    for line, options in recipe.lines:
        unsaid = recipe.style.unsaid
        said = {name: value for name, value in options.items() if unsaid.get(name) != value}
        words = [*(["--" + line.flag, "True"] if by_flags and line.flag else []), *_words(said, said)]
        if by_flags and line.flag == FIRST:
            after += words
        else:
            before += words
    if recipe.on("compile"):
        before += ["--compile", "True"]
    told = {name: values[name] for name in ("monitor", "monitor_freq", "tensorboard") if values[name]}
    return before + _words(told, told), after


def _linear_probe(recipe: Recipe, protocol: Protocol) -> list[str]:
    name = linear_probe_name(recipe.dataset, recipe.experiment, recipe.values)
    given = _labelled(recipe, protocol) | {"epochs": recipe.values["linear_epochs"]}
    if recipe.values["linear_eval_seed"]:
        given["seed"] = recipe.values["linear_eval_seed"]
    return _probe(recipe, "linear", name, _published(protocol, recipe) | given)


def _few_shot_probe(recipe: Recipe, protocol: Protocol) -> list[str]:
    dataset, values = recipe.dataset, recipe.values
    few_shot = _few_shot_list(recipe)
    given = {"epochs": values["few_shot_epochs"], "lr": values["few_shot_lr"]}
    given |= _labelled(recipe, protocol)
    name = few_shot_probe_name(dataset, recipe.experiment, few_shot, values["few_shot_lr"])
    return _probe(recipe, "few_shot", name, _published(protocol, recipe) | given)


def _image_probe(recipe: Recipe, protocol: Protocol) -> list[str]:
    """A probe on augmented images that no paper names; the protocol's name is its name."""
    given = _published(protocol, recipe) | _labelled(recipe, protocol) | {"protocol": protocol.name}
    return _probe(recipe, protocol.name, protocol_name(recipe.experiment, protocol.name), given)


def _few_shot_list(recipe: Recipe) -> str:
    return recipe.values["few_shot_split"] or few_shot_split(recipe.values["split"])


def _labelled(recipe: Recipe, protocol: Protocol) -> dict[str, str]:
    """The options that name the labelled images."""
    if not protocol.few_shot:
        return {"trainSplit": recipe.dataset.train_list, "fullset": "True"}
    return {recipe.style.few_shot: recipe.dataset.split_list(_few_shot_list(recipe))}


def _published(protocol: Protocol, recipe: Recipe) -> dict[str, str]:
    """The settings of a protocol on images, as texts."""
    settings = protocol.settings[recipe.dataset.style]
    found = {name: f"{settings[name]:g}" for name in ("epochs", "lr", "wd", "test_freq", "seed")}
    found |= {"weight-decay": found["wd"], "batch-size": str(settings["batch_size"]), "fixto": settings["fixto"]}
    return found | {"fixbn": "True", "decreasing_lr": ",".join(map(str, settings["decreasing_lr"]))}


def _probe(recipe: Recipe, step: str, name: str, settings: Mapping[str, str]) -> list[str]:
    """A probe of SDCLR's paper; image files' are run by several processes, too."""
    style = recipe.style
    given = _of_probe(recipe) | {"valiSplit": recipe.dataset.val_list} | settings
    launch = _launch(recipe, step) if style.processes else [program()]
    saving = ["--test_only", "True"] if recipe.on("test_only") else _saving(recipe)
    return [
        *launch, style.script, name, *_words(style.probe, given), *_images(recipe), *_dense(recipe), *saving,
        *_check(recipe, True), *_quiet(recipe),
    ]  # fmt: skip


def _feature_probe(recipe: Recipe, protocol: Protocol) -> list[str]:
    """A probe on features, such as those of BCL's paper."""
    style = recipe.style
    given = _of_probe(recipe) | {"protocol": protocol.name}
    launch = _launch(recipe, protocol.name) if style.processes else [program()]
    return [
        *launch, style.script, protocol_name(recipe.experiment, protocol.name), *_words(style.features, given),
        *_saving(recipe), *_check(recipe, True), *_dense(recipe),
        *_words(style.end, given), *_images(recipe), *_quiet(recipe),
    ]  # fmt: skip


def _words(order: str | Iterable[str], given: Mapping[str, str]) -> list[str]:
    """`--name value` of what is given, in an order of names."""
    names = order.split() if isinstance(order, str) else order
    return [word for name in names if name in given for word in ("--" + name, given[name])]


def _shared(recipe: Recipe) -> dict[str, str]:
    """What pre-training and probes are told alike."""
    values = recipe.values
    return {
        "num_workers": values["workers"],
        **{name: values[name] for name in ("data", "download", "model", "resume")},
    }


def _of_probe(recipe: Recipe) -> dict[str, str]:
    return _shared(recipe) | {
        "save-dir": f"{recipe.folder}_tune",
        "dataset": recipe.dataset.name,
        "checkpoint": f"{recipe.folder}/{recipe.experiment}/model_{recipe.values['epochs']}.pt",
        "cvt_state_dict": "True",
        "world_size": str(recipe.count("GPU_NUM") * recipe.count("nodes")),
        "port": recipe.values["port"],
    }


def _images(recipe: Recipe) -> list[str]:
    """How images are read and what computes, where it is not as usual."""
    values = recipe.values
    found = {name: values[name] for name in recipe.style.always}
    found |= {name: values[name] for name in ("precision", "augment") if values[name] != "auto"}
    if values["image_size"]:
        found["image_size"] = values["image_size"]
    return _words(found, found)


def _dense(recipe: Recipe) -> list[str]:
    """The branch of dual batch norm that is probed."""
    return ["--bnNameCnt", "0"] if recipe.on("prune_dual_bn") else []


def _saving(recipe: Recipe) -> list[str]:
    found = {name: "True" for name in ("overwrite", "accept_changes") if recipe.on(name)}
    if recipe.values["save_steps"] != "0":
        found["save_steps"] = recipe.values["save_steps"]
    return _words(found, found)


def _check(recipe: Recipe, probe: bool) -> list[str]:
    if not recipe.on("check"):
        return []
    # The checkpoint of a pre-training that comes first is not there yet.
    later = probe and not recipe.on("only_finetuning") and not recipe.on("few_shot_only")
    return ["--check", "True", *(["--untrained", "True"] if later else [])]


def _quiet(recipe: Recipe) -> list[str]:
    return ["--quiet", "True"] if recipe.on("quiet") else []


def _launch(recipe: Recipe, step: str) -> list[str]:
    """What comes before a script; `step` tells apart what meets at one place."""
    values, launcher = recipe.values, [program(), "-m", "recipes.launch"]
    processes = f"--nproc_per_node={values['GPU_NUM']}"
    if recipe.count("nodes") > 1:
        meeting = [f"--rdzv_endpoint={values['rdzv']}", f"--rdzv_id={recipe.experiment}-{step}"]
        return [*launcher, f"--nnodes={values['nodes']}", processes, "--rdzv_backend=c10d", *meeting]
    if recipe.count("GPU_NUM") > 1:
        return [*launcher, processes, f"--master_port={values['port']}"]
    return [program()]
