"""The options of `runner repo add` and `runner repo set` that say what a repository may use."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import click

from runner.model.limits import shown
from runner.settings import seconds

Command = TypeVar("Command", bound=Callable[..., Any])
OPTIONS = {
    "max_jobs": "Jobs of it that run at once.",
    "max_queued": "Runs of it that have not ended; a delivery beyond that is ignored, and can be replayed.",
    "queue_timeout": "How long a job waits for a worker before it fails, such as 1h.",
    "run_timeout": "How long a run may take, waiting included, before it is cancelled, such as 2d.",
    "keep_logs": "How long logs stay after the end of their run, such as 30d.",
    "keep_runs": "How long runs stay after their end, such as 90d.",
    "keep_artifacts": "How long artifacts stay at the most, such as 30d; none outlives its run.",
    "keep_snapshots": "How long files of jobs stay after the end of their run, to go on from, such as 7d.",
    "cache_bytes": "How large its caches may be together, in bytes.",
}
MOST = {"max_jobs": 10**6, "max_queued": 10**6, "cache_bytes": 2**50}
"""Of those that are numbers; all others are times."""
SERVERS = "default"
"""What is said for the server's own."""
OTHERS = f"0 is no limit, `{SERVERS}` the server's"


class Limit(click.ParamType[Any]):
    """A number or a span of time; 0 is none, and `default` what the server says."""

    def __init__(self, most: int | None) -> None:
        self.name = "time" if most is None else "number"
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == SERVERS:
            return SERVERS
        if self._most is not None:
            if str(value).isdecimal() and int(value) <= self._most:
                return int(value)
            self.fail(f"{value!r} is no number up to {self._most}; {OTHERS}", param, ctx)
        try:
            return seconds(value)
        except ValueError as error:
            self.fail(f"{error}; 0 is no limit, `{SERVERS}` the server's", param, ctx)


def limit_options(command: Command) -> Command:
    for name, text in reversed(OPTIONS.items()):
        option = f"--{name.replace('_', '-')}"
        command = click.option(option, type=Limit(MOST.get(name)), help=text)(command)
    return command


def limits_said(given: Mapping[str, Any]) -> dict[str, int | None]:
    """What the API is told of the options that were given."""
    said = {name: given[name] for name in OPTIONS if given.get(name) is not None}
    return {name: None if value == SERVERS else value for name, value in said.items()}


def limit_pairs(limits: Mapping[str, int | None]) -> Iterator[tuple[str, str]]:
    """Those that are said of a repository, as people read them."""
    for name, value in limits.items():
        if value is not None:
            text = str(value) if name in MOST else shown(timedelta(seconds=value))
            yield name.replace("_", " "), text if value else "no limit"
