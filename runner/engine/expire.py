"""Let go of artifacts whose time is over, and of objects that are no artifact's."""

from datetime import datetime

from runner.engine.leftovers import remove, sweep
from runner.engine.ports import ExpiringArtifacts, Objects

PLACE = "artifacts"
ROUND = 100
"""How many are dealt with at once."""


def expire(*, artifacts: ExpiringArtifacts, objects: Objects) -> None:
    """Remove the artifacts that have expired; each round is bounded."""
    remove(objects, artifacts.expired(ROUND))


def sweep_objects(*, artifacts: ExpiringArtifacts, objects: Objects, now: datetime) -> None:
    """Remove the objects of artifacts that nobody knows."""
    sweep(objects, PLACE, artifacts.known, now)
