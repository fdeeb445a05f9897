"""A real `runner serve` in a temporary home, a repository, and deliveries as a hook sends them."""

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runner.forges.git import sign
from runner.model.source import Repository
from runner.settings import Settings
from runner.wiring import Services, services
from tests.daemons import IMAGE

SECRET = "bench"
STEP = "name: ci\non: push\njobs:\n  a:\n    runs-on: linux\n    steps:\n"


class Server:
    def __init__(
        self, home: Path, database: str = "", executor: str = "host", docker: str = "", broker: str = ""
    ) -> None:
        self.home = home
        self.repository = home / "repository"
        self.settings = Settings.from_env(
            home=home / "home",
            database=database,
            executor=executor,
            docker=docker,
            job_network=not docker,
            git_protocols="https:ssh:file",
            port=0,
            **({"broker": broker} if broker else {}),
        )
        self.services: Services = services(self.settings)
        self.services.database.migrate()
        self.services.repositories.add(
            Repository("git", "bench/one", str(self.repository), image=IMAGE), SECRET
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def also(self, *command: str) -> "subprocess.Popen[bytes]":
        """Another process of the server, such as a worker of its own."""
        environment = dict(os.environ) | {
            "RUNNER_HOME": str(self.settings.home),
            "RUNNER_DATABASE": self.settings.database,
            "RUNNER_BROKER": self.settings.broker,
            "RUNNER_EXECUTOR": self.settings.executor,
            "RUNNER_DOCKER": self.settings.docker,
            "RUNNER_JOB_NETWORK": str(self.settings.job_network),
            "RUNNER_GIT_PROTOCOLS": self.settings.git_protocols,
            "RUNNER_LABELS": "linux",
        }
        with (self.home / "serve.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "runner.cli", *command],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def start(self) -> None:
        where = self.settings.home / "server.json"
        where.unlink(missing_ok=True)
        self.process = self.also("serve", "--port", "0")
        while not where.exists():
            if self.process.poll() is not None:
                raise RuntimeError((self.home / "serve.log").read_text())
            time.sleep(0.02)
        self.url = json.loads(where.read_text())["url"]

    def kill(self) -> None:
        """As a loss of power would, but that the disks stay."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop_process(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    def stop(self) -> None:
        self.stop_process()
        self.services.close()

    def commit(self, workflow: str, message: str = "bench", file: str = "ci.yml") -> str:
        folder = self.repository / ".runner/workflows"
        new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(workflow)
        if new:
            self.git("init", "--quiet", "--initial-branch=main")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def git(self, *args: str) -> str:
        who = ("-c", "user.name=ada", "-c", "user.email=ada@example.com")
        made = subprocess.run(
            ["git", "-C", str(self.repository), *who, *args], check=True, capture_output=True, text=True
        )
        return made.stdout.strip()

    def request(self, commit: str, number: int) -> bytes:
        """A signed delivery, as it goes over the wire."""
        payload = {
            "id": f"{number}-{time.time_ns()}",
            "repository": {"full_name": "bench/one", "default_branch": "main"},
            "ref": "refs/heads/main",
            "before": "0" * 40,
            "after": commit,
            "pusher": {"name": "bench"},
        }
        body = json.dumps(payload).encode()
        at = str(int(time.time()))
        head = {
            "host": "bench",
            "content-type": "application/json",
            "content-length": str(len(body)),
            "webhook-id": payload["id"],
            "webhook-timestamp": at,
            "webhook-signature": sign(SECRET, str(payload["id"]), at, body),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        return f"POST /hooks/git HTTP/1.1\r\n{lines}\r\n".encode() + body

    def push(self, commit: str) -> None:
        asyncio.run(exchange(self.url, [self.request(commit, 0)], 1, None))

    def ended(self, count: int) -> None:
        """Wait until that many runs have ended."""
        from sqlalchemy import func, select

        from runner.store.tables import jobs

        query = select(func.count()).where(jobs.c.phase == "finished")
        while True:
            with self.services.database.reading() as connection:
                if connection.execute(query).scalar_one() >= count:
                    return
            time.sleep(0.005)

    def end_runs(self) -> None:
        """End by force whatever goes on, and wait until nothing does."""
        from sqlalchemy import select

        from runner.engine.control import force_cancel
        from runner.store.tables import jobs

        with self.services.database.reading() as connection:
            found = connection.execute(select(jobs.c.run).where(jobs.c.phase != "finished").distinct())
            left = list(found.scalars())
        for run in left:
            force_cancel(run, store=self.services.store, dispatcher=self.services.dispatcher)


async def exchange(
    url: str, requests: list[bytes], connections: int, rate: float | None
) -> list[tuple[int, float]]:
    """Send requests over kept-alive connections, `rate` a second or as fast as they are answered.

    Answers each one's status and the seconds from when it was due to its answer.
    """
    place = urlsplit(url)
    queue: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
    answers: list[tuple[int, float]] = []

    async def work() -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while (item := await queue.get()) is not None:
            due, request = item
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    int(line[15:])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ),
                0,
            )
            await reader.readexactly(length)
            answers.append((int(head[9:12]), time.perf_counter() - due))
        writer.close()
        await writer.wait_closed()

    workers = [asyncio.create_task(work()) for _ in range(connections)]
    begun = time.perf_counter()
    for number, request in enumerate(requests):
        due = begun + number / rate if rate else time.perf_counter()
        if rate and (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        queue.put_nowait((due if rate else time.perf_counter(), request))
    for _ in workers:
        queue.put_nowait(None)
    await asyncio.gather(*workers)
    return answers


@contextmanager
def a_server(
    database: str = "", executor: str = "host", docker: str = "", broker: str = ""
) -> Iterator[Server]:
    home = Path(tempfile.mkdtemp(prefix="runner-bench-", dir="/tmp"))
    home.chmod(0o711)
    server = Server(home, database, executor, docker, broker)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


def median_of(rounds: int, work: Callable[[], float]) -> float:
    return statistics.median(work() for _ in range(rounds))


def clock(work: Callable[[], Any]) -> float:
    """Seconds that it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
