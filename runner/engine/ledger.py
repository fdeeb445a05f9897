"""What the steps of a job did: recalled from their checkpoints, or done and written down."""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from structlog.contextvars import bound_contextvars

from runner.engine.archive import Keeping
from runner.engine.heart import Hold, Why
from runner.engine.ports import Workspace
from runner.engine.programs import StepCall
from runner.engine.retries import MAY_HAVE_RUN, GivenUp, Later, again, delay_of, losses
from runner.engine.stage import Released
from runner.engine.station import Station
from runner.engine.waiting import Suspend, wait_of
from runner.errors import BrokenDefinition, LeaseLost, RunnerError
from runner.model.run import Job
from runner.model.step import TRY, Checkpoint, Outcome, Result
from runner.model.waits import LOSS, Awaited, Wait, Word


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
    keeping: Keeping
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
        yields = self.hold.yields
        # What is left to do after a cancel is done though the run is paused.
        if yields is not None and not (yields is Why.PAUSED and self._ending):
            raise Released(yields.value)
        started, tries = self._begun(call), self._tries(call)
        self._wait(call, tries)
        with bound_contextvars(step=call.key):
            lost, failed = self._lost(call), len(tries) + 1
            outcome = lost or call.perform()
            over = self._ending or lost is not None
            if outcome.result.failed and not over and again(call.retry, failed, outcome.exit_code):
                # What a try that failed did to the files is undone.
                made = self.write(f"{call.key}{TRY}{failed}", call.fingerprint, outcome, started)
                self._wait(call, [*tries, made])
            if tries and outcome.result.failed:
                outcome = replace(outcome, reason=f"{outcome.reason}; tried {failed} times")
            kept = self._save(outcome)
            self.write(call.key, call.fingerprint, outcome, started, kept)
        return outcome

    def keep(self, key: str, fingerprint: str, outcome: Outcome, started: datetime) -> Checkpoint:
        """Write down what a step did that a program has had done, with the files as they are now."""
        return self.write(key, fingerprint, outcome, started, self._save(outcome))

    def _begun(self, call: StepCall) -> datetime:
        """When a step began: before its wait, if it waited."""
        wait = wait_of(self.job, call.key)
        return datetime.now(UTC) if wait is None else wait.since

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

    def _lost(self, call: StepCall) -> Outcome | None:
        """What a step comes to that a worker that was lost may have run; None where it is run.

        That is the one that comes first in an attempt after such a loss. Raises `Suspend` where a person is
        to say it.
        """
        begun = any(done.attempt == self.hold.lease.attempt for done in self.checkpoints.values())
        if call.instead is None or call.on_lost == "retry" or begun:
            return None
        if not losses(self.job, self.checkpoints):
            return None
        if call.on_lost == "fail":
            return call.instead(partial(self._given_up, "on-lost is fail"))
        wait = wait_of(self.job, f"{call.key}{LOSS}{self.job.lost[-1]}")
        if wait is not None and wait.answer is not None and wait.answer.word is Word.AGAIN:
            return None
        return call.instead(partial(self._said, call, wait))

    def _said(self, call: StepCall, wait: Wait | None) -> Outcome:
        """What a person said of a step that may have run. Raises `Suspend` where nobody has."""
        if wait is None and not self._ending:
            message = f"{MAY_HAVE_RUN}: step {call.key} ({call.name})"
            key = f"{call.key}{LOSS}{self.job.lost[-1]}"
            raise Suspend(Wait(key, Awaited.RESUMPTION, datetime.now(UTC), message=message))
        if wait is None or wait.answer is None:
            return self._given_up("the job was cancelled before anybody said what becomes of it")
        if wait.answer.word is Word.FAILED:
            return self._given_up(f"{wait.answer.by} said that it failed")
        return Outcome(Result.SUCCESS, Result.SUCCESS, reason=f"{wait.answer.by} said that it is done")

    def _given_up(self, why: str) -> Outcome:
        raise GivenUp(f"{MAY_HAVE_RUN}, and {why}")

    @property
    def gave_up(self) -> bool:
        """Whether a step was not run for fear of running it twice."""
        return any(done.outcome.given_up for done in self.checkpoints.values())

    def write(
        self, key: str, fingerprint: str, outcome: Outcome, started: datetime, kept: bool = True
    ) -> Checkpoint:
        """Write down what a step did; its files are those that were kept last."""
        lease = self.hold.lease
        self.station.logs.flush(lease.job)
        made = Checkpoint(
            lease.job,
            key,
            lease.attempt,
            fingerprint,
            outcome,
            started,
            datetime.now(UTC),
            self.keeping.named(self.workspace.snapshot),
            kept,
        )
        self.station.store.record(lease, made)
        self.checkpoints[key] = made
        return made

    def _save(self, outcome: Outcome) -> bool:
        """Keep the files; False where that is left, for no other worker needs them: the job ends here."""
        if outcome.result is Result.SKIPPED:
            return True
        if self._ending or self.keeping.off:
            return False
        try:
            self.keeping.saved(self.workspace.save(self._go_on))
        except _Ending:
            return False
        return True

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
