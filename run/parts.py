"""The parts of a run's state that its checkpoints hold, each with state_dict() and load_state_dict()."""

from typing import Any, Protocol

import torch

from run.checkpoint import load_optimizer
from run.randomness import generator_states, set_generators
from utils.distributed import World, gather_objects

# What loading a damaged state may raise.
ODD = (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError)


class Part(Protocol):
    """A part of a run's state.

    `state_dict` gives what a checkpoint saves of it, None for nothing. `load_state_dict` takes that, or None where the
    checkpoint has none of this part. A state that does not fit raises an InputError, or one of ODD; the message begins
    with `its`.
    """

    def state_dict(self) -> Any:
        """Numbers, strings, lists, dicts and tensors; called by all processes together."""

    def load_state_dict(self, state: Any) -> None:
        """Called by each process on its own."""


class OptimizerPart:
    """The optimizer; a later phase of the run may exchange it."""

    optimizer: torch.optim.Optimizer

    def state_dict(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def load_state_dict(self, state: Any) -> None:
        """Learning rate and weight decay stay as the command line has them."""
        load_optimizer(self.optimizer, state)


class Note:
    """A value that is saved in checkpoints for their readers; a resumed run does not load it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def state_dict(self) -> Any:
        return self.value

    def load_state_dict(self, state: Any) -> None:
        pass


class Scaler:
    """The GradScaler of fp16; without its state in a checkpoint, it finds its scale again in a few steps."""

    def __init__(self, scaler: torch.amp.GradScaler) -> None:
        self.scaler = scaler

    def state_dict(self) -> dict[str, Any] | None:
        return self.scaler.state_dict() if self.scaler.is_enabled() else None

    def load_state_dict(self, state: Any) -> None:
        if self.scaler.is_enabled() and isinstance(state, dict) and state.keys() == self.scaler.state_dict().keys():
            self.scaler.load_state_dict(state)


class Generators:
    """The states of Python's, NumPy's and torch's random generators, of each process."""

    def __init__(self, world: World) -> None:
        self.world = world

    def state_dict(self) -> list[dict[str, Any]]:
        return gather_objects(generator_states(self.world.device))

    def load_state_dict(self, state: Any) -> None:
        """Load the states if they are of as many processes; else, as for older checkpoints without, change nothing."""
        try:
            if state and len(state) == self.world.size:
                set_generators(state[self.world.rank], self.world.device)
        except ODD as error:
            raise ValueError(f"its random numbers are damaged ({error})") from error
