"""Encoders of other libraries: where their checkpoints have the weights, under which names, and what else.

Each format is an entry of FORMATS. A file is of a format if each key belongs to the encoder or to a part that the
format names, so that nothing is left out silently. The facts are from the libraries' sources:

- MoCo: moco/builder.py, main_lincls.py, which takes the query encoder; MoCo v3: the same files, the base encoder.
- SimSiam: simsiam/builder.py. SupContrast: networks/resnet_big.py (blocks with `shortcut`, a 3x3 stem), util.py.
- SimCLR of sthalles: models/resnet_simclr.py: torchvision's network, stem of ImageNet, the head in place of its `fc`.
- solo-learn: solo/methods/base.py: `encoder` of older versions is `backbone` now; a 3x3 stem is padded by 2 pixels.
- lightly: its examples build `nn.Sequential(*list(resnet.children())[:-1])`, so that layers are named by numbers; of
  its own ResNetGenerator (lightly/models/resnet.py) this drops the stem's ReLU, which is a function and no module.
- VISSL: models/trunks/resnext.py. DINO: main_dino.py, utils.py; its evaluation takes the teacher.
- SwAV: src/resnet50.py. Barlow Twins, VICReg: their main files. timm's averaged weights: timm/utils/model_ema.py;
  torchvision's: references/classification/train.py, and utils.py, whose ExponentialMovingAverage counts `n_averaged`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from models.published import WRAPPED, State, from_published

# Keys at which files have their state_dict; '' for a file that is a state_dict itself.
USUAL = ("state_dict", "model", "model_state_dict", "net", "network", "weights", "params", "")
_HEAD, _MOMENTUM, _QUEUE, _CLASSIFIER = "projection head", "momentum network", "queue", "classifier"

# Index of a child -> its name. torchvision's 2 is the ReLU and 3 the max-pool; lightly's ResNetGenerator has neither.
_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
_GENERATOR = {"0": "conv1", "1": "bn1", "2": "layer1", "3": "layer2", "4": "layer3", "5": "layer4"}
# Keys that only this project and the authors of its two papers have among the weights.
_OURS = re.compile(
    r"^(?:backbone\.)?normalize\.(mean|std)$|\.bn_list\.\d\.|^(?:backbone\.)?(fc|projector)\.fc\d\.|\.downsample\.(conv|bn)\."
)
# timm's names of networks with the tensors of a ResNet, but other features, as they average or blur before strides.
_ANTIALIASED = re.compile(r"resnet\d*_?(aa|blur)|anti_?aliased")


@dataclass(frozen=True)
class Format:
    """One format.

    name: on command lines. description: for messages. prefix: regular expression, before the encoder's keys after
    prefixes of wrappers are removed. parts: regular expression of whole keys -> part of the file that is left out. at:
    where the weights may be, of which the first that is not empty and holds only tensors counts: keys of nested dicts
    joined by dots; '' for the file itself.
    children: of an nn.Sequential made of a network's children, index -> name of the layer. shortcut: name of the
    projection in its blocks. small_stem: one of models.resnet.STEMS, for a first kernel of 3x3. explicit: read only if
    it is named by the user, as the library itself evaluates another network of the file.
    """

    name: str
    description: str
    prefix: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    at: tuple[str, ...] = USUAL
    children: Mapping[str, str] = field(default_factory=dict)
    shortcut: str = "downsample"
    small_stem: str = "cifar"
    explicit: bool = False

    def our_name(self, key: str) -> str | None:
        """Our name of an encoder's tensor; None for a key that is not the encoder's."""
        block = rf"\.\d+\.(?:(?:conv|bn)[123]|(?:{self.shortcut})\.[01])\.\w+"
        named = rf"(conv1\.weight|bn1\.\w+|layer[1-4]{block})()"
        inner = rf"({'|'.join(self.children)})(\.\w+|{block})" if self.children else named
        if not (match := re.fullmatch(f"(?:{self.prefix}){inner}", key)):
            return None
        first, rest = match.groups()
        return f"{self.children.get(first, first)}{rest}".replace(".shortcut.", ".downsample.")

    def part(self, key: str) -> str | None:
        """The part, of those that are left out, to which a key belongs; None if it belongs to none."""
        return next((part for pattern, part in self.parts.items() if re.fullmatch(pattern, key)), None)


_OF_MOCO_V3 = {r"(base|momentum)_encoder\.fc\..+": _HEAD, r"predictor\..+": "predictor"}
_OF_SOLO = {
    r"(momentum_)?(projector|predictor|head)\..+": _HEAD,
    r"(momentum_)?classifier\.(weight|bias)": _CLASSIFIER,  # no more, as segmentation networks have `classifier.0`
    r"queue\w*": _QUEUE,
    r"(momentum_)?prototypes\..+|\w*loss\w*\..+|centroids|local_memory_\w+|assignments": "loss",
}
_OF_LIGHTLY = {
    r"((projection|prediction|student|teacher)_head(_momentum)?|head)\..+": _HEAD,
    r"(student_backbone|backbone_momentum)\..+": "other network",
    r"classifier\.(classification_head\.)?(weight|bias)|(online_|momentum_)classifier\..+|online_\w+\..+": _CLASSIFIER,
    r"(criterion|loss|memory_bank|prototypes|queue\w*)(\..+)?": "loss",
}
_DINO = {r"head\..+": _HEAD}

FORMATS = {form.name: form for form in (
    Format("ours", "this project's or the papers' authors'", at=("state_dict", "")),
    Format("torchvision", "torchvision's or timm's", parts={r"fc\.(weight|bias)": _CLASSIFIER}),
    Format("timm-ema", "timm's averaged weights", at=("state_dict_ema",), parts={r"fc\.(weight|bias)": _CLASSIFIER}),
    Format("torchvision-ema", "torchvision's averaged weights", at=("model_ema",),
           parts={r"fc\.(weight|bias)": _CLASSIFIER, "n_averaged": "counter"}),
    Format("moco", "MoCo's query encoder", r"encoder_q\.",
           {r"encoder_q\.fc\..+": _HEAD, r"encoder_k\..+": _MOMENTUM, r"queue(_ptr)?": _QUEUE}),
    Format("moco-key", "MoCo's key encoder", r"encoder_k\.",
           {r"encoder_k\.fc\..+": _HEAD, r"encoder_q\..+": "query encoder", r"queue(_ptr)?": _QUEUE}, explicit=True),
    Format("mocov3", "MoCo v3's base encoder", r"base_encoder\.",
           {**_OF_MOCO_V3, r"momentum_encoder\..+": _MOMENTUM}),
    Format("mocov3-momentum", "MoCo v3's momentum encoder", r"momentum_encoder\.",
           {**_OF_MOCO_V3, r"base_encoder\..+": "base encoder"}, explicit=True),
    Format("supcontrast", "SupContrast's", r"encoder\.", {r"head\..+": _HEAD, r"fc\.(weight|bias)": _CLASSIFIER},
           shortcut="downsample|shortcut"),
    Format("backbone", "a network's below `backbone.`", r"backbone\."),
    Format("simsiam", "SimSiam's", r"encoder\.", {r"encoder\.fc\..+": _HEAD, r"predictor\..+": "predictor"}),
    Format("simclr", "SimCLR's of sthalles", r"backbone\.", {r"backbone\.fc\..+": _HEAD}),
    Format("solo-learn", "solo-learn's", r"(?:backbone|encoder)\.",
           {**_OF_SOLO, r"momentum_(backbone|encoder)\..+": _MOMENTUM}, small_stem="cifar-padded"),
    Format("solo-learn-momentum", "solo-learn's momentum network", r"momentum_(?:backbone|encoder)\.",
           {**_OF_SOLO, r"(backbone|encoder)\..+": "online network"}, small_stem="cifar-padded", explicit=True),
    Format("lightly", "lightly's", r"(?:teacher_)?backbone\.", _OF_LIGHTLY),
    Format("lightly-children", "lightly's, of a network taken apart", r"(?:teacher_)?backbone\.", _OF_LIGHTLY,
           children=_CHILDREN),
    Format("lightly-generator", "lightly's, of its ResNetGenerator taken apart", r"(?:teacher_)?backbone\.",
           _OF_LIGHTLY, children=_GENERATOR, shortcut="shortcut", small_stem="cifar-linear"),
    Format("vissl", "VISSL's trunk", r"(?:(?:model\.)?trunk\.)?(?:base_model\.)?_feature_blocks\.",
           {r"(model\.)?heads\..+": _HEAD}, ("classy_state_dict.base_model.model.trunk", *USUAL)),
    Format("dino", "DINO's teacher", r"(?:backbone\.)?", _DINO, ("teacher",)),
    Format("dino-student", "DINO's student", r"(?:backbone\.)?", _DINO, ("student",), explicit=True),
    Format("swav", "SwAV's", parts={r"projection_head\..+": _HEAD, r"prototypes\..+": "prototypes"}),
    Format("barlow", "Barlow Twins' or VICReg's", r"backbone\.", {r"(projector|bn)\..+": _HEAD}),
)}  # fmt: skip


class Encoder(NamedTuple):
    """An encoder that was read from a file.

    form: its format. state: its weights by our names; from our own checkpoints with the head's and both batch norms.
    stem: one of models.resnet.STEMS. left_out: part -> number of its tensors.
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
        """A line on how it was read, for the log."""
        parts = ", ".join(f"{n} of its {part}" for part, n in self.left_out.items())
        return f"read as {self.form.description} ({self.form.name})" + (f"; tensors left out: {parts}" if parts else "")


def weights_of(form: Format, content: Mapping[str, Any]) -> State | None:
    """The tensors at the first place of the format that has any, without prefixes of wrappers; None if there are none.

    Raises:
        InputError: two keys are of the same tensor.
    """
    for path in form.at:
        weights = content
        for key in filter(None, path.split(".")):
            weights = weights.get(key) if isinstance(weights, Mapping) else None
        if isinstance(weights, Mapping) and weights and all(isinstance(v, torch.Tensor) for v in weights.values()):
            return _unwrapped(weights)
    return None


def _unwrapped(state: Mapping[Any, torch.Tensor]) -> State:
    names = {key: ".".join(part for part in str(key).split(".") if part not in WRAPPED) for key in state}
    if len(set(names.values())) < len(names):
        from_published(dict(state))  # raises an error that names the tensor
    return {names[key]: value for key, value in state.items()}


def read_as(form: Format, content: Mapping[str, Any]) -> tuple[Encoder | None, list[str]]:
    """The encoder of a file read in a format, and the keys that belong to no part of it; None if there is no encoder.

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
        elif (name := form.our_name(key)) and name not in state:
            state[name] = value
        else:
            unknown.append(key)
    if not state or not any(name.startswith("layer") for name in state):
        return None, list(weights)
    return Encoder(form, state, stem_of(state, form.small_stem), left_out), unknown


def stem_of(state: State, small: str) -> str:
    """The stem by the first convolution's kernel: 'imagenet' for 7x7, else `small`."""
    kernel = state.get("conv1.weight")
    return "imagenet" if kernel is not None and kernel.shape[-2:] == (7, 7) else small


def encoders_in(content: Mapping[str, Any]) -> tuple[list[Encoder], tuple[Format, str] | None]:
    """The encoders that a file can be read as, each network once; and if there are none, the closest format with a key
    that belongs to no part of it.

    Raises:
        InputError: two keys are of the same tensor.
    """
    ours, *others = FORMATS.values()
    if any(_OURS.search(key) for key in weights_of(ours, content) or ()):
        return [read_as(ours, content)[0]], None
    found, near = [], []
    for form in others:
        encoder, unknown = (None, []) if form.explicit else read_as(form, content)
        if encoder is None:
            continue
        if unknown:
            near.append((len(unknown), form, unknown[0]))
        elif not any(_same(encoder, other) for other in found):
            found.append(encoder)
    closest = min(near, key=lambda item: item[0], default=None)
    return found, closest[1:] if closest and not found else None


def _same(first: Encoder, second: Encoder) -> bool:
    """Whether two readings of a file give the same network, so that it does not matter which one is taken."""
    same = first.state.keys() == second.state.keys() and all(v is second.state[k] for k, v in first.state.items())
    return same and first.stem == second.stem


def variant_in(content: Mapping[str, Any]) -> str:
    """The architecture that a file names, if that has the tensors of a ResNet but other features; else ''."""
    names = [content.get(key) for key in ("arch", "architecture")]
    return next((name for name in names if isinstance(name, str) and _ANTIALIASED.search(name.lower())), "")


def keys_of(content: Mapping[str, Any]) -> Iterator[str]:
    """Names of the tensors that a file has at one of the usual places."""
    yield from weights_of(Format("", ""), content) or ()
