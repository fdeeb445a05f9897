"""The time that a workflow takes, and its steps: who gets no further in it is stopped."""

from dataclasses import dataclass
from time import monotonic

from runner.engine.conversation.asked import ENDING_SECONDS, Asked, Stands
from runner.engine.conversation.bodies import TRACEBACK_LETTERS
from runner.engine.conversation.sound import plain
from runner.engine.conversation.talk import Talk
from runner.engine.heart import CANCEL_SECONDS
from runner.engine.stage import Stage
from runner.errors import BrokenDefinition
from runner.model.waits import Awaited

FIRST_SECONDS = 120.0
"""Until the workflow has asked for its first step: it loads what it imports."""
SECONDS = 30.0
"""Until it has come from one answer to where it can go on no further."""
LAST_SECONDS = 5.0
"""For it to say where it is, and for its bodies to end that were told to; then it is killed."""
LIMITED = ("event", "approve", "run")
"""The kinds of steps that wait, and have a `timeout`."""
LIMIT_BESIDE = "have step.wait_any wait for it and for a second step.sleep"
LOOK = 1.0
"""Seconds between two looks at what people and others have answered while steps run."""


def longest(stage: Stage) -> float:
    """Seconds that a workflow's process may take: after its job's end some more, to take back what it did."""
    end = max(stage.end, stage.deadline + CANCEL_SECONDS)
    return max(0.0, end - monotonic()) + 2 * LAST_SECONDS


@dataclass
class Watch:
    talk: Talk
    stuck: str = ""
    """Why the workflow is stopped, once it has said where it is."""
    _looked: float = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time to look, also where the workflow talks all the time."""
        return monotonic() > self._looked + LOOK

    def connect(self) -> None:
        """Wait for the workflow's process to be there."""
        self.talk.since = monotonic()
        while not self.talk.channel.connect(LOOK):
            if monotonic() > self.talk.since + FIRST_SECONDS:
                raise BrokenDefinition(f"python3 did not start within {FIRST_SECONDS:g} seconds")
        self.talk.begun = True

    def patience(self) -> float:
        """Seconds until there is something to look at though nobody says anything."""
        now, end = monotonic(), self.talk.stage.end
        ends = [now + LOOK * 60]
        if end > now:
            ends.append(end)
        if self.stuck:
            ends.append(self.talk.since + LAST_SECONDS)
        elif not self.talk.idle or self._idles:
            ends.append(self.talk.since + self._grace)
        for step in self.talk.steps.running.values():
            ends.append(step.until + (ENDING_SECONDS if step.told_to_end else 0.0))
        if self.talk.steps.waiting:
            ends.append(now + LOOK)
        return max(0.0, min(ends) - now)

    @property
    def _grace(self) -> float:
        # What is cancelled need not come to its first step any more.
        return SECONDS if self.talk.steps or self.talk.stage.over is not None else FIRST_SECONDS

    @property
    def _idles(self) -> bool:
        """Whether it waits for what is no step: a timer of its own, or a connection."""
        return self.talk.later and not self.talk.steps.running and not self.talk.steps.places

    def look(self) -> None:
        """See to what time brings: what takes too long, and answers that came while steps run."""
        now = self._looked = monotonic()
        if self.stuck:
            if now > self.talk.since + LAST_SECONDS:
                self.halt("")
        elif now > self.talk.since + self._grace:
            if not self.talk.idle:
                what = "from one step to the next" if self.talk.steps else "before it had asked for a step"
                self.stop(f"it took more than {self._grace:g} seconds {what}")
            elif self._idles:
                self.stop(
                    f"it waited for more than {self._grace:g} seconds for what is no step{self._timer()}"
                )
        for step in list(self.talk.steps.running.values()):
            self._see_to(step, now)
        if now > self.talk.stage.end and self.talk.stage.over is not None and self.talk.over is not None:
            self.talk.end = {"result": "cancelled", "value": {"undo": ["it did not end in time"]}}
        foreign = any(wait.awaited is not Awaited.TIME for wait in self.talk.job.hears)
        if foreign and now > self.talk.known + LOOK:
            self.talk.known = now
            run = self.talk.stage.station.store.load(self.talk.stage.scene.asked.run.id)
            if run.has(self.talk.job.id):
                self.talk.job = run.job(self.talk.job.id)

    def _timer(self) -> str:
        """What it may be, and what to write instead, where it waits for a step of ours besides."""
        step = next(iter(self.talk.steps.waiting.values()), None)
        if step is None:
            return ""
        limit = "limit it by its timeout=" if step.kind in LIMITED else LIMIT_BESIDE
        return (
            f" while step {step.name} ({step.line}) waits, as with asyncio.timeout or asyncio.wait_for "
            f"around it, which need a process all the time; {limit}"
        )

    def _see_to(self, step: Asked, now: float) -> None:
        """Have a body end whose time is over; one that does not is waited for no longer."""
        if now > step.until and not step.told_to_end:
            step.told_to_end = True
            self.talk.send({"is": "stop", "id": step.number, "why": "timeout"})
        elif now > step.until + ENDING_SECONDS:
            self.talk.steps.ended(step)
            step.stuck = True
            if step.stands is Stands.RUNS:
                self.talk.told.append((step, {"stopped": "timeout"}))

    def stop(self, why: str) -> None:
        """Ask the workflow where it is, and stop it then."""
        if not self.stuck:
            self.stuck, self.talk.since = why, monotonic()
            self.talk.channel.send({"is": "where"})

    def halt(self, stack: str) -> None:
        """End a workflow that gets no further, which is at `stack`."""
        stack = self.talk.stage.masks.hide_text(plain(stack.rstrip(), TRACEBACK_LETTERS))
        where = f":\n{stack}" if stack.strip() else ""
        why = f"the workflow was stopped: {self.stuck}; what takes long, or waits, belongs in a step{where}"
        # It could not be told of the end of its job, for which it is stopped all the same.
        self.talk.over = self.talk.over or self.talk.stage.over
        if self.talk.over is None:
            raise BrokenDefinition(why)
        self.talk.end = {"result": "cancelled", "value": {"undo": [why]}}
