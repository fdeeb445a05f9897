"""Workflows in Python through the whole engine, and what their bodies noted as they ran."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent
from typing import TypeVar

from runner.engine import control
from runner.model.audit import Act
from runner.model.run import Finished, Job, Run, Suspended
from runner.model.source import Repository
from runner.model.step import Checkpoint, Result
from runner.model.waits import Signal
from tests.scenarios.engine import FILES, PATIENCE, Engine
from tests.workspaces.origin import git

T = TypeVar("T")
HEAD = """\
import os
from datetime import timedelta
from runner.sdk import NonRetryable, StepFailed, TimedOut, workflow

def note(what):
    with open("RECORD", "a") as file:
        print(what, file=file)
    return what

def notes():
    with open("RECORD") as file:
        return file.read().split()

@workflow(on="push", runs_on="linux")
async def flow(event, step):
"""


@dataclass(frozen=True)
class Flows:
    """Pushes workflows to repositories of their own, on the host: there a step reaches a file of ours."""

    engine: Engine
    folder: Path

    @property
    def record(self) -> Path:
        """What bodies noted as they ran."""
        return self.folder / "record"

    def notes(self) -> list[str]:
        return self.record.read_text().split() if self.record.exists() else []

    def begun(self, body: str, others: Mapping[str, str] | None = None, name: str = "flow") -> int:
        """Push a workflow whose function has that body, beside other files; gives its run."""
        text = (HEAD + indent(dedent(body), "    ")).replace("RECORD", str(self.record))
        return self.pushed(name, {f"{FILES}/flow.py": text, **(others or {})})

    def pushed(self, name: str, files: Mapping[str, str]) -> int:
        origin = self.folder / name
        origin.mkdir()
        git(origin, "init", "--quiet", "--initial-branch=main")
        for path, text in files.items():
            (origin / path).parent.mkdir(parents=True, exist_ok=True)
            (origin / path).write_text(text)
        git(origin, "add", "--all")
        git(origin, "commit", "--quiet", "--message", "a flow")
        whole = f"{self.folder.name}/{name}"
        commit = git(origin, "rev-parse", "HEAD")
        (run,) = self.engine.push(Repository("git", whole, str(origin), "host"), commit).runs
        return run

    def run(self, run: int) -> Run:
        return self.engine.services.store.load(run)

    def job(self, run: int) -> Job:
        (job,) = self.run(run).jobs
        return job

    def steps(self, run: int) -> Mapping[str, Checkpoint]:
        return self.engine.services.store.recall(self.job(run))

    def asleep(self, run: int) -> Job:
        """Its job as soon as it waits without a worker."""

        def look() -> Job | None:
            job = self.job(run)
            assert not isinstance(job.phase, Finished), job
            return job if isinstance(job.phase, Suspended) else None

        return until(look, f"run {run} to wait")

    def succeeded(self, run: int) -> Mapping[str, str]:
        """What it gave at its end."""
        ended = self.engine.ended(run)
        assert ended.result is Result.SUCCESS, self.job(run).phase
        return self.job(run).outputs

    def failed(self, run: int) -> str:
        ended = self.engine.ended(run)
        assert ended.result is Result.FAILURE
        (job,) = ended.jobs
        assert isinstance(job.phase, Finished)
        return job.phase.reason

    def tell(self, run: int, name: str, payload: object) -> None:
        real = self.engine.services
        said = Signal(name, f"{name} of {run}", "ada", payload)
        control.signal(run, said, store=real.store, dispatcher=real.dispatcher)

    def ask(self, verb: Callable[..., Run], run: int, *given: object, act: Act | None = None) -> None:
        real = self.engine.services
        verb(run, *given, store=real.store, dispatcher=real.dispatcher, act=act)


def until(look: Callable[[], T | None], what: str) -> T:
    end = time.monotonic() + PATIENCE
    while (found := look()) is None:
        assert time.monotonic() < end, f"waited {PATIENCE} s for {what}"
        time.sleep(0.01)
    return found
