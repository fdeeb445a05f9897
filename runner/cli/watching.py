"""Following a run: a live tree on a terminal, prefixed lines elsewhere, and how to end as it did."""

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
from rich.text import Text

from runner.cli.common import coloured, took
from runner.client import Client, Values
from runner.settings import Settings
from runner.web.text import one_line, visible

EXITS = {"success": 0, "skipped": 0, "failure": 1, "cancelled": 3, "timed_out": 124}
INVALID = 5
MARKS = {
    "success": ("✓", "green"),
    "failure": ("✗", "red"),
    "timed_out": ("✗", "red"),
    "cancelled": ("⊘", "yellow"),
    "skipped": ("-", "bright_black"),
    "running": ("*", "blue"),
}
PENDING = ("·", "bright_black")
RUNNING: Values = {"status": "running", "reason": "", "started_at": None, "finished_at": None}
LAST_LINES = 8
LONGEST_LINE = 64 * 1024


def ended(run: Values) -> int:
    """The exit status that says how a run ended; 0 while it goes on."""
    return INVALID if run["problems"] else EXITS.get(run["status"], 0)


def watch_run(client: Client, run_id: int, attempt: int | None = None) -> int:
    """Show a run until it has ended, and give the status to exit with."""
    show: Show = Tree() if sys.stdout.isatty() else Lines()
    run: Values = {}
    with show:
        for kind, said in client.watch(run_id, attempt):
            match kind:
                case "run":
                    run = said
                    show.run(said)
                case "job":
                    show.job(said)
                case "log":
                    show.log(said)
    click.echo(f"run {run_id} {run['status']} in {took(run['started_at'], run['finished_at']) or '0s'}")
    for problem in run["problems"]:
        click.echo(f"  {one_line(problem)}")
    if ended(run) not in (0, INVALID):
        click.echo(f"`runner runs view {run_id} --log-failed` shows the log of what failed", err=True)
    return ended(run)


def tree_of(jobs: Iterable[Values]) -> Iterator[str]:
    """Jobs and steps as lines of text."""
    for job in jobs:
        yield _marked(job, job["name"])
        for step in job["steps"]:
            yield "  " + _marked(step, step["name"])


def _marked(one: Values, name: str) -> str:
    mark, colour = MARKS.get(one["status"], PENDING)
    if coloured() is not False:
        mark = click.style(mark, fg=colour)
    about = [
        took(one["started_at"], one["finished_at"]) if one["finished_at"] else one["status"],
        one["reason"],
    ]
    return f"{mark} {one_line(name)}  {'  '.join(one_line(part) for part in about if part)}".rstrip()


class Show(Protocol):
    def __enter__(self) -> object: ...

    def __exit__(self, *_: object) -> None: ...

    def run(self, said: Values) -> None: ...

    def job(self, said: Values) -> None: ...

    def log(self, said: Values) -> None: ...


class Split:
    """Cuts the text of each step into lines; a line is handed on when it is whole."""

    def __init__(self) -> None:
        self._rests: dict[tuple[int, int, str], str] = {}

    def lines(self, said: Values) -> list[str]:
        key = (said["job"], said["attempt"], said["step"])
        text: str = self._rests.pop(key, "") + said["text"]
        *lines, rest = text.split("\n")
        if len(rest) > LONGEST_LINE:
            lines, rest = [*lines, rest], ""
        if rest:
            self._rests[key] = rest
        return lines

    def rest(self, job: int) -> list[str]:
        """What a job's steps printed without ending the line."""
        keys = [key for key in self._rests if key[0] == job]
        return [self._rests.pop(key) for key in keys]


class Lines:
    """One line for each thing that happens, with the job's key in front."""

    def __init__(self) -> None:
        self._split = Split()
        self._states: dict[tuple[int, str], str] = {}
        self._waits: dict[int, str] = {}

    def __enter__(self) -> object:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def run(self, said: Values) -> None:
        if (0, "") not in self._states:
            self._states[0, ""] = said["status"]
            about = f"{said['name']} #{said['number']} of {said['repo']} at {said['commit'][:12]}"
            click.echo(f"run {said['id']}  {one_line(about)}")

    def job(self, said: Values) -> None:
        if said["status"] == "queued" and said["reason"] != self._waits.get(said["id"], ""):
            self._waits[said["id"]] = said["reason"]
            self._print(said["key"], _marked(said, said["name"]))
        for step in said["steps"]:
            self._tell(said, (said["id"], step["key"]), step, step["name"])
        if said["status"] not in ("waiting", "queued", "running"):
            for line in self._split.rest(said["id"]):
                self._print(said["key"], line)
        self._tell(said, (said["id"], ""), said, "")

    def log(self, said: Values) -> None:
        key = (said["job"], said["step"])
        if said["name"] and self._states.get(key, "queued") == "queued":
            self._states[key] = "running"
            self._print(said["key"], _marked(RUNNING, said["name"]))
        for line in self._split.lines(said):
            self._print(said["key"], line)

    def _tell(self, job: Values, key: tuple[int, str], one: Values, name: str) -> None:
        known, status = self._states.get(key), one["status"]
        self._states[key] = status
        if status != known and status not in ("waiting", "queued"):
            self._print(job["key"], _marked(one, name) if name else f"{_marked(one, job['name'])}")

    def _print(self, job: str, line: str) -> None:
        for shown in visible(line.removesuffix("\r"), colours=True).split("\n"):
            click.echo(f"[{one_line(job)}] {shown}", color=coloured())


class Tree:
    """Jobs and steps with their times, redrawn in place, and the last lines of what runs."""

    def __init__(self) -> None:
        self._run: Values = {}
        self._jobs: dict[int, Values] = {}
        self._split = Split()
        self._last: dict[int, deque[str]] = {}
        console = Console(no_color=Settings.colourless())
        self._live = Live(console=console, get_renderable=self._drawn, refresh_per_second=8)

    def __enter__(self) -> object:
        return self._live.__enter__()

    def __exit__(self, *_: object) -> None:
        self._live.refresh()
        self._live.__exit__(None, None, None)

    def run(self, said: Values) -> None:
        self._run = said

    def job(self, said: Values) -> None:
        self._jobs[said["id"]] = said

    def log(self, said: Values) -> None:
        last = self._last.setdefault(said["job"], deque(maxlen=LAST_LINES))
        for line in self._split.lines(said):
            last.extend(visible(line.removesuffix("\r")).split("\n"))

    def _drawn(self) -> RenderableType:
        rows: list[RenderableType] = []
        if self._run:
            about = f"{self._run['name']} #{self._run['number']} of {self._run['repo']} "
            commit = self._run["commit"][:12]
            rows.append(Text(f"run {self._run['id']}  {one_line(about)}at {commit}", style="bold"))
        for job in self._jobs.values():
            rows.append(_row(job, job["name"], 0))
            if job["status"] != "success":
                rows += [_row(step, step["name"], 2) for step in job["steps"]]
            if job["status"] == "running":
                lines = self._last.get(job["id"], ())
                rows += [
                    Text(f"    │ {line}", style="dim", no_wrap=True, overflow="ellipsis") for line in lines
                ]
        return Group(*rows)


def _row(one: Values, name: str, indent: int) -> RenderableType:
    mark, colour = MARKS.get(one["status"], PENDING)
    text = Text(one_line(name))
    text.append(f"  {took(one['started_at'], one['finished_at'])}", style="dim")
    if one["reason"]:
        text.append(f"  {one_line(one['reason'])}", style="dim")
    if one["status"] != "running":
        return Text.assemble(" " * indent, (f"{mark} ", colour), text)
    spinner = Spinner("dots", text, style="blue")
    return Padding(spinner, (0, 0, 0, indent))
