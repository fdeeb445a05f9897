"""Keeping what can be made again within a limit, whatever it is: what was not used for longest goes first."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spare:
    """Something that can be made again. `remove` gives False where it is needed now."""

    used: float
    size: int
    remove: Callable[[], bool]


def fit(limit: int, spares: Iterable[Spare]) -> None:
    """Remove as much as it takes for all the rest to fit into `limit` bytes, as far as that can be."""
    left = sorted(spares, key=lambda one: one.used)
    over = sum(one.size for one in left) - limit
    while over > 0:
        # What could not go before may be needed no longer, now that another is gone.
        gone = next((one for one in left if one.remove()), None)
        if gone is None:
            return
        left.remove(gone)
        over -= gone.size
