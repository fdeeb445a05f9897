"""A job whose program is the repository's own: a workflow in Python, which asks over a channel.

The workflow is run from its beginning each time. It is answered one step at a time, and only when it can go
on no further: first what has a checkpoint, in the order in which the steps ended then, so that it comes to
the same point the same way; after that what ends now, in the order in which that is written down.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from runner.engine.beginnings import begins
from runner.engine.contexts import layered
from runner.engine.conversation import suspects
from runner.engine.conversation.answers import Ahead, Answers, Told
from runner.engine.conversation.asked import Asked, Roll, Stands
from runner.engine.conversation.beginning import ORDER, begin
from runner.engine.conversation.bodies import (
    MOST_AT_ONCE,
    Bodies,
    failure,
    kept,
    success,
    tried,
)
from runner.engine.conversation.divergence import check_all_asked
from runner.engine.conversation.ends import ended, gone
from runner.engine.conversation.errands import Errands
from runner.engine.conversation.hearing import Hearing, Printed
from runner.engine.conversation.package import PACKAGE, place_package
from runner.engine.conversation.talk import Talk
from runner.engine.conversation.tries import before_next, tries_of
from runner.engine.conversation.values import Shown, Values
from runner.engine.conversation.waits import WAITS, Waits, waited
from runner.engine.conversation.watch import Watch, longest
from runner.engine.heart import Why
from runner.engine.ledger import Ledger
from runner.engine.opening import FIRST_WORDS
from runner.engine.ports import ChannelClosed, Command
from runner.engine.programs import Ended
from runner.engine.retries import again
from runner.engine.stage import Released, Stage
from runner.engine.waiting import wait_of
from runner.errors import BrokenDefinition, LeaseLost
from runner.model.forks import POST
from runner.model.leasing import begin_try
from runner.model.step import TRY, Outcome, Result

BODIES = ("do", "sh", "uses")
"""The kinds of steps that do something themselves."""


@dataclass
class Conversation:
    """One attempt of a job. `path` and `text` are the file at the run's commit, `function` what is in it.

    `on_lost` is what the job says of all steps that say nothing themselves.
    """

    path: str
    text: str
    function: str
    env: Mapping[str, str]
    stage: Stage
    ledger: Ledger
    on_lost: str
    talk: Talk = field(init=False)
    _answers: Answers = field(init=False)
    _bodies: Bodies = field(init=False)
    _errands: Errands = field(init=False)
    _hearing: Hearing = field(init=False)
    _shown: Shown = field(init=False)
    _values: Values = field(init=False)
    _waits: Waits = field(init=False)
    _watch: Watch = field(init=False)

    def converse(self) -> Ended:
        """Answer the workflow to its end. Errors: those of steps; `Rest`, `Diverged`, `BrokenDefinition`."""
        job, checkpoints = self.ledger.job, self.ledger.checkpoints
        # The dot stands for what is done of a step beside it, as at the end of the job.
        done = [key for key in checkpoints if TRY not in key and "." not in key]
        steps = Roll({key: at for at, key in enumerate(done)})
        live = not steps.places and not job.waits
        self.talk = Talk(self.stage, self.ledger, job, steps, live, known=monotonic())
        sandbox, station = self.stage.scene.sandbox, self.stage.station
        place_package(sandbox.host_temp)
        argv = ("python3", f"{sandbox.temp}/{PACKAGE}")
        given = {"CI": "true", "HOME": sandbox.home, "PATH": sandbox.path, **ORDER}
        env = layered(self.stage.given, given, self.env)
        command = Command(argv, env, sandbox.temp, longest(self.stage), cancellable=False)
        path = self.env.get("PATH", sandbox.path)
        self._bodies = Bodies(self.stage, self.env)
        self._shown = Shown(self.stage.masks, self.stage.matchers)
        inline = sum(len(one.outcome.value or "") for one in checkpoints.values())
        self._values = Values(station.objects, job.id, station.temp, inline)
        self._answers = Answers(self.talk, Told(path), Ahead(done, checkpoints, Told(path)), self._values)
        self._watch = Watch(self.talk)
        self._waits = Waits(self.talk, self._shown)
        printed = Printed(self._bodies.listener(FIRST_WORDS))
        with closing(sandbox.talk(command, printed)) as self.talk.channel:
            wake = self.talk.channel.wake
            self.stage.hold.listen(wake)
            self._errands = Errands(self.stage, self.env, wake)
            self._hearing = Hearing(
                self.talk,
                self.path,
                printed,
                self._answers,
                self._errands,
                self._shown,
                self._values,
                self._watch,
            )
            try:
                return self._converse()
            except ChannelClosed as closed:
                return gone(self.talk, closed)
            finally:
                self.stage.hold.listen(None)
                self._errands.close()
                self._values.close()
                printed.end()

    def _converse(self) -> Ended:
        self._watch.connect()
        begin(self.talk, self.path, self.text, self.function, self.env)
        self._answers.say_ahead()
        while self.talk.end is None:
            message = self.talk.channel.receive(self._watch.patience())
            if message is not None:
                self._hearing.hear(message)
            if message is None or self._watch.due:
                self._watch.look()
            for step, outcome in self._errands.ended():
                if not step.stuck:
                    self._hearing.over_with(step, outcome)
            if self.talk.idle and self.talk.end is None and (message is None or message["is"] != "print"):
                self._go_on()
        found = ended(self.talk, self.talk.end)
        if found.result is Result.SUCCESS:
            self._last_words()
        return found

    # --- going on ---------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """It can go on no further without an answer: give it the next, or begin what it asks for."""
        if (step := self.talk.steps.recalled()) is not None:
            if self._answers.was_ahead(step) or not self._answers.say_ahead():
                self._answers.answer(step, self.ledger.checkpoints[step.key])
            return
        if self.talk.steps.places and self._retrace():
            return
        while self.talk.told:
            if self._settle(*self.talk.told.popleft()):
                return
        if self._hear_waits() or self.talk.tell_of_the_end():
            return
        yields = self._yields()
        if yields is None and self._start_all():
            return
        waiting = list(self.talk.steps.waiting.values())
        if not self.talk.steps.running and not self.talk.later:
            if not waiting:
                self._watch.stop("it waits for something that is no step, and will not come")
                return
            self._waits.rest(waiting)
        self._waits.begin(waiting)

    def _retrace(self) -> bool:
        """It asks for nothing of what it still has to come to: whether there is something to wait for.

        Raises `Diverged` where there is not.
        """
        if self.talk.tell_of_the_end():
            return True
        next_done = self.ledger.checkpoints[next(iter(self.talk.steps.places))]
        if self.talk.over is None and not next_done.kept and not self.ledger.keeping.off:
            # That was done as the job came to its end, which this attempt has not seen yet.
            self.talk.over = Result.TIMED_OUT
            self.talk.send({"is": "cancel"})
            return True
        if not self.talk.later:
            check_all_asked(self.talk.steps, self.ledger.checkpoints)
        # What it waits for by itself went before what was done then.
        return True

    def _hear_waits(self) -> bool:
        """Answer the step whose wait was over first; whether there is one."""
        found = self._waits.first_over()
        if found is None:
            return False
        step, wait, answer = found
        if step.kind not in WAITS:
            # It is run again, or a person has said what becomes of it. Until it is, it is asked for.
            self.talk.steps.put(step, Stands.ASKED)
            return self._yields() is None and self._proceed(step)
        step.began = wait.since
        self._record(step, waited(wait, answer))
        return True

    def _yields(self) -> Why | None:
        """Why nothing more is begun here; raises `Released` once what runs has ended."""
        hold = self.stage.hold
        if hold.over:
            raise LeaseLost(Why.LOST.value)
        # What is left to do after a cancel is done though the run is paused.
        yields = None if hold.yields is Why.PAUSED and self.talk.over is not None else hold.yields
        if yields is not None and not self.talk.steps.running:
            raise Released(yields.value)
        return yields

    def _start_all(self) -> bool:
        """Begin what is asked for, as much as may run at once; whether the workflow is answered by it."""
        if not self.talk.steps.asked or len(self.talk.steps.running) >= MOST_AT_ONCE:
            return False
        for step in list(self.talk.steps.asked.values()):
            if len(self.talk.steps.running) >= MOST_AT_ONCE:
                return False
            if self._start(step):
                return True
        return False

    def _start(self, step: Asked) -> bool:
        """Begin what a step asks for; whether the workflow has got an answer by it."""
        step.began = step.began or datetime.now(UTC)
        if step.kind in BODIES:
            return self._proceed(step)
        if step.kind not in WAITS:
            raise BrokenDefinition(f"{step.line}: this server knows no step of the kind {step.kind}")
        found = wait_of(self.talk.job, step.key)
        try:
            if found is None and step.kind == "run" and self.talk.over is not None:
                raise BrokenDefinition("the job comes to its end, and starts no run any more")
            step.wait = (found, None) if found else self._waits.wait_for(step)
        except BrokenDefinition as error:
            self._record(step, failure(str(error)))
            return True
        if step.wait is None:
            self._record(step, success())
            return True
        self.talk.steps.put(step, Stands.WAITS)
        return False

    def _proceed(self, step: Asked) -> bool:
        ending = self.talk.over is not None
        lost = suspects.becomes(step, self.talk.job, self.ledger.checkpoints, self._on_lost(step), ending)
        if isinstance(lost, Outcome):
            self._record(step, lost)
            return True
        wait = lost
        if wait is None and not ending and step.wait is None:
            wait = before_next(step, self.talk.job, self.ledger.checkpoints)
        if wait is not None:
            step.wait = wait, None
            self.talk.steps.put(step, Stands.WAITS)
            return False
        step.wait = None
        self._note_begin(step)
        try:
            message = self._bodies.begin(step, self.talk.steps.running.values())
            if step.kind == "uses":
                self._errands.begin(step)
        except BrokenDefinition as error:
            self._record(step, failure(str(error), code=1))
            return True
        self.talk.steps.put(step, Stands.RUNS)
        step.of, step.stuck = self.talk.sent + 1, False
        self.talk.live = True
        # Who looks on sees that it has begun.
        begins(self.ledger.hold.lease, step.key, self._began(step), self.stage.station.logs)
        if step.kind != "uses":
            self.talk.send(message)
        return False

    def _note_begin(self, step: Asked) -> None:
        """Write down that a step begins of which that must be known when its worker is lost."""
        on_lost = self._on_lost(step)
        if on_lost == "retry":
            return
        done, lease = self.ledger.checkpoints, self.ledger.hold.lease
        key = f"{step.key}{TRY}{len(tries_of(step, done)) + 1}"
        self.talk.change(lambda job, _now: begin_try(job, lease, key, on_lost, done))

    def _on_lost(self, step: Asked) -> str:
        """What is said of a loss of its worker, by itself or by the job."""
        return step.request.get("on-lost") or self.on_lost

    # --- what has come of it ----------------------------------------------------------------------

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
        failed = len(tries_of(step, self.ledger.checkpoints)) + 1
        may = outcome.result.failed and not final and self.talk.over is None
        if may and again(step.retry, failed, outcome.exit_code):
            said = step.said_of(self._shown.of(outcome))
            self.ledger.write(f"{step.key}{TRY}{failed}", step.fingerprint, said, self._began(step))
            self.talk.steps.put(step, Stands.ASKED)
            return False
        if outcome.result.failed and failed > 1:
            outcome = tried(outcome, failed)
        self._record(step, outcome)
        return True

    def _record(self, step: Asked, outcome: Outcome) -> None:
        if outcome.result.failed and outcome.value is None:
            outcome = kept(outcome, {})
        lost = self._on_lost(step) if step.kind in BODIES else "retry"
        outcome = replace(step.said_of(self._shown.of(outcome)), on_lost="" if lost == "retry" else lost)
        self.talk.live = True
        done = self.ledger.keep(step.key, step.fingerprint, outcome, self._began(step))
        self._answers.answer(step, done)

    def _began(self, step: Asked) -> datetime:
        return step.began or datetime.now(UTC)

    def _last_words(self) -> None:
        """What actions have left to be done at the end of a job that succeeds: the last one's first."""
        for step in reversed(self._answers.left):
            key = f"{step.key}{POST}"
            if key in self.ledger.checkpoints:
                continue
            for post in self.ledger.checkpoints[step.key].outcome.posts:
                began = datetime.now(UTC)
                self.ledger.keep(key, step.fingerprint, self._errands.last_words(step, post), began)
