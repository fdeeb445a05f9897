"""Workflows in Python on the engine's bench: their processes are real, on this machine as it is.

A test of what our own package says runs the workflow (`Flows.run`); one of what anybody may say has a
script for the far end of the channel (`Flows.says`).
"""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from runner.engine.perform import perform
from runner.engine.ports import ChannelClosed, Command, Exit
from runner.engine.sweep import sweep
from runner.errors import DatabaseUnavailable
from runner.executors.channel import SocketChannel
from runner.model.run import Envelope, Finished, Job, Queued, Run
from runner.model.step import Checkpoint
from tests.engine.conftest import Bench
from tests.fakes import FakeExecutor, FakeSandbox

PATIENCE = 60.0
PATH = ".runner/workflows/flow.py"
HEAD = """\
import asyncio, os, sys, threading, time
from runner.sdk import NonRetryable, StepFailed, TimedOut, workflow

def note(what):
    with open("RECORD", "a") as file:
        print(what, file=file)
    return what

@workflow(on="push", runs_on="linux"OPTIONS)
async def flow(event, step):
"""
Script = Callable[["Peer"], Iterator[Mapping[str, Any]]]


@dataclass
class Process(FakeSandbox):
    """Runs what talks as a process of this machine."""

    begun: list[subprocess.Popen[bytes]] = field(default_factory=list)
    worker_is_lost: bool = False

    def talk(self, command: Command, log: Callable[[bytes], None]) -> SocketChannel:
        return SocketChannel(self.host_temp, self.temp, None, self._run, command, log)

    def _run(self, command: Command, log: Callable[[bytes], None]) -> Exit:
        try:
            process = subprocess.Popen(
                command.argv,
                env=dict(command.env),
                cwd=command.cwd,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except FileNotFoundError:
            return Exit(127)
        self.begun.append(process)
        assert process.stdout is not None
        with process.stdout as stdout:
            for line in stdout:
                log(line)
        code = process.wait()
        if self.worker_is_lost:
            raise DatabaseUnavailable("away")
        return Exit(code if code >= 0 else 128 - code)

    def stop(self) -> None:
        super().stop()
        for process in self.begun:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def close(self) -> None:
        self.stop()
        super().close()


class Peer:
    """The far end of a channel, for a script that gives what it says and looks at what it has heard."""

    def __init__(self, script: Script) -> None:
        self.heard: list[Mapping[str, Any]] = []
        self._says = script(self)
        self._woken = threading.Event()

    def connect(self, seconds: float) -> bool:
        return True

    def send(self, message: Mapping[str, Any]) -> None:
        self.heard.append(message)

    def receive(self, seconds: float) -> Mapping[str, Any] | None:
        try:
            said = next(self._says)
        except StopIteration:
            raise ChannelClosed(Exit(0), "") from None
        if said == SILENCE:
            time.sleep(min(seconds, 0.01))
            return None
        return said

    @property
    def idle(self) -> Mapping[str, Any]:
        numbers = [message["n"] for message in self.heard if "n" in message]
        return {"is": "idle", "seen": numbers[-1] if numbers else 0, "running": 0, "later": False}

    def wake(self) -> None:
        self._woken.set()

    def close(self) -> None:
        """There is nothing to let go of."""


SILENCE: Mapping[str, Any] = {"is": "nothing"}
"""What a script gives that says nothing for a while."""


@dataclass
class Scripted(FakeSandbox):
    script: Script = lambda peer: iter(())

    def talk(self, command: Command, log: Callable[[bytes], None]) -> Peer:
        return Peer(self.script)


@dataclass
class Talking(FakeExecutor):
    sandbox: Callable[..., FakeSandbox] = Process
    path: str = os.environ.get("PATH", "")

    def open(self, workspace: Path, temp: Path, *others: Any) -> FakeSandbox:
        made = self.sandbox(temp, self.act, str(workspace), path=self.path)
        self.sandboxes.append(made)
        return made


@dataclass
class Flows:
    bench: Bench
    folder: Path
    executor: Talking = field(default_factory=Talking)
    _count: int = 0
    _thread: threading.Thread = field(default_factory=threading.Thread)

    def __post_init__(self) -> None:
        self.bench.station = replace(self.bench.station, executors={"fake": lambda: self.executor})

    @property
    def record(self) -> Path:
        return self.folder / "record"

    def notes(self) -> list[str]:
        """What bodies have noted as they ran."""
        return self.record.read_text().split() if self.record.exists() else []

    def pushed(self, body: str, options: str = "", before: str = "", path: str = PATH) -> Run:
        """A run of a workflow whose function has that body, and whose file has `before` at its beginning."""
        head = HEAD.replace("OPTIONS", f", {options}" if options else "")
        text = dedent(before) + head + indent(dedent(body), "    ")
        self._count += 1
        return self.bench_run(text.replace("RECORD", str(self.record)), path)

    def bench_run(self, text: str, path: str = PATH) -> Run:
        self.bench.write(text, path)
        delivery = self.bench.admit(self.bench.receive(guid=f"guid-{self._count}"))
        assert delivery.runs, delivery
        return self.bench.store.load(delivery.runs[0])

    def run(self, body: str, options: str = "", before: str = "") -> "Ended":
        """What became of a workflow once it can go on no further."""
        run = self.pushed(body, options, before)
        self.bench.work()
        return self.seen(run)

    def says(self, script: Script, options: str = "") -> "Ended":
        """What became of a workflow at whose end of the channel a script is."""
        self.executor.sandbox = partial(Scripted, script=script)
        return self.run("pass", options)

    def goes_on(self, run: Run) -> "Ended":
        """Have what is due go on, as the clock does."""
        sweep(store=self.bench.store, dispatcher=self.bench.bell)
        self.bench.work()
        return self.seen(run)

    def ends(self, run: Run) -> "Ended":
        """Have it go on until it ends, whatever it waits for by time."""
        end = time.monotonic() + PATIENCE
        while (found := self.goes_on(run)).result is None:
            assert time.monotonic() < end, found
            time.sleep(0.01)
        return found

    def aside(self, run: Run) -> threading.Thread:
        """Work on it in another thread, for one attempt."""

        def work(message: Envelope) -> None:
            with suppress(DatabaseUnavailable):
                perform(message, self.bench.station)

        self._thread = threading.Thread(target=work, args=(self.bench.bell.rung.pop(0),))
        self._thread.start()
        return self._thread

    def until(self, noted: str, times: int = 1) -> None:
        """Wait until a body has noted that."""
        end = time.monotonic() + PATIENCE
        while self.notes().count(noted) < times:
            assert time.monotonic() < end, self.notes()
            time.sleep(0.005)

    def loses_its_worker(self, run: Run) -> None:
        """As if whoever has the job had died with the workflow's process."""
        for sandbox in self.executor.sandboxes:
            assert isinstance(sandbox, Process)
            sandbox.worker_is_lost = True
            sandbox.stop()
        self._thread.join(PATIENCE)
        self.bench.bell.rung[:] = self.bench.store.stranded(everything=True).envelopes

    def seen(self, run: Run) -> "Ended":
        run = self.bench.store.load(run.id)
        return Ended(run, self.bench)


@dataclass
class Ended:
    run: Run
    bench: Bench

    @property
    def job(self) -> Job:
        return self.run.jobs[0]

    @property
    def result(self) -> str | None:
        return str(self.job.phase.result) if isinstance(self.job.phase, Finished) else None

    @property
    def reason(self) -> str:
        assert isinstance(self.job.phase, Finished), self.job.phase
        return self.job.phase.reason

    @property
    def waits(self) -> bool:
        return not isinstance(self.job.phase, Finished | Queued)

    @property
    def steps(self) -> Mapping[str, Checkpoint]:
        return self.bench.store.recall(self.job)

    @property
    def results(self) -> Sequence[tuple[str, str]]:
        """The steps in the order in which they ended, and how they did."""
        return [(key, str(done.outcome.result)) for key, done in self.steps.items()]

    @property
    def log(self) -> str:
        said = [
            text
            for (job, _, key), text in self.bench.logs.printed.items()
            if job == self.job.id and key == "0"
        ]
        return b"".join(said).decode()

    def log_of(self, key: str) -> str:
        said = [
            text
            for (job, _, step), text in self.bench.logs.printed.items()
            if (job, step) == (self.job.id, key)
        ]
        return b"".join(said).decode()

    def line_of(self, text: str) -> int:
        """On which line of the workflow's file something is."""
        lines = self.bench.workspaces.files[PATH].decode().splitlines()
        return next(number for number, line in enumerate(lines, 1) if re.search(text, line))
