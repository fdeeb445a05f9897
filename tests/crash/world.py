"""A repository, a home and real processes over them; and what must be true however they died."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from docker import APIClient
from sqlalchemy import select

from runner.engine.receive import receive
from runner.forges.git import sign
from runner.model.run import Finished, Run
from runner.model.source import Repository
from runner.model.step import Result
from runner.settings import Settings
from runner.store.standings import adopt
from runner.store.tables import checkpoints, jobs
from runner.wiring import services, station
from runner.workspaces.mounts import clear
from tests.builders import an_event
from tests.crash import invariants
from tests.executors.jobs import a_token, comes_alive, living
from tests.forked import Forked, forked
from tests.servers import migrated_sqlite

T = TypeVar("T")
PATIENCE = 150.0
"""A process of ours takes a second to start, and on loaded cores half a minute."""
LEASE = 4.0
"""One that tests wait for to run out: a worker on loaded cores may lose it, and begin its step again."""
KEPT = 60.0
"""One that nobody loses, for tests that count attempts."""
LONGER = 6.0
"""One for those of them that wait for it to run out."""

HANGS = "test $RUNNER_ATTEMPT != 1 || sleep 1000"
"""A pause that only the death of the first attempt ends."""

WORKFLOW = """\
name: ci
on: push
jobs:
  a:
    runs-on: linux
    steps:
      - run: |
          echo "a 1 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          setsid env -i sleep {token} &
          mkdir first
          echo one > first/one
          echo "KEPT=from-1" >> "$GITHUB_ENV"
          {pause}
      - run: |
          echo "a 2 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          test "$(cat first/one) $KEPT" = "one from-1"
          mkdir second
  b:
    needs: a
    runs-on: linux
    steps:
      - run: |
          echo "b 1 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          setsid env -i sleep {token} &
          mkdir third
"""


def wait_for(found: Callable[[], T | None], what: str, seen: Callable[[], object] = str) -> T:
    """Other processes' states have no event to await: ask until there is an answer.

    `seen`: what else is to be said where there is none.
    """
    end = time.monotonic() + PATIENCE
    while (answer := found()) is None:
        if time.monotonic() > end:
            raise TimeoutError(f"waited {PATIENCE} s for {what}\n{seen()}")
        time.sleep(0.02)
    return answer


@dataclass
class World:
    """One home, one repository, one database, one broker."""

    folder: Path
    database: str = ""
    broker: str = "memory://"
    lease: float = LEASE
    executor: str | None = "host"
    image: str | None = None
    docker: str = ""
    drain: float = 0
    processes: list[Forked] = field(default_factory=list)
    _supervisors: list[threading.Thread] = field(default_factory=list)
    _starting: threading.Lock = field(default_factory=threading.Lock)
    _closed: bool = False

    def __post_init__(self) -> None:
        self.record = self.folder / "record"
        self.gate = self.folder / "gate"
        self.stamps = self.folder / "stamps"
        self.past = invariants.Past()
        self.repository = self.folder / "repository"
        self.token = a_token()
        self.settings = Settings.from_env(
            home=self.folder / "home",
            database=self.database,
            broker=self.broker,
            git_protocols="https:ssh:file",
            actions_url=str(self.folder / "others"),
            executor=self.executor,
            docker=self.docker,
            labels="linux",
            concurrency=2,
            lease=self.lease,
            drain=self.drain,
        )
        if not self.database:
            self.settings.home.mkdir(mode=0o711, exist_ok=True)
            migrated_sqlite(self.settings.home / "runner.db")
        self.services = services(self.settings)
        if self.database:
            self.services.database.migrate()
        repository = Repository("git", "octo/hello", str(self.repository), image=self.image)
        self.services.repositories.add(repository, "secret")
        # What the clock would have read of it is no part of what a test kills.
        self.services.database.writing(lambda connection: adopt(connection, "git", "octo/hello"))

    # --- the repository ----------------------------------------------------------------------

    def commit(
        self,
        version: str = "1",
        pause: str = "",
        text: str = WORKFLOW,
        called: Mapping[str, str] | None = None,
    ) -> str:
        """Commit the workflow, and those that it calls; `pause` is run in the middle of the first step."""
        new = not self.repository.exists()
        folder = self.repository / ".runner/workflows"
        folder.mkdir(parents=True, exist_ok=True)
        # Only on the host can a step reach a file of ours.
        record = f">> {self.record}" if self.executor == "host" else ""
        for name, said in {"ci.yml": text, **(called or {})}.items():
            (folder / name).write_text(said.format(record=record, token=self.token, pause=pause))
        (self.repository / "version").write_text(version)
        if new:
            self.git("init", "--quiet", "--initial-branch=main")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", version)
        return self.git("rev-parse", "HEAD")

    def publish(self, name: str, ref: str, action: str) -> str:
        """Have another repository, with an action in its top folder, and move a tag to it."""
        origin = Path(self.settings.actions_url) / name
        if not origin.exists():
            origin.mkdir(parents=True)
            self.git("init", "--quiet", at=origin)
        (origin / "action.yml").write_text(action)
        self.git("add", "--all", at=origin)
        self.git("commit", "--quiet", "-m", ref, at=origin)
        self.git("tag", "--force", ref, at=origin)
        return self.git("rev-parse", "HEAD", at=origin)

    def git(self, *args: str, at: Path | None = None) -> str:
        identity = ("-c", "user.name=ada", "-c", "user.email=ada@example.com")
        made = subprocess.run(
            ["git", "-C", str(at or self.repository), *identity, *args],
            check=True,
            capture_output=True,
            text=True,
        )
        return made.stdout.strip()

    # --- processes ---------------------------------------------------------------------------

    def start(
        self, role: str, *rest: str, home: Path | None = None, settings: Mapping[str, str] | None = None
    ) -> Forked:
        """`home`: that of another machine, which has no file of ours. `settings`: others than ours."""
        environment = dict(os.environ) | {
            f"RUNNER_{name.upper()}": str(getattr(self.settings, name))
            for name in (
                "home",
                "database",
                "broker",
                "git_protocols",
                "actions_url",
                "executor",
                "docker",
                "labels",
                "concurrency",
                "lease",
                "drain",
            )
        }
        if home is not None:
            environment["RUNNER_HOME"] = str(home)
        environment |= {f"RUNNER_{name.upper()}": value for name, value in (settings or {}).items()}
        with (self.folder / f"{role}.log").open("a") as log, self._starting:
            if self._closed:
                raise RuntimeError("this world has ended")
            process = forked("tests.crash.victim:main", [role, *rest], environment, stderr=log.fileno())
            self.processes.append(process)
        return process

    def supervise(self, process: Forked, role: str, settings: Mapping[str, str] | None = None) -> None:
        """Start a process of that role when this one has died, as systemd would.

        With settings, which are then the new one's too, whoever comes after it is seen to as well.
        """

        def watch() -> None:
            died = process.wait() == -signal.SIGKILL
            with suppress(RuntimeError):
                again = self.start(role, settings=settings)
                if settings is not None and died:
                    self.supervise(again, role, settings)

        self._supervisors.append(threading.Thread(target=watch))
        self._supervisors[-1].start()

    def ready(self, process: Forked) -> None:
        """Wait until it works; one that died on its way there is fine, that is its business here."""
        process.stdout.readline()

    def killed(self, process: Forked) -> None:
        """It has died of its crash point, or the point is none that a run comes by."""
        assert process.wait(PATIENCE) == -signal.SIGKILL

    def close(self) -> None:
        self.kill_all()
        self.services.close()

    def kill_all(self) -> None:
        """No process of ours is started any more, and none lives."""
        with self._starting:
            self._closed = True
        for process in self.processes:
            process.kill()
        for supervisor in self._supervisors:
            supervisor.join()
        for process in self.processes:
            process.close()
        self.processes.clear()

    @contextmanager
    def in_the_first_step(self) -> Iterator[str]:
        """A run that stands in the middle of its first step until the block ends; gives its delivery."""
        pause = f"until test -e {self.gate}; do sleep 0.02; done"
        delivery = self.deliver(self.commit(pause=pause))
        wait_for(lambda: self.lines() or None, "the first step to begin")
        assert comes_alive(self.token), "what a step leaves behind it"
        yield delivery
        self.gate.touch()

    def attempts_alive(self) -> set[str]:
        """Which attempts of jobs have a step that runs."""
        mark = f"RUNNER_TEMP={self.settings.home}".encode()
        found = [one for one in _environments() if mark in one]
        return {
            name.decode().removeprefix("RUNNER_ATTEMPT=")
            for one in found
            for name in one.split(b"\0")
            if name.startswith(b"RUNNER_ATTEMPT=")
        }

    # --- runs --------------------------------------------------------------------------------

    def deliver(self, commit: str, guid: str = "push-1", ref: str = "refs/heads/main") -> str:
        """What the server does with a push."""
        real = self.services
        event = an_event(commit=commit, ref=ref, payload={"guid": guid})
        return receive(event, guid, guid, store=real.store, dispatcher=real.dispatcher).id

    def push(self, commit: str) -> str:
        """Post a signed delivery to `runner serve` as a sender does: again, until it is answered."""
        payload = {"id": "1", "repository": {"full_name": "octo/hello"}, "ref": "refs/heads/main"}
        body = json.dumps(payload | {"before": "0" * 40, "after": commit, "pusher": {"name": "ada"}}).encode()
        at = str(int(time.time()))
        headers = {
            "content-type": "application/json",
            "webhook-id": "push-1",
            "webhook-timestamp": at,
            "webhook-signature": sign("secret", "push-1", at, body),
        }

        def answered() -> str | None:
            try:
                url = json.loads((self.settings.home / "server.json").read_text())["url"]
                request = urllib.request.Request(f"{url}/hooks/git", body, headers, method="POST")
                with urllib.request.urlopen(request) as answer:
                    assert answer.status == 202
                    return str(json.load(answer)["delivery"])
            except (FileNotFoundError, json.JSONDecodeError, OSError, http.client.HTTPException):
                return None

        return wait_for(answered, "an answer to the delivery")

    def run_of(self, delivery: str) -> Run | None:
        runs = self.services.store.delivery(delivery).runs
        return self.services.store.load(runs[0]) if runs else None

    def ended(self, delivery: str) -> Run:
        def look() -> Run | None:
            run = self.run_of(delivery)
            return run if run is not None and run.result is not None else None

        run = wait_for(look, f"the end of the run of {delivery}", lambda: self.standing(delivery))
        self.past.look(self.services.database)
        return run

    def standing(self, delivery: str) -> str:
        """How a run stands that does not go on, and what was said about it."""
        run = self.run_of(delivery)
        logs = (log.read_text()[-2000:] for log in sorted(self.folder.glob("*.log")))
        return "\n".join([*map(str, run.jobs if run else ()), *logs])

    def begins_again(self, delivery: str) -> None:
        """Wait until another worker has begun the step in which the first one stands."""
        again = "another worker to take the job"
        wait_for(lambda: len(self.lines()) > 1 or None, again, lambda: self.standing(delivery))

    def lines(self) -> list[list[str]]:
        """What the steps wrote as they began: job, step, attempt, commit, version."""
        if self.executor != "host":
            return [line.split() for line in self._printed()]
        if not self.record.exists():
            return []
        return [line.split() for line in self.record.read_text().splitlines()]

    def _printed(self) -> Iterator[str]:
        with self.services.database.reading() as connection:
            found = connection.execute(select(jobs.c.id, jobs.c.attempt, jobs.c.steps)).all()
        for job in found:
            for attempt, (step, *_) in product(range(1, job.attempt + 1), job.steps):
                yield from self.services.logs.read(job.id, attempt, step, 0, 65536).decode().splitlines()

    def rows(self, run: Run) -> list[Any]:
        """All that is stored of a run's jobs and their steps, but for what is said of a job after its end."""
        ids = [job.id for job in run.jobs]
        lasting = [column for column in jobs.c if column.name not in invariants.SAID_LATER]
        with self.services.database.reading() as connection:
            return [
                *connection.execute(select(*lasting).where(jobs.c.id.in_(ids)).order_by(jobs.c.id)),
                *connection.execute(
                    select(checkpoints)
                    .where(checkpoints.c.job.in_(ids))
                    .order_by(checkpoints.c.job, checkpoints.c.sequence)
                ),
            ]

    # --- what must be true -------------------------------------------------------------------

    def is_sound(self, run: Run, commit: str, version: str = "1") -> None:
        """Everything the engine promises of a run that ended, from what its steps saw and the rows say."""
        assert run.result is Result.SUCCESS, run
        assert run.route.commit == commit
        keys = {job.id: "-".join([job.key, *map(str, job.leg.matrix.values())]) for job in run.jobs}
        with self.services.database.reading() as connection:
            rows = connection.execute(
                select(checkpoints).where(checkpoints.c.job.in_(keys)).order_by(checkpoints.c.sequence)
            ).all()
        kept = {(keys[row.job], row.key): row.attempt for row in rows}
        steps = sum(len(job.steps) for job in run.jobs)
        assert len(rows) == len(kept) == steps, "one checkpoint for each step"
        for key in keys.values():
            fences = [row.attempt for row in rows if keys[row.job] == key]
            assert fences == sorted(fences), "fences only rise"
        for job, step, attempt, seen, content in self.lines():
            assert int(attempt) <= kept[job, step], (
                f"finished step {job} {step} ran again in attempt {attempt}"
            )
            assert (seen, content) == (commit, version), "every attempt saw the same commit"
        assert {(job, step) for job, step, *_ in self.lines()} == set(kept), "every step ran"
        assert all(isinstance(job.phase, Finished) for job in run.jobs)

    def keeps_the_laws(self) -> None:
        """What is true of every case at its end: its processes are killed first, wherever they are."""
        self.kill_all()
        self.leaves_nothing_alive()
        database = self.services.database
        invariants.check(database)
        self.past.look(database)
        invariants.nobody_is_inside_with_too_many(self.stamps)
        if self.record.exists():
            invariants.every_attempt_saw_a_commit_of_its_own(self.record.read_text(), database)

    def leaves_nothing_alive(self) -> None:
        """No process of any job's is left.

        Jobs are known by their home in their environment. What the first steps leave behind them has
        no environment, and is known by what it was called with.
        """
        mark = f"RUNNER_TEMP={self.settings.home}".encode()

        def none() -> bool | None:
            left = any(mark in environment for environment in _environments()) or living(self.token)
            return None if left or self._containers() else True

        wait_for(none, "the end of every process of the jobs")

    def _containers(self) -> list[str]:
        """The jobs' containers, running or not."""
        if not self.docker:
            return []
        site = station(self.services, "nobody").site
        client = APIClient(self.docker, version="auto")
        try:
            labels = [found["Labels"].get("runner.job", "") for found in client.containers(all=True)]
        finally:
            client.close()
        return [label for label in labels if label.startswith(f"{site}-")]


def _environments() -> Iterator[bytes]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                yield (folder / "environ").read_bytes()
            except OSError:
                # It has ended since, or is a zombie.
                continue


@contextmanager
def a_world(
    folder: Path, database: str = "", broker: str = "memory://", lease: float = LEASE, **given: Any
) -> Iterator[World]:
    world = World(folder, database, broker, lease, **given)
    try:
        yield world
    finally:
        world.close()
        # Of a process that was killed nobody takes off what it had mounted.
        clear(folder / "home")
        shutil.rmtree(folder / "home", ignore_errors=True)
