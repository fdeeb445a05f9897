"""The threads of a worker and of a clock go on after an error that nobody expected."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.broker import PromptTransport
from runner.errors import DatabaseUnavailable
from runner.model.run import Run
from runner.wiring import Services, station
from runner.worker import Clock, Worker, _Controller
from tests.builders import an_event
from tests.crash.world import LONGER, World, a_world, wait_for
from tests.fakes import Troubled

PATIENCE = 30.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as made:
        yield made


@contextmanager
def working(services: Services) -> Iterator[None]:
    worker = Worker(services, station(services, "worker-1"), ("linux",), 2)
    worker.start()
    try:
        yield
    finally:
        worker.stop()


@contextmanager
def ticking(services: Services) -> Iterator[Clock]:
    clock = Clock(services)
    clock.start()
    try:
        yield clock
    finally:
        clock.stop()


def goes_on(world: World) -> Run:
    commit = world.commit()
    run = world.ended(world.deliver(commit))
    world.is_sound(run, commit)
    return run


@pytest.mark.parametrize("method", ["delivery", "settle", "claim", "update"])
def test_a_message_that_failed_by_a_bug_is_rung_for_again_and_the_next_is_taken(
    world: World, method: str
) -> None:
    services = replace(world.services, store=Troubled(world.services.store, method))  # type: ignore[arg-type]

    with working(services), ticking(world.services):
        goes_on(world)


@pytest.mark.parametrize("method", ["delivery", "settle", "claim"])
def test_a_worker_without_its_database_keeps_its_ring_and_carries_it_out_when_it_is_back(
    tmp_path: Path, method: str
) -> None:
    away = DatabaseUnavailable("the database is away")

    # No clock rings a second time, also not for a job whose lease was lost.
    with a_world(tmp_path, lease=2 * PATIENCE) as world:
        store = Troubled(world.services.store, method, failures=2, error=away)
        with working(replace(world.services, store=store)):  # type: ignore[arg-type]
            goes_on(world)


def test_a_worker_that_leaves_waits_for_no_database(world: World) -> None:
    away = DatabaseUnavailable("the database is away")
    store = Troubled(world.services.store, "delivery", failures=10**6, error=away)

    with working(replace(world.services, store=store)):  # type: ignore[arg-type]
        world.deliver(world.commit())
        assert store.calls.acquire(timeout=PATIENCE)


def test_a_clock_whose_store_fails_by_a_bug_looks_again_at_its_next_round(world: World) -> None:
    store = Troubled(world.services.store, "stranded", failures=2)

    with ticking(replace(world.services, store=store)):  # type: ignore[arg-type]
        for _ in range(3):
            assert store.calls.acquire(timeout=PATIENCE)


def test_a_heart_whose_store_fails_by_a_bug_beats_on(tmp_path: Path) -> None:
    # Long enough to be kept on loaded cores; what is counted are the beats that outlast it.
    with a_world(tmp_path, lease=LONGER) as world:
        store = Troubled(world.services.store, "renew")
        services = replace(world.services, store=store)  # type: ignore[arg-type]
        commit = world.commit(pause=f"until test -e {world.gate}; do sleep 0.02; done")

        with working(services), ticking(world.services):
            delivery = world.deliver(commit)
            for _ in range(8):
                assert store.calls.acquire(timeout=PATIENCE)
            world.gate.touch()
            run = world.ended(delivery)

        world.is_sound(run, commit)
        assert [job.attempt for job in run.jobs] == [1, 1]


@pytest.mark.parametrize("makers", [0, 1])
def test_a_consumer_that_ends_by_a_bug_is_followed_by_another(
    world: World, makers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`makers`: how often making the other one fails, too."""
    drain = PromptTransport.drain_events
    broken: set[object] = set()
    failures = [ZeroDivisionError("of ours")] * makers

    def drain_events(transport: Any, connection: Any, timeout: float | None = None) -> None:
        if len(broken) < 2 and transport not in broken:
            broken.add(transport)
            raise ZeroDivisionError("of ours")
        drain(transport, connection, timeout)

    def make(**options: Any) -> Any:
        if len(broken) == 2 and failures:
            raise failures.pop()
        return _Controller(**options)

    monkeypatch.setattr(PromptTransport, "drain_events", drain_events)
    monkeypatch.setattr("runner.worker._Controller", make)

    with working(world.services), ticking(world.services):
        wait_for(lambda: len(broken) == 2 or None, "both consumers to end")
        goes_on(world)

    assert not failures


def test_a_clock_that_its_broker_holds_up_does_not_keep_the_process_from_ending(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.worker.SECONDS_TO_STOP", 0.1)
    held, free = threading.Event(), threading.Event()

    class Away:
        def admit(self, *_: object) -> None:
            held.set()
            free.wait(PATIENCE)

    world.services.store.receive(an_event(), "push-1", "push-1")
    clock = Clock(replace(world.services, dispatcher=Away()))  # type: ignore[arg-type]
    clock.start(everything=False)
    try:
        assert held.wait(PATIENCE)
        began = time.monotonic()
        clock.stop()
        assert time.monotonic() - began < PATIENCE / 2
    finally:
        free.set()
        monkeypatch.undo()
        clock.stop()
