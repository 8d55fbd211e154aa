"""What happens when an image is missing or cannot be decoded: the run ends, or goes on and tells."""

from utils.errors import InputError
from utils.log import Log


class BadImages:
    """--on_bad_image: `error` ends the run at the first bad image; `skip` reports each once and counts them.

    In training the next good image of the list takes a bad one's place; in evaluation a bad one is left out.
    """

    def __init__(self, policy: str, log: Log) -> None:
        self.policy, self.log = policy, log
        self.seen: set[str] = set()

    def take(self, messages: list[str]) -> None:
        """What a batch's loader had to say.

        Raises:
            InputError: the first message, if the policy is `error`.
        """
        if messages and self.policy == "error":
            raise InputError(f"{messages[0]}; get it again, or leave such images out with --on_bad_image skip")
        for message in messages:
            if message not in self.seen:
                self.seen.add(message)
                self.log.from_any(f"left out, {len(self.seen)} so far: {message}")
