"""What a run does about an image that is missing or cannot be decoded: it ends, or goes on and reports the image."""

from typing import Protocol

from run.log import Log
from utils.distributed import union_over_processes
from utils.errors import InputError


class Reported(Protocol):
    """A batch with messages on its bad images (`bad`), and the number of those without a replacement (`lost`)."""

    bad: list[str]
    lost: int


class BadImages:
    """--on_bad_image: `error` ends the run at the first bad image; `skip` counts and reports each once.

    In training another image of the list takes a bad one's place; in evaluation a bad one is left out.
    """

    def __init__(self, policy: str, log: Log) -> None:
        self.policy, self.log = policy, log
        self.seen: set[str] = set()
        self.reported: set[str] = set()

    def take(self, batch: Reported, training: bool) -> None:
        """Collect the messages of a batch.

        Raises:
            InputError: an image is bad and the policy is `error`, or no image could take its place in training.
        """
        if batch.bad and self.policy == "error":
            raise InputError(f"{batch.bad[0]}; get it again, or have such images skipped")
        if batch.lost and training:
            raise InputError(f"{batch.bad[-1]}, like all images that were tried in its place: the data is not there")
        self.seen.update(batch.bad)

    def report(self) -> int:
        """Log the bad images of all processes that are new since the last call; returns how many there are so far."""
        if self.policy == "skip":
            self.seen = union_over_processes(self.seen)
            for message in sorted(self.seen - self.reported):
                self.log.warn(f"left out: {message}")
            if self.seen - self.reported:
                self.log.warn(f"images left out so far: {len(self.seen)}")
            self.reported = set(self.seen)
        return len(self.seen)
