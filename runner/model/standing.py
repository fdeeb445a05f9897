"""What the newest commit of a repository's default branch asks for, without anybody pushing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True, order=True)
class Scheduled:
    """One of a workflow's cron times, as its file has it."""

    workflow: str
    cron: str
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True, order=True)
class Follows:
    """A stage of runs that some workflow waits for: of those whose names the patterns take, none for all."""

    stage: str
    workflows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """`commit` is empty where nothing was read yet."""

    commit: str = ""
    schedules: frozenset[Scheduled] = frozenset()
    follows: frozenset[Follows] = frozenset()

    def same(self, other: "Standing") -> bool:
        """Whether both ask for the same, at whichever commits."""
        return (self.schedules, self.follows) == (other.schedules, other.follows)


Missed = Literal["once", "skip"]
"""What becomes of a schedule's due times that passed while no clock ran: one event for all, or none."""

DueTimes = Mapping[Scheduled, datetime | None]
"""When each is due next; None for a day that never comes."""
