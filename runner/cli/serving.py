"""`runner serve`, `worker`, `clock` and `migrate`: the processes of a server."""

import logging
import os
import signal
import socket
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import click

from runner import wiring
from runner.cli.home import owned
from runner.cli.interrupts import told_to_end
from runner.cli.journal import keep_journal
from runner.cli.listening import listening
from runner.client import published
from runner.errors import Rejected, Unavailable
from runner.settings import Settings
from runner.web.app import create_app
from runner.web.server import Server
from runner.worker import Clock, Worker

home_option = click.option(
    "--home", type=click.Path(path_type=Path), help="The server's folder; RUNNER_HOME."
)
log = logging.getLogger(__name__)
PASSABLE = 0o022
"""The umask. Sandboxes run as another user, who must reach their folders; what is private says so itself."""


@click.command()
@click.option("--host", help="The address to listen on; RUNNER_HOST, else 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="RUNNER_PORT, else 8787; 0 takes a free one.")
@click.option("--url", help="Where people and forges reach it; RUNNER_URL, else host and port.")
@home_option
@click.pass_obj
def serve(verbose: int, /, **given: Any) -> int:
    """Start the server: webhooks, API and pages, and the worker where it is embedded."""
    keep_journal(verbose)
    os.umask(PASSABLE)
    settings = Settings.from_env(**given)
    with ExitStack() as stack:
        stack.enter_context(owned(settings.home) if settings.embedded else nullcontext())
        listener = stack.enter_context(listening(settings.host, settings.port))
        settings = settings.model_copy(update={"port": listener.getsockname()[1]})
        services = wiring.services(settings)
        stack.callback(services.close)
        _bring_tables(services)
        _own_objects(services)
        app = create_app(services)
        stack.callback(app.close)
        working = _start_embedded(services, stack) if settings.embedded else None
        stack.enter_context(published(settings.home, _local_url(settings)))
        # What is pushed meanwhile is taken in, and run when the server is back.
        draining = partial(working.drain, settings.drain) if working and settings.drain else None
        server = Server(app, ready=lambda: _greet(settings), ending=app.end, draining=draining)
        server.run(sockets=[listener])
    return 130 if server.ended_by == signal.SIGINT else 0


@click.command()
@click.option("--labels", help="What its machine offers, separated by commas; RUNNER_LABELS.")
@click.option("--concurrency", type=click.IntRange(1, 1024), help="Jobs at once; RUNNER_CONCURRENCY.")
@home_option
@click.pass_obj
def worker(verbose: int, /, **given: Any) -> int:
    """Work on jobs for a server that uses a broker of its own."""
    keep_journal(verbose)
    os.umask(PASSABLE)
    settings = _distributed(Settings.from_env(**given), "worker")
    services = wiring.services(settings)
    with ExitStack() as stack:
        stack.callback(services.close)
        services.database.check()
        _own_objects(services)
        until_signal = stack.enter_context(told_to_end())
        working = _worker(services)
        working.start()
        stack.callback(working.stop)
        labels = ", ".join(settings.label_set)
        click.echo(f"runner worker: {settings.concurrency} jobs at once, labels {labels}")
        status = until_signal()
        if not status and settings.drain:
            working.drain(settings.drain)
        return status


@click.command()
@home_option
@click.pass_obj
def clock(verbose: int, /, **given: Any) -> int:
    """Ring again for due work, for a server that uses a broker of its own."""
    keep_journal(verbose)
    services = wiring.services(_distributed(Settings.from_env(**given), "clock"))
    with ExitStack() as stack:
        stack.callback(services.close)
        services.database.check()
        _own_objects(services)
        until_signal = stack.enter_context(told_to_end())
        ticking = Clock(services)
        ticking.start()
        stack.callback(ticking.stop)
        click.echo("runner clock: ringing for due work")
        return until_signal()


@click.command()
@home_option
@click.pass_obj
def migrate(verbose: int, /, **given: Any) -> None:
    """Bring the database to this version's shape; safe to run twice, and while others do."""
    keep_journal(verbose)
    services = wiring.services(Settings.from_env(**given))
    with ExitStack() as stack:
        stack.callback(services.close)
        services.database.migrate()
    click.echo("the database has this version's shape")


def _bring_tables(services: wiring.Services) -> None:
    if services.settings.embedded:
        services.database.migrate()
    else:
        services.database.check()


def _own_objects(services: wiring.Services) -> None:
    """Raises `Rejected` where they are another deployment's; that can also be seen later."""
    try:
        wiring.own_objects(services)
    except Unavailable as error:
        log.warning("not known yet whose the objects are", extra={"error": str(error)})


def _start_embedded(services: wiring.Services, stack: ExitStack) -> Worker:
    working, ticking = _worker(services), Clock(services)
    working.start()
    stack.callback(working.stop)
    # The lock on the home says that no other worker is alive on the database in it.
    ticking.start(everything=not services.settings.database)
    stack.callback(ticking.stop)
    return working


def _worker(services: wiring.Services) -> Worker:
    settings = services.settings
    name = f"{socket.gethostname()}-{os.getpid()}"
    return Worker(services, wiring.station(services, name), settings.label_set, settings.concurrency)


def _distributed(settings: Settings, command: str) -> Settings:
    if settings.embedded:
        raise Rejected(
            f"a {command} of its own needs a broker: set RUNNER_BROKER to a Redis URL and RUNNER_DATABASE to "
            "a PostgreSQL URL; without them `runner serve` does all of it"
        )
    return settings


def _greet(settings: Settings) -> None:
    token = "RUNNER_TOKEN" if settings.token else str(settings.token_file)
    click.echo(f"runner listens on {settings.address}")
    click.echo(f"the admin token is in {token}")
    click.echo("next: runner repo add NAME --url URL, or open the address in a browser; Ctrl-C stops")


def _local_url(settings: Settings) -> str:
    """Where those on this machine reach the server, whatever it is called outside."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host and '[' not in host else host}:{settings.port}"
