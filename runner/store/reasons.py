"""Why a job, or a run, does not go on: one place for all that can hold it up."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Row

from runner.model.run import NEEDS
from runner.model.turns import Place, State
from runner.model.waits import opened, said_of
from runner.store.database import moment
from runner.store.rows import wait_from

SOON = timedelta(seconds=3)
"""Within this a worker that is free takes a job."""


@dataclass(frozen=True, slots=True)
class Around:
    """What the jobs of a run have around them. `now` is the database's time, in microseconds.

    `offered`: the labels of each worker that is there; `there`: who is in the lines of the repository;
    `held_back`: why none of its jobs begins; `stopped`: why none goes on; `full`: why none is claimed.
    """

    now: int
    offered: Collection[frozenset[str]]
    there: Collection[Place] = ()
    held_back: str = ""
    stopped: str = ""
    full: str = ""


def reason_of(row: Row[Any], rows: Sequence[Row[Any]], around: Around) -> str:
    """Why a job ended as it did, or why it does not go on; empty where it does. `rows`: all of its run."""
    if row.phase == "finished":
        return str(row.reason)
    return (around.stopped if not row.cancelled else "") or _held(row, rows, around)


def _held(row: Row[Any], rows: Sequence[Row[Any]], around: Around) -> str:
    match row.phase:
        case "waiting" if not any(one.caller == row.id for one in rows):
            return _before(row, rows) or around.held_back
        case "pending":
            turns = row.turns or ()
            return next(filter(None, (held_up(row.run, row.id, turn, around.there) for turn in turns)), "")
        case "suspended":
            return awaited_by([row])
        case "queued" if unserved := unserved_by(around.offered, row.labels):
            return f"{unserved}; queued since {_at(row.queued_at)}"
        case "queued":
            return row.reason or around.full or _untaken(row, around)
        case "running" if row.lease_until < around.now:
            lease = f"its lease ended at {_at(row.lease_until)}"
            return f"worker {row.worker} has fallen silent: {lease}, and the next worker goes on"
        case _:
            return str(row.reason)


def _untaken(row: Row[Any], around: Around) -> str:
    """That all workers are taken; empty for as long as one may just not have looked yet."""
    late = around.now - row.queued_at > SOON // timedelta(microseconds=1)
    return f"no worker that serves its labels is free; queued since {_at(row.queued_at)}" if late else ""


def _before(row: Row[Any], rows: Sequence[Row[Any]]) -> str:
    """Which other jobs of its workflow a job waits for; empty where it waits for none."""
    beside = [one for one in rows if one.caller == row.caller]
    ahead = [key for key in row.needs if any(one.key == key and one.phase != "finished" for one in beside)]
    if ahead:
        return f"{NEEDS} {', '.join(ahead)}"
    most = row.leg.get("max_parallel")
    begun = sum(one.key == row.key and one.phase not in ("waiting", "finished") for one in beside)
    if most is None or begun < most:
        return ""
    return f"{begun} of its legs {'have' if begun > 1 else 'has'} begun, and max-parallel is {most}"


def _at(at: int) -> str:
    return f"{moment(at):%Y-%m-%d %H:%M:%S} UTC"


def awaited_by(rows: Iterable[Row[Any]]) -> str:
    """What suspended jobs of a run wait for, each thing once."""
    said = (said_of(wait) for row in rows for wait in opened(map(wait_from, row.waits or ())))
    return "; ".join(dict.fromkeys(said))


def held_up(run: int, job: int | None, turn: Mapping[str, Any], there: Collection[Place]) -> str:
    """What has the concurrency group that a run or a job waits for; empty where it does not wait."""
    line = [one for one in there if one.turn.key == turn["key"]]
    holders = [one for one in line if one.turn.state is State.HELD]
    waiting = [one for one in line if one.turn.state is State.WAITING]
    mine = [at for at, one in enumerate(waiting) if (one.run, one.job) == (run, job)]
    if not holders or not mine:
        return ""
    before = f"; {mine[0]} more before it" if mine[0] else ""
    return f'concurrency group "{turn["group"]}" is held by {holders[0].who}{before}'


def unserved_by(offered: Collection[frozenset[str]], labels: Sequence[str]) -> str:
    """Why none of the workers takes a job with these labels; empty where one does."""
    if any(served.issuperset(labels) for served in offered):
        return ""
    if not offered:
        return "no worker is running"
    known = frozenset().union(*offered)
    lacking = [label for label in labels if label not in known]
    if lacking:
        return f"no worker serves the label{'s' * (len(lacking) > 1)} {', '.join(lacking)}"
    return f"no worker serves the labels {', '.join(labels)} together"
