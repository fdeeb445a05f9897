"""The doorbell: Celery messages that carry ids and routing headers, and decide nothing.

Queues are by label set: a job rings in the queue of exactly its labels, and a worker listens on every
queue whose labels it has all of. Admission and reports have a queue of their own, so that long jobs
cannot keep them waiting. Every message is acknowledged early: the lease says who has the work.
"""

import logging
import os
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from itertools import combinations
from queue import Empty
from traceback import walk_tb
from typing import Any, ClassVar
from urllib.parse import urlsplit
from weakref import WeakSet, finalize

from celery import Celery
from kombu import Queue
from kombu.exceptions import OperationalError, SerializationError, SerializerNotInstalled
from kombu.transport import memory, redis, virtual
from kombu.utils.eventio import READ

from runner.engine.ports import Dispatcher
from runner.errors import Rejected, Unavailable
from runner.model.run import Envelope, Run
from runner.model.source import Route

log = logging.getLogger(__name__)
CONTROL = "runner.control"
MOST_LABELS = 8
"""A worker listens on one queue for each subset of its labels: 255 of them at the most."""
EMBEDDED = "memory://"
REDIS_OPTIONS = {
    # A publisher must not wait for a broker that is away: the clock rings again.
    "socket_timeout": 5,
    "socket_connect_timeout": 5,
    "max_retries": 0,
    # It rings again for what a worker took along into its death, too: nobody writes down who has a message.
    "ack_emulation": False,
}


def job_queue(labels: tuple[str, ...]) -> str:
    return "runner.jobs." + "+".join(sorted(set(labels)))


def queues_for(labels: tuple[str, ...]) -> list[str]:
    """Every queue that a worker with these labels serves; raises `Rejected` for too many."""
    known = sorted(set(labels))
    if len(known) > MOST_LABELS:
        raise Rejected(
            f"{len(known)} labels are more than a worker's limit of {MOST_LABELS}: {', '.join(known)}; "
            "leave some out"
        )
    return [job_queue(chosen) for size in range(len(known) + 1) for chosen in combinations(known, size)]


def checked_broker(url: str) -> str:
    """`url` itself where it is one that we ring by; raises `Rejected` without repeating it."""
    known = url == EMBEDDED or url.startswith(("redis://", "rediss://"))
    try:
        known = known and (urlsplit(url).port or 1) > 0
    except ValueError:
        known = False
    if not known:
        raise Rejected(f"give {EMBEDDED}, redis://HOST:PORT/NUMBER or rediss://HOST:PORT/NUMBER")
    return url


def celery_app(url: str, queues: list[str]) -> Celery:
    """An app that consumes `queues`. Two consumers in one process need two apps: an app has one selection."""
    # Kombu warns of an address that names no host, of memory's too.
    address = "memory://localhost//" if url == EMBEDDED else url
    app = Celery("runner", broker=address, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=False,
        task_default_queue=queues[0],
        task_queues=[Queue(name, routing_key=name) for name in queues],
        task_create_missing_queues=True,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={} if url == EMBEDDED else REDIS_OPTIONS,
        task_publish_retry=False,
        broker_pool_limit=10,
    )
    if url == EMBEDDED:
        app.conf.broker_transport = f"{__name__}:PromptTransport"
    elif url.startswith(("redis://", "rediss://")):
        app.conf.broker_transport = f"{__name__}:SturdyTransport"
        if url.startswith("rediss:"):
            # Kombu by itself would take any certificate. What the URL says of it wins.
            app.conf.broker_use_ssl = {"ssl_cert_reqs": "required"}
    return app


class CeleryDispatcher(Dispatcher):
    """Rings by Celery; what a broker that is away did not take is made good by the clock."""

    def __init__(self, url: str, reporting: Collection[str]) -> None:
        """`reporting`: the forges that want to be told how a run stands."""
        self._app = celery_app(url, [CONTROL])
        self._reporting = frozenset(reporting)

    def admit(self, delivery_id: str, forge: str, repo: str) -> None:
        self._send("runner.admit", CONTROL, {"forge": forge, "repo": repo}, delivery_id)

    def perform(self, envelope: Envelope) -> None:
        queue = job_queue(envelope.labels)
        self._send("runner.perform", queue, route_headers(envelope.route), envelope.run, envelope.job)

    def plan(self, envelope: Envelope) -> None:
        self._send("runner.plan", CONTROL, route_headers(envelope.route), envelope.run, envelope.job)

    def report(self, run: Run) -> None:
        if run.route.forge in self._reporting:
            self._send("runner.report", CONTROL, route_headers(run.route), run.id)

    def check(self) -> None:
        """Raises `Unavailable` where the broker does not answer."""
        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=2)
        except OperationalError as error:
            raise Unavailable(f"the broker does not answer: {error}") from error

    def _send(self, task: str, queue: str, headers: dict[str, str], *args: Any) -> None:
        try:
            self._app.send_task(
                task,
                args,
                queue=queue,
                headers=headers,
                ignore_result=True,
                add_to_parent=False,
                # Published straight to its queue, a message needs no binding.
                declare=[],
            )
        except OperationalError as error:
            log.warning("the broker does not answer", extra={"task": task, "error": str(error)})


def route_headers(route: Route) -> dict[str, str]:
    return {"forge": route.forge, "repo": route.repo, "commit": route.commit}


def look_again() -> None:
    """Have whoever waits for a message in this process see whether one more may be taken now."""
    PromptChannel.ring()
    SturdyPoller.ring()


UNREADABLE = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError),
    *(SerializationError, SerializerNotInstalled),
)
"""What Celery raises by messages that nobody has checked; anyone may have written them."""


class _Forgiving(virtual.Channel):
    """A channel whose consumer drops what it cannot read.

    By itself Kombu would have it for delivered and never acknowledged, and after a few take no more.
    """

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Callable[[Any], None], consumer_tag: str, **options: Any
    ) -> Any:
        def consume(message: Any) -> None:
            try:
                callback(message)
            except UNREADABLE as error:
                if self.connection is None or _never_read(error):
                    raise
                _drop(error)
                if not message.acknowledged:
                    message.ack()

        return super().basic_consume(queue, no_ack, consume, consumer_tag, **options)


class PromptChannel(_Forgiving, memory.Channel):
    """Kombu's in-memory channel, waking whoever waits for a message."""

    bell = threading.Condition()
    rung = 0

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        super()._put(queue, message, **kwargs)
        self.ring()

    @classmethod
    def ring(cls) -> None:
        with cls.bell:
            PromptChannel.rung += 1
            cls.bell.notify_all()


class PromptTransport(memory.Transport):
    """Kombu's in-memory transport without its polling: a message is taken the moment it is sent."""

    Channel = PromptChannel

    def _collect(self, connection: Any) -> None:
        _give_up(self, connection)

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Deliver one message; returns by `TimeoutError` after a ring that brought none, too."""
        heard = PromptChannel.rung
        try:
            self.cycle.get(self._deliver, timeout=timeout)
            return
        except Empty:
            with PromptChannel.bell:
                PromptChannel.bell.wait_for(lambda: PromptChannel.rung != heard, timeout)
        try:
            self.cycle.get(self._deliver, timeout=timeout)
        except Empty:
            raise TimeoutError from None


class SturdyPoller(redis.MultiChannelPoller):
    """Kombu's, which hears when one more message may be taken, and when no more shall be.

    By itself it looks every one or two seconds whether that has changed: so long would every worker that had
    none to spare stand still, after a ring in vain too. Who waits is told by `TimeoutError`.
    """

    _all: ClassVar[WeakSet["SturdyPoller"]] = WeakSet()
    _lock = threading.Lock()

    def __init__(self) -> None:
        super().__init__()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # At the end of the process others may still ring.
        finalize(self, os.close, self._bell).atexit = False
        self.poller.register(self._bell, READ)
        with SturdyPoller._lock:
            SturdyPoller._all.add(self)

    @classmethod
    def ring(cls) -> None:
        with cls._lock:
            found = list(cls._all)
        for poller in found:
            os.eventfd_write(poller._bell, 1)

    @property
    def fds(self) -> Mapping[int, Any]:
        """Where it has none it sleeps, and hears nothing."""
        return {**super().fds, self._bell: None}

    def handle_event(self, fileno: int, event: int) -> Any:
        if fileno != self._bell:
            return super().handle_event(fileno, event)
        os.eventfd_read(self._bell)
        # What else is there to be read is so the next time, too.
        raise TimeoutError


class SturdyChannel(_Forgiving, redis.Channel):
    """Kombu's channel on Redis, in which a message that nobody can read is dropped, not fatal.

    Whoever stops a worker closes its channels under those who still use them. What they then find is a
    connection that is lost, which Celery knows what to do about.
    """

    def basic_consume(self, *args: Any, **options: Any) -> Any:
        try:
            return super().basic_consume(*args, **options)
        except AttributeError:
            if self.connection is not None:
                raise
            raise ConnectionError("the channel was closed") from None

    def _basic_cancel(self, consumer_tag: str) -> Any:
        # It may have waited until a message was read, and nobody consumes on a closed channel.
        try:
            return super()._basic_cancel(consumer_tag)
        except AttributeError:
            if self.connection is not None:
                raise

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except UNREADABLE as error:
            if not (self._closing or self.connection is None or _never_read(error)):
                _drop(error)
            raise Empty from None


def _drop(error: Exception) -> None:
    log.warning("a message that cannot be read was dropped", extra={"error": repr(error)})


def _never_read(error: Exception) -> bool:
    """Whether redis' client raised it, as where its buffer was closed: then there was no message yet."""
    names = (frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__))
    return any(name.startswith("redis.") for name in names)


class SturdyTransport(redis.Transport):
    Channel = SturdyChannel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = SturdyPoller()

    def _collect(self, connection: Any) -> None:
        _give_up(self, connection)


def _give_up(transport: Any, connection: Any) -> None:
    """Close what is lost, for `kombu.Connection.collect`.

    By itself Kombu has every socket that this process makes meanwhile give up after a second, those of jobs
    too, and where two connections are lost at once, every later one.
    """
    with suppress(*transport.connection_errors, AttributeError, OSError):
        transport.close_connection(connection)
