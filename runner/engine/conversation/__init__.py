"""A job whose program is the repository's own: a workflow in Python, which asks over a channel.

The workflow is run from its beginning each time. It is answered one step at a time, and only when it can go
on no further: first what has a checkpoint, in the order in which the steps ended then, so that it comes to
the same point the same way; after that what ends now, in the order in which that is written down.
"""

import posixpath
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Lock
from time import monotonic
from typing import Any

from runner.engine.beginnings import begins
from runner.engine.contexts import layered
from runner.engine.conversation import suspects
from runner.engine.conversation.answers import Ahead, Told, is_long
from runner.engine.conversation.asked import ENDING_SECONDS, Asked, Roll, Stands, asked
from runner.engine.conversation.bodies import (
    MOST_AT_ONCE,
    REASON_LETTERS,
    TOO_LONG,
    TRACEBACK_LETTERS,
    Bodies,
    failure,
    kept,
    success,
    tried,
)
from runner.engine.conversation.divergence import MOST_NAMED, check_all_asked, check_same
from runner.engine.conversation.ends import how, outputs
from runner.engine.conversation.errands import Errands
from runner.engine.conversation.package import PACKAGE, place_package
from runner.engine.conversation.sound import OPEN_BYTES, Unsound, plain
from runner.engine.conversation.sources import source_of
from runner.engine.conversation.values import Shown, Values
from runner.engine.conversation.waits import WAITS, wait_for, waited
from runner.engine.heart import CANCEL_SECONDS, Why
from runner.engine.ledger import Ledger
from runner.engine.opening import FIRST_WORDS
from runner.engine.output import StepOutput
from runner.engine.ports import Channel, ChannelClosed, Command
from runner.engine.programs import Ended
from runner.engine.reopening import Reopened
from runner.engine.retries import again, delay_of
from runner.engine.stage import Released, Stage
from runner.engine.waiting import wait_of
from runner.errors import BrokenDefinition, LeaseLost, RunnerError
from runner.model.forks import POST
from runner.model.lifecycle import begin_waits, leave_waits
from runner.model.run import Job, Run
from runner.model.step import TRY, Checkpoint, Outcome, Result
from runner.model.waits import Answer, Awaited, Wait

MOST_STEPS = 10_000
BODIES = ("do", "sh", "uses")
"""The kinds of steps that do something themselves."""
FIRST_SECONDS = 120.0
"""Until the workflow has asked for its first step: it loads what it imports."""
SECONDS = 30.0
"""Until it has come from one answer to where it can go on no further."""
LAST_SECONDS = 5.0
"""For it to say where it is, and for its bodies to end that were told to; then it is killed."""
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
    """One attempt of a job. `path` and `text` are the file at the run's commit, `function` what is in it.

    `on_lost` is what the job says for all its steps.
    """

    path: str
    text: str
    function: str
    env: Mapping[str, str]
    stage: Stage
    ledger: Ledger
    on_lost: str
    reopened: Reopened
    channel: Channel = field(init=False)
    job: Job = field(init=False)
    _said: Told = field(init=False)
    _ahead: Ahead = field(init=False)
    _bodies: Bodies = field(init=False)
    _errands: Errands = field(init=False)
    _values: Values = field(init=False)
    _shown: Shown = field(init=False)
    _printed: StepOutput = field(init=False)
    _steps: Roll = field(init=False)
    _named: dict[str, int] = field(default_factory=dict)
    _told: deque[tuple[Asked, Mapping[str, Any] | Outcome]] = field(default_factory=deque)
    _answered: list[Asked] = field(default_factory=list)
    """Those that have left something to be done at the end of the job, as they were asked for."""
    _live: bool = field(init=False)
    """Whether it has come further than any attempt before."""
    _lost: bool = field(init=False)
    """Whether the worker of the attempt before was lost, and what it may have run is not known yet."""
    _undone: set[str] = field(init=False)
    """What had ended before and has not done so again."""
    _begun: bool = False
    """Whether its process is there."""
    _stuck: str = ""
    """Why the workflow is stopped, once it has said where it is."""
    _watched: float = 0.0
    _lock: Lock = field(default_factory=Lock)
    _sent: int = 0
    _idle: bool = False
    _later: bool = False
    _since: float = 0.0
    _looked: float = 0.0
    _over: Result | None = None
    _end: Mapping[str, Any] | None = None

    def converse(self) -> Ended:
        """Answer the workflow to its end. Errors: those of steps; `Rest`, `Diverged`, `BrokenDefinition`."""
        self.job = self.ledger.job
        # The dot stands for what is done of a step beside it, as at the end of the job.
        ended = [key for key in self.ledger.checkpoints if TRY not in key and "." not in key]
        self._steps = Roll({key: at for at, key in enumerate(ended)})
        self._live = not self._steps.places and not self.job.waits
        sandbox = self.stage.scene.sandbox
        place_package(sandbox.host_temp)
        argv = ("python3", f"{sandbox.temp}/{PACKAGE}")
        env = layered(self.stage.given, {"CI": "true", "HOME": sandbox.home, "PATH": sandbox.path}, self.env)
        self._lost, self._undone = self.reopened.lost, set(self.reopened.undone)
        # After its end it has some minutes more, to take back what it did.
        end = max(self.stage.end, self.stage.deadline + CANCEL_SECONDS)
        patience = max(0.0, end - monotonic()) + 2 * LAST_SECONDS
        command = Command(argv, env, sandbox.temp, patience, cancellable=False)
        self._bodies = Bodies(self.stage, self.env)
        path = self.env.get("PATH", sandbox.path)
        self._said = Told(path)
        self._ahead = Ahead(ended, self.ledger.checkpoints, Told(path))
        self._printed = self._bodies.listener(FIRST_WORDS)
        station = self.stage.station
        self._values = Values(station.objects, self.job.id, station.temp)
        self._shown = Shown(self.stage.masks, self.stage.matchers)
        with closing(sandbox.talk(command, self._say)) as self.channel:
            self.stage.hold.listen(self.channel.wake)
            self._errands = Errands(self.stage, self.env, self.channel.wake)
            try:
                return self._converse()
            except ChannelClosed as closed:
                return self._gone(closed)
            finally:
                self.stage.hold.listen(None)
                self._errands.close()
                self._values.close()
                with self._lock:
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
            # Whoever talks all the time is watched too.
            if message is None or monotonic() > self._watched + LOOK:
                self._watch()
            for step, outcome in self._errands.ended():
                if not step.stuck:
                    self._over_with(step, outcome)
            if self._idle and self._end is None and (message is None or message["is"] != "print"):
                self._go_on()
        ended = self._ended(self._end)
        if ended.result is Result.SUCCESS:
            self._last_words()
        return ended

    def _hear(self, message: Mapping[str, Any]) -> None:
        match message:
            case {"is": "ask"}:
                self._busy()
                self._ask(message)
            case {"is": "print", "id": number, "text": str(text)}:
                self._print(number, text)
            case {"is": "took", "id": number} if (step := self._steps.get(number)) is not None:
                self._take(step)
            case {"is": "part", "id": number, "text": str(text)} if (
                step := self._steps.get(number)
            ) is not None:
                self._busy()
                if message.get("of") == step.of and not step.stuck:
                    self._values.part(step, text)
            case {"is": "tell", "id": number} if (step := self._told_by(number)) is not None:
                self._tell(step, message)
            case {"is": "drop", "id": number} if (step := self._steps.get(number)) is not None:
                self._busy()
                self._leave(step)
            case {"is": "idle", "seen": seen}:
                self._idle, self._later = seen == self._sent, message.get("later") is True
            case {"is": "find", "module": str(module)}:
                beside, station = posixpath.dirname(self.path), self.stage.station
                route = self.stage.scene.asked.run.route
                self.channel.send(source_of(module, beside, route, station.workspaces))
            case {"is": "stack", "text": str(text)} if self._stuck:
                self._halt(text)
            case {"is": "end", "result": "success" | "failure" | "cancelled"}:
                self._end = message
            case _:
                raise Unsound(
                    f"a message of the kind {ascii(message['is'])[:100]} with what does not belong to it"
                )

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
        self._begun = True
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

    def _print(self, number: object, text: str) -> None:
        try:
            data = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            data = text.encode(errors="replace")
        step = self._steps.get(number)
        if step is not None and step.output is not None:
            step.output(data)
        elif step is None and self._live:
            # Up to where it had come before, it says again what it has said.
            self._say(data)

    def _say(self, data: bytes) -> None:
        """Of this thread and of the one that reads what the process writes past our package."""
        with self._lock:
            self._printed(data)

    # --- what the workflow says -------------------------------------------------------------------

    def _ask(self, message: Mapping[str, Any]) -> None:
        if len(self._steps) >= MOST_STEPS:
            where = plain(message.get("line"), REASON_LETTERS)
            raise BrokenDefinition(f"the workflow asks for more than {MOST_STEPS} steps: {where}")
        step = asked(message, len(self._steps) + 1, self._named, self.stage.masks)
        self._shown.refused("the name of a step", step.name)
        check_same(step, self.ledger.checkpoints, self.job)
        self._steps.add(step)
        if self._steps.size > OPEN_BYTES:
            raise BrokenDefinition(
                f"step {step.name}: what the workflow asks for at once is longer than {OPEN_BYTES} bytes"
            )

    def _told_by(self, number: object) -> Asked | None:
        """The step of which the workflow's process says how it ended: what we do for it ourselves is none."""
        step = self._steps.get(number)
        return step if step is not None and step.kind != "uses" else None

    def _take(self, step: Asked) -> None:
        """The workflow has had the answer that it was told ahead."""
        place, said = self._steps.places.get(step.key), self._ahead.said
        if step.stands is not Stands.ASKED or place is None or place >= said:
            raise Unsound(f"nothing was said ahead about the step {step.name}")
        self._busy()
        done = self.ledger.checkpoints[step.key]
        self._note_posts(step, done)
        self._steps.put(step, Stands.ANSWERED)
        self._said.hear(done.outcome)

    def _note_posts(self, step: Asked, done: Checkpoint) -> None:
        """Know what a step has left to be done at the end of the job, though it is answered."""
        if done.outcome.posts:
            self._answered.append(replace(step))

    def _tell(self, step: Asked, message: Mapping[str, Any]) -> None:
        if step.stuck or message.get("of") != step.of:
            # It has ended at last, and counts as ended since long.
            return
        if not step.runs:
            raise Unsound(f"step {step.name} has ended, which does not run")
        self._busy()
        self._over_with(step, message)

    def _over_with(self, step: Asked, message: Mapping[str, Any] | Outcome) -> None:
        self._steps.ended(step)
        if step.stands is Stands.RUNS:
            self._told.append((step, message))
        else:
            self._values.drop(step)
            if step.output is not None:
                step.output.end()

    def _leave(self, step: Asked) -> None:
        if step.stands is Stands.LEFT:
            raise Unsound(f"step {step.name} is given up twice")
        if step.stands is Stands.ANSWERED:
            # Its answer was on the way.
            return
        self._undone.discard(step.key)
        waited, key = step.stands is Stands.WAITS, step.wait[0].key if step.wait is not None else step.key
        self._steps.put(step, Stands.LEFT)
        self._errands.leave(step)
        if step.runs and not step.told_to_end:
            step.told_to_end, step.until = True, monotonic()
        if waited and wait_of(self.job, key) is not None:
            self._change(lambda job, now: leave_waits(job, self.ledger.hold.lease, now, {key}))

    # --- going on ---------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """It can go on no further without an answer: give it the next, or begin what it asks for."""
        if (step := self._steps.recalled()) is not None:
            if self._steps.places[step.key] < self._ahead.said or not self._say_ahead():
                self._answer(step, self.ledger.checkpoints[step.key])
            return
        if self._steps.places and self._retrace():
            return
        if self._lost:
            # Whatever it asks for here, the worker that was lost may have begun; up to where that one was.
            self._lost = bool(self._undone)
            for step in self._steps.asked.values():
                step.suspect = step.key not in self._undone
        while self._told:
            if self._settle(*self._told.popleft()):
                return
        if self._hear_waits() or self._tell_of_the_end():
            return
        yields = self._yields()
        if yields is None and self._start_all():
            return
        waiting = list(self._steps.waiting.values())
        if not self._steps.running and not self._later:
            if not waiting:
                self._stop("it waits for something that is no step, and will not come")
                return
            self._rest(waiting)
        self._begin_waits(waiting)

    def _retrace(self) -> bool:
        """It asks for nothing of what it still has to come to: whether there is something to wait for.

        Raises `Diverged` where there is not.
        """
        if self._tell_of_the_end():
            return True
        next_done = self.ledger.checkpoints[next(iter(self._steps.places))]
        if self._over is None and not next_done.kept and not self.ledger.keeping.off:
            # That was done as the job came to its end, which this attempt has not seen yet.
            self._over = Result.TIMED_OUT
            self._send({"is": "cancel"})
            return True
        if not self._later:
            check_all_asked(self._steps, self.ledger.checkpoints)
        # What it waits for by itself went before what was done then.
        return True

    def _tell_of_the_end(self) -> bool:
        """Tell the workflow, once, that the job is to end; whether that was news."""
        if self._over is not None or self.stage.over is None:
            return False
        self._over = self.stage.over
        self._send({"is": "cancel"})
        return True

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

    def _yields(self) -> Why | None:
        """Why nothing more is begun here; raises `Released` once what runs has ended."""
        hold = self.stage.hold
        if hold.over:
            raise LeaseLost(Why.LOST.value)
        # What is left to do after a cancel is done though the run is paused.
        yields = None if hold.yields is Why.PAUSED and self._over is not None else hold.yields
        if yields is not None and not self._steps.running:
            raise Released(yields.value)
        return yields

    def _start(self, step: Asked) -> bool:
        """Begin what a step asks for; whether the workflow has got an answer by it."""
        step.began = step.began or datetime.now(UTC)
        if step.kind in BODIES:
            return self._proceed(step)
        if step.kind not in WAITS:
            raise BrokenDefinition(f"{step.line}: this server knows no step of the kind {step.kind}")
        found = wait_of(self.job, step.key)
        try:
            if found is None and step.kind == "run" and self._over is not None:
                raise BrokenDefinition("the job comes to its end, and starts no run any more")
            step.wait = (found, None) if found else self._wait_for(step)
        except BrokenDefinition as error:
            self._record(step, failure(str(error)))
            return True
        if step.wait is None:
            self._record(step, success())
            return True
        self._steps.put(step, Stands.WAITS)
        return False

    # --- bodies -----------------------------------------------------------------------------------

    def _proceed(self, step: Asked) -> bool:
        ending = self._over is not None
        lost = suspects.becomes(step, self.job, self.on_lost, ending)
        if isinstance(lost, Outcome):
            self._record(step, lost)
            return True
        wait = lost or (None if ending or step.wait is not None else self._again(step))
        if wait is not None:
            step.wait = wait, None
            self._steps.put(step, Stands.WAITS)
            return False
        step.wait, step.suspect = None, False
        try:
            message = self._bodies.begin(step, self._steps.running.values())
            if step.kind == "uses":
                self._errands.begin(step)
        except BrokenDefinition as error:
            self._record(step, failure(str(error), code=1))
            return True
        self._steps.put(step, Stands.RUNS)
        step.of, step.stuck = self._sent + 1, False
        self._live = True
        # Who looks on sees that it has begun.
        begins(self.ledger.hold.lease, step.key, self._began(step), self.stage.station.logs)
        if step.kind != "uses":
            self._send(message)
        return False

    def _again(self, step: Asked) -> Wait | None:
        """What a step that has failed waits for before it is tried again."""
        tries = self._tries(step)
        if not tries or step.retry is None:
            return None
        due = tries[-1].finished + delay_of(step.retry, len(tries), f"{self.job.id} {step.key}")
        if due <= datetime.now(UTC):
            return None
        why = f"step {step.name} is tried again"
        key = f"{step.key}{TRY}{len(tries)}"
        return Wait(key, Awaited.TIME, since=datetime.now(UTC), due=due, message=why)

    def _tries(self, step: Asked) -> list[Checkpoint]:
        found: list[Checkpoint] = []
        while (done := self.ledger.checkpoints.get(f"{step.key}{TRY}{len(found) + 1}")) is not None:
            found.append(done)
        return found

    def _settle(self, step: Asked, message: Mapping[str, Any] | Outcome) -> bool:
        """Write down how a body ended; whether the workflow is told.

        It is not where the step is to be run again, and where nobody waits for it any more.
        """
        if step.output is not None:
            step.output.end()
        if step.stands is not Stands.RUNS:
            self._values.drop(step)
            return False
        if isinstance(message, Outcome):
            outcome, final = self._bodies.errand(step, message), False
        else:
            outcome, final = self._bodies.judged(step, message)
        outcome = self._values.whole(step, outcome)
        failed = len(self._tries(step)) + 1
        may = outcome.result.failed and not final and self._over is None
        if may and again(step.retry, failed, outcome.exit_code):
            said = replace(self._shown.of(outcome), request=step.shown, line=step.line)
            self.ledger.write(f"{step.key}{TRY}{failed}", step.fingerprint, said, self._began(step))
            self._steps.put(step, Stands.ASKED)
            return False
        if outcome.result.failed and failed > 1:
            outcome = tried(outcome, failed)
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
        if step.kind not in WAITS:
            # It is run again, or a person has said what becomes of it. Until it is, it is asked for.
            self._steps.put(step, Stands.ASKED)
            return self._yields() is None and self._proceed(step)
        step.began = wait.since
        self._record(step, waited(wait, answer))
        return True

    def _wait_for(self, step: Asked) -> tuple[Wait, timedelta | None] | None:
        """As it is shown to all who read runs. Raises `BrokenDefinition`."""
        begun = wait_for(step, self.stage, datetime.now(UTC))
        if begun is None:
            return None
        wait, length = begun
        self._shown.refused("the type of an event", wait.name)
        for approver in wait.approvers:
            self._shown.refused("who may approve", approver)
        return replace(wait, message=self.stage.masks.hide_text(wait.message)), length

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
            outcome = kept(outcome, {})
        lost = (step.request.get("on-lost") or self.on_lost) if step.kind in BODIES else "retry"
        outcome = replace(
            self._shown.of(outcome),
            request=step.shown,
            line=step.line,
            on_lost="" if lost == "retry" else lost,
        )
        self._live = True
        self._undone.discard(step.key)
        done = self.ledger.keep(step.key, step.fingerprint, outcome, self._began(step))
        self._answer(step, done)

    def _answer(self, step: Asked, done: Checkpoint) -> None:
        self._note_posts(step, done)
        self._steps.put(step, Stands.ANSWERED)
        if is_long(done.outcome):
            for part in self._values.parts(step, done.outcome):
                self.channel.send({"is": "part", "id": step.number, "text": part})
        self._send({"is": "recall", "id": step.number, **self._said.answer(done)})

    def _last_words(self) -> None:
        """What actions have left to be done at the end of a job that succeeds: the last one's first."""
        for step in reversed(self._answered):
            key = f"{step.key}{POST}"
            if key in self.ledger.checkpoints:
                continue
            for post in self.ledger.checkpoints[step.key].outcome.posts:
                began = datetime.now(UTC)
                self.ledger.keep(key, step.fingerprint, self._errands.last_words(step, post), began)

    # --- time -------------------------------------------------------------------------------------

    def _patience(self) -> float:
        """Seconds until there is something to look at though nobody says anything."""
        now, end = monotonic(), self.stage.end
        ends = [now + LOOK * 60]
        if end > now:
            ends.append(end)
        if self._stuck:
            ends.append(self._since + LAST_SECONDS)
        elif not self._idle or self._idles:
            ends.append(self._since + self._grace)
        for step in self._steps.running.values():
            ends.append(step.until + (ENDING_SECONDS if step.told_to_end else 0.0))
        if self._steps.waiting:
            ends.append(now + LOOK)
        return max(0.0, min(ends) - now)

    @property
    def _grace(self) -> float:
        return SECONDS if self._steps else FIRST_SECONDS

    @property
    def _idles(self) -> bool:
        """Whether it waits for what is no step: a timer of its own, or a connection."""
        return self._later and not self._steps.running and not self._steps.places

    def _watch(self) -> None:
        """See to what time brings: what takes too long, and answers that came while steps run."""
        now = self._watched = monotonic()
        if self._stuck:
            if now > self._since + LAST_SECONDS:
                self._halt("")
        elif now > self._since + self._grace:
            if not self._idle:
                what = "from one step to the next" if self._steps else "before it had asked for a step"
                self._stop(f"it took more than {self._grace:g} seconds {what}")
            elif self._idles:
                self._stop(f"it waited for more than {self._grace:g} seconds for what is no step")
        for step in list(self._steps.running.values()):
            self._see_to(step, now)
        if now > self.stage.end and self.stage.over is not None and self._over is not None:
            self._end = {"result": "cancelled", "value": {"undo": ["it did not end in time"]}}
        foreign = any(wait.awaited is not Awaited.TIME for wait in self.job.hears)
        if foreign and now > self._looked + LOOK:
            self._looked = now
            run = self.stage.station.store.load(self.stage.scene.asked.run.id)
            if run.has(self.job.id):
                self.job = run.job(self.job.id)

    def _see_to(self, step: Asked, now: float) -> None:
        """Have a body end whose time is over; one that does not is waited for no longer."""
        if now > step.until and not step.told_to_end:
            step.told_to_end = True
            self._send({"is": "stop", "id": step.number, "why": "timeout"})
        elif now > step.until + ENDING_SECONDS:
            self._steps.ended(step)
            step.stuck = True
            if step.stands is Stands.RUNS:
                self._told.append((step, {"stopped": "timeout"}))

    def _stop(self, why: str) -> None:
        """Ask the workflow where it is, and stop it then."""
        if not self._stuck:
            self._stuck, self._since = why, monotonic()
            self.channel.send({"is": "where"})

    def _halt(self, stack: str) -> None:
        """End a workflow that gets no further, which is at `stack`."""
        stack = self.stage.masks.hide_text(plain(stack.rstrip(), TRACEBACK_LETTERS))
        where = f":\n{stack}" if stack.strip() else ""
        why = f"the workflow was stopped: {self._stuck}; what takes long, or waits, belongs in a step{where}"
        if self._over is None:
            raise BrokenDefinition(why)
        self._end = {"result": "cancelled", "value": {"undo": [why]}}

    # --- the end ----------------------------------------------------------------------------------

    def _ended(self, message: Mapping[str, Any]) -> Ended:
        value = message.get("value")
        told = value if isinstance(value, Mapping) else {}
        hide, undo = self.stage.masks.hide_text, told.get("undo")
        undone = [
            f"and to take back what was done: {hide(plain(one, REASON_LETTERS))}"
            for one in (undo[:MOST_NAMED] if isinstance(undo, list) else ())
        ]
        if self._over is not None:
            reason = "cancelled" if self._over is Result.CANCELLED else TOO_LONG
            return Ended(self._over, reason="; ".join([reason, *undone]))
        if message["result"] == "success":
            check_all_asked(self._steps, self.ledger.checkpoints)
            return Ended(Result.SUCCESS, outputs(value, self.stage.masks))
        reason = hide(plain(told.get("reason") or "the workflow failed", REASON_LETTERS))
        traceback = hide(plain(told.get("traceback"), TRACEBACK_LETTERS)).rstrip("\n")
        said = f"{traceback}\n##[error]{reason}\n" if traceback else f"##[error]{reason}\n"
        self.stage.log(FIRST_WORDS, said.encode(errors="replace"))
        check_all_asked(self._steps, self.ledger.checkpoints)
        code = told.get("exit_code")
        return Ended(
            Result.FAILURE,
            reason="; ".join([reason, *undone]),
            exit_code=code if type(code) is int and 0 <= code < 256 else None,
        )

    def _gone(self, closed: ChannelClosed) -> Ended:
        """What it means that the workflow's process is gone before the workflow has ended."""
        match self.stage.hold.why:
            case Why.LATE:
                return Ended(Result.CANCELLED, reason="cancelled")
            case Why.RELEASED:
                raise Released(Why.RELEASED.value)
            case Why.LOST:
                raise LeaseLost(Why.LOST.value)
        if closed.exit is not None and closed.exit.stopped == "timeout":
            return Ended(self._over or Result.TIMED_OUT, reason=TOO_LONG)
        if closed.reason:
            raise BrokenDefinition(f"the workflow's process was ended: {closed.reason}")
        named = [step.name for step in self._steps.running.values()][:MOST_NAMED]
        during = f" while {', '.join(named)} ran" if named else ""
        why = f"the workflow's process ended before the workflow did{during}: {how(closed.exit, self._begun)}"
        if self._over is not None:
            return Ended(self._over, reason=why)
        raise BrokenDefinition(why)
