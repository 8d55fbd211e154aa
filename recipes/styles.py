"""Command lines of the papers' two families of scripts, by DataSet.style: their options in the published order."""

from typing import NamedTuple


class Style(NamedTuple):
    """One family of scripts. Options are in the order of the published commands; a step omits those without a value.

    script: the probes' script. pretraining, probe: options of these steps. end: the last options of a probe on
    features. few_shot: the option that names the list of few labelled images. processes: whether several processes can
    run a probe. always: options of images that are written even at their default. omitted: option of a method -> the
    value at which it is not written, as in the published commands. without_effect: options of recipes that have no
    effect for this family; effective_for: what they are for, in the words of the error message.
    """

    script: str
    pretraining: str
    probe: str
    end: str
    few_shot: str
    processes: bool
    always: tuple[str, ...]
    omitted: dict[str, str]
    without_effect: frozenset[str]
    effective_for: str


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
