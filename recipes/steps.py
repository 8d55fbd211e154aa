"""The steps of a recipe: the command lines of pre-training and probes, in the published order of words."""

from collections.abc import Mapping

from data.sets.registry import pretraining_name
from probe.protocols import Protocol
from recipes.running import program
from recipes.settings import GENERAL, LINES, OF_PROTOCOLS, Recipe
from run.names import FIRST, PROBE_ENDINGS, probe_name, unusual_head_layers

# Options of a probe on features, for both families of scripts.
FEATURES = "save-dir dataset data model protocol num_workers checkpoint cvt_state_dict resume"


def commands(recipe: Recipe) -> list[list[str]]:
    """The command lines of all steps that a recipe is to do, in order."""
    probes_alone, few_alone = recipe.on("only_finetuning"), recipe.on("few_shot_only")
    found = []
    if not probes_alone and not few_alone:
        found.append(_pretraining(recipe))
    if recipe.on("only_pretraining") and not few_alone:
        return found
    return found + [_probe(recipe, protocol) for protocol in recipe.protocols if protocol.few_shot or not few_alone]


def _pretraining(recipe: Recipe) -> list[str]:
    dataset, values = recipe.dataset, recipe.values
    given = _shared(recipe) | {
        "save-dir": recipe.folder,
        "dataset": pretraining_name(dataset),
        dataset.list_flag: dataset.split_list(values["split"]),
        "optimizer": "sgd",
        "scheduler": "cosine",
        "temperature": values["temp"],
        **{name: values[name] for name in ("epochs", "batch_size", "lr", "output_ch", "seed", "print_freq")},
    }
    before, after = _of_method(recipe)
    return [
        *_launch(recipe, "pretrain"), "train_simCLR.py", recipe.experiment, *_words(given, recipe.style.pretraining),
        *_unusual(recipe, "resizeLower"), *_images(recipe), *_unusual(recipe, "weight_decay"), *before,
        *_unusual(recipe, "compile", "monitor", "monitor_freq", "tensorboard"),
        *_saving(recipe), *_unusual(recipe, "check"), *after, *_unusual(recipe, "quiet"),
    ]  # fmt: skip


def _of_method(recipe: Recipe) -> tuple[list[str], list[str]]:
    """The options that make the method: those in the middle of the command, and SDCLR's, which are its end.

    Each line's published flag chooses it; where one has none, the method is chosen by its name.
    """
    values, before, after = recipe.values, [], []
    if head := unusual_head_layers(values):
        before += ["--head_layers", head]
    by_flags = all(line.flag or line is LINES["simclr"] for line, _ in recipe.lines)
    if not by_flags:
        before += ["--method", recipe.method.name]
    for line, names in recipe.lines:
        chosen = {line.flag: "True"} if by_flags and line.flag else {}
        said = {name: values[name] for name in names if recipe.style.unsaid.get(name) != values[name]}
        place = after if by_flags and line.flag == FIRST else before
        place += _words(chosen | said)
    return before, after


def _probe(recipe: Recipe, protocol: Protocol) -> list[str]:
    """A probe; image files' are run by several processes, too."""
    dataset, style, values = recipe.dataset, recipe.style, recipe.values
    given = _shared(recipe) | {
        "save-dir": f"{recipe.folder}_tune",
        "dataset": dataset.name,
        "checkpoint": f"{recipe.folder}/{recipe.experiment}/model_{values['epochs']}.pt",
        "cvt_state_dict": "True",
        "world_size": str(recipe.count("GPU_NUM") * recipe.count("nodes")),
        "port": values["port"],
    }
    if protocol.name not in PROBE_ENDINGS:
        given["protocol"] = protocol.name
    settings = {**values, "few_shot": recipe.few_shot_list}
    name = probe_name(recipe.experiment, protocol.name, dataset.style, settings)
    step = {"sdclr-linear": "linear", "sdclr-fewshot": "few_shot"}.get(protocol.name, protocol.name)
    command = [*(_launch(recipe, step) if style.processes else [program()]), style.script, name]
    # The checkpoint of a pre-training that comes first is not there yet.
    later = recipe.on("check") and not recipe.on("only_finetuning") and not recipe.on("few_shot_only")
    check = _unusual(recipe, "check") + (["--untrained", "True"] if later else [])
    dense = ["--bnNameCnt", "0"] if recipe.on("prune_dual_bn") else []  # the branch of dual batch norm
    if protocol.classifier:
        command += [*_words(given, FEATURES), *_saving(recipe), *check, *dense]
        command += [*_words(given, style.end), *_images(recipe)]
    else:
        saving = ["--test_only", "True"] if recipe.on("test_only") else _saving(recipe)
        command += _words(given | _of_image_probe(recipe, protocol), style.probe)
        command += [*_images(recipe), *dense, *saving, *check]
    return command + _unusual(recipe, "quiet")


def _of_image_probe(recipe: Recipe, protocol: Protocol) -> dict[str, str]:
    """A protocol's settings as texts, with what the recipe says of them, and the options that name its lists."""
    dataset, settings = recipe.dataset, protocol.settings[recipe.dataset.style]
    found = {name: f"{settings[name]:g}" for name in ("epochs", "lr", "wd", "test_freq", "seed")}
    found |= {"weight-decay": found["wd"], "batch-size": str(settings["batch_size"]), "fixto": settings["fixto"]}
    found |= {"fixbn": "True", "decreasing_lr": ",".join(map(str, settings["decreasing_lr"]))}
    told = OF_PROTOCOLS.get(protocol.name, {})
    found |= {option: recipe.values[name] for name, option in told.items() if recipe.values[name]}
    if protocol.few_shot:
        lists = {recipe.style.few_shot: dataset.split_list(recipe.few_shot_list)}
    else:
        lists = {"trainSplit": dataset.train_list, "fullset": "True"}
    return found | lists | {"valiSplit": dataset.val_list}


def _words(given: Mapping[str, str], order: str = "") -> list[str]:
    """`--name value` of what is given, in an order of names if there is one."""
    names = order.split() if order else given
    return [word for name in names if name in given for word in ("--" + name, given[name])]


def _unusual(recipe: Recipe, *names: str) -> list[str]:
    """The settings among these that are not as usual."""
    return _words({name: recipe.values[name] for name in names if recipe.values[name] != GENERAL[name]})


def _shared(recipe: Recipe) -> dict[str, str]:
    """What pre-training and probes are told alike."""
    values = recipe.values
    return {
        "num_workers": values["workers"],
        **{name: values[name] for name in ("data", "download", "model", "resume")},
    }


def _images(recipe: Recipe) -> list[str]:
    """How images are read and what computes, where it is not as usual."""
    always = {name: recipe.values[name] for name in recipe.style.always}
    return _words(always) + _unusual(recipe, "precision", "augment", "image_size")


def _saving(recipe: Recipe) -> list[str]:
    return _unusual(recipe, "overwrite", "accept_changes", "save_steps")


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
