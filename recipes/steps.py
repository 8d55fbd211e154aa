"""The steps of a recipe: the command lines of pre-training and probes, in the published order of words."""

from collections.abc import Mapping

from data.sets.registry import pretraining_name
from methods import choose, method_of
from probe.protocols import Protocol, options_of
from recipes.running import program
from recipes.settings import GENERAL, OF_PROTOCOLS, Recipe
from run.names import PROBE_ENDINGS, SDCLR_FLAG, probe_name, unusual_head_layers
from run.schedule import TWO_STAGE

# Options of a probe on features, for both families of scripts.
FEATURES = "save-dir dataset data model protocol num_workers checkpoint cvt_state_dict resume"
SUPERVISED = (
    "save-dir dataset data model trainSplit customSplit protocol epochs ce_epochs num_workers ce checkpoint "
    "cvt_state_dict resume"
)


TABLE_3 = ["--paper", "bcl", "--table", "3"]  # of supervised learning


def commands(recipe: Recipe) -> list[list[str]]:
    """The command lines of all steps that a recipe is to do, in order."""
    probes_alone, few_alone = recipe.on("only_finetuning"), recipe.on("few_shot_only")
    found = []
    if not probes_alone and not few_alone:
        found.append(_pretraining(recipe))
    if recipe.on("only_pretraining") and not few_alone:
        return found
    found += [_probe(recipe, protocol) for protocol in recipe.protocols if protocol.few_shot or not few_alone]
    return found + ([_table(recipe)] if recipe.dataset.own and not recipe.on("check") else [])


def _table(recipe: Recipe) -> list[str]:
    """The table of the probes of own images, which no script for all methods makes."""
    split = recipe.dataset.split_of(recipe.values["split"])
    given = {"dataset": recipe.dataset.name, "data": recipe.values["data"], "root": recipe.values["root"]}
    given |= {"experiments": recipe.experiment, "method": recipe.method.name}
    words = [program(), "exp_analyse.py", *_words(given), "--probe", *(p.label for p in recipe.protocols)]
    if any(protocol.supervised for protocol in recipe.protocols):
        number = ["--splits", str(split.number)] if split and split.number else []
        return [*words, *TABLE_3, *number, *_unusual(recipe, "quiet")]
    if split and split.number:
        words += ["--splits", str(split.number), "--LT", str(split.long_tailed)]
    return words + (["--shape", split.shape] if split and split.shape else []) + _unusual(recipe, "quiet")


def _pretraining(recipe: Recipe) -> list[str]:
    dataset, values = recipe.dataset, recipe.values
    given = _shared(recipe) | {
        "save-dir": recipe.folder,
        "dataset": pretraining_name(dataset),
        dataset.list_flag: dataset.split_list(values["split"]),
        "optimizer": "sgd",
        "temperature": values["temp"],
        **{name: values[name] for name in ("epochs", "batch_size", "lr", "output_ch", "seed", "print_freq")},
        "scheduler": values["scheduler"],
    }
    before, after = _of_method(recipe)
    return [
        *_launch(recipe, "pretrain"), "train_simCLR.py", recipe.experiment, *_words(given, recipe.style.pretraining),
        *_unusual(recipe, "resizeLower"), *_images(recipe), *_unusual(recipe, "weight_decay"), *_schedule(recipe),
        *before, *_unusual(recipe, "compile", "monitor", "monitor_freq", "tensorboard", "wandb"),
        *_saving(recipe), *_unusual(recipe, "check"), *after, *_unusual(recipe, "quiet"),
    ]  # fmt: skip


def _schedule(recipe: Recipe) -> list[str]:
    """The learning rate's schedule, where it is not as usual."""
    names = ["stage_epochs", "stage_decay"] if recipe.values["scheduler"] == TWO_STAGE else []
    said = "scheduler" in recipe.style.pretraining.split()
    return _unusual(recipe, *([] if said else ["scheduler"]), *names)


def _of_method(recipe: Recipe) -> tuple[list[str], list[str]]:
    """The options that make the method: those in the middle of the command, and SDCLR's, which are its end.

    Each line's published flag chooses it; where one has none, the method is chosen by its name.
    """
    values, before, after = recipe.values, [], []
    if head := unusual_head_layers(values):
        before += ["--head_layers", head]
    before += _unusual(recipe, "head_width")
    by_flags = choose(method_of({line.flag: True for line, _ in recipe.lines})).lines == recipe.method.lines
    if not by_flags:
        before += ["--method", recipe.method.name]
    for line, names in recipe.lines:
        chosen = {line.flag: "True"} if by_flags and line.flag else {}
        said = {name: values[name] for name in names if recipe.style.unsaid.get(name) != values[name]}
        place = after if by_flags and line.flag == SDCLR_FLAG else before
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
    if protocol.supervised:
        saving = ["--test_only", "True"] if recipe.on("test_only") else _saving(recipe)
        command += [*_words(_of_supervised(recipe, protocol, given), SUPERVISED), *saving, *check, *dense]
        command += [*_words(given, style.end), *_images(recipe)]
    elif protocol.classifier:
        command += [*_words(given, FEATURES), *_saving(recipe), *check, *dense]
        command += [*_words(given, style.end), *_images(recipe)]
    else:
        saving = ["--test_only", "True"] if recipe.on("test_only") else _saving(recipe)
        command += _words(given | _of_image_probe(recipe, protocol), style.probe)
        command += [*_images(recipe), *dense, *saving, *check]
    return command + _unusual(recipe, "quiet")


def _of_supervised(recipe: Recipe, protocol: Protocol, given: Mapping[str, str]) -> dict[str, str]:
    """What is given and the list, and the epochs where the recipe tells them; behind a run of ce its folder in place of
    the checkpoint."""
    told = {option: recipe.values[name] for name, option in OF_PROTOCOLS[protocol.name].items() if recipe.values[name]}
    found = {**given, recipe.style.few_shot: recipe.dataset.split_list(recipe.values["split"]), **told}
    names = [each.name for each in recipe.protocols]
    # What is checked is not there yet, and an evaluation alone begins with its own network.
    known = not recipe.on("check") and not recipe.on("test_only")
    if protocol.after_ce and known and "ce" in names[: names.index(protocol.name)]:
        found["ce"] = f"{given['save-dir']}/{probe_name(recipe.experiment, 'ce', recipe.dataset.style, recipe.values)}"
        for name in ("checkpoint", "cvt_state_dict", "ce_epochs"):
            found.pop(name, None)
    return found


def _of_image_probe(recipe: Recipe, protocol: Protocol) -> dict[str, str]:
    """A protocol's settings as texts, with what the recipe says of them, and the options that name its lists."""
    dataset, found = recipe.dataset, options_of(protocol, recipe.dataset.style)
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
    return _words(always) + _unusual(recipe, "precision", "augment", "image_size", "cache")


def _saving(recipe: Recipe) -> list[str]:
    return _unusual(recipe, "overwrite", "accept_changes", "save_steps")


def _launch(recipe: Recipe, step: str) -> list[str]:
    """What comes before a script; `step` tells apart what meets at one place."""
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
