"""Objects that nothing needs any more.

Who lets go of a row removes its objects after it. Where that fails, or its process dies before, an object is
left that no row knows: it is swept once it is so old that it cannot be on its way to a row any more.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

from runner.engine.ports import Objects
from runner.errors import Unavailable

UNKNOWN = timedelta(days=1)
"""After which an object that no row names is nobody's: who puts one there names it when it is whole."""
ROUND = 500
"""How many are looked up at once."""

log = logging.getLogger(__name__)


def remove(objects: Objects, keys: Iterable[str]) -> None:
    """Remove what no row names any more; where that cannot be now, it is swept later."""
    for key in keys:
        try:
            objects.remove(key)
        except Unavailable as error:
            log.info("objects stay for now", extra={"key": key, "error": str(error)})
            return


def sweep(
    objects: Objects,
    place: str,
    known: Callable[[Sequence[str]], Collection[str]],
    now: datetime | None = None,
) -> None:
    """Remove what is at a place that no row has known for long enough. Raises `Unavailable`."""
    border = (now or datetime.now(UTC)) - UNKNOWN
    old = (one.key for one in objects.kept(place) if one.at < border)
    while keys := list(islice(old, ROUND)):
        for key in sorted({*keys} - {*known(keys)}):
            objects.remove(key)
