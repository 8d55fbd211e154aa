"""How the papers' two families of scripts are called, by DataSet.style: options in the published order."""

from typing import NamedTuple


class Style(NamedTuple):
    """Of one family. Options are in order; what a step does not have is left out.

    script: of probes. pretraining, probe: options. end: those at the end of a probe on features. few_shot: the option
    that names few labelled images. processes: probes are run by several.
    always: options on images that are said even where they are as usual. unsaid: options of methods that are left out
    where they have this value. other: the recipes' options that have no effect here, and in words what they are of.
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
