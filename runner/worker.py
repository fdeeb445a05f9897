"""Celery tasks: unwrap the message, call the verb. And the clock's loop."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from functools import partial
from typing import Any

from celery import Celery
from celery.app.trace import build_tracer, setup_worker_optimizations
from celery.bootsteps import CLOSE, StartStopStep
from celery.concurrency.thread import ApplyResult, TaskPool
from celery.worker import WorkController
from celery.worker.consumer.tasks import Tasks
from celery.worker.state import task_ready
from structlog.contextvars import bound_contextvars

from runner import wiring
from runner.broker import CONTROL, celery_app, look_again, queues_for
from runner.engine.admit import admit
from runner.engine.expire import expire
from runner.engine.heart import Heart
from runner.engine.perform import perform
from runner.engine.plan import plan
from runner.engine.report import report
from runner.engine.retire import retire
from runner.engine.standings import following
from runner.engine.station import Station
from runner.engine.steadiness import Steadiness
from runner.engine.sweep import sweep
from runner.engine.titles import Titles
from runner.errors import DatabaseUnavailable, LeaseLost, Rejected, Unavailable
from runner.forges import FORGES
from runner.model.run import Envelope
from runner.model.source import Route
from runner.store.workers import PRESENCE
from runner.wiring import Services

CONTROL_THREADS = 2
NAP = 0.05
SECONDS_TO_STOP = 20
SECONDS_TO_NOTICE = 3
"""How long a consumer may listen on after it was stopped: Celery waits two seconds for a message."""
ROUND_SECONDS = 1.0
"""How often the clock looks for due work, if it knows of none that is due before."""
LEAST_SECONDS = 0.05
"""How long it waits at least: what is due may be another's to deal with."""
RETENTION = timedelta(minutes=1)
"""How often it looks for what has been kept for long enough."""
SWEEPING = timedelta(hours=1)
"""How often it looks for objects that nobody knows, and for caches that nobody uses."""
COLLECTING = timedelta(minutes=1)
"""How often a worker looks what is kept for too long, or takes too much space."""
ROUTE = {"forge": "forge", "repo": "repository", "commit": "commit"}
"""A message's headers, as lines of the log name them."""

log = logging.getLogger(__name__)


class Worker:
    """Consumes admissions and jobs in this process, each on threads of its own, until `stop`."""

    def __init__(
        self, services: Services, station: Station, labels: tuple[str, ...], concurrency: int
    ) -> None:
        self._station = station
        self._workers = services.workers
        url = services.settings.broker
        self._consumers = [
            _Consumer(celery_app(url, [CONTROL]), CONTROL_THREADS, services, station),
            _Consumer(celery_app(url, queues_for(labels)), concurrency, services, station),
        ]
        announce = partial(services.workers.announce, station.worker, labels)
        self._presence = _Chore("presence", announce, PRESENCE / 3)
        # Until its lease has run out, a worker that died may seem to live.
        self._sweep = _Chore("sweep", partial(wiring.sweep, services, station), station.lease)
        self._collect = _Chore("collect", partial(wiring.collect, services), COLLECTING)
        self._archive = station.archive
        self._make_up = _Chore("archive", self._archive.make_up, COLLECTING) if self._archive else None

    def start(self) -> None:
        for consumer in self._consumers:
            consumer.start()
        self._presence.start()
        self._sweep.start()
        self._collect.start()
        if self._make_up is not None:
            self._make_up.start()

    def drain(self, seconds: float) -> None:
        """Take no more, and wait for so long at the most until every job ended or is handed back.

        A job is handed back before its next step. What is left after that, `stop` ends.
        """
        log.info("draining", extra={"seconds": seconds})
        self._station.heart.drain()
        for consumer in self._consumers:
            consumer.stop()
        if not self._station.heart.empty(seconds):
            log.warning("steps still run", extra={"seconds": seconds})

    def stop(self) -> None:
        """Take no more, hand running jobs back, and return when that is done."""
        self._station.heart.release()
        self._presence.stop()
        for consumer in self._consumers:
            consumer.stop()
        until = time.monotonic() + SECONDS_TO_NOTICE
        for consumer in self._consumers:
            consumer.join(until)
        self._station.heart.close()
        self._sweep.stop()
        self._collect.stop()
        if self._archive is not None and self._make_up is not None:
            self._archive.close()
            self._make_up.stop()
        try:
            self._workers.leave(self._station.worker)
        except Unavailable as error:
            log.info("a worker left without a word", extra={"error": str(error)})


class _Chore:
    """What a worker does as it starts and then every so often, on a thread of its own."""

    def __init__(self, name: str, work: Callable[[], None], every: timedelta) -> None:
        self._name = name
        self._work = work
        self._seconds = every.total_seconds()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(SECONDS_TO_STOP)

    def _run(self) -> None:
        while True:
            try:
                self._work()
            except Unavailable as error:
                log.info("a chore must wait", extra={"chore": self._name, "error": str(error)})
            except Rejected as error:
                log.error("a chore is refused", extra={"chore": self._name, "error": str(error)})
            except Exception:
                log.exception("a chore failed by a bug", extra={"chore": self._name})
            if self._stopping.wait(self._seconds):
                return


class _Controller(WorkController):
    """Celery's, which while it stops would have every new socket of this process give up after 5 s.

    Jobs still run then, and our brokers' sockets have limits of their own.
    """

    def _shutdown(self, warm: bool = True) -> None:
        if self.blueprint is not None:
            self.blueprint.stop(self, terminate=not warm)
            self.blueprint.join()


class _Threads(TaskPool):
    """Celery's, which knows how many are busy, and has the next message taken as soon as one is free.

    Of a message that fails before its task begins, Celery's says nothing, and counts it as running for good.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._busy = 0
        self._lock = threading.Lock()
        self._closing = False

    def has_room(self) -> bool:
        """Whether a message may be taken: one that this worker held back an idle worker could have begun."""
        return not self._closing and bool(self._busy < self.limit)

    def take_no_more(self) -> None:
        self._closing = True

    def on_apply(self, *args: Any, accept_callback: Any, **kwargs: Any) -> ApplyResult:
        def done(ended: Future[None]) -> None:
            self._count(-1)
            error = ended.exception()
            if error is not None:
                log.error("a message failed before its task began", exc_info=error)
                task_ready(accept_callback.__self__)
            look_again()

        self._count(1)
        applied = super().on_apply(*args, accept_callback=accept_callback, **kwargs)
        applied.f.add_done_callback(done)
        return applied

    def _count(self, one: int) -> None:
        with self._lock:
            self._busy += one


class _Room(StartStopStep):
    """Has a consumer take a message where a thread of its own is free.

    Celery's `worker_disable_prefetch` counts the requests of every consumer in the process.
    """

    requires = (Tasks,)

    def start(self, consumer: Any) -> None:
        consumer.task_consumer.channel.qos.can_consume = consumer.pool.has_room


class _Consumer:
    """A Celery worker on a thread. One that ends though nobody stopped it is followed by another."""

    def __init__(self, app: Celery, threads: int, services: Services, station: Station) -> None:
        _register(app, services, station)
        # One registry to a process, the last one set up: every app has the same tasks.
        setup_worker_optimizations(app)
        app.steps["consumer"].add(_Room)
        self._app = app
        self._threads = threads
        self._controller = self._make()
        self._stopping = threading.Event()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name="consumer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Take no more; `join` waits until what was taken is done."""
        self._stopping.set()
        self._close()

    def join(self, until: float) -> None:
        """Wait for its end. `until`, a reading of `time.monotonic()`, is when its broker counts as away."""
        # What just begins sets its state anew.
        while not self._left.wait(NAP) and time.monotonic() < until:
            self._close()
        if self._left.is_set():
            self._thread.join(SECONDS_TO_STOP)
            return
        # It goes on asking for its broker, which must not keep the process from ending.
        stopping = threading.Thread(target=self._controller.stop, name="consumer-stop", daemon=True)
        stopping.start()
        stopping.join(SECONDS_TO_STOP)

    def _close(self) -> None:
        """Have its loop end. Its connection is its own thread's: two that read from one break it."""
        # A loop that just begins goes on for now: what it is rung for is another's already.
        self._controller.pool.take_no_more()
        self._controller.consumer.blueprint.state = CLOSE
        look_again()

    def _make(self) -> WorkController:
        return _Controller(
            app=self._app,
            pool_cls=_Threads,
            concurrency=self._threads,
            # Celery's event loop is one to a process, and here are two consumers.
            use_eventloop=False,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            loglevel=logging.WARNING,
        )

    def _run(self) -> None:
        self._controller.start()
        while not self._stopping.wait(ROUND_SECONDS):
            log.error("the consumer ended; another begins")
            try:
                self._controller = self._make()
                self._controller.start()
            except Exception:
                log.exception("the consumer failed by a bug")
        self._left.set()
        self._controller.stop()


def _register(app: Celery, services: Services, station: Station) -> None:
    app.finalize()
    for builtin in [name for name in app.tasks if name.startswith("celery.")]:
        app.tasks.pop(builtin)

    @app.task(name="runner.admit", bind=True, shared=False, lazy=False)
    def admit_delivery(self: Any, delivery_id: str) -> None:
        def work() -> None:
            admit(
                delivery_id,
                store=services.store,
                sources=station.sources,
                standings=services.standings,
                dispatcher=services.dispatcher,
                titles=Titles(station.server, station.vault.variables),
            )

        _carry_out(work, self, station.heart, delivery=delivery_id)

    @app.task(name="runner.perform", bind=True, shared=False, lazy=False)
    def perform_job(self: Any, run: int, job: int) -> None:
        _carry_out(lambda: perform(_envelope(self, run, job), station), self, station.heart, run=run, job=job)

    @app.task(name="runner.plan", bind=True, shared=False, lazy=False)
    def plan_job(self: Any, run: int, job: int) -> None:
        _carry_out(lambda: plan(_envelope(self, run, job), station), self, station.heart, run=run, job=job)

    @app.task(name="runner.report", bind=True, shared=False, lazy=False)
    def report_run(self: Any, run: int) -> None:
        def work() -> None:
            report(run, store=services.store, forges=FORGES, server=services.settings.address)

        _carry_out(work, self, station.heart, run=run)

    # Celery looks a task up in the registry of the app that was set up last, and makes its tracer only once
    # that app has its connection: what another app's brings before would be lost.
    for name, task in app.tasks.items():
        task.__trace__ = build_tracer(name, task, app.loader, app=app)


def _envelope(task: Any, run: int, job: int) -> Envelope:
    said = {name: task.request.get(name) for name in ROUTE}
    try:
        return Envelope(Route(**said), run, job, ())
    except (TypeError, ValueError):
        raise Rejected(f"message for run {run} carries no route: {said}") from None


def _carry_out(work: Callable[[], None], task: Any, heart: Heart, **about: object) -> None:
    """Do what a message asks for, its Route on every line of the log; what cannot be done is logged.

    Nothing is lost: the rows are still due. But a worker without its database holds on to what it has been
    rung for: with a slot that is free it would take the next ring too, in vain, from a worker that has one.
    """
    # Forget what it asks to be sent when its task is done: only rows say what comes next.
    task.request.callbacks = task.request.errbacks = task.request.chain = task.request.chord = None
    said = {ROUTE[name]: value for name in ROUTE if (value := task.request.get(name)) is not None}
    with bound_contextvars(**said, **about):
        while True:
            try:
                work()
            except DatabaseUnavailable as error:
                log.error("message not carried out yet", extra={"error": str(error)})
                if not heart.leaves(ROUND_SECONDS):
                    continue
            except (Rejected, LeaseLost) as error:
                log.warning("message refused", extra={"error": str(error)})
            except Unavailable as error:
                log.error("message not carried out", extra={"error": str(error)})
            return


class Clock:
    """Starts what is scheduled and rings again for what is due, as it comes due, on a thread of its own."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._steadiness = Steadiness(services.settings.lease_length)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clock", daemon=True)
        keep = partial(
            retire,
            retention=services.retention,
            logs=services.logs,
            workspaces=services.workspaces,
            objects=services.objects,
        )
        self._chores = (
            _Chore("retention", keep, RETENTION),
            _Chore(
                "artifacts",
                partial(expire, artifacts=services.artifacts, objects=services.objects),
                RETENTION,
            ),
            _Chore("logs", services.logs.archive, RETENTION),
            _Chore("snapshots", partial(wiring.expire_stored, services), RETENTION),
            *(
                _Chore(name, partial(wiring.sweeping, services, work), SWEEPING)
                for name, work in (
                    ("objects", partial(wiring.sweep_objects, services)),
                    ("layers", partial(wiring.sweep_stored, services)),
                    ("stored logs", services.logs.sweep),
                    ("caches", services.caches.tidy),
                )
            ),
        )

    def start(self, everything: bool = False) -> None:
        """`everything`: no other worker is alive, so all unfinished work is due now."""
        if everything:
            self._round(everything=True)
        self._thread.start()
        for chore in self._chores:
            chore.start()

    def stop(self) -> None:
        """End after the round that goes on. One that the broker holds up is left: its rows are still due."""
        self._stopped.set()
        for chore in self._chores:
            chore.stop()
        self._thread.join(SECONDS_TO_STOP)

    def _run(self) -> None:
        rest = ROUND_SECONDS
        while not self._stopped.wait(max(LEAST_SECONDS, min(rest, ROUND_SECONDS))):
            rest = self._round()

    def _round(self, everything: bool = False) -> float:
        """Gives the seconds for which it knows of nothing that is due."""
        # What is fired is rung for in the same round.
        _in_spite_of_all(partial(self._services.standings.fire, following))
        rest = _in_spite_of_all(partial(self._ring, everything))
        return ROUND_SECONDS if rest is None else rest.total_seconds()

    def _ring(self, everything: bool) -> timedelta | None:
        """Ring for what is due, unless leases cannot be judged now; how long nothing else is."""
        services = self._services
        at = services.database.time()
        if not self._steadiness.holds(at, time.monotonic()) and not everything:
            return None
        # Asked once more, the clock may have jumped in between.
        return sweep(store=services.store, dispatcher=services.dispatcher, everything=everything, at=at)


def _in_spite_of_all(work: Callable[[], timedelta | None]) -> timedelta | None:
    """Do a part of the clock's round; one that fails keeps nothing else from being done."""
    try:
        return work()
    except Unavailable as error:
        log.error("the clock's round failed", extra={"error": str(error)})
    except Exception:
        log.exception("the clock's round failed by a bug")
    return None
