"""Names of experiments, as the papers' scripts give them: the parts that other people's archives and logs are known by.

    <settings>_epoch<n>_<list>_newNT_s<seed><method>__<probe>     images in memory
    <list>_res<settings>_epoch<n>_batch<n><method>__<probe>       image files

What comes before `__` is the pre-training's name, the whole is the probe's.
"""

import re
from typing import NamedTuple

# ---- reading

# By DataSet.style: the name of a pre-training, and what the papers' linear and few-shot probes add.
_PRETRAINING = {
    "cifar": r".+_epoch(?P<epochs>\d{1,9})_(?P<list>(?P<split>.*split\d+.*?)_D_[ib])_newNT_s\d+(?P<method>.*)",
    "imagenet": r"(?P<list>.+?)_res.+_epoch(?P<epochs>\d{1,9})_batch\d+(?P<method>(?:_(?!_).*)?)",
}
_PROBE = {
    "cifar": r"(?:(?P<labelled>(?P=split)_S_b)_)?f2layer4_.*",
    "imagenet": r"(?:(?P<labelled>(?!lr[\d.]).+?)_)?lr[\d.]+_.*",
}


class ProbeName(NamedTuple):
    """What the name of a probe tells.

    pretraining: its name. list: of pre-training. epochs: of pre-training. method: the end of its name. labelled: the
    probe's list where the name has one, else ''. protocol: of a probe that is named by it (BCL's), else ''.
    """

    pretraining: str
    list: str
    epochs: int
    method: str
    labelled: str
    protocol: str


def read_name(name: str, style: str) -> ProbeName | None:
    """The parts of a probe's name; None of a name that the papers' scripts do not give.

    Args:
        style: of the data set (DataSet.style).
    """
    before = f"(?P<pretraining>{_PRETRAINING[style]})"
    found = re.fullmatch(rf"{before}__(?:{_PROBE[style]}|(?P<protocol>[a-z][\w-]*))", name)
    parts = {part: found[part] or "" for part in ProbeName._fields} if found else {}
    return ProbeName(**parts | {"epochs": int(parts["epochs"])}) if parts else None
