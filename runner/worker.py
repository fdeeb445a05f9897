"""Celery tasks: unwrap the message, call the verb. And the clock's loop."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from celery import Celery
from celery.app.trace import setup_worker_optimizations
from celery.worker import WorkController

from runner.broker import CONTROL, PromptChannel, celery_app, queues_for
from runner.engine.admit import admit
from runner.engine.perform import Station, perform
from runner.engine.report import report
from runner.engine.sweep import sweep
from runner.errors import LeaseLost, Rejected, Unavailable
from runner.forges import FORGES
from runner.model.run import Envelope
from runner.model.source import Route
from runner.wiring import Services

CONTROL_THREADS = 2
ROUND_SECONDS = 1.0
"""How often the clock looks for due work."""

log = logging.getLogger(__name__)


class Worker:
    """Consumes admissions and jobs in this process, each on threads of its own, until `stop`."""

    def __init__(
        self, services: Services, station: Station, labels: tuple[str, ...], concurrency: int
    ) -> None:
        self._station = station
        url = services.settings.broker
        # A job that this worker holds back is one that an idle worker could have begun.
        jobs = celery_app(url, queues_for(labels), hold_back=False)
        self._consumers = [
            _Consumer(celery_app(url, [CONTROL]), CONTROL_THREADS, services, station),
            _Consumer(jobs, concurrency, services, station),
        ]

    def start(self) -> None:
        for consumer in self._consumers:
            consumer.start()

    def stop(self) -> None:
        """Take no more, hand running jobs back, and return when that is done."""
        self._station.heart.release()
        for consumer in self._consumers:
            consumer.stop()
        self._station.heart.close()


class _Consumer:
    def __init__(self, app: Celery, threads: int, services: Services, station: Station) -> None:
        _register(app, services, station)
        # Celery looks tasks up in one registry to a process, the last one set up: every app has the same.
        setup_worker_optimizations(app)
        self._controller = WorkController(
            app=app,
            pool_cls="threads",
            concurrency=threads,
            # Celery's event loop is one to a process, and here are two consumers.
            use_eventloop=False,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            loglevel=logging.WARNING,
        )
        self._thread = threading.Thread(target=self._controller.start, name="consumer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        stopping = threading.Thread(target=self._controller.stop, name="consumer-stop")
        stopping.start()
        PromptChannel.ring()
        stopping.join()
        self._thread.join()


def _register(app: Celery, services: Services, station: Station) -> None:
    @app.task(name="runner.admit", shared=False, lazy=False)
    def admit_delivery(delivery_id: str) -> None:
        _named(
            lambda: admit(
                delivery_id,
                store=services.store,
                repositories=services.repositories,
                workspaces=services.workspaces,
                dispatcher=services.dispatcher,
            ),
            delivery=delivery_id,
        )

    @app.task(name="runner.perform", bind=True, shared=False, lazy=False)
    def perform_job(self: Any, run: int, job: int) -> None:
        def work() -> None:
            said = {name: self.request.get(name) for name in ("forge", "repo", "commit")}
            try:
                route = Route(**said)
            except (TypeError, ValueError):
                raise Rejected(f"message for run {run} carries no route: {said}") from None
            perform(Envelope(route, run, job, ()), station)

        _named(work, run=run, job=job)

    @app.task(name="runner.report", shared=False, lazy=False)
    def report_run(run: int) -> None:
        address = services.settings.address
        _named(lambda: report(run, store=services.store, forges=FORGES, server=address), run=run)


def _named(work: Callable[[], object], **about: object) -> None:
    """Log what a message could not have done. Nothing is lost: the rows are still due."""
    try:
        work()
    except (Rejected, LeaseLost) as error:
        log.warning("message refused", extra={"error": str(error), **about})
    except Unavailable as error:
        log.error("message not carried out", extra={"error": str(error), **about})


class Clock:
    """Rings again for what is due, once a second, on a thread of its own."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clock", daemon=True)

    def start(self, everything: bool = False) -> None:
        """`everything`: no other worker is alive, so all unfinished work is due now."""
        if everything:
            self._round(everything=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(ROUND_SECONDS):
            self._round()

    def _round(self, everything: bool = False) -> None:
        try:
            sweep(store=self._services.store, dispatcher=self._services.dispatcher, everything=everything)
        except Unavailable as error:
            log.error("the clock's round failed", extra={"error": str(error)})
