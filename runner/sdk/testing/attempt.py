"""One time that a workflow is run: the engine at the other end of its line, in the same thread."""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Callable, Optional, cast

from runner.sdk import wire
from runner.sdk.host import Host
from runner.sdk.line import Line
from runner.sdk.steps import Step
from runner.sdk.testing.answers import Asking, Outcome, Unplayable, delay, timed
from runner.sdk.testing.memory import LAW, Diverged, Memory
from runner.sdk.values import Event

MOST_STEPS = 10_000
MOST_CANCELS = 10
"""Of a workflow that goes on waiting though it is cancelled."""

Workflow = Callable[[Event, Step], Awaitable[Any]]


class _Crash(BaseException):
    """The attempt is over, and the workflow is not."""


class Attempt:
    """The engine at the other end of the line of a workflow's host, in the host's own thread."""

    def __init__(self, workflow: Workflow, begin: wire.Message, memory: Memory, crashes: bool) -> None:
        self._workflow = workflow
        self._memory = memory
        self._crashes = crashes
        self._host = Host(cast(Line, self), begin)
        self._steps: list[Asking] = []
        self._open: dict[int, Asking] = {}
        """Those for whose ends somebody waits."""
        self._named: Counter[str] = Counter()
        self._told: deque[tuple[Asking, Outcome]] = deque()
        self._running: set[int] = set()
        self._parts: dict[int, list[str]] = {}
        """Values too long for one message, as far as they have come."""
        self._one_over: Optional[asyncio.Future[None]] = None
        self._sent = 0
        self._cancels = False
        self._crashed = False
        self._closed = False
        self._broken: Optional[Exception] = None
        self._end: Optional[wire.Message] = None

    def run(self) -> Optional[wire.Message]:
        """How the workflow ended; None where it crashed, with one more step in the memory."""
        loop = self._host.loop
        loop.set_exception_handler(lambda loop, context: None)
        self._say({"is": "memory", "steps": [*self._memory.said()]})
        try:
            self._host._main = loop.create_task(self._host._workflow(self._workflow))
            loop.run_until_complete(self._host._main)
            loop.run_until_complete(self._bodies_over())
        except _Crash:
            pass
        finally:
            self._close()
        if self._broken is not None:
            raise self._broken
        if len(self._steps) < len(self._memory.asked):
            missing = self._memory.asked[len(self._steps)]
            raise Diverged(
                f"the workflow diverged: run again it did not ask for {missing}, as it had before; {LAW}"
            )
        return self._end

    async def _bodies_over(self) -> None:
        """Those that were given up come to their ends too, before a test looks at what they did."""
        for body in list(self._host.bodies.running.values()):
            body.end("cancel")
        while self._running:
            self._one_over = self._host.loop.create_future()
            await self._one_over

    def _close(self) -> None:
        self._closed = True
        loop = self._host.loop
        for _ in range(MOST_CANCELS):
            left = asyncio.all_tasks(loop)
            if not left:
                break
            for task in left:
                task.cancel()
            self._host._said = None
            try:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            except _Crash:
                continue
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    # --- what the workflow says -----------------------------------------------------------------------

    def flush(self) -> None:
        """Nothing is held back here."""

    def send(self, message: wire.Message, soon: bool = True) -> None:
        """What the host says. What is raised at an `idle` ends the loop, at an `ask` the workflow has it."""
        kind = message["is"]
        if self._closed:
            if kind == "ask":
                # What it does at its end is not done where its machine is gone.
                raise asyncio.CancelledError
            if kind == "idle":
                # It waits for something all the same.
                raise _Crash
        elif kind == "ask":
            self._ask(message)
        elif kind == "took":
            del self._open[message["id"]]
        elif kind == "part":
            self._parts.setdefault(message["id"], []).append(message["text"])
        elif kind == "tell":
            self._tell(message)
        elif kind == "drop":
            self._open.pop(message["id"], None)
        elif kind == "end":
            self._end = {"result": message["result"], "value": message["value"]}
        elif kind == "idle" and message["seen"] == self._sent and self._end is None:
            self._go_on(bool(message["later"]))

    def _ask(self, message: wire.Message) -> None:
        # As it is after it has been sent.
        request = json.loads(json.dumps(message["request"], allow_nan=False))
        name = message["name"]
        self._named[name] += 1
        step = Asking(message["id"], message["kind"], name, self._named[name], request, message["line"])
        at = len(self._steps)
        self._steps.append(step)
        self._open[step.id] = step
        if len(self._steps) > MOST_STEPS:
            self._broken = Unplayable(f"the workflow asks for more than {MOST_STEPS} steps")
        elif at == len(self._memory.asked):
            if self._memory.complete:
                what = f"run again it asked for {step}, which it had not before"
                self._broken = Diverged(f"the workflow diverged: {what}; {LAW}")
            self._memory.asked.append(step)
        elif step.wanted != self._memory.asked[at].wanted:
            self._broken = self._broken or Diverged(
                f"the workflow diverged: run again it asked for {step}, where it had asked for "
                f"{self._memory.asked[at]} before; {LAW}"
            )

    def _tell(self, message: wire.Message) -> None:
        step, value = self._steps[message["id"] - 1], message["value"]
        if message["id"] in self._parts:
            value = "".join(self._parts.pop(message["id"]))
        self._running.discard(step.id)
        if self._one_over is not None and not self._one_over.done():
            self._one_over.set_result(None)
        final = bool(value.pop("final", False)) if isinstance(value, dict) else False
        ok = bool(message["ok"])
        outcome = Outcome(ok, json.loads(value) if ok else value, final)
        if self._crashed and message["stopped"] is None:
            self._memory.ran[step.shown] = outcome
        elif step.id in self._open:
            self._told.append((step, outcome))

    # --- going on -------------------------------------------------------------------------------------

    def _say(self, message: wire.Message) -> None:
        self._sent += 1
        self._host.loop.call_soon_threadsafe(self._host._obey, {**message, "n": self._sent})

    def _go_on(self, later: bool) -> None:
        if self._broken is not None:
            raise _Crash
        if self._crashed:
            if not self._running:
                raise _Crash
            return
        open_steps = list(self._open.values())
        while not self._answered(open_steps):
            if self._running or later:
                return
            waits = [self._memory.due[one.shown][0] for one in open_steps if one.shown in self._memory.due]
            if not waits:
                self._broken = Unplayable(_stuck(open_steps))
                raise _Crash
            self._memory.now = max(self._memory.now, min(waits))

    def _answered(self, open_steps: list[Asking]) -> bool:
        """End what is over, and begin what is asked for; whether the workflow has got an answer by it."""
        while True:
            outcome: Optional[Outcome] = None
            if self._told:
                step, outcome = self._told.popleft()
            elif (due := self._first_due(open_steps)) is not None:
                step, outcome = due, self._memory.due.pop(due.shown)[2]
            elif any(one.stands == "asked" for one in open_steps):
                if self._start(open_steps):
                    return True
                continue
            else:
                return False
            if outcome is None:
                step.stands = "asked"
            elif self._settle(step, outcome):
                return True

    def _first_due(self, open_steps: list[Asking]) -> Optional[Asking]:
        due, now = self._memory.due, self._memory.now
        over = [one for one in open_steps if one.shown in due and due[one.shown][0] <= now]
        return min(over, key=lambda one: due[one.shown][:2], default=None)

    def _start(self, open_steps: list[Asking]) -> bool:
        """Begin what is asked for; whether the job is cancelled by it."""
        for step in open_steps:
            if step.stands != "asked":
                continue
            if self._memory.cancel_at == step.shown and not self._cancels:
                self._cancels = self._memory.cancelled = True
                self._say({"is": "cancel"})
                return True
            step.stands = "waits"
            if step.shown not in self._memory.due:
                try:
                    self._begin(step)
                except (Unplayable, ValueError) as error:
                    self._broken = error
                    raise _Crash from None
        return False

    def _begin(self, step: Asking) -> None:
        memory = self._memory
        outcome = memory.ran.pop(step.shown, None)
        if outcome is None:
            outcome = memory.answers.of(step, memory.tried.get(step.shown, 0), memory.now)
        if outcome is None and step.kind == "do":
            step.stands = "runs"
            self._running.add(step.id)
            self._say({"is": "proceed", "id": step.id})
            return
        found = timed(step, outcome, memory.now)
        if found is not None:
            memory.due[step.shown] = (found[0], next(memory.order), found[1])

    def _settle(self, step: Asking, outcome: Outcome) -> bool:
        """Remember how a step ended; False where it is to be tried again."""
        memory, retry = self._memory, step.request.get("retry")
        failed = memory.tried.get(step.shown, 0) + 1
        if not outcome.ok and retry and not outcome.final and not self._cancels:
            codes = retry["on-exit-codes"]
            if failed < retry["max-attempts"] and (not codes or outcome.exit_code in codes):
                memory.tried[step.shown] = failed
                due = memory.now + timedelta(seconds=delay(retry, failed))
                memory.due[step.shown] = (due, next(memory.order), None)
                step.stands = "waits"
                return False
        if not outcome.ok and failed > 1:
            reason = f"{outcome.value['reason']}; tried {failed} times"
            outcome = replace(outcome, value={**outcome.value, "reason": reason})
        memory.done[step.shown] = (outcome, memory.now)
        if self._crashes:
            self._crashed = True
            self._memory.ran.update((one.shown, ended) for one, ended in self._told if ended is not None)
            if not self._running:
                raise _Crash
        else:
            self._answer(step)
        return True

    def _answer(self, step: Asking) -> None:
        del self._open[step.id]
        outcome, at = self._memory.done[step.shown]
        self._say({"is": "recall", "id": step.id, "at": at.isoformat(), **outcome.answer})


def _stuck(open_steps: list[Asking]) -> str:
    asking = [one.shown for one in open_steps if one.kind == "approve"]
    if asking:
        return f"nobody approves {', '.join(asking)}; say who does: play(..., approvals={{...}})"
    return "the workflow waits for something that is no step, and will not come"
