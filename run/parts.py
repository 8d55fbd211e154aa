"""The named parts of a run's state, each with state_dict() and load_state_dict(): what its checkpoints hold."""

from typing import Any, Protocol

import torch

from run.checkpoint import load_optimizer
from run.randomness import generator_states, set_generators
from utils.distributed import World, gather_objects

ODD = (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError)  # of what is damaged


class Part(Protocol):
    """A part of a run: `state_dict` is what a checkpoint has of it, None for nothing.

    `load_state_dict` takes that up, or None where a checkpoint has nothing. What does not fit raises an
    InputError, or what is in ODD, whose text begins with `its`.
    """

    def state_dict(self) -> Any:
        """Of numbers, texts, lists, dicts and tensors; called by all processes together."""

    def load_state_dict(self, state: Any) -> None:
        """Called by each process by itself."""


class OptimizerPart:
    """The optimizer, which may be another one from a phase of the run on."""

    optimizer: torch.optim.Optimizer

    def state_dict(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def load_state_dict(self, state: Any) -> None:
        """Learning rate and weight decay stay the command line's."""
        load_optimizer(self.optimizer, state)


class Note:
    """What checkpoints say and no run takes up."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def state_dict(self) -> Any:
        return self.value

    def load_state_dict(self, state: Any) -> None:
        pass


class Scaler:
    """In fp16, the scale of the gradients; where a checkpoint has none, it is found anew in a few steps."""

    def __init__(self, scaler: torch.amp.GradScaler) -> None:
        self.scaler = scaler

    def state_dict(self) -> dict[str, Any] | None:
        return self.scaler.state_dict() if self.scaler.is_enabled() else None

    def load_state_dict(self, state: Any) -> None:
        if self.scaler.is_enabled() and isinstance(state, dict) and state.keys() == self.scaler.state_dict().keys():
            self.scaler.load_state_dict(state)


class Generators:
    """What is drawn next of Python's, NumPy's and torch's random numbers, in each process."""

    def __init__(self, world: World) -> None:
        self.world = world

    def state_dict(self) -> list[dict[str, Any]]:
        return gather_objects(generator_states(self.world.device))

    def load_state_dict(self, state: Any) -> None:
        """Those of as many processes; others, and those of older checkpoints that have none, stay as they are."""
        try:
            if state and len(state) == self.world.size:
                set_generators(state[self.world.rank], self.world.device)
        except ODD as error:
            raise ValueError(f"its random numbers are damaged ({error})") from error
