"""Let go of artifacts whose time is over, and of objects that are no artifact's.

The row goes first, and its object after it: whoever dies in between, or before a row is written for a new
object, leaves one that nobody knows, and that is found here.
"""

from datetime import datetime, timedelta
from itertools import islice

from runner.engine.ports import ExpiringArtifacts, Objects

PLACE = "artifacts"
ROUND = 100
"""How many are dealt with at once."""
UNKNOWN_FOR = timedelta(days=1)
"""After which an object without a row is nobody's: what is being made has none yet."""


def expire(*, artifacts: ExpiringArtifacts, objects: Objects) -> None:
    """Remove the artifacts that have expired; each round is bounded."""
    for key in artifacts.expired(ROUND):
        objects.remove(key)


def sweep_objects(*, artifacts: ExpiringArtifacts, objects: Objects, now: datetime) -> None:
    """Remove the objects of artifacts that nobody knows."""
    old = (one.key for one in objects.kept(PLACE) if now - one.at > UNKNOWN_FOR)
    while keys := list(islice(old, ROUND)):
        for key in artifacts.unknown(keys):
            objects.remove(key)
