"""Strengths of boosted augmentation; without torch, so that tables need not import it."""

FULL = 30  # m at which an operation has the upper end of its range


def default_floor(k: int, strength: float) -> float:
    """The smallest m where none is given, as in BCL's code: 10 for one operation, else 5; at most `strength`."""
    return float(min(10 if k == 1 else 5, strength))
