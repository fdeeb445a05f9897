"""The actions that the engine itself does for a workflow's steps, each in a thread of its own.

So what takes long, such as an upload, keeps no other step waiting. A thread writes nothing down: how it ended
is told to the conversation, which does.
"""

from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import monotonic

from runner.engine.conversation.asked import Asked
from runner.engine.conversation.bodies import failure
from runner.engine.errands import ERRANDS, Errand, Interrupted
from runner.engine.outcomes import within_limits
from runner.engine.stage import Stage
from runner.errors import BrokenDefinition
from runner.model.forks import POST
from runner.model.step import Outcome, Post, Result
from runner.workflow.built_in import action_named, action_version, is_wait


class _Left(Interrupted):
    """Nobody waits for it any more."""

    def __init__(self) -> None:
        super().__init__(Result.CANCELLED, "it was cancelled")


@dataclass(frozen=True)
class _Named(Errand):
    """An errand of a step that has a name, which `left` ends."""

    left: Event = field(default_factory=Event)

    def check(self) -> None:
        super().check()
        if self.left.is_set():
            raise _Left()


@dataclass(frozen=True, slots=True)
class Errands:
    """`env` are the variables of the job; `wake` is called, from any thread, when one has ended."""

    stage: Stage
    env: Mapping[str, str]
    wake: Callable[[], None]
    _ended: "SimpleQueue[tuple[Asked, Outcome | BaseException]]" = field(default_factory=SimpleQueue)
    _threads: dict[int, tuple[Thread, Event]] = field(default_factory=dict)

    def begin(self, step: Asked) -> None:
        """Begin what a step asks for, which is ready. Raises `BrokenDefinition`."""
        name = _action(step)
        left = Event()
        errand = self._errand(step, step.key, left)

        def work() -> None:
            try:
                ended: Outcome | BaseException = _done(name, lambda: ERRANDS[name].main(errand))
            except BaseException as error:  # noqa: BLE001 - it is raised again where the job is seen to
                ended = error
            self._ended.put((step, ended))
            self.wake()

        context = copy_context()
        thread = Thread(target=context.run, args=(work,), name=f"step {step.key}"[:64], daemon=True)
        self._threads[step.number] = thread, left
        thread.start()

    def ended(self) -> list[tuple[Asked, Outcome]]:
        """Those that have ended since it was asked last. Raises what is no failure of a step."""
        found: list[tuple[Asked, Outcome]] = []
        while True:
            try:
                step, outcome = self._ended.get_nowait()
            except Empty:
                return found
            del self._threads[step.number]
            if isinstance(outcome, BaseException):
                raise outcome
            found.append((step, outcome))

    def leave(self, step: Asked) -> None:
        if step.number in self._threads:
            self._threads[step.number][1].set()

    def close(self) -> None:
        """End all that run, and wait until they have: what they write to is another attempt's then."""
        for _, left in self._threads.values():
            left.set()
        for thread, _ in self._threads.values():
            thread.join()

    def last_words(self, step: Asked, post: Post) -> Outcome:
        """Do what a step's action has left to be done at the end of the job, which succeeds."""
        name = _action(step)
        last = ERRANDS[name].post
        if last is None:
            return Outcome(Result.SKIPPED, Result.SKIPPED)
        step.until, step.limit = self.stage.end, float("inf")
        errand = replace(self._errand(step, f"{step.key}{POST}", Event()), cancellable=False)
        return _done(name, lambda: last(errand, post.state))

    def _errand(self, step: Asked, key: str, left: Event) -> _Named:
        seen = self.stage.seen
        return _Named(
            {str(name).lower(): str(value) for name, value in _given(step).items()},
            {**seen, "job": {**seen["job"], "status": "success"}, "env": self.env},
            self.stage,
            (0,),
            lambda what: self.stage.log(key, self.stage.masks.hide(what)),
            min(step.until, monotonic() + step.limit),
            step.limit,
            version=action_version(str(step.request["action"])),
            key=step.key,
            left=left,
        )


def _done(name: str, work: Callable[[], Outcome]) -> Outcome:
    try:
        return within_limits(work())
    except Interrupted as ended:
        return Outcome(ended.result, ended.result, reason=str(ended))
    except BrokenDefinition as error:
        return failure(f"{name}: {error}", code=1)


def _action(step: Asked) -> str:
    action = str(step.request.get("action"))
    name = action_named(action)
    if name is not None:
        return name
    if is_wait(action):
        raise BrokenDefinition(
            f"{action[:200]!a} is asked for otherwise in a workflow in Python: with step.sleep, "
            "step.wait_for_event and step.approve"
        )
    raise BrokenDefinition(
        f"{action[:200]!a} cannot be used in a workflow in Python; step.uses() knows "
        f"{', '.join(f'{known}@v4' for known in ERRANDS)}. Do what it does with step.sh(), or use it in a "
        "workflow file that step.run_workflow() runs"
    )


def _given(step: Asked) -> Mapping[str, object]:
    given = step.request.get("with")
    return given if isinstance(given, Mapping) else {}
