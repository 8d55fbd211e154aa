"""Encoders of other libraries: where in the file their weights are, under which names, and what else is there.

One entry of FORMATS a format. A format is recognised where each key is the encoder's or of a part that it names, so
that nothing is left out silently. The facts are those of the libraries' sources:

- MoCo: moco/builder.py, main_lincls.py, which takes the query encoder; MoCo v3: the same files, the base encoder.
- SimSiam: simsiam/builder.py. SupContrast: networks/resnet_big.py (blocks with `shortcut`, a 3x3 stem), util.py.
- SimCLR of sthalles: models/resnet_simclr.py: torchvision's network, stem of ImageNet, the head in place of its `fc`.
- solo-learn: solo/methods/base.py: `encoder` of older versions is `backbone` now; a 3x3 stem is padded by 2 pixels.
- lightly: its examples take a network apart, `nn.Sequential(*list(resnet.children())[:-1])`, so that layers have
  numbers; of its own ResNetGenerator (lightly/models/resnet.py) this leaves out the stem's ReLU, which is no module.
- VISSL: models/trunks/resnext.py. DINO: main_dino.py, utils.py; its evaluation takes the teacher.
- SwAV: src/resnet50.py. Barlow Twins, VICReg: their main files. timm's averaged weights: timm/utils/model_ema.py.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from models.published import WRAPPED, State, from_published

# Keys at which files have their weights; '' for a file that is a state dict itself.
USUAL = ("state_dict", "model", "model_state_dict", "net", "network", "weights", "params", "")
_HEAD, _MOMENTUM, _QUEUE, _CLASSIFIER = "projection head", "momentum network", "queue", "classifier"

# Of torchvision's children 2 is the ReLU and 3 the max-pool; lightly's ResNetGenerator has neither.
_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
_GENERATOR = {"0": "conv1", "1": "bn1", "2": "layer1", "3": "layer2", "4": "layer3", "5": "layer4"}
# What only this project and its two papers' authors have among the weights.
_OURS = re.compile(
    r"^(?:backbone\.)?normalize\.(mean|std)$|\.bn_list\.\d\.|^(?:backbone\.)?(fc|projector)\.fc\d\.|\.downsample\.(conv|bn)\."
)


@dataclass(frozen=True)
class Format:
    """One format.

    name: on command lines. what: in words. prefix: before the encoder's keys, a regular expression, once prefixes of
    wrappers are gone. parts: regular expressions of whole keys -> the part that is left out. at: where the weights
    are, the first that is there counts: keys of the file, with dots within; '' for the file itself. children: a
    network that was taken apart: number -> name of its layers. shortcut: what its blocks call their projection.
    small_stem: of models.resnet.STEMS, where the first kernel is 3x3. asked: only where it is asked for by name, as
    the library itself evaluates another network.
    """

    name: str
    what: str
    prefix: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    at: tuple[str, ...] = USUAL
    children: Mapping[str, str] = field(default_factory=dict)
    shortcut: str = "downsample"
    small_stem: str = "cifar"
    asked: bool = False

    def own_name(self, key: str) -> str | None:
        """Our name of an encoder's tensor; None of a key that is none of the encoder's."""
        block = rf"\.\d+\.(?:(?:conv|bn)[123]|(?:{self.shortcut})\.[01])\.\w+"
        named = rf"(conv1\.weight|bn1\.\w+|layer[1-4]{block})()"
        inner = rf"({'|'.join(self.children)})(\.\w+|{block})" if self.children else named
        if not (found := re.fullmatch(f"(?:{self.prefix}){inner}", key)):
            return None
        first, rest = found.groups()
        return f"{self.children.get(first, first)}{rest}".replace(".shortcut.", ".downsample.")

    def part(self, key: str) -> str | None:
        """Of which part that is left out a key is; None where it is of none."""
        return next((part for pattern, part in self.parts.items() if re.fullmatch(pattern, key)), None)


_OF_MOCO_V3 = {r"(base|momentum)_encoder\.fc\..+": _HEAD, r"predictor\..+": "predictor"}
_OF_SOLO = {
    r"(momentum_)?(projector|predictor|head)\..+": _HEAD,
    r"(momentum_)?classifier\..+": _CLASSIFIER,
    r"queue\w*": _QUEUE,
    r"(momentum_)?prototypes\..+|\w*loss\w*\..+|centroids|local_memory_\w+|assignments": "loss",
}
_OF_LIGHTLY = {
    r"((projection|prediction|student|teacher)_head(_momentum)?|head)\..+": _HEAD,
    r"(student_backbone|backbone_momentum)\..+": "other network",
    r"(online_|momentum_)?classifier\..+|online_\w+\..+": _CLASSIFIER,
    r"(criterion|loss|memory_bank|prototypes|queue\w*)(\..+)?": "loss",
}
_DINO = {r"head\..+": _HEAD}

FORMATS = {form.name: form for form in (
    Format("ours", "this project's or the papers' authors'", at=("state_dict", "")),
    Format("torchvision", "torchvision's or timm's", parts={r"fc\.(weight|bias)": _CLASSIFIER}),
    Format("timm-ema", "timm's averaged weights", at=("state_dict_ema",), parts={r"fc\.(weight|bias)": _CLASSIFIER}),
    Format("moco", "MoCo's query encoder", r"encoder_q\.",
           {r"encoder_q\.fc\..+": _HEAD, r"encoder_k\..+": _MOMENTUM, r"queue(_ptr)?": _QUEUE}),
    Format("moco-key", "MoCo's key encoder", r"encoder_k\.",
           {r"encoder_k\.fc\..+": _HEAD, r"encoder_q\..+": "query encoder", r"queue(_ptr)?": _QUEUE}, asked=True),
    Format("mocov3", "MoCo v3's base encoder", r"base_encoder\.",
           {**_OF_MOCO_V3, r"momentum_encoder\..+": _MOMENTUM}),
    Format("mocov3-momentum", "MoCo v3's momentum encoder", r"momentum_encoder\.",
           {**_OF_MOCO_V3, r"base_encoder\..+": "base encoder"}, asked=True),
    Format("supcontrast", "SupContrast's", r"encoder\.", {r"head\..+": _HEAD, r"fc\.(weight|bias)": _CLASSIFIER},
           shortcut="downsample|shortcut"),
    Format("backbone", "a network's below `backbone.`", r"backbone\."),
    Format("simsiam", "SimSiam's", r"encoder\.", {r"encoder\.fc\..+": _HEAD, r"predictor\..+": "predictor"}),
    Format("simclr", "SimCLR's of sthalles", r"backbone\.", {r"backbone\.fc\..+": _HEAD}),
    Format("solo-learn", "solo-learn's", r"(?:backbone|encoder)\.",
           {**_OF_SOLO, r"momentum_(backbone|encoder)\..+": _MOMENTUM}, small_stem="cifar-padded"),
    Format("solo-learn-momentum", "solo-learn's momentum network", r"momentum_(?:backbone|encoder)\.",
           {**_OF_SOLO, r"(backbone|encoder)\..+": "online network"}, small_stem="cifar-padded", asked=True),
    Format("lightly", "lightly's", r"(?:teacher_)?backbone\.", _OF_LIGHTLY),
    Format("lightly-children", "lightly's, of a network taken apart", r"(?:teacher_)?backbone\.", _OF_LIGHTLY,
           children=_CHILDREN),
    Format("lightly-generator", "lightly's, of its ResNetGenerator taken apart", r"(?:teacher_)?backbone\.",
           _OF_LIGHTLY, children=_GENERATOR, shortcut="shortcut", small_stem="cifar-linear"),
    Format("vissl", "VISSL's trunk", r"(?:(?:model\.)?trunk\.)?(?:base_model\.)?_feature_blocks\.",
           {r"(model\.)?heads\..+": _HEAD}, ("classy_state_dict.base_model.model.trunk", *USUAL)),
    Format("dino", "DINO's teacher", r"(?:backbone\.)?", _DINO, ("teacher",)),
    Format("dino-student", "DINO's student", r"(?:backbone\.)?", _DINO, ("student",), asked=True),
    Format("swav", "SwAV's", parts={r"projection_head\..+": _HEAD, r"prototypes\..+": "prototypes"}),
    Format("barlow", "Barlow Twins' or VICReg's", r"backbone\.", {r"(projector|bn)\..+": _HEAD}),
)}  # fmt: skip


class Encoder(NamedTuple):
    """An encoder as a file has it.

    form: its format. state: its weights by our names; of ours the head's and of both batch norms, too. stem: one of
    models.resnet.STEMS. left_out: part -> number of its tensors.
    """

    form: Format
    state: State
    stem: str
    left_out: Mapping[str, int]

    @property
    def ours(self) -> bool:
        """Whether it is this project's, or the papers' authors'."""
        return self.form.name == "ours"

    def __str__(self) -> str:
        """The line that tells of it."""
        parts = ", ".join(f"{n} of its {part}" for part, n in self.left_out.items())
        return f"read as {self.form.what} ({self.form.name})" + (f"; tensors left out: {parts}" if parts else "")


def weights_of(form: Format, content: Mapping[str, Any]) -> State | None:
    """The tensors that a file has where the format has them, without prefixes of wrappers; None where there are none.

    Raises:
        InputError: two keys are of the same tensor.
    """
    for path in form.at:
        found = content
        for key in filter(None, path.split(".")):
            found = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(found, Mapping) and found and all(isinstance(v, torch.Tensor) for v in found.values()):
            return _unwrapped(found)
    return None


def _unwrapped(state: Mapping[Any, torch.Tensor]) -> State:
    names = {key: ".".join(part for part in str(key).split(".") if part not in WRAPPED) for key in state}
    if len(set(names.values())) < len(names):
        from_published(dict(state))  # tells which
    return {names[key]: value for key, value in state.items()}


def read_as(form: Format, content: Mapping[str, Any]) -> tuple[Encoder | None, list[str]]:
    """The encoder of a file in a format, and the keys that are of no part of it; None where there is no encoder.

    Raises:
        InputError: two keys are of the same tensor.
    """
    weights = weights_of(form, content)
    if weights is None:
        return None, []
    if form.name == "ours":
        state = from_published(weights)
        return Encoder(form, state, stem_of(state, form.small_stem), {}), []
    state, left_out, unknown = {}, {}, []
    for key, value in weights.items():
        if part := form.part(key):
            left_out[part] = left_out.get(part, 0) + 1
        elif (name := form.own_name(key)) and name not in state:
            state[name] = value
        else:
            unknown.append(key)
    if not state or not any(name.startswith("layer") for name in state):
        return None, list(weights)
    return Encoder(form, state, stem_of(state, form.small_stem), left_out), unknown


def stem_of(state: State, small: str) -> str:
    """The stem that the first convolution's kernel tells: 'imagenet' for 7x7, else `small`."""
    kernel = state.get("conv1.weight")
    return "imagenet" if kernel is not None and kernel.shape[-2:] == (7, 7) else small


def encoders_in(content: Mapping[str, Any]) -> tuple[list[Encoder], tuple[Format, str] | None]:
    """The encoders that a file can be read as, those that are the same network only once; and where there is none, the
    format that comes closest with a key that is of no part of it.

    Raises:
        InputError: two keys are of the same tensor.
    """
    ours, *others = FORMATS.values()
    if any(_OURS.search(key) for key in weights_of(ours, content) or ()):
        return [read_as(ours, content)[0]], None
    found, near = [], []
    for form in others:
        encoder, unknown = (None, []) if form.asked else read_as(form, content)
        if encoder is None:
            continue
        if unknown:
            near.append((len(unknown), form, unknown[0]))
        elif not any(_same(encoder, other) for other in found):
            found.append(encoder)
    closest = min(near, key=lambda item: item[0], default=None)
    return found, closest[1:] if closest and not found else None


def _same(one: Encoder, other: Encoder) -> bool:
    """Whether two readings of one file are the same network, so that it does not matter which one is taken."""
    same = one.state.keys() == other.state.keys() and all(v is other.state[k] for k, v in one.state.items())
    return same and one.stem == other.stem


def keys_of(content: Mapping[str, Any]) -> Iterator[str]:
    """Names of the tensors that a file has at one of the usual places."""
    yield from weights_of(Format("", ""), content) or ()
