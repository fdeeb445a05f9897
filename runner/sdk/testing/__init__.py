"""Plays a workflow without a server, for its unit tests.

    from runner.sdk.testing import Fail, load, play

    deploy = load(".runner/workflows/deploy.py")

    def test_a_failed_ship_is_taken_back():
        played = play(deploy, results={"ship": Fail("no route")}, approvals={"release": "anna"})

        assert played.result == "failure"
        assert played.names == ["build", "release", "ship", "rollback build"]

What a step gives is what the test says, by the step's name; the second step of one name is "name (2)". What
the test does not say: a body of `step.do` is run; a command, an action or another workflow is not, and gives
no outputs; an event does not come before its timeout is over; nobody approves. Waits take no time: the clock,
which is `step.now()`, is put forward. A body that is run takes none either, and has no timeout.

The workflow is answered as the engine does it: one step at a time, when it can go on no further. After each
step it is ended, as by a crash, and run again from its beginning, and it has to ask for the same and come to
the same end. Bodies are run once all the same; only code outside of steps is run again.
"""

import asyncio
import importlib.util
import inspect
import json
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any, Optional, Union

from runner.sdk import wire
from runner.sdk.testing.answers import After, Answers, Fail, Reject, Tries, Unplayable, as_json
from runner.sdk.testing.attempt import Attempt, Workflow
from runner.sdk.testing.memory import LAW, Asked, Diverged, Failure, Memory, Played
from runner.sdk.values import Event, Route

__all__ = [
    "After",
    "Asked",
    "Diverged",
    "Fail",
    "Failure",
    "Played",
    "Reject",
    "Tries",
    "Unplayable",
    "an_event",
    "load",
    "play",
]

STARTED = datetime(2026, 1, 1, 9, tzinfo=timezone.utc)


def an_event(
    kind: str = "push",
    *,
    payload: Optional[Mapping[str, Any]] = None,
    inputs: Optional[Mapping[str, Any]] = None,
    ref: str = "refs/heads/main",
    actor: str = "somebody",
    repo: str = "owner/name",
    commit: str = "0" * 40,
) -> Event:
    """What starts the run, where a test does not care about the rest."""
    run = {"id": 1, "number": 1, "attempt": 1}
    return Event(kind, dict(payload or {}), Route("git", repo, commit), ref, actor, dict(inputs or {}), run)


def load(path: Union[str, "os.PathLike[str]"]) -> Workflow:
    """The workflow of a file, which may import what lies beside it or in the root of its repository."""
    file = os.path.abspath(path)
    folder, stem = os.path.dirname(file), os.path.splitext(os.path.basename(file))[0]
    above = os.path.dirname(folder)
    root = os.path.dirname(above) if os.path.basename(above) == ".runner" else os.getcwd()
    sys.path[:0] = [one for one in dict.fromkeys((folder, root)) if one not in sys.path]
    name = f"__workflow__{stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        # What Python keeps beside a file would be a change to the repository, which a local run takes along.
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = kept
    members = vars(module).values()
    made = [one for one in members if hasattr(one, "__runner_workflow__") and one.__module__ == name]
    if len(made) != 1:
        raise ValueError(f"{path} has {len(made)} functions decorated with @workflow(...); it needs one")
    found: Workflow = made[0]
    return found


def play(
    workflow: Workflow,
    *,
    event: Optional[Event] = None,
    results: Optional[Mapping[str, Any]] = None,
    events: Optional[Mapping[str, Any]] = None,
    approvals: Optional[Mapping[str, Any]] = None,
    cancel_at: Optional[str] = None,
    crashes: bool = True,
    started: datetime = STARTED,
    seed: str = "play",
) -> Played:
    """Run a workflow to its end, with what its steps give by their names.

    `results`: the value of a step.do; else the outputs, or what the step gives. `events`: the payload, or
    `Received`. `approvals`: who approves, or `Approval`, `Reject`. Everywhere also `Fail`, an exception that
    the body raises, `After` and `Tries`. The job is cancelled when the step `cancel_at` is to begin. With
    `crashes=False` it is run once only, which is quicker where it has hundreds of steps.

    Raises `Diverged` and `Unplayable`; a workflow that fails is told in what is returned.
    """
    _check_playable(workflow)
    answers = Answers(results or {}, events or {}, approvals or {})
    memory = Memory(answers, started, cancel_at)
    begin = _begin(event if event is not None else an_event(), started, seed)
    here = os.getcwd()
    ends: list[wire.Message] = []
    try:
        while len(ends) < (2 if crashes else 1):
            end = Attempt(workflow, {**begin, "workspace": here}, memory, crashes).run()
            if end is not None:
                ends.append(end)
                memory.complete = True
    finally:
        # A workflow has the workspace around it in its bodies only.
        os.chdir(here)
    if ends[0] != ends[-1]:
        raise Diverged(
            f"the workflow diverged: run again it came to another end, {_ending(ends[-1])}, where it had "
            f"been {_ending(ends[0])}; {LAW}"
        )
    return memory.played(ends[0])


def _check_playable(workflow: Workflow) -> None:
    if not inspect.iscoroutinefunction(workflow) or not hasattr(workflow, "__runner_workflow__"):
        raise TypeError("play() takes an async function that is decorated with @workflow(...)")
    if threading.current_thread() is not threading.main_thread():
        raise Unplayable("play() plays in the main thread, as a workflow is run: call it from there")
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise Unplayable("play() has an event loop of its own: call it from a test that is no coroutine")


def _begin(event: Event, started: datetime, seed: str) -> wire.Message:
    if started.tzinfo is None:
        raise ValueError(f"play() started at {started.isoformat()}, which has no time zone")
    said = json.loads(as_json(asdict(event), "the event"))
    return {"path": "", "at": started.isoformat(), "seed": seed, "event": said}


def _ending(end: wire.Message) -> str:
    value = end["value"]
    return f"{end['result']}: {value['reason'] if isinstance(value, dict) else value}"
