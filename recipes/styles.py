"""How the papers' two families of scripts are called, by DataSet.style: options in the published order."""

from typing import NamedTuple


class Style(NamedTuple):
    """One family of scripts. Options are in the order of the published commands; a step leaves out what it lacks.

    script: of probes. pretraining, probe: options. end: those at the end of a probe on features. few_shot: the option
    that names the few labelled images. processes: whether several processes run a probe.
    always: options of images that are written even where they have their default. unsaid: options of methods and the
    value at which they are not written, as in the published commands. other: options of recipes that have no effect for
    this family. of: what these are for, in words, for the error message.
    """

    script: str
    pretraining: str
    probe: str
    end: str
    few_shot: str
    processes: bool
    always: tuple[str, ...]
    unsaid: dict[str, str]
    other: frozenset[str]
    of: str


STYLES = {
    "cifar": Style(
        "train_cifar.py",
        "save-dir dataset data download trainSplit model epochs batch_size optimizer lr scheduler temperature "
        "output_ch seed num_workers print_freq resume",
        "save-dir dataset data download model trainSplit valiSplit epochs decreasing_lr lr wd batch-size "
        "test_freq fixto fixbn seed num_workers resume checkpoint cvt_state_dict protocol",
        "download", "trainSplit", False, (), {},
        frozenset({"nodes", "rdzv", "rdzv_wait", "few_shot_split", "linear_eval_seed", "on_bad_image"}), "image files",
    ),
    "imagenet": Style(
        "train_imagenet.py",
        "epochs batch_size output_ch lr temperature model dataset imagenetCustomSplit save-dir optimizer "
        "num_workers seed data print_freq resume",
        "decreasing_lr weight-decay epochs lr batch-size model fullset customSplit save-dir dataset "
        "checkpoint cvt_state_dict world_size port num_workers test_freq seed data resume protocol",
        "world_size port", "customSplit", True, ("on_bad_image",), {"random_prune_percent": "0"},
        frozenset({"download"}), "images in memory",
    ),
}  # fmt: skip
