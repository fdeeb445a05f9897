"""A real process of ours that dies by SIGKILL at one exact point, if it is told one.

    python -m tests.crash.victim ROLE [POINT] [--thrice] [--stop]

ROLE is `embedded` (worker and clock in one), `worker`, `clock` or `serve`, which is `runner serve` itself on
a port of its choice, `keep`, which keeps a secret and ends, `rotate`, which seals all with another key and
ends, or `pause` or `unpause` with a run's id after the point, which does that and ends. Settings come from
the environment. POINT is PORT.METHOD:N:before or :after, such as `store.record:2:before`, or
`store.update:N:within`, in its transaction. With --stop it does not die there but falls asleep by SIGSTOP.
With --thrice every message is sent three times. Containers have no network.
Whoever works on a workflow in Python that has the variable DIES_AFTER=ATTEMPT:N dies after the Nth message
of that attempt's conversation.
Prints `ready`, then works until SIGTERM, then prints `draining` where RUNNER_DRAIN is more than 0.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any

from runner import wiring
from runner.cli.interrupts import told_to_end
from runner.cli.serving import serve
from runner.engine import control
from runner.engine.caches import CacheStore
from runner.executors import executor
from runner.model.audit import Act
from runner.settings import Settings
from runner.vault import KeyFile, SealedVault
from runner.wiring import Services, services, station
from runner.worker import Clock, Worker

OPENERS = {"executors.open": "sandbox", "workspaces.open": "workspace", "containers.dock": "dock"}


class Mortal:
    """Stands before a port and dies at the point."""

    counts: dict[str, int] = {}  # noqa: RUF012 - one count for the whole process
    fate = signal.SIGKILL
    lock = threading.Lock()

    def __init__(self, target: Any, name: str, point: str) -> None:
        self._target, self._name, self._point = target, name, point

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._target, attribute)
        if not callable(found):
            return found
        what = f"{self._name}.{attribute}"
        # A claim changes a run as every other update does.
        what = "store.update" if what == "store.claim" else what

        def call(*args: Any, **kwargs: Any) -> Any:
            with Mortal.lock:
                number = Mortal.counts[what] = Mortal.counts.get(what, 0) + 1
            self._die_at(f"{what}:{number}:before")
            answer = found(*(self._within(f"{what}:{number}:within", arg) for arg in args), **kwargs)
            self._die_at(f"{what}:{number}:after")
            if what == "sandbox.talk":
                return Overheard(answer, args[0].env)
            return Mortal(answer, OPENERS[what], self._point) if what in OPENERS else answer

        return call

    def _within(self, here: str, given: Any) -> Any:
        """What is given, or where it is called back, that with a death before it."""
        if here != self._point or not callable(given):
            return given
        tries = count()

        def call(*args: Any) -> Any:
            # A transaction that failed meanwhile is tried again.
            if next(tries) == 0:
                self._die_at(here)
            return given(*args)

        return call

    def _die_at(self, here: str) -> None:
        if here == self._point:
            os.kill(os.getpid(), Mortal.fate)
            # The signal may be taken by another thread, and this one goes on for a moment: not beyond here.
            time.sleep(0.1)


class Overheard:
    """Stands before the channel to a workflow, and counts what is said on it.

    Says at the end how much that was, in the file that the workflow's variable MESSAGES names.
    """

    def __init__(self, channel: Any, env: Mapping[str, str]) -> None:
        self._channel = channel
        self._attempt = env["RUNNER_ATTEMPT"]
        self._last = env.get("DIES_AFTER")
        self._file = env.get("MESSAGES")
        self._count = 0

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._channel, attribute)

    def send(self, message: Mapping[str, Any]) -> None:
        self._channel.send(message)
        self._pass()

    def receive(self, seconds: float) -> Any:
        message = self._channel.receive(seconds)
        if message is not None:
            self._pass()
        return message

    def _pass(self) -> None:
        self._count += 1
        if f"{self._attempt}:{self._count}" == self._last:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.1)

    def close(self) -> None:
        self._channel.close()
        if self._file:
            with Path(self._file).open("a") as file:
                file.write(f"{self._attempt} {self._count}\n")


class Thrice:
    """A doorbell that rings three times."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, attribute: str) -> Callable[..., None]:
        found = getattr(self._target, attribute)

        def call(*args: Any) -> None:
            for _ in range(3):
                found(*args)

        return call


def mortal(real: Services, point: str, thrice: bool) -> Services:
    dispatcher: Any = Thrice(real.dispatcher) if thrice else real.dispatcher
    ports: dict[str, Any] = {
        name: Mortal(port, name, point)
        for name, port in (
            ("store", real.store),
            ("workspaces", real.workspaces),
            ("standings", real.standings),
            ("dispatcher", dispatcher),
            ("archived", real.archived),
            ("objects", real.objects),
            ("artifacts", real.artifacts),
        )
    }
    objects: Any = Mortal(real.objects, "objects", point)
    caches: Any = Mortal(real.cache_rows, "caches", point)
    executors = dict(real.executors)
    if real.settings.docker:
        # The daemon of the tests has none to give.
        executors["docker"] = cache(partial(executor("docker"), real.settings.docker, network=False))
    return replace(
        real,
        **ports,
        caches=CacheStore(caches, objects),
        containers=lambda: Mortal(real.containers(), "containers", point),
        executors={
            name: (lambda make=make: Mortal(make(), "executors", point))  # type: ignore[misc]
            for name, make in executors.items()
        },
    )


def seal(role: str, point: str) -> None:
    real = services(Settings.from_env())
    secrets: Any = Mortal(real.secrets, "secrets", point)
    key: Any = Mortal(KeyFile(real.settings.key_file, ours=True), "key", point)
    vault = SealedVault(secrets, real.variables, key)
    if role == "keep":
        vault.keep_secret(real.repositories.get("git", "octo/hello"), "TOKEN", "of the victim")
    else:
        vault.rotate()
    real.close()


def stop(role: str, point: str, run: int) -> None:
    real = mortal(services(Settings.from_env()), point, thrice=False)
    ports: Any = {"store": real.store, "dispatcher": real.dispatcher, "act": Act("anna", role)}
    if role == "pause":
        control.pause(run, "", **ports)
    else:
        control.unpause(run, **ports)
    real.close()


def main() -> None:
    role, *rest = sys.argv[1:]
    points = [word for word in rest if not word.startswith("--")]
    point, thrice = points[0] if points else "", "--thrice" in rest
    if "--stop" in rest:
        Mortal.fate = signal.SIGSTOP
    if role in ("keep", "rotate"):
        seal(role, point)
        return
    if role in ("pause", "unpause"):
        stop(role, point, int(points[1]))
        return
    if role == "serve":
        wiring.services = lambda settings: mortal(services(settings), point, thrice)
        serve(["--port", "0"], obj=0)
        return
    settings = Settings.from_env()
    real = mortal(services(settings), point, thrice)
    with told_to_end() as until_told:
        parts: list[Any] = []
        if role in ("embedded", "worker"):
            worker = Worker(
                real, station(real, f"{role}-{os.getpid()}"), settings.label_set, settings.concurrency
            )
            worker.start()
            parts.append(worker)
        if role in ("embedded", "clock"):
            clock = Clock(real)
            clock.start(everything=role == "embedded")
            parts.append(clock)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        until_told()
        if role in ("embedded", "worker") and settings.drain:
            sys.stdout.write("draining\n")
            sys.stdout.flush()
            worker.drain(settings.drain)
        for part in parts:
            part.stop()
    real.close()


if __name__ == "__main__":
    main()
