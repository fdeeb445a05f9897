"""How long the snapshots of jobs that have ended are kept: for a while, and no more than fit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Kept:
    """The snapshots of one job; `size` is the space that they take, what it shares with others by parts."""

    name: str
    size: float
    since: datetime
    """When the newest of them was made."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that has ended, of a run that has."""

    at: datetime
    succeeded: bool
    keep: timedelta | None = None
    """For how long what is kept of it stays, where that is said of it by itself."""


def measured(folder: Path, layers: Mapping[int, int]) -> Kept | None:
    """What a job's folder of snapshots takes; None where it has gone meanwhile.

    `layers`: the size of what lies elsewhere by the inode of the file that stands for it, which has one more
    name there.
    """
    try:
        found = [path.lstat() for path in folder.iterdir()]
        since = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
    except FileNotFoundError:
        return None
    size = 0.0
    for one in found:
        names = one.st_nlink - 1 if one.st_ino in layers else one.st_nlink
        size += (one.st_blocks * _BLOCK + layers.get(one.st_ino, 0)) / max(1, names)
    return Kept(folder.name, size, since)


def too_much(
    kept: Iterable[Kept], ended: Mapping[str, Ended], now: datetime, keep: timedelta, limit: int
) -> list[str]:
    """Whose snapshots are to be removed: those kept for long enough, and then what exceeds `limit`.

    `keep` is how long that is where a job says nothing else.
    Of these, jobs that succeeded come first, and of those the oldest. What has not `ended` stays, and counts.
    """
    there = {one.name: one for one in kept}
    removable = sorted(
        there.keys() & ended.keys(), key=lambda name: (not ended[name].succeeded, ended[name].at, name)
    )
    gone = [name for name in removable if now - ended[name].at >= _span(ended[name], keep)]
    over = sum(one.size for name, one in there.items() if name not in gone) - limit
    for name in removable:
        if over <= 0:
            break
        if name not in gone:
            gone.append(name)
            over -= there[name].size
    return gone


def _span(job: Ended, others: timedelta) -> timedelta:
    return others if job.keep is None else job.keep
