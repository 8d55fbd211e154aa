"""Temperature schedules: the contrastive loss's temperature oscillates over the epochs (Kukleva et al., ICLR 2023).

A large temperature separates groups of images, which rare classes need; a small one separates single images, which
frequent classes can afford. Alternating gives both. In epoch e = 1, 2, ... (algorithm 1):

    t(e) = low + (high - low) (1 + cos(2 pi e / period)) / 2,    low = 0.1, high = 1.0, period = 400 epochs

It is constant within an epoch, and the same for positives and negatives. The published runs, of 2,000 epochs for CIFAR
and 800 for ImageNet-100, end at the high temperature. Chosen here: a period below 1 is a share of all epochs, by
default a fifth, which for 2,000 epochs is the published one.
"""

import argparse
import math
from typing import NamedTuple

from methods.base import Features, Method, Wrapper
from methods.epochs import epochs_of
from utils.cli import Parser
from utils.errors import InputError


class Schedule(NamedTuple):
    """low, high: the temperatures between which it oscillates, both positive. period: epochs from high to high."""

    low: float
    high: float
    period: float

    def temperature(self, epoch: int) -> float:
        """The temperature of epoch 1, 2, ..."""
        share = (1 + math.cos(2 * math.pi * epoch / self.period)) / 2
        return self.low + (self.high - self.low) * share


def schedule(text: str) -> str:
    """An argparse type: `LOW,HIGH,PERIOD`, checked but kept as text; '' for none."""
    if text:
        read_schedule(text, 1)
    return text


def read_schedule(text: str, epochs: int) -> Schedule:
    """`0.1,1.0,400` -> Schedule; a period below 1 is that share of the epochs, and at least one.

    Raises:
        argparse.ArgumentTypeError: it is not of that form, or a number is out of range.
    """
    try:
        low, high, period = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not LOW,HIGH,PERIOD such as 0.1,1.0,400") from None
    if not 0 < low <= high < math.inf:
        raise argparse.ArgumentTypeError(f"the temperatures of {text!r} are not 0 < LOW <= HIGH")
    if not 0 < period < math.inf:
        raise argparse.ArgumentTypeError(f"the period of {text!r} is {period:g}, neither epochs nor a share")
    return Schedule(low, high, period if period >= 1 else max(1, epochs_of(period, epochs)))


class TemperatureSchedule(Wrapper):
    """A method with a temperature that changes from epoch to epoch.

    Args:
        method: it or a part of it has a `temperature`. schedule: of that temperature.

    Raises:
        InputError: the method has no temperature.
    """

    @classmethod
    def add_options(cls, parser: Parser) -> None:
        how = "temperatures and epochs from high to high, LOW,HIGH,PERIOD: 0.1,1.0,400 as published, or a share of all"
        parser.add_argument("--temperature_schedule", type=schedule, default="", help=how)

    @classmethod
    def build(cls, method: Method, options: argparse.Namespace, images: int) -> "TemperatureSchedule":
        return cls(method, read_schedule(options.temperature_schedule, options.epochs))

    def __init__(self, method: Method, schedule: Schedule) -> None:
        super().__init__(method)
        self.schedule, self.temperature = schedule, schedule.high
        if not self.parts():
            raise InputError(f"{type(method).__name__} has no temperature that could follow a schedule")

    def parts(self) -> list[Method]:
        """The modules with a temperature in the running phase: the method, or each expert."""
        return [part for part in self.method.modules() if "temperature" in vars(part)]

    def start_epoch(self, epoch: int, features: Features | None = None) -> None:
        """Set the temperature of `epoch` (1-based): a function of the epoch alone."""
        super().start_epoch(epoch, features)
        self.temperature = self.schedule.temperature(epoch)
        for part in self.parts():
            part.temperature = self.temperature

    def measures(self) -> dict[str, float]:
        """'temperature' of the running epoch, and the wrapped method's."""
        return {**super().measures(), "temperature": self.temperature}
