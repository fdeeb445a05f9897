"""What the steps of a job did: recalled from their checkpoints, or done and written down."""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from structlog.contextvars import bound_contextvars

from runner.engine.heart import Hold, Why
from runner.engine.ports import Workspace
from runner.engine.programs import StepCall
from runner.engine.retries import GIVEN_UP, Later, again, delay_of, losses
from runner.engine.stage import Released
from runner.engine.station import Station
from runner.errors import BrokenDefinition, LeaseLost, RunnerError
from runner.model.run import Job
from runner.model.step import TRY, Checkpoint, Outcome, Result


class Diverged(BrokenDefinition):
    """The program asks for something else than what was recorded under the same key."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a job's steps did, and the only place that adds to it."""

    job: Job
    hold: Hold
    deadline: float
    checkpoints: dict[str, Checkpoint]
    workspace: Workspace
    station: Station

    def recall(self, call: StepCall) -> Outcome | None:
        found = self.checkpoints.get(call.key)
        if found is None:
            return None
        if found.fingerprint != call.fingerprint:
            raise Diverged(
                f"step {call.key} ({call.name}) asks for {call.fingerprint[:12]}, but attempt "
                f"{found.attempt} recorded {found.fingerprint[:12]}; rerun the run to start afresh"
            )
        return found.outcome

    def perform(self, call: StepCall) -> Outcome:
        """Do a step and write it down; raises `Later` where it failed and is to be tried again.

        Raises `Released` before it begins a step where the job is to be handed back.
        """
        if self.hold.yields is not None:
            raise Released(self.hold.yields.value)
        started, tries = datetime.now(UTC), self._tries(call)
        self._wait(call, tries)
        with bound_contextvars(step=call.key):
            given_up, failed = self._given_up(call), len(tries) + 1
            outcome = given_up or call.perform()
            over = self._ending or given_up is not None
            if outcome.result.failed and not over and again(call.retry, failed, outcome.exit_code):
                # What a try that failed did to the files is undone.
                made = self._record(
                    call, f"{call.key}{TRY}{failed}", outcome, started, self.workspace.snapshot
                )
                self._wait(call, [*tries, made])
            if tries and outcome.result.failed:
                outcome = replace(outcome, reason=f"{outcome.reason}; tried {failed} times")
            self._record(call, call.key, outcome, started, self._saved(outcome))
        return outcome

    def _tries(self, call: StepCall) -> list[Checkpoint]:
        """How it failed so far."""
        return [done for key, done in self.checkpoints.items() if key.startswith(call.key + TRY)]

    def _wait(self, call: StepCall, tries: list[Checkpoint]) -> None:
        """Raises `Later` while the next try is not due."""
        if not tries or call.retry is None or self._ending:
            return
        left = tries[-1].finished - datetime.now(UTC)
        left += delay_of(call.retry, len(tries), f"{self.job.id} {call.key}")
        if tries[-1].attempt == self.hold.lease.attempt or left > timedelta():
            why = tries[-1].outcome.reason or "it failed"
            most = call.retry.max_attempts
            reason = f"step {call.key} ({call.name}): {why}; tried {len(tries)} of {most} times"
            raise Later(reason, max(left, timedelta()))

    def _given_up(self, call: StepCall) -> Outcome | None:
        """How a step ends that must not run twice, where a worker that was lost may have run it.

        That is the one that comes first in an attempt after such a loss.
        """
        begun = any(done.attempt == self.hold.lease.attempt for done in self.checkpoints.values())
        if call.give_up is None or begun or not losses(self.job, self.checkpoints):
            return None
        return call.give_up(GIVEN_UP)

    @property
    def gave_up(self) -> bool:
        """Whether a step was not run for fear of running it twice."""
        return any(done.outcome.reason.startswith(GIVEN_UP) for done in self.checkpoints.values())

    def _record(
        self, call: StepCall, key: str, outcome: Outcome, started: datetime, snapshot: str
    ) -> Checkpoint:
        lease = self.hold.lease
        self.station.logs.flush(lease.job)
        made = Checkpoint(
            lease.job,
            key,
            lease.attempt,
            call.fingerprint,
            outcome,
            started,
            datetime.now(UTC),
            snapshot,
        )
        self.station.store.record(lease, made)
        self.checkpoints[key] = made
        return made

    def _saved(self, outcome: Outcome) -> str:
        """Keep the files, unless no other worker will ever need them: the job comes to its end here."""
        if outcome.result is Result.SKIPPED or self._ending:
            return self.workspace.snapshot
        try:
            return self.workspace.save(self._go_on)
        except _Ending:
            return self.workspace.snapshot

    @property
    def _ending(self) -> bool:
        return self.hold.cancelled is not None or time.monotonic() > self.deadline

    def _go_on(self) -> None:
        """Raises what makes saving the files vain."""
        match self.hold.why:
            case Why.RELEASED:
                raise Released(Why.RELEASED.value)
            case Why.LOST:
                raise LeaseLost(Why.LOST.value)
        if self._ending:
            raise _Ending("the job comes to its end")


class _Ending(RunnerError):
    """The job will not go on anywhere else."""
