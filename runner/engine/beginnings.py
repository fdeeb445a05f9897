"""Telling those who watch a job that a step of it begins which no definition lists."""

from datetime import datetime

from runner.engine.ports import Logs
from runner.model.beginnings import BEGUN, Beginning
from runner.model.run import Lease


def begins(lease: Lease, key: str, at: datetime, logs: Logs) -> None:
    """Say that a step begins now, before anything of it happens; `at` is what its checkpoint will say.

    It is seen within moments, and costs no transaction of its own. Of a step that is tried again, or after a
    loss, it may be said again.
    """
    logs.append(lease.job, lease.attempt, BEGUN, Beginning(key, at).line)
