"""Both brokers with a real worker behind them: what is rung is done, what is no message changes nothing."""

import json
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from celery import signature
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis as Client
from sqlalchemy import select

from runner.broker import CONTROL, CeleryDispatcher, celery_app, job_queue, queues_for
from runner.cli.journal import keep_journal
from runner.engine.ports import Verdict
from runner.errors import Unavailable
from runner.model.run import Envelope
from runner.store.tables import workers
from runner.wiring import Services, station
from runner.worker import Worker, _Consumer
from tests.builders import a_new_run, a_route, an_event
from tests.crash.world import PATIENCE, World, a_world, wait_for
from tests.servers import Redis, migrated_postgres, tls_before

LEASE = 180.0
"""Longer than a test waits: here is no clock that would have a job go on that its worker lost."""
LABELS = st.sets(st.sampled_from(["linux", "x64", "gpu", "arm", "big"]), min_size=1)


@given(LABELS, LABELS)
def test_a_worker_hears_of_a_job_if_and_only_if_it_has_all_its_labels(
    worker: set[str], job: set[str]
) -> None:
    assert (job_queue(tuple(job)) in queues_for(tuple(worker))) == (job <= worker)


@pytest.fixture(params=["memory", "redis"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A world with a worker in this process."""
    if request.param == "memory":
        with a_world(tmp_path, lease=LEASE) as made, working(made):
            yield made
        return
    redis: Redis = request.getfixturevalue("redis")
    with (
        migrated_postgres() as database,
        a_world(tmp_path, database, redis.url, LEASE) as made,
        working(made),
    ):
        yield made


@contextmanager
def working(world: World, services: Services | None = None) -> Iterator[None]:
    services = services or world.services
    worker = Worker(services, station(services, "worker-1"), ("linux",), 2)
    worker.start()
    try:
        yield
    finally:
        worker.stop()


def goes_on(world: World) -> None:
    commit = world.commit()
    world.is_sound(world.ended(world.deliver(commit, "the good one")), commit)


def test_what_is_rung_for_is_done(world: World) -> None:
    goes_on(world)


def test_the_user_of_redis_that_the_guide_describes_is_allowed_what_a_server_and_a_worker_do(
    tmp_path: Path, redis: Redis
) -> None:
    guide = (Path(__file__).parents[2] / "deploy" / "README.md").read_text()
    (rules,) = re.findall(r"^user runner (.*)$", guide, re.MULTILINE)
    with Client(port=redis.port, protocol=2) as anybody:
        anybody.execute_command("ACL", "SETUSER", "overseer", "on", ">secret", "~*", "&*", "+@all")
        anybody.execute_command("ACL", "SETUSER", "runner", *rules.split())
        anybody.execute_command("ACL", "SETUSER", "default", "off")
    url = redis.url.replace("redis://", "redis://runner:PASSWORD@")
    with (
        migrated_postgres() as database,
        a_world(tmp_path, database, url, LEASE) as world,
        Client(port=redis.port, username="overseer", password="secret") as overseer,
    ):
        world.services.dispatcher.check()
        with working(world):
            goes_on(world)

        assert overseer.acl_log() == []


def test_a_worker_says_what_it_serves_from_its_start_to_its_stop(world: World) -> None:
    worker = Worker(world.services, station(world.services, "worker-2"), ("gpu", "x64"), 1)
    worker.start()
    seen = wait_for(lambda: labels_of(world).get("worker-2"), "the worker to say what it serves")
    worker.stop()

    assert seen == ["gpu", "x64"]
    assert "worker-2" not in labels_of(world)


def labels_of(world: World) -> dict[str, list[str]]:
    with world.services.database.reading() as connection:
        return {row.name: row.labels for row in connection.execute(select(workers))}


def test_a_message_for_nothing_or_on_a_forged_route_changes_nothing(world: World) -> None:
    bell = world.services.dispatcher
    bell.admit("nowhere", "git", "octo/hello")
    bell.perform(Envelope(a_route("9" * 40), 77, 77, ("linux",)))

    goes_on(world)
    assert len(world.services.views.deliveries()) == 1


def test_rings_in_vain_keep_nobody_from_the_next_one(world: World) -> None:
    began = time.monotonic()
    for number in range(100):
        world.services.dispatcher.perform(Envelope(a_route("9" * 40), 77, 77 + number, ("linux",)))

    goes_on(world)

    # Where a worker slept after each until somebody looks whether it is free, that took fifty seconds more.
    assert time.monotonic() - began < 45


def test_every_line_of_a_jobs_log_says_whose_it_is(
    world: World, capsys: pytest.CaptureFixture[str], own_log: None
) -> None:
    keep_journal(verbose=0)
    # The repository has other commits than this, so the job fails.
    world.commit()
    delivery, _ = world.services.store.receive(an_event(), "guid", "guid")
    verdict = Verdict("admitted", route=a_route(), runs=(a_new_run(),))
    (run,) = world.services.store.settle(delivery.id, verdict)
    world.services.dispatcher.perform(Envelope(a_route("9" * 40), run.id, run.jobs[0].id, ("linux",)))
    world.services.dispatcher.perform(Envelope(run.route, run.id, run.jobs[0].id, ("linux",)))

    said: dict[str, dict[str, object]] = {}

    def heard() -> bool | None:
        for line in capsys.readouterr().err.splitlines():
            said[json.loads(line)["message"]] = json.loads(line)
        return True if {"message refused", "job failed"} <= set(said) else None

    wait_for(heard, "both lines")

    route = {"forge": "git", "repository": "octo/hello", "run": run.id, "job": run.jobs[0].id}
    assert said["message refused"].items() >= (route | {"commit": "9" * 40}).items()
    assert said["job failed"].items() >= (route | {"commit": "1" * 40, "attempt": 1}).items()


@pytest.fixture
def own_log() -> Iterator[None]:
    """The process's log may be changed, and is as it was afterwards."""
    root = logging.getLogger()
    before, level = root.handlers, root.level
    yield
    root.handlers, root.level = before, level


def test_an_unknown_task_and_one_of_celerys_own_do_not_disturb_a_worker(world: World) -> None:
    app = celery_app(world.settings.broker, [CONTROL])
    app.send_task("runner.unknown", (1,), queue=CONTROL)
    app.send_task("celery.starmap", (signature("runner.perform"), [(1, 1)]), queue=CONTROL)

    goes_on(world)


def test_what_no_task_can_read_takes_nobodys_slot_for_good(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    app = celery_app(world.settings.broker, [CONTROL])
    with app.producer_pool.acquire() as producer:
        for task, queue in (("runner.admit", CONTROL), ("runner.perform", job_queue(("linux",)))):
            for number in range(3):
                headers = {"lang": "py", "task": task, "id": f"{task}-{number}"}
                for body in ([number], [[number], {}, number]):
                    producer.publish(body, headers=headers, routing_key=queue, exchange="")

    goes_on(world)
    assert "a message that cannot be read was dropped" in caplog.messages
    assert "a message failed before its task began" in caplog.messages


def test_a_worker_leaves_what_it_has_no_slot_for_to_others_and_admissions_take_none_from_jobs(
    redis: Redis, tmp_path: Path
) -> None:
    with migrated_postgres() as database, a_world(tmp_path, database, redis.url, LEASE) as world:
        store: Any = Held(world.services.store)
        services = replace(world.services, store=store)
        commit = world.commit(pause=f"until test -e {world.gate}; do sleep 0.02; done")
        with working(world, services), Client.from_url(redis.url) as client:
            first, *others = (world.deliver(commit, f"push-{number}") for number in range(3))
            wait_for(lambda: len(world.lines()) == 2 or None, "every slot to be taken")
            wait_for(lambda: client.llen(job_queue(("linux",))) or None, "a job to wait in its queue")
            store.held.clear()
            blocked = [world.deliver(commit, f"push-{number}") for number in range(3, 5)]
            for _ in blocked:
                assert store.asked.acquire(timeout=PATIENCE)

            world.gate.touch()

            for delivery in (first, *others):
                world.ended(delivery)
            store.held.set()
            for delivery in blocked:
                world.ended(delivery)


class Held:
    """A store that says nothing of deliveries while it is held up."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.held = threading.Event()
        self.held.set()
        self.asked = threading.Semaphore(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def delivery(self, delivery_id: str) -> Any:
        if not self.held.is_set():
            self.asked.release()
            assert self.held.wait(PATIENCE)
        return self._store.delivery(delivery_id)


def test_a_consumer_that_was_told_to_end_has_room_for_nothing_though_its_loop_goes_on(tmp_path: Path) -> None:
    with a_world(tmp_path) as world:
        at = station(world.services, "worker-1")
        consumer = _Consumer(celery_app(world.broker, [CONTROL]), 1, world.services, at)
        assert consumer._controller.pool.has_room()

        consumer.stop()

        assert not consumer._controller.pool.has_room()


def test_a_message_is_carried_out_while_the_other_consumer_has_yet_to_begin(
    redis: Redis, tmp_path: Path
) -> None:
    with migrated_postgres() as database, a_world(tmp_path, database, redis.url, LEASE) as world:
        at = station(world.services, "worker-1")
        consumers = [
            _Consumer(celery_app(redis.url, queues), 1, world.services, at)
            for queues in ([CONTROL], queues_for(("linux",)))
        ]
        delivery = world.deliver(world.commit())

        consumers[0].start()

        wait_for(lambda: world.run_of(delivery), "the delivery to be admitted")
        consumers[0].stop()
        consumers[0].join(time.monotonic() + LEASE)


OF_NOBODY = {
    "headers": {"task": "of nobody"},
    "content-type": "text/x",
    "content-encoding": "utf-8",
    "body": "",
    "properties": {"delivery_tag": "1", "delivery_info": {"exchange": "", "routing_key": CONTROL}},
}
"""Neither its task nor its body is known; whoever dies by it gives it back to its queue."""


@pytest.mark.parametrize(
    "garbage",
    [
        *(b"no json at all", b"[]", b"7", b'{"a": 1}', b"\x80\x04\x95", b"", b"[" * 100_000),
        b'{"__type__": "decimal", "__value__": "none"}',
        json.dumps(OF_NOBODY).encode(),
    ],
    ids=lambda garbage: repr(garbage[:30]),
)
def test_what_is_no_message_kills_no_worker(
    redis: Redis, tmp_path: Path, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        migrated_postgres() as database,
        a_world(tmp_path, database, redis.url, LEASE) as world,
        working(world),
    ):
        with Client.from_url(redis.url) as client:
            for queue in (CONTROL, job_queue(("linux",))):
                client.lpush(queue, garbage)
            taken = lambda: None if client.llen(CONTROL) or client.llen(job_queue(("linux",))) else True  # noqa: E731
            wait_for(taken, "the garbage to be taken")

        goes_on(world)

    assert "the consumer ended; another begins" not in caplog.messages


def test_what_is_no_message_kills_no_worker_over_tls_either(
    redis: Redis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        tls_before(redis, tmp_path) as address,
        migrated_postgres() as database,
        a_world(tmp_path, database, f"{address}?ssl_ca_certs={tmp_path}/cert.pem", LEASE) as world,
    ):
        worker = Worker(world.services, station(world.services, "worker-1"), ("linux",), 2)
        worker.start()
        with Client.from_url(redis.url) as client:
            client.lpush(CONTROL, b"no json at all")
            wait_for(lambda: None if client.llen(CONTROL) else True, "the garbage to be taken")

        goes_on(world)
        worker.stop()

    assert "a message that cannot be read was dropped" in caplog.messages
    assert "the consumer ended; another begins" not in caplog.messages


def test_a_redis_whose_certificate_nobody_vouches_for_is_not_spoken_to(redis: Redis, tmp_path: Path) -> None:
    with tls_before(redis, tmp_path) as address:
        with pytest.raises(Unavailable, match="certificate verify failed"):
            CeleryDispatcher(address, ()).check()
        CeleryDispatcher(f"{address}?ssl_cert_reqs=none", ()).check()


def test_a_message_cannot_have_another_one_sent(redis: Redis, tmp_path: Path) -> None:
    with migrated_postgres() as database, a_world(tmp_path, database, redis.url, LEASE) as world:
        with working(world):
            app = celery_app(redis.url, [CONTROL])
            app.send_task("runner.report", (1,), queue=CONTROL, link=signature("runner.admit", queue="evil"))

            goes_on(world)
        with Client.from_url(redis.url) as client:
            assert client.llen("evil") == 0


def test_who_loses_a_broker_or_stops_leaves_every_other_socket_of_the_process_as_patient_as_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    changed: list[float | None] = []
    monkeypatch.setattr(socket, "setdefaulttimeout", changed.append)
    with working(world):
        goes_on(world)
        if world.broker.startswith("redis:"):
            with Client.from_url(world.broker) as client:
                client.client_kill_filter(_type="normal")
            wait_for(lambda: "Connection to broker lost" in caplog.text or None, "a connection to be lost")

    assert not changed


def test_a_broker_that_is_away_makes_no_trouble_for_who_rings(redis: Redis, tmp_path: Path) -> None:
    with a_world(tmp_path, broker=redis.url) as world:
        commit = world.commit()
        redis.kill()

        began = time.monotonic()
        deliveries = [world.deliver(commit, f"push-{number}") for number in range(20)]

        # What waits for a broker between tries takes most of a second for each, or seconds.
        assert time.monotonic() - began < 10
        assert {world.services.store.delivery(one).status for one in deliveries} == {"received"}


@pytest.mark.parametrize("closed", ["the file", "its buffer"])
def test_a_channel_that_is_closed_under_its_reader_has_dropped_no_message(
    redis: Redis, caplog: pytest.LogCaptureFixture, closed: str
) -> None:
    with celery_app(redis.url, [CONTROL]).connection_for_read() as connection:
        channel = connection.channel()
        reader = channel.client.connection = channel.client.connection_pool.get_connection()
        reader.connect()
        reader.send_command("PING")
        buffer = reader._parser._buffer
        (buffer._buffer if closed == "the file" else buffer).close()

        with pytest.raises(Empty):
            channel._brpop_read()

    assert caplog.messages == []


def test_a_channel_that_is_closed_while_it_gets_its_consumers_is_a_connection_that_is_lost(
    redis: Redis,
) -> None:
    with celery_app(redis.url, [CONTROL]).connection_for_read() as connection:
        channel = connection.channel()
        channel.basic_consume("a", False, print, "before")
        consumers = set(channel._consumers)
        channel.close()

        with pytest.raises(connection.connection_errors):
            channel.basic_consume("b", False, print, "after")
        # As a cancellation that waited for a message comes to it.
        channel._consumers, channel._tag_to_queue = consumers, {"before": "a"}
        channel._basic_cancel("before")


def test_a_message_says_where_to_look_and_no_more(redis: Redis, tmp_path: Path) -> None:
    with a_world(tmp_path, broker=redis.url) as world:
        world.services.dispatcher.perform(Envelope(a_route(), 7, 8, ("linux",)))

        with Client.from_url(redis.url) as client:
            message = json.loads(client.lindex(job_queue(("linux",)), 0) or b"")

    headers = message["headers"]
    assert (headers["task"], headers["argsrepr"]) == ("runner.perform", "(7, 8)")
    assert {name: headers[name] for name in ("forge", "repo", "commit")} == {
        "forge": "git",
        "repo": "octo/hello",
        "commit": "1" * 40,
    }
