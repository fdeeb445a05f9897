"""`runner doctor`: what works on this machine, and why the rest does not."""

import shutil
import stat
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import click

from runner import wiring
from runner.cli.common import JsonCommand, json_option, print_json
from runner.cli.listening import listening
from runner.cli.terminal import coloured
from runner.engine.sources import OPEN
from runner.errors import Rejected, RunnerError, Unavailable
from runner.model.source import Repository
from runner.settings import Settings
from runner.store.database import Shape

NETWORKS = {
    "host": "steps share this machine's network, localhost too",
    "sandbox": "steps share this machine's network, localhost too (RUNNER_JOB_NETWORK)",
    "docker": "steps are on a docker network of their job's own (RUNNER_JOB_NETWORK)",
}
OFFLINE = "steps have no network (RUNNER_JOB_NETWORK)"
NEWEST_FEATURE = (2, 31)
"""git's version that knows GIT_CONFIG_COUNT, through which it gets its settings from us."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`needed`: no job can run without it."""

    name: str
    works: bool
    said: str
    needed: bool


@click.command(cls=JsonCommand)
@click.option("--home", type=click.Path(path_type=Path), help="The server's folder; RUNNER_HOME.")
@json_option
def doctor(home: Path | None, fields: str | None) -> int:
    """Say what works here; ends with 0 where a job could run."""
    settings = Settings.from_env(home=home)
    with closing(wiring.services(settings)) as services:
        findings = examine(services)
    works = all(finding.works for finding in findings if finding.needed)
    if fields is not None:
        print_json({"works": works, "findings": [asdict(finding) for finding in findings]}, fields)
        return 0 if works else 1
    for finding in findings:
        mark, colour = (
            ("✓", "green") if finding.works else ("✗", "red") if finding.needed else ("-", "yellow")
        )
        click.echo(f"{click.style(mark, fg=colour)} {finding.name:<20} {finding.said}", color=coloured())
    click.echo("a job could run here" if works else "no job could run here; mend what is marked ✗")
    return 0 if works else 1


def examine(services: wiring.Services) -> list[Finding]:
    """Everything that is looked at, in the order in which it is shown."""
    chosen = services.settings.executor
    return [
        _finding("home", lambda: _home(services.settings)),
        _finding("address", lambda: _address(services.settings)),
        _finding("git", _git),
        _finding("workspaces", lambda: _workspaces(services), needed=False),
        _finding("actions", lambda: _actions(services), needed=False),
        _finding("database", lambda: _database(services)),
        _finding("secrets", lambda: _secrets(services), needed=False),
        _finding("objects", lambda: _objects(services), needed=False),
        _finding("broker", lambda: _broker(services)),
        *[_executor(services, name, chosen) for name in services.executors],
    ]


def _finding(name: str, look: Callable[[], str], needed: bool = True) -> Finding:
    try:
        return Finding(name, True, look(), needed)
    except (RunnerError, OSError) as error:
        return Finding(name, False, str(error), needed)


def _home(settings: Settings) -> str:
    found = settings.home.stat()
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Unavailable(f"{settings.home} may be written to by others; chmod 711 {settings.home}")
    if settings.token_file.exists() and settings.token_file.stat().st_mode & 0o077:
        raise Unavailable(f"{settings.token_file} may be read by others; chmod 600 {settings.token_file}")
    free = shutil.disk_usage(settings.home).free
    return f"{settings.home}, {free // 2**20} MiB free"


def _address(settings: Settings) -> str:
    # Any free port: a server that runs has its own.
    listening(settings.host, 0).close()
    return f"{settings.host} can be listened on"


def _git() -> str:
    try:
        said = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"git does not start: {error}; install git") from None
    version = said.split()[2]
    if tuple(int(part) for part in version.split(".")[:2]) < NEWEST_FEATURE:
        wanted = ".".join(map(str, NEWEST_FEATURE))
        raise Unavailable(f"git {version} is too old; {wanted} or newer is needed")
    return f"git {version}"


def _workspaces(services: wiring.Services) -> str:
    if why := services.workspaces.overlay_problem():
        unable = services.workspaces.clone_problem()
        how = f"written one by one, for they cannot be cloned: {unable}" if unable else "cloned one by one"
        raise Unavailable(f"each job's files are {how}; no overlay can be mounted: {why}")
    return "jobs' folders are overlays"


def _actions(services: wiring.Services) -> str:
    url = services.settings.actions_url
    services.workspaces.check(Repository(OPEN, "RUNNER_ACTIONS_URL", f"{url}/owner/name"))
    return f"owner/name is cloned from {url}/owner/name (RUNNER_ACTIONS_URL)"


def _database(services: wiring.Services) -> str:
    kind = "SQLite" if services.database.lite else "PostgreSQL"
    found = services.database.shape()
    if found is Shape.CURRENT:
        return f"{kind}, tables up to date"
    if found is Shape.OLDER and services.settings.embedded:
        return f"{kind}, tables are made when `runner serve` starts"
    raise Unavailable(f"{kind} answers, but {found.value}")


def _secrets(services: wiring.Services) -> str:
    if not services.database.current():
        return "looked at once the tables are this version's"
    return services.vault.check()


def _objects(services: wiring.Services) -> str:
    settings, said = services.settings, b"written by runner doctor"
    try:
        probe = services.objects.put("probe", lambda file: _write(file, said))
        with services.objects.open(probe) as file:
            works = file.read() == said
        services.objects.remove(probe.key)
        if services.database.current():
            wiring.own_objects(services)
    except Rejected:
        raise
    except RunnerError as error:
        raise Unavailable(f"{error} (RUNNER_OBJECTS)") from None
    if not works:
        raise Unavailable(f"{settings.objects or settings.home} gives back something else than was put there")
    if settings.objects:
        return f"{settings.objects}, written and read"
    folder = f"{settings.home / 'objects'}, written and read"
    if services.database.lite:
        return folder
    return (
        f"{folder}; workers on other machines do not see it unless it is shared: "
        "RUNNER_OBJECTS=s3://BUCKET/PREFIX is for several"
    )


def _write(file: BinaryIO, said: bytes) -> None:
    file.write(said)


def _broker(services: wiring.Services) -> str:
    services.dispatcher.check()
    return "in this process" if services.settings.embedded else "answers"


def _executor(services: wiring.Services, name: str, chosen: str) -> Finding:
    default = name == chosen

    def look() -> str:
        if why := services.executors[name]().check():
            raise Unavailable(why)
        works = "works, the default" if default else "works"
        return f"{works}; {NETWORKS[name] if services.settings.job_network or name == 'host' else OFFLINE}"

    return _finding(f"executor {name}", look, needed=default)
