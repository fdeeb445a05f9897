"""The whole engine in this process, and what it made of a push."""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from types import MappingProxyType
from typing import Any

from runner.engine import control
from runner.engine.receive import receive
from runner.model.environment import Environment
from runner.model.run import Finished, Job, Run, Suspended
from runner.model.source import Delivery, Repository
from runner.model.step import TRY, is_named, name_in
from runner.model.waits import Awaited, Signal, Word
from runner.settings import Settings
from runner.wiring import Services, services, station
from runner.worker import Clock, Worker
from tests.builders import an_event
from tests.homes import files_in
from tests.servers import FOLDER
from tests.workspaces.origin import git

PATIENCE = 120.0
FILES = ".runner/workflows"
OTHERS = "others"
LOG_BYTES = 256 * 1024 * 1024
SECRETS = {"TOKEN": "tok3n-of-the-vault", "KEY": "first line of it\nsecond line of it"}
VARIABLES = {"REGION": "north", "LABEL": "ubuntu-latest", "LIST": '["a", "b"]'}
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Engine:
    """Services with a worker and a clock over them; every push is to a repository of its own name.

    Other repositories that workflows use are below `others`.
    """

    services: Services

    @property
    def others(self) -> Path:
        return Path(self.services.settings.actions_url)

    def push(
        self,
        repository: Repository,
        commit: str,
        ref: str = "refs/heads/main",
        before: str | None = None,
        environments: Mapping[str, Values] = MappingProxyType({}),
    ) -> Delivery:
        """What the server does with a push; gives the delivery as soon as it is judged."""
        store = self.services.store
        self.services.repositories.add(repository, "secret")
        registered = self.services.repositories.get(repository.forge, repository.name)
        for name, value in SECRETS.items():
            self.services.vault.keep_secret(registered, name, value)
        for name, value in VARIABLES.items():
            self.services.vault.keep_variable(registered, name, value)
        for name, rules in environments.items():
            said: Any = {key: tuple(one) if isinstance(one, list) else one for key, one in rules.items()}
            self.services.environments.keep(registered, Environment(name, **said))
        event = an_event(
            repo=repository.name, ref=ref, commit=commit, before=before, actor="ada", payload={"ref": ref}
        )
        guid = f"{repository.name}@{commit}"
        made = receive(event, guid, guid, store=store, dispatcher=self.services.dispatcher)
        end = time.monotonic() + PATIENCE
        # Other threads' work has no event to await: ask until there is an answer.
        while (found := store.delivery(made.id)).status == "received":
            assert time.monotonic() < end, f"not admitted within {PATIENCE} s: {found}"
            time.sleep(0.01)
        return found

    def tell(self, delivery: Delivery, told: Sequence[Values]) -> None:
        """Say to the runs of a delivery what people say, one after the other."""
        ports: Any = {"store": self.services.store, "dispatcher": self.services.dispatcher}
        for number, said in enumerate(told):
            for run in delivery.runs:
                if "signal" in said:
                    signal = Signal(said["signal"], str(number), "ada", said["payload"])
                    control.signal(run, signal, **ports)
                    continue
                word = Word.APPROVED if "approve" in said else Word.REJECTED
                job = self._asking(run, said.get("approve") or said["reject"])
                control.answer(
                    run,
                    Awaited.APPROVAL,
                    word,
                    by=said["by"],
                    comment=said.get("comment", ""),
                    chosen=partial(_only, job),
                    **ports,
                )

    def _asking(self, run_id: int, key: str) -> int:
        """The job of that key as soon as it waits for approval."""
        end = time.monotonic() + PATIENCE
        while True:
            for job in self.services.store.load(run_id).jobs:
                asks = isinstance(job.phase, Suspended) and Awaited.APPROVAL in {
                    w.awaited for w in job.awaits
                }
                if job.key == key and asks:
                    return job.id
            assert time.monotonic() < end, f"{key} asked nobody within {PATIENCE} s"
            time.sleep(0.01)

    def ended(self, run_id: int) -> Run:
        end = time.monotonic() + PATIENCE
        while (run := self.services.store.load(run_id)).result is None:
            assert time.monotonic() < end, f"not ended within {PATIENCE} s: {run}"
            time.sleep(0.01)
        return run

    # --- what became of it, as `expected.json` says it -------------------------------------------

    def seen(self, delivery: Delivery) -> Values:
        runs = [self.ended(run_id) for run_id in delivery.runs]
        return {
            "delivery": {"status": delivery.status, "reason": delivery.reason},
            "runs": {run.workflow.rpartition("/")[2]: self._run(run) for run in runs},
        }

    def _run(self, run: Run) -> Values:
        return {
            "result": str(run.result),
            "name": run.name,
            "problems": list(run.problems),
            "jobs": {_label(run, job): self._job(job) for job in run.jobs},
        }

    def _job(self, job: Job) -> Values:
        assert isinstance(job.phase, Finished)
        keys = list(self.services.store.recall(job))
        names = [(step.name, step.key) for step in job.steps]
        names += [(name_in(key), key) for key in keys if is_named(key) and TRY not in key]
        steps = {name: self._step(job, key) for name, key in names}
        assert len(steps) == len(names), "a scenario's steps have names of their own"
        pres, posts = ([key for key in keys if key.endswith(kind)] for kind in (".pre", ".post"))
        return {
            "result": str(job.phase.result),
            "conclusion": str(job.phase.conclusion),
            "reason": job.phase.reason.replace(str(self.others), OTHERS),
            "name": job.name,
            "outputs": dict(job.outputs),
            "steps": steps,
            "pres": {key: self._step(job, key) for key in pres},
            "posts": {key: self._step(job, key) for key in posts},
            "log": b"".join(
                self.services.logs.read(job.id, attempt, key, 0, LOG_BYTES)
                for attempt in range(1, job.attempt + 1)
                for key in ("0", "end")
            ),
        }

    def _step(self, job: Job, key: str) -> Values:
        found = self.services.store.recall(job).get(key)
        log = self.services.logs.read(job.id, found.attempt if found else job.attempt, key, 0, LOG_BYTES)
        if found is None:
            return {"result": None, "log": log}
        outcome = found.outcome
        return {
            "result": str(outcome.result),
            "conclusion": str(outcome.conclusion),
            "exit_code": outcome.exit_code,
            "outputs": dict(outcome.outputs),
            "value": None if outcome.value is None else json.loads(outcome.value),
            "summary": outcome.summary,
            "reason": outcome.reason,
            "annotations": [
                {name: value for name, value in asdict(one).items() if value} for one in outcome.annotations
            ],
            "log": log,
        }

    def left_behind(self) -> list[str]:
        """What jobs that have ended left: processes, mounts, files that a hostile name made as a command."""
        home = self.services.settings.home
        mirrored = (path for path in files_in(home / "mirrors") if path.name == "X")
        found = [str(path) for path in (*home.glob("X"), *mirrored, *Path.cwd().glob("X"))]
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        found += [line for line in mounts if f" {home}/temp/" in line]
        for process in Path("/proc").glob("[0-9]*"):
            try:
                said = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            except OSError:
                # It has ended since.
                continue
            if f"{home}/workspaces/".encode() in said:
                found.append(said.decode(errors="replace"))
        return found


def _only(job: int, run: Run) -> set[int]:
    return {job}


def _label(run: Run, job: Job) -> str:
    """A job's key where that tells it apart from all others, else its name."""
    return job.key if job.caller is None and len(run.legs(job.group)) == 1 else job.name


def as_expected(seen: Any, expected: Any, key: str = "") -> Any:
    """What `expected` speaks of, as it was seen: equal to `expected` where all is as it should be."""
    if not isinstance(expected, dict) or key == "outputs":
        return seen
    shown: dict[str, Any] = {}
    for name, wanted in expected.items():
        if name in ("log_contains", "log_lacks"):
            found = [text for text in wanted if (text.encode() in seen["log"]) is (name == "log_contains")]
            shown[name] = found if found == wanted else [*found, _printed(seen)]
        elif name == "log_bytes":
            shown[name] = len(seen["log"])
        else:
            shown[name] = as_expected(seen[name], wanted, name) if name in seen else "not there"
    if key in ("runs", "jobs"):
        # None may be there that nobody expects.
        shown |= {name: value for name, value in seen.items() if name not in expected}
    return shown


def _printed(step: Values) -> str:
    text: str = step["log"].decode(errors="replace")
    return text[:2000]


@contextmanager
def an_engine() -> Iterator[Engine]:
    # Sandboxes run as another user, who must be able to pass through, unlike pytest's own folders.
    folder = Path(mkdtemp(prefix="runner-scenarios-", dir="/tmp"))
    folder.chmod(0o711)
    settings = Settings.from_env(
        home=folder / "home",
        database="",
        broker="memory://",
        git_protocols="file:http",
        git_networks="127.0.0.0/8",
        actions_url=str(folder / "others"),
        executor="sandbox",
        docker=f"unix://{os.environ[FOLDER]}/docker.sock",
        labels="self-hosted,linux,x64,ubuntu-latest",
        concurrency=2,
    )
    made = services(settings)
    made.database.migrate()
    place = station(made, "worker-of-scenarios")
    worker = Worker(made, place, settings.label_set, settings.concurrency)
    clock = Clock(made)
    worker.start()
    clock.start(everything=True)
    try:
        yield Engine(made)
    finally:
        clock.stop()
        worker.stop()
        made.close()
        shutil.rmtree(folder)


def committed(source: Path, origin: Path, change: Mapping[str, str]) -> tuple[str, str | None]:
    """Commit a scenario's files, and `change` on top of them; gives the newest commit and the one before."""
    shutil.copytree(source, origin, ignore=shutil.ignore_patterns("expected.json", OTHERS))
    for name in ("workflow.yml", "workflow.py"):
        if (origin / name).exists():
            (origin / FILES).mkdir(parents=True, exist_ok=True)
            (origin / name).rename(origin / FILES / name)
    git(origin, "init", "--quiet", "--initial-branch=main")
    first = _commit(origin)
    if not change:
        return first, None
    for path, text in change.items():
        (origin / path).parent.mkdir(parents=True, exist_ok=True)
        (origin / path).write_text(text)
    return _commit(origin), first


def published(source: Path, others: Path) -> None:
    """Have a scenario's other repositories: each folder `others/OWNER/NAME@REF` is a commit with a tag."""
    for version in sorted((source / OTHERS).glob("*/*@*")):
        name, _, ref = version.name.partition("@")
        publish(version, others / version.parent.name / name, ref)


def publish(version: Path, origin: Path, ref: str) -> str:
    """Make a folder's files the newest commit of a repository, and a tag of it; gives the commit."""
    if origin.exists() and git(origin, "tag", "--list", ref):
        return git(origin, "rev-parse", f"refs/tags/{ref}")
    if not origin.exists():
        origin.mkdir(parents=True)
        git(origin, "init", "--quiet", "--initial-branch=main")
    shutil.copytree(version, origin, dirs_exist_ok=True)
    commit = _commit(origin)
    git(origin, "tag", ref)
    return commit


def _commit(origin: Path) -> str:
    git(origin, "add", "--all")
    git(origin, "commit", "--quiet", "--message", "a change")
    return git(origin, "rev-parse", "HEAD")
