"""The authors' checkpoint formats, and loading of weights that leaves out no key silently."""

import re

import torch
from torch import nn

from utils.errors import InputError

State = dict[str, torch.Tensor]
NORMALIZE = {"normalize.mean", "normalize.std"}
WRAPPED = {"module", "_orig_mod"}  # in keys after DistributedDataParallel and torch.compile, in any order and number


def from_published(state: State) -> State:
    """Rename the authors' keys to ours.

    SDCLR's: no `module.`, `downsample.conv/bn` -> torchvision's `downsample.0/1`. BCL's: no `backbone.`, and its
    SimCLR's `projector.` -> `fc.` (its models/simclr.py; its SDCLR has the head in `backbone.fc`, models/sdclr.py).
    Keys of our own checkpoints only lose the `module.` that they have as the published ones do. WRAPPED is removed
    anywhere in a key.

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
    """Whether a state_dict is of SDCLR with a batch norm for each branch."""
    return any(".bn_list." in key for key in state)


def select_batch_norm(state: State, index: int) -> State:
    """Keep one batch norm of each dual one: index 0 is the dense branch's, 1 the pruned branch's; -1 for single ones.

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
    """A pre-training state_dict as that of a backbone with single batch norm and no head (`--cvt_state_dict`)."""
    state = select_batch_norm(from_published(state), index)
    return {key: value for key, value in state.items() if not key.startswith("fc.")}


def load_state(model: nn.Module, state: State, source: str, head: bool = True) -> str:
    """Copy `state` (keys as ours) into `model`; every key must be one of the model's.

    Two kinds may be missing: num_batches_tracked of batch norms, which nothing here reads, and the mean and standard
    deviation that images are normalised by, which files of torchvision and of features.export lack.

    Args:
        model: with head=False its `fc.*` parameters are left as they are.
        state: name -> tensor. source: the file's name, for messages.

    Returns:
        What was missing, as text to follow the file's name in a message; '' for nothing.

    Raises:
        InputError: a key is missing or left over, or a shape differs: the checkpoint is of another model.
    """
    wanted = {k: v for k, v in model.state_dict().items() if head or not k.startswith("fc.")}
    normalize = NORMALIZE & wanted.keys() - state.keys()
    optional = {k: v for k, v in wanted.items() if k in normalize or k.endswith("num_batches_tracked")}
    state = {**optional, **state}
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    shapes = [k for k in wanted.keys() & state.keys() if wanted[k].shape != state[k].shape]
    hint = "choose the model and options it was made with, or another file"
    if missing or extra:
        problem = f"it lacks {missing[0]}" if missing else f"it also has {extra[0]}"
        count = f"{len(missing)} keys missing, {len(extra)} left over"
        raise InputError(f"{source} is a checkpoint of another model: {problem} ({count}); {hint}")
    damaged = [k for k in wanted if not shapes and not _is_usable(state[k], wanted[k])]
    if damaged:
        raise InputError(f"{source} is damaged: {min(damaged)} is not a dense tensor of finite numbers; get it again")
    if shapes:
        k = min(shapes)
        problem = f"{k} is {list(state[k].shape)}, not {list(wanted[k].shape)}"
        raise InputError(f"{source} is a checkpoint of another model: {problem}; {hint}")
    model.load_state_dict(state, strict=head)
    return ", without normalize.mean and normalize.std: ImageNet's are taken" if normalize else ""


class NetworkPart:
    """A network as a part of a run's state (run/parts.py).

    Args:
        prefix: of the names in a checkpoint, as in the authors': 'module.' or none.
    """

    def __init__(self, network: nn.Module, prefix: str) -> None:
        self.network, self.prefix = network, prefix

    def state_dict(self) -> State:
        return {f"{self.prefix}{name}": value for name, value in self.network.state_dict().items()}

    def load_state_dict(self, state: State) -> None:
        self.load(state, "it")

    def load(self, state: State, source: str) -> str:
        """As load_state: take the weights of the file `source`; InputError if it is of another model."""
        return load_state(self.network, from_published(state), source)


def _is_usable(value: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Whether a file's tensor is dense, real and finite, and floating-point exactly if the model's is."""
    if value.layout != torch.strided or value.is_meta or value.is_floating_point() != wanted.is_floating_point():
        return False
    return not value.is_complex() and bool(torch.isfinite(value).all())
