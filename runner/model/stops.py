"""Why runs stand still: somebody paused them, or blocked what they are of."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Stop:
    """What keeps jobs from going on until somebody takes it back.

    It is about one run, else about a commit or a workflow of a repository, else about all of the repository.
    """

    actor: str
    at: datetime
    reason: str
    repo: str
    run: int | None = None
    commit: str | None = None
    workflow: str | None = None
    above: int | None = None
    """The run that was paused, and this one with it, as it waits for this one."""
    anew: bool = False
    """Whether somebody asks for it once more just now; that is not kept."""

    @property
    def refuses(self) -> bool:
        """Whether no run of it is created. One of a repository that is paused is, and waits."""
        return self.run is None and (self.commit is not None or self.workflow is not None)

    @property
    def words(self) -> str:
        what = "paused" if self.above is None else f"paused with run {self.above}"
        if self.commit is not None:
            what = f"commit {self.commit[:12]} is blocked"
        elif self.workflow is not None:
            what = f"{self.workflow} is blocked"
        elif self.run is None:
            what = f"{self.repo} is paused"
        why = f": {self.reason}" if self.reason else ""
        return f"{what} by {self.actor} since {self.at:%Y-%m-%d %H:%M:%S} UTC{why}"
