"""The heart against a store that does what each test says; events, not sleeps, tell when it has."""

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import cast

import pytest
from structlog.contextvars import bound_contextvars, get_contextvars

from runner.engine.heart import Heart, Why
from runner.engine.ports import Renewal, Store
from runner.errors import DatabaseUnavailable
from runner.model.run import Lease
from tests.builders import NOON

LEASE = Lease(1, "worker-1", 1, NOON)
LENGTH = timedelta(seconds=6)
PATIENCE = 30.0


class OneAnswer:
    """A store that answers every renewal alike, or hangs."""

    def __init__(self) -> None:
        self.lost: frozenset[Lease] = frozenset()
        self.cancelled: frozenset[Lease] = frozenset()
        self.error: Exception | None = None
        self.free = threading.Event()
        self.free.set()
        self.asked = threading.Semaphore(0)

    def renew(self, leases: Iterable[Lease]) -> Renewal:
        self.asked.release()
        self.free.wait(PATIENCE)
        if self.error:
            raise self.error
        return Renewal(self.lost, self.cancelled)


@pytest.fixture
def store() -> OneAnswer:
    return OneAnswer()


@pytest.fixture
def heart(store: OneAnswer) -> Iterator[Heart]:
    made = Heart(cast(Store, store), LENGTH)
    yield made
    store.free.set()
    made.close()


def test_a_lease_that_is_renewed_is_held_beyond_its_length(store: OneAnswer, heart: Heart) -> None:
    with heart.hold(LEASE, time.monotonic()) as hold:
        beyond(LENGTH, store)

        assert hold.why is None


def beyond(length: timedelta, store: OneAnswer) -> None:
    """Let renewals go by until a lease of that length would have ended without them."""
    until = time.monotonic() + length.total_seconds()
    while time.monotonic() < until:
        assert store.asked.acquire(timeout=PATIENCE)


def test_an_error_of_the_store_that_nobody_expected_ends_no_heart(store: OneAnswer, heart: Heart) -> None:
    store.error = ZeroDivisionError("of ours")
    with heart.hold(LEASE, time.monotonic()) as hold:
        assert store.asked.acquire(timeout=PATIENCE)
        assert store.asked.acquire(timeout=PATIENCE)
        store.error = None
        beyond(LENGTH, store)

        assert hold.why is None


def test_a_step_that_cannot_be_stopped_is_told_again_and_costs_no_other_job_its_lease(
    store: OneAnswer, heart: Heart
) -> None:
    other = replace(LEASE, job=2)
    store.cancelled = frozenset({LEASE})
    tries: list[float] = []
    stopped = threading.Event()

    def stop() -> None:
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise OSError("no process can be made to kill it")
        stopped.set()

    with heart.hold(LEASE, time.monotonic()) as hold, heart.hold(other, time.monotonic()) as beside:
        hold.stops(unwanted, stop)
        assert stopped.wait(PATIENCE)
        beyond(LENGTH, store)

        assert (hold.why, beside.why, beside.cancelled) == (None, None, None)
        assert len(tries) == 3


def unwanted() -> None:
    raise AssertionError("nobody asked for this")


def test_a_lost_lease_stops_the_step(store: OneAnswer, heart: Heart) -> None:
    store.lost = frozenset({LEASE})
    stopped = threading.Event()

    with heart.hold(LEASE, time.monotonic()) as hold:
        hold.stops(stopped.set, unwanted)
        assert stopped.wait(PATIENCE)

    assert hold.why is Why.LOST


def test_a_cancelled_run_interrupts_the_step(store: OneAnswer, heart: Heart) -> None:
    store.cancelled = frozenset({LEASE})
    stopped = threading.Event()

    with heart.hold(LEASE, time.monotonic()) as hold:
        hold.stops(unwanted, stopped.set)
        assert stopped.wait(PATIENCE)

    assert hold.cancelled is not None
    assert hold.why is None


def test_a_worker_that_cannot_renew_stops_its_step_before_the_lease_ends(
    store: OneAnswer, heart: Heart
) -> None:
    store.error = DatabaseUnavailable("away")
    stopped: list[float] = []
    done = threading.Event()

    def stop() -> None:
        stopped.append(time.monotonic())
        done.set()

    claimed = time.monotonic()
    with heart.hold(LEASE, claimed) as hold:
        hold.stops(stop, unwanted)
        assert done.wait(PATIENCE)

    assert hold.why is Why.LOST
    assert stopped[0] > claimed + LENGTH.total_seconds() / 2


def test_a_renewal_that_hangs_does_not_keep_the_step_alive(store: OneAnswer, heart: Heart) -> None:
    store.free.clear()
    stopped = threading.Event()

    with heart.hold(LEASE, time.monotonic()) as hold:
        hold.stops(stopped.set, unwanted)
        assert stopped.wait(PATIENCE)

    assert hold.why is Why.LOST


def test_a_step_that_begins_too_late_is_stopped_at_once(heart: Heart) -> None:
    stopped = threading.Event()

    with heart.hold(LEASE, time.monotonic()) as hold:
        hold.stop(Why.RELEASED)
        hold.stops(stopped.set, unwanted)

    assert stopped.is_set()


def test_the_first_reason_to_stop_is_the_one_that_counts(heart: Heart) -> None:
    with heart.hold(LEASE, time.monotonic()) as hold:
        hold.stop(Why.RELEASED)
        hold.stop(Why.LOST)

    assert hold.why is Why.RELEASED


def test_a_worker_that_leaves_hands_back_what_it_has_and_what_it_still_begins(heart: Heart) -> None:
    with heart.hold(LEASE, time.monotonic()) as before:
        heart.release()
        with heart.hold(LEASE, time.monotonic()) as after:
            assert (before.why, after.why) == (Why.RELEASED, Why.RELEASED)


def test_a_worker_that_drains_lets_its_steps_run_and_begins_no_job(heart: Heart) -> None:
    with heart.hold(LEASE, time.monotonic()) as before:
        before.stops(unwanted, unwanted)
        heart.drain()
        with heart.hold(replace(LEASE, job=2), time.monotonic()) as after:
            assert (before.why, before.yields) == (None, Why.RELEASED)
            assert after.why is Why.RELEASED


def test_a_worker_that_drains_waits_until_its_last_job_is_handed_back(heart: Heart) -> None:
    drained: list[bool] = []

    with heart.hold(LEASE, time.monotonic()):
        heart.drain()
        assert not heart.empty(0)
        waiting = threading.Thread(target=lambda: drained.append(heart.empty(PATIENCE)))
        waiting.start()

    waiting.join(PATIENCE)
    assert drained == [True]


def test_the_first_reason_to_hand_a_job_back_is_the_one_that_counts(heart: Heart) -> None:
    with heart.hold(LEASE, time.monotonic()) as hold:
        hold.hand_back(Why.RELEASED)
        hold.hand_back(Why.LATE)

        assert hold.yields is Why.RELEASED


def test_whoever_stops_a_job_its_own_names_are_on_the_line_of_the_log(
    heart: Heart, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[dict[str, object]] = []

    class Journal(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(get_contextvars())

    journal = Journal()
    logging.getLogger("runner.engine.heart").addHandler(journal)
    try:
        with (
            caplog.at_level(logging.INFO, "runner.engine.heart"),
            bound_contextvars(run=7, job=8),
            heart.hold(LEASE, time.monotonic()),
        ):
            other = threading.Thread(target=heart.release)
            other.start()
            other.join()
    finally:
        logging.getLogger("runner.engine.heart").removeHandler(journal)

    assert said == [{"run": 7, "job": 8}]


def test_a_job_that_is_cancelled_may_still_lose_its_lease(heart: Heart) -> None:
    seen: list[str] = []

    with heart.hold(LEASE, time.monotonic()) as hold:
        hold.stops(lambda: seen.append("stop"), lambda: seen.append("interrupt"))
        hold.cancel()
        hold.cancel()
        hold.stop(Why.LOST)

    assert seen == ["interrupt", "stop"]


def test_a_cancelled_job_that_does_not_end_in_time_is_stopped(
    store: OneAnswer, heart: Heart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.engine.heart.CANCEL_SECONDS", 0.01)
    stopped, interrupted = threading.Event(), threading.Event()

    with heart.hold(LEASE, time.monotonic()) as hold:
        hold.stops(stopped.set, interrupted.set)
        hold.cancel()
        assert stopped.wait(PATIENCE)

    assert interrupted.is_set()
    assert hold.why is Why.LATE


def test_a_worker_that_drains_hands_a_paused_job_back_though_its_run_goes_on_again(heart: Heart) -> None:
    with heart.hold(LEASE, time.monotonic()) as hold:
        hold.pause(True)
        heart.drain()
        hold.pause(False)
        assert hold.yields is Why.RELEASED
