"""The authors' checkpoint formats, and loading with every key accounted for."""

import re

import torch
from torch import nn

from utils.errors import InputError

State = dict[str, torch.Tensor]
NORMALIZE = {"normalize.mean", "normalize.std"}
WRAPPED = {"module", "_orig_mod"}  # DistributedDataParallel's and torch.compile's, in any order and number


def from_published(state: State) -> State:
    """Rename the authors' keys to ours.

    SDCLR's: no `module.`, `downsample.conv/bn` -> torchvision's `downsample.0/1`. BCL's: no `backbone.`, and its
    SimCLR's `projector.` -> `fc.` (its models/simclr.py; its SDCLR has the head in `backbone.fc`, models/sdclr.py).
    Our own checkpoints pass through unchanged but for the `module.` that they carry as published. Prefixes of wrappers
    go, wherever they are.

    Raises:
        InputError: two keys are of the same tensor.
    """
    renamed = {}
    for key, value in state.items():
        key = ".".join(part for part in key.split(".") if part not in WRAPPED).removeprefix("backbone.")
        key = re.sub(r"^projector\.", "fc.", key)
        key = key.replace("downsample.conv", "downsample.0").replace("downsample.bn", "downsample.1")
        if key in renamed:
            raise InputError(f"the checkpoint has two tensors for {key}: it is of several networks, or damaged")
        renamed[key] = value
    return renamed


def has_dual_batch_norm(state: State) -> bool:
    """Whether a state dict is of SDCLR with a batch norm for each branch."""
    return any(".bn_list." in key for key in state)


def select_batch_norm(state: State, index: int) -> State:
    """Keep one batch norm of a dual one: index 0 is the dense branch's, 1 the pruned branch's.

    Raises:
        InputError: the checkpoint has dual batch norm and index is neither 0 nor 1, or has none and index >= 0.
    """
    dual = has_dual_batch_norm(state)
    if dual and index not in (0, 1):
        raise InputError("the checkpoint has dual batch norm: bnNameCnt must be 0 (dense branch) or 1 (pruned)")
    if not dual and index >= 0:
        raise InputError(f"the checkpoint has single batch norm, of which bnNameCnt {index} has no meaning")
    other = f".bn_list.{1 - index}."
    return {re.sub(r"\.bn_list\.\d", "", k): v for k, v in state.items() if not dual or other not in k}


def to_backbone(state: State, index: int = -1) -> State:
    """A pre-training state dict as a single-batch-norm backbone without head (`--cvt_state_dict`)."""
    state = select_batch_norm(from_published(state), index)
    return {key: value for key, value in state.items() if not key.startswith("fc.")}


def load_state(model: nn.Module, state: State, source: str, head: bool = True) -> str:
    """Copy `state` (keys as ours) into `model`; every key must find its place.

    Two things may be missing: batch norms' counts, which nothing here reads, and the mean and deviation that images are
    normalised by, which files of torchvision and of features.export have not among their weights.

    Args:
        model: with head=False its `fc.*` parameters are left as they are.
        state: name -> tensor. source: the file's name, for messages.

    Returns:
        What was missing, to be told behind the file's name; '' for nothing.

    Raises:
        InputError: a key is missing or left over, or a shape differs: the checkpoint is of another model.
    """
    own = {k: v for k, v in model.state_dict().items() if head or not k.startswith("fc.")}
    normalize = NORMALIZE & own.keys() - state.keys()
    state = {**{k: v for k, v in own.items() if k in normalize or k.endswith("num_batches_tracked")}, **state}
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [k for k in own.keys() & state.keys() if own[k].shape != state[k].shape]
    hint = "choose the model and options it was made with, or another file"
    if missing or extra:
        what = f"it lacks {missing[0]}" if missing else f"it also has {extra[0]}"
        count = f"{len(missing)} keys missing, {len(extra)} left over"
        raise InputError(f"{source} is a checkpoint of another model: {what} ({count}); {hint}")
    wrong = [k for k in own if not shapes and not _is_usable(state[k], own[k])]
    if wrong:
        raise InputError(f"{source} is damaged: {min(wrong)} is not a dense tensor of finite numbers; get it again")
    if shapes:
        k = min(shapes)
        what = f"{k} is {list(state[k].shape)}, not {list(own[k].shape)}"
        raise InputError(f"{source} is a checkpoint of another model: {what}; {hint}")
    model.load_state_dict(state, strict=head)
    return ", without normalize.mean and normalize.std: ImageNet's are taken" if normalize else ""


class NetworkPart:
    """A network as a part of a run's state (run/parts.py).

    Args:
        prefix: of the names in a checkpoint, as the authors' have it: 'module.' or none.
    """

    def __init__(self, network: nn.Module, prefix: str) -> None:
        self.network, self.prefix = network, prefix

    def state_dict(self) -> State:
        return {f"{self.prefix}{name}": value for name, value in self.network.state_dict().items()}

    def load_state_dict(self, state: State) -> None:
        self.load(state, "it")

    def load(self, state: State, source: str) -> str:
        """The weights of a file that is named in messages; InputError if it is of another model. As load_state."""
        return load_state(self.network, from_published(state), source)


def _is_usable(value: torch.Tensor, own: torch.Tensor) -> bool:
    if value.layout != torch.strided or value.is_meta or value.is_floating_point() != own.is_floating_point():
        return False
    return not value.is_complex() and bool(torch.isfinite(value).all())
