"""What a workflow and we have said to each other so far, and how the job stands by that."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Any

from runner.engine.conversation.asked import Asked, Roll
from runner.engine.ledger import Ledger
from runner.engine.ports import Channel
from runner.engine.stage import Stage
from runner.errors import LeaseLost
from runner.model.run import Job, Run
from runner.model.step import Outcome, Result


@dataclass
class Talk:
    stage: Stage
    ledger: Ledger
    job: Job
    steps: Roll
    live: bool
    """Whether it has come further than any attempt before."""
    channel: Channel = field(init=False)
    begun: bool = False
    """Whether the workflow's process is there."""
    told: deque[tuple[Asked, Mapping[str, Any] | Outcome]] = field(default_factory=deque)
    """How bodies have ended, as far as that is not written down yet."""
    sent: int = 0
    idle: bool = False
    """Whether the workflow can go on no further without an answer."""
    later: bool = False
    """Whether it waits for something of its own."""
    since: float = 0.0
    """When it was last anything but idle."""
    known: float = 0.0
    """When the job was last seen as it is."""
    over: Result | None = None
    """How the job is to end, once the workflow was told."""
    end: Mapping[str, Any] | None = None
    """How the workflow has ended."""

    def busy(self) -> None:
        self.idle, self.since = False, monotonic()

    def send(self, message: Mapping[str, Any]) -> None:
        self.sent += 1
        self.busy()
        self.channel.send({**message, "n": self.sent})

    def tell_of_the_end(self) -> bool:
        """Tell the workflow, once, that the job is to end; whether that was news."""
        if self.over is not None or self.stage.over is None:
            return False
        self.over = self.stage.over
        self.send({"is": "cancel"})
        return True

    def change(self, change: Callable[[Job, datetime], Job]) -> None:
        """Apply a change to the job, and know it as it is then."""

        def work(run: Run, now: datetime) -> Run:
            if not run.has(self.job.id):
                raise LeaseLost(f"job {self.job.id} is of a former attempt of run {run.id}")
            return run.with_job(change(run.job(self.job.id), now))

        made = self.stage.station.store.update(self.stage.scene.asked.run.id, work)
        self.job = made.after.job(self.job.id)
        self.known = monotonic()
