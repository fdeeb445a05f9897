"""A job whose program is the repository's own: a workflow in Python, which asks over a channel.

The workflow is run from its beginning each time. It is answered one step at a time, and only when it can go
on no further: first what has a checkpoint, in the order in which the steps ended then, so that it comes to
the same point the same way; after that what ends now, in the order in which that is written down.
"""

import json
import posixpath
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from runner.engine.beginnings import begins
from runner.engine.contexts import layered
from runner.engine.conversation.answers import Ahead, Told
from runner.engine.conversation.asked import Asked, Roll, Stands, asked
from runner.engine.conversation.bodies import MOST_AT_ONCE, Bodies, failure, success
from runner.engine.conversation.package import PACKAGE, place_package
from runner.engine.conversation.sources import source_of
from runner.engine.conversation.waits import WAITS, wait_for, waited
from runner.engine.heart import Why
from runner.engine.ledger import Diverged, Ledger
from runner.engine.opening import FIRST_WORDS
from runner.engine.output import StepOutput
from runner.engine.ports import Channel, ChannelClosed, Command
from runner.engine.programs import Ended
from runner.engine.retries import again, delay_of
from runner.engine.stage import Released, Stage
from runner.engine.waiting import wait_of
from runner.errors import BrokenDefinition, LeaseLost, RunnerError
from runner.model.lifecycle import begin_waits, leave_waits
from runner.model.run import Job, Run
from runner.model.step import TRY, Checkpoint, Outcome, Result
from runner.model.waits import Answer, Awaited, Wait

MOST_STEPS = 10_000
FIRST_SECONDS = 120.0
"""Until the workflow has asked for its first step: it loads what it imports."""
SECONDS = 30.0
"""Until it has come from one answer to where it can go on no further."""
LAST_SECONDS = 5.0
"""For it to say where it is, and for its bodies to end that were told to; then it is killed."""
TOO_LONG = "the job ran longer than its timeout-minutes"
LOOK = 1.0
"""Seconds between two looks at what people and others have answered while steps run."""


class Rest(RunnerError):
    """Every branch of the workflow waits: `waits` begin now, and one of those in `open` has to be over."""

    def __init__(self, waits: list[tuple[Wait, timedelta | None]], open: frozenset[str]) -> None:
        super().__init__(f"waits for {', '.join(sorted(open))}")
        self.waits = waits
        self.open = open


@dataclass
class Conversation:
    """One attempt of a job. `path` and `text` are the file at the run's commit, `function` what is in it."""

    path: str
    text: str
    function: str
    env: Mapping[str, str]
    stage: Stage
    ledger: Ledger
    channel: Channel = field(init=False)
    job: Job = field(init=False)
    _said: Told = field(init=False)
    _ahead: Ahead = field(init=False)
    _bodies: Bodies = field(init=False)
    _printed: StepOutput = field(init=False)
    _steps: Roll = field(init=False)
    _named: dict[str, int] = field(default_factory=dict)
    _told: deque[tuple[Asked, Mapping[str, Any]]] = field(default_factory=deque)
    _live: bool = field(init=False)
    """Whether it has come further than any attempt before."""
    _sent: int = 0
    _idle: bool = False
    _later: bool = False
    _since: float = 0.0
    _looked: float = 0.0
    _over: Result | None = None
    _asked_where: float | None = None
    _end: Mapping[str, Any] | None = None

    def converse(self) -> Ended:
        """Answer the workflow to its end. Errors: those of steps; `Rest`, `Diverged`, `BrokenDefinition`."""
        self.job = self.ledger.job
        ended = [key for key in self.ledger.checkpoints if TRY not in key]
        self._steps = Roll({key: at for at, key in enumerate(ended)})
        self._live = not self._steps.places and not self.job.waits
        sandbox = self.stage.scene.sandbox
        place_package(sandbox.host_temp)
        argv = ("python3", f"{sandbox.temp}/{PACKAGE}")
        env = layered(self.stage.given, {"CI": "true", "HOME": sandbox.home, "PATH": sandbox.path}, self.env)
        patience = max(0.0, self.stage.end - monotonic()) + 2 * LAST_SECONDS
        command = Command(argv, env, sandbox.temp, patience, cancellable=False)
        self._bodies = Bodies(self.stage, self.env)
        path = self.env.get("PATH", sandbox.path)
        self._said = Told(path)
        self._ahead = Ahead(ended, self.ledger.checkpoints, Told(path))
        self._printed = self._bodies.listener(FIRST_WORDS)
        with closing(sandbox.talk(command, self._printed)) as self.channel:
            self.stage.hold.listen(self.channel.wake)
            try:
                return self._converse()
            except ChannelClosed as closed:
                return self._gone(closed)
            finally:
                self.stage.hold.listen(None)
                self._printed.end()

    # --- hearing ----------------------------------------------------------------------------------

    def _converse(self) -> Ended:
        self._since = monotonic()
        self._begin()
        self._say_ahead()
        while self._end is None:
            message = self.channel.receive(self._patience())
            if message is not None:
                self._hear(message)
            else:
                self._watch()
            if self._idle and self._end is None:
                self._go_on()
        return self._ended(self._end)

    def _hear(self, message: Mapping[str, Any]) -> None:
        match message:
            case {"is": "ask"}:
                self._busy()
                self._ask(message)
            case {"is": "print", "id": number, "text": str(text)}:
                self._print(number, text.encode("utf-8", "surrogateescape"))
            case {"is": "took", "id": number} if (step := self._steps.get(number)) is not None:
                self._busy()
                self._take(step)
            case {"is": "tell", "id": number} if (step := self._steps.get(number)) is not None:
                self._busy()
                self._tell(step, message)
            case {"is": "drop", "id": number} if (step := self._steps.get(number)) is not None:
                self._busy()
                self._leave(step)
            case {"is": "idle", "seen": seen}:
                self._idle, self._later = seen == self._sent, bool(message.get("later"))
            case {"is": "find", "module": str(module)}:
                beside, station = posixpath.dirname(self.path), self.stage.station
                route = self.stage.scene.asked.run.route
                self.channel.send(source_of(module, beside, route, station.workspaces))
            case {"is": "stack", "text": str(text)}:
                raise BrokenDefinition(self._stuck(text))
            case {"is": "end"}:
                self._end = message
            case _:
                raise BrokenDefinition("the workflow's process says what is no part of the conversation")

    def _busy(self) -> None:
        self._idle, self._since = False, monotonic()

    def _send(self, message: Mapping[str, Any]) -> None:
        self._sent += 1
        self._busy()
        self.channel.send({**message, "n": self._sent})

    def _begin(self) -> None:
        asked, run = self.stage.scene.asked, self.stage.scene.asked.run
        event, route = asked.event, run.route
        while not self.channel.connect(LOOK):
            if monotonic() > self._since + FIRST_SECONDS:
                raise BrokenDefinition(f"python3 did not start within {FIRST_SECONDS:g} seconds")
        self.channel.send(
            {
                "is": "begin",
                "path": self.path,
                "text": self.text,
                "function": self.function,
                "workspace": self.stage.scene.sandbox.workspace,
                "at": (self.job.started or datetime.now(UTC)).isoformat(),
                "seed": f"{run.id} {self.job.id}",
                "event": {
                    "kind": event.kind,
                    "payload": dict(event.payload),
                    "route": {"forge": route.forge, "repo": route.repo, "commit": route.commit},
                    "ref": event.ref,
                    "actor": event.actor,
                    "inputs": dict(asked.inputs_of(self.job.caller)),
                    "run": {"id": run.id, "number": run.number, "attempt": run.attempt},
                },
            }
        )

    def _say_ahead(self) -> bool:
        """Say how the next steps of earlier attempts ended; whether there are any that were not said yet."""
        more = self._ahead.more()
        if more:
            self._send({"is": "memory", "steps": more})
        return bool(more)

    def _print(self, number: object, data: bytes) -> None:
        step = self._steps.get(number)
        if step is not None and step.output is not None:
            step.output(data)
        elif step is None and self._live:
            # Up to where it had come before, it says again what it has said.
            self._printed(data)

    # --- what the workflow says -------------------------------------------------------------------

    def _ask(self, message: Mapping[str, Any]) -> None:
        if len(self._steps) >= MOST_STEPS:
            raise BrokenDefinition(f"the workflow asks for more than {MOST_STEPS} steps")
        name = str(message["name"])
        count = self._named[name] = self._named.get(name, 0) + 1
        step = asked(message, count, self.stage.masks)
        self._check_same(step)
        self._steps.add(step)

    def _check_same(self, step: Asked) -> None:
        found = self.ledger.checkpoints.get(step.key)
        if found is not None and found.fingerprint != step.fingerprint:
            raise Diverged(
                f"the workflow diverged: {step.line} asks for `{step.shown}`, where attempt {found.attempt} "
                f"had asked for `{found.outcome.request}` ({found.outcome.line}) under the same name; what a "
                "workflow asks for may depend on nothing but its event and its steps. Rerun the run to "
                "start afresh"
            )

    def _take(self, step: Asked) -> None:
        """The workflow has had the answer that it was told ahead."""
        place, said = self._steps.places.get(step.key), self._ahead.said
        if step.stands is not Stands.ASKED or place is None or place >= said:
            raise BrokenDefinition(f"{step.line}: nothing was said ahead about the step {step.name}")
        self._steps.put(step, Stands.ANSWERED)
        self._said.hear(self.ledger.checkpoints[step.key].outcome)

    def _tell(self, step: Asked, message: Mapping[str, Any]) -> None:
        self._steps.ended(step)
        if step.stands is Stands.RUNS:
            self._told.append((step, message))
        elif step.output is not None:
            step.output.end()

    def _leave(self, step: Asked) -> None:
        waited = step.stands is Stands.WAITS
        self._steps.put(step, Stands.LEFT)
        if waited and wait_of(self.job, step.key) is not None:
            self._change(lambda job, now: leave_waits(job, self.ledger.hold.lease, now, {step.key}))

    # --- going on ---------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """It can go on no further without an answer: give it the next, or begin what it asks for."""
        if (step := self._steps.recalled()) is not None:
            if self._steps.places[step.key] < self._ahead.said or not self._say_ahead():
                self._answer(step, self.ledger.checkpoints[step.key])
            return
        while self._told:
            if self._settle(*self._told.popleft()):
                return
        if self._hear_waits():
            return
        self._check_hold()
        if self._over is None and self.stage.over is not None:
            self._over = self.stage.over
            self._send({"is": "cancel"})
            return
        if self._start_all():
            return
        waiting = list(self._steps.waiting.values())
        if not self._steps.running and not self._later:
            if not waiting:
                raise BrokenDefinition("the workflow waits for something that is no step, and will not come")
            self._rest(waiting)
        self._begin_waits(waiting)

    def _start_all(self) -> bool:
        """Begin what is asked for, as much as may run at once; whether the workflow is answered by it."""
        if not self._steps.asked or len(self._steps.running) >= MOST_AT_ONCE:
            return False
        for step in list(self._steps.asked.values()):
            if len(self._steps.running) >= MOST_AT_ONCE:
                return False
            if self._start(step):
                return True
        return False

    def _check_hold(self) -> None:
        """Raises what keeps the job from going on here, once what runs has ended."""
        hold = self.stage.hold
        if hold.over:
            raise LeaseLost(Why.LOST.value)
        yields = hold.yields
        if (
            yields is not None
            and not (yields is Why.PAUSED and self._over is not None)
            and not self._steps.running
        ):
            raise Released(yields.value)

    def _start(self, step: Asked) -> bool:
        """Begin what a step asks for; whether the workflow has got an answer by it."""
        hold = self.stage.hold
        if hold.yields is not None and self._over is None:
            return False
        step.began = step.began or datetime.now(UTC)
        if step.kind in ("do", "sh"):
            return self._proceed(step)
        if step.kind not in WAITS:
            raise BrokenDefinition(f"{step.line}: this server knows no step of the kind {step.kind}")
        step.wait = wait_for(step, datetime.now(UTC))
        if step.wait is None:
            self._record(step, success())
            return True
        self._steps.put(step, Stands.WAITS)
        return False

    # --- bodies -----------------------------------------------------------------------------------

    def _proceed(self, step: Asked) -> bool:
        tries = self._tries(step)
        if tries and step.retry is not None and step.wait is None:
            due = tries[-1].finished + delay_of(step.retry, len(tries), f"{self.job.id} {step.key}")
            if due > datetime.now(UTC) and self._over is None:
                key = f"{step.key}{TRY}{len(tries)}"
                why = f"step {step.name} is tried again"
                step.wait = Wait(key, Awaited.TIME, since=datetime.now(UTC), due=due, message=why), None
                self._steps.put(step, Stands.WAITS)
                return False
        step.wait = None
        try:
            message = self._bodies.begin(step, self._steps.running.values())
        except BrokenDefinition as error:
            self._record(step, failure(str(error), code=1))
            return True
        self._steps.put(step, Stands.RUNS)
        self._live = True
        # Who looks on sees that it has begun.
        begins(self.ledger.hold.lease, step.key, self._began(step), self.stage.station.logs)
        self._send(message)
        return False

    def _tries(self, step: Asked) -> list[Checkpoint]:
        found: list[Checkpoint] = []
        while (done := self.ledger.checkpoints.get(f"{step.key}{TRY}{len(found) + 1}")) is not None:
            found.append(done)
        return found

    def _settle(self, step: Asked, message: Mapping[str, Any]) -> bool:
        """Write down how a body ended; whether the workflow is told, for else it is to be run again."""
        if step.output is not None:
            step.output.end()
        outcome, final = self._bodies.judged(step, message)
        tries = self._tries(step)
        failed = len(tries) + 1
        if outcome.result.failed and not final and self._over is None:
            if again(step.retry, failed, outcome.exit_code):
                self.ledger.write(f"{step.key}{TRY}{failed}", step.fingerprint, outcome, self._began(step))
                self._steps.put(step, Stands.ASKED)
                return False
            if tries:
                outcome = replace(outcome, reason=f"{outcome.reason}; tried {failed} times")
        self._record(step, outcome)
        return True

    # --- waits ------------------------------------------------------------------------------------

    def _hear_waits(self) -> bool:
        """Answer the step whose wait was over first; whether there is one."""
        waiting = [*self._steps.waiting.values(), *self._steps.asked.values()] if self.job.waits else []
        if not waiting:
            return False
        job = self.job.over(datetime.now(UTC))
        over: list[tuple[Answer, Asked, Wait]] = []
        for step in waiting:
            key = step.wait[0].key if step.wait is not None else step.key
            found = wait_of(job, key)
            if found is not None and found.answer is not None:
                over.append((found.answer, step, found))
        if not over:
            return False
        answer, step, wait = min(over, key=lambda one: (one[0].at, one[1].number))
        step.began = wait.since
        if TRY in wait.key:
            self._steps.put(step, Stands.ASKED)
            return self._proceed(step)
        self._record(step, waited(wait, answer))
        return True

    def _begin_waits(self, waiting: list[Asked]) -> None:
        """Have what waits do so while other branches run: from now on, and not from when these end."""
        new = [
            one.wait for one in waiting if one.wait is not None and wait_of(self.job, one.wait[0].key) is None
        ]
        if new:
            self._change(lambda job, now: begin_waits(job, self.ledger.hold.lease, now, new))
            self._looked = monotonic()

    def _rest(self, waiting: list[Asked]) -> None:
        waits = [one.wait for one in waiting if one.wait is not None]
        raise Rest(waits, frozenset(wait.key for wait, _ in waits))

    def _change(self, change: Callable[[Job, datetime], Job]) -> None:
        """Apply a change to the job, and know it as it is then."""

        def work(run: Run, now: datetime) -> Run:
            if not run.has(self.job.id):
                raise LeaseLost(f"job {self.job.id} is of a former attempt of run {run.id}")
            return run.with_job(change(run.job(self.job.id), now))

        made = self.stage.station.store.update(self.stage.scene.asked.run.id, work)
        self.job = made.after.job(self.job.id)

    # --- answers ----------------------------------------------------------------------------------

    def _began(self, step: Asked) -> datetime:
        return step.began or datetime.now(UTC)

    def _record(self, step: Asked, outcome: Outcome) -> None:
        if outcome.result.failed and outcome.value is None:
            outcome = self._bodies.kept(step, outcome, {})
        outcome = replace(outcome, request=step.shown, line=step.line)
        self._live = True
        done = self.ledger.keep(step.key, step.fingerprint, outcome, self._began(step))
        self._answer(step, done)

    def _answer(self, step: Asked, done: Checkpoint) -> None:
        self._steps.put(step, Stands.ANSWERED)
        self._send({"is": "recall", "id": step.number, **self._said.answer(done)})

    # --- time -------------------------------------------------------------------------------------

    def _patience(self) -> float:
        """Seconds until there is something to look at though nobody says anything."""
        now, ends = monotonic(), [LOOK * 60]
        if not self._idle:
            ends.append(self._since + self._grace - now)
        ends += [one.until - now for one in self._steps.running.values() if not one.told_to_end]
        if self._steps.waiting:
            ends.append(LOOK)
        ends.append(self.stage.end - now)
        return max(0.0, min(ends))

    @property
    def _grace(self) -> float:
        return SECONDS if self._steps else FIRST_SECONDS

    def _watch(self) -> None:
        """See to what time brings: what takes too long, and answers that came while steps run."""
        now = monotonic()
        if not self._idle and now > self._since + self._grace:
            if self._asked_where is None:
                self._asked_where = now
                self.channel.send({"is": "where"})
            elif now > self._asked_where + LAST_SECONDS:
                raise BrokenDefinition(self._stuck(""))
        for step in self._steps.running.values():
            if not step.told_to_end and now > step.until:
                step.told_to_end = True
                self._send({"is": "stop", "id": step.number, "why": "timeout"})
        if now > self.stage.end and self.stage.over is not None and self._over is not None:
            raise BrokenDefinition("the workflow did not end in time after it was told to")
        foreign = any(wait.awaited is not Awaited.TIME for wait in self.job.hears)
        if foreign and now > self._looked + LOOK:
            self._looked = now
            run = self.stage.station.store.load(self.stage.scene.asked.run.id)
            if run.has(self.job.id):
                self.job = run.job(self.job.id)

    def _stuck(self, stack: str) -> str:
        where = f":\n{stack.rstrip()}" if stack.strip() else ""
        what = "before it had asked for a step" if not self._steps else "from one step to the next"
        return (
            f"the workflow was stopped: it took more than {self._grace:g} seconds {what}; what takes long, "
            f"or waits, belongs in a step{where}"
        )

    # --- the end ----------------------------------------------------------------------------------

    def _ended(self, message: Mapping[str, Any]) -> Ended:
        result, value = str(message.get("result")), message.get("value")
        if self._over is not None:
            reason = (
                "cancelled"
                if self._over is Result.CANCELLED
                else "the job ran longer than its timeout-minutes"
            )
            return Ended(self._over, reason=reason)
        if result == "success":
            return Ended(Result.SUCCESS, self._outputs(value))
        told = dict(value) if isinstance(value, Mapping) else {}
        hide = self.stage.masks.hide_text
        reason = hide(str(told.get("reason") or "the workflow failed"))
        undone = [f"and to take back what was done: {hide(str(one))}" for one in told.get("undo", ())]
        traceback = hide(str(told.get("traceback") or ""))
        said = traceback.rstrip("\n") + f"\n##[error]{reason}\n" if traceback else f"##[error]{reason}\n"
        self.stage.log(FIRST_WORDS, said.encode(errors="replace"))
        return Ended(Result.FAILURE, reason="; ".join([reason, *undone]))

    def _outputs(self, value: object) -> Mapping[str, str]:
        """What other jobs see of what the workflow gave: its members where it has some, else `result`."""
        found = json.loads(value) if isinstance(value, str) else None
        members = found if isinstance(found, dict) else {} if found is None else {"result": found}
        texts = {
            str(name): one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)
            for name, one in members.items()
        }
        return {name: text for name, text in texts.items() if not self.stage.masks.covers(text)}

    def _gone(self, closed: ChannelClosed) -> Ended:
        """What it means that the workflow's process is gone before the workflow has ended."""
        match self.stage.hold.why:
            case Why.LATE:
                return Ended(Result.CANCELLED, reason="cancelled")
            case Why.RELEASED:
                raise Released(Why.RELEASED.value)
            case Why.LOST:
                raise LeaseLost(Why.LOST.value)
        if closed.reason:
            raise BrokenDefinition(f"the workflow's process was ended: {closed.reason}")
        code = closed.exit.code if closed.exit is not None else None
        if closed.exit is not None and closed.exit.stopped == "timeout":
            over = self._over or Result.TIMED_OUT
            return Ended(over, reason=TOO_LONG)
        why = "there is no python3 to run it with" if code == 127 else f"exit code {code}"
        raise BrokenDefinition(f"the workflow's process ended before the workflow did: {why}")
