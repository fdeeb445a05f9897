"""Following runs where lines are read one by one: each thing that happens, and each line printed."""

import sys
from collections.abc import Iterable, Iterator
from pkgutil import resolve_name
from typing import Any, Protocol

import click

from runner.cli.terminal import coloured, took
from runner.model.run import NEEDS
from runner.model.step import is_named, name_in
from runner.web.text import one_line, place_of, visible

Values = dict[str, Any]
EXITS = {"success": 0, "skipped": 0, "failure": 1, "cancelled": 3, "timed_out": 124}
"""The exit status that says how a run ended."""
WAITING = 8
"""The one of a run that waits."""
MARKS = {
    "success": ("✓", "green"),
    "failure": ("✗", "red"),
    "timed_out": ("✗", "red"),
    "cancelled": ("⊘", "yellow"),
    "skipped": ("-", "bright_black"),
    "running": ("*", "blue"),
}
LEVELS = {"error": ("✗", "red"), "warning": ("!", "yellow"), "notice": ("i", "blue")}
"""Of what steps say about files."""
PENDING = ("·", "bright_black")
SUSPENDED = ("◷", "yellow")
"""Of what waits for a time, a signal or a person."""
RUNNING: Values = {"status": "running", "reason": "", "started_at": None, "finished_at": None}
LONGEST_LINE = 64 * 1024
SHORT = 80
"""Letters of what a step gave."""


def titled(run: Values) -> str:
    """A run as people know it: its title, its workflow where that says something else, its number."""
    workflow = f" ({run['name']})" if run["title"] != run["name"] else ""
    return f"{run['title']}{workflow} #{run['number']}"


def tree_of(jobs: Iterable[Values]) -> Iterator[str]:
    """Jobs and steps as lines of text, with what steps gave to the program that asked for them."""
    for job in jobs:
        yield marked(job, job["name"])
        yield from tries_of(job, "  ")
        yield from answers_of(job, "  ")
        yield from place_where(job, "  ")
        for step in job["steps"]:
            kept = step["attempt"] and step.get("job") not in (None, job["id"])
            child = f"  run {step['run']}" if step.get("run") else ""
            gave = f"  = {one_line(short(step['value']))}" if step.get("value") else ""
            yield f"  {marked(step, step['name'])}{'  (kept)' if kept else ''}{child}{gave}"
            yield from tries_of(step, "    ")


def short(text: str) -> str:
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}\N{HORIZONTAL ELLIPSIS}"


def line_label(label: str, step: str) -> str:
    """What stands before a line that was printed: with the step where several may print at once."""
    return f"{label} / {name_in(step)}" if is_named(step) else label


def tries_of(one: Values, indent: str) -> Iterator[str]:
    """How a job or a step failed before it was tried again."""
    for number, attempt in enumerate(one["tries"], start=1):
        yield indent + marked(attempt, f"try {number}")


def answers_of(job: Values, indent: str) -> Iterator[str]:
    """What people and signals have said to a job that waited for them."""
    for wait in job.get("waits", ()):
        if wait["answer"] is not None and wait["by"]:
            # A former server does not say what it was about.
            about = wait.get("subject", wait["awaited"])
            comment = f": {wait['comment']}" if wait["comment"] else ""
            yield f"{indent}{one_line(about)}: {wait['answer']} by {one_line(wait['by'] + comment)}"


def place_where(job: Values, indent: str) -> Iterator[str]:
    """Where a job has deployed to."""
    if (found := job.get("environment")) is not None:
        yield indent + one_line(f"environment {found['name']}  {found['url']}".rstrip())


def in_order(jobs: Iterable[Values]) -> list[Values]:
    """Jobs as a run lists them, whenever they came to be known: legs together, called jobs below callers."""
    found = list(jobs)
    first: dict[str, int] = {}
    for at, job in enumerate(found):
        for path in _paths(job):
            first.setdefault(path, at)
    return sorted(found, key=lambda job: [first[path] for path in _paths(job)])


def _paths(job: Values) -> list[str]:
    keys = job["path"].split("/")
    return ["/".join(keys[: end + 1]) for end in range(len(keys))]


def mark_of(one: Values) -> tuple[str, str]:
    """The sign for how a job or a step stands, and its colour."""
    # A step that waits does so for nothing else.
    suspended = "number" in one or any(wait["answer"] is None for wait in one.get("waits", ()))
    if one["status"] == "waiting" and suspended:
        return SUSPENDED
    return MARKS.get(one["status"], PENDING)


def marked(one: Values, name: str) -> str:
    mark, colour = mark_of(one)
    if coloured() is not False:
        mark = click.style(mark, fg=colour)
    about = [
        took(one["started_at"], one["finished_at"]) if one["finished_at"] else one["status"],
        one["reason"],
        "(continue-on-error)" if one.get("conclusion") not in (None, one["status"]) else "",
    ]
    return f"{mark} {one_line(name)}  {'  '.join(one_line(part) for part in about if part)}".rstrip()


def annotations_of(jobs: Iterable[Values]) -> Iterator[str]:
    """What steps said, as lines of text, the worst first: how much of it, and each."""
    said = [(one, job, step) for job in jobs for step in job["steps"] for one in step["annotations"]]
    counts = {level: sum(one["level"] == level for one, _, _ in said) for level in LEVELS}
    if said:
        yield ", ".join(f"{count} {level}{'s' * (count > 1)}" for level, count in counts.items() if count)
    for level, (mark, colour) in LEVELS.items():
        for one, job, step in said:
            if one["level"] == level:
                shown = click.style(mark, fg=colour) if coloured() is not False else mark
                place = place_of(one["file"], one["line"], one["col"]) if one["file"] else ""
                title = f"{one['title']}:" if one["title"] else ""
                parts = (place, title, one["message"], f"({job['name']} / {step['name']})")
                yield f"{shown} {'  '.join(one_line(part) for part in parts if part)}"


class Show(Protocol):
    def __enter__(self) -> "Show": ...

    def __exit__(self, *_: object) -> None: ...

    def run(self, said: Values) -> None: ...

    def job(self, said: Values) -> None: ...

    def log(self, said: Values) -> None: ...


def a_show() -> Show:
    """A tree that is drawn again and again on a terminal, lines elsewhere."""
    # What draws is imported where there is something to draw on.
    made: Show = resolve_name("runner.cli.tree:Tree")() if sys.stdout.isatty() else Lines()
    return made


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

    def rest(self, job: int, step: str | None = None) -> list[tuple[str, str]]:
        """What a job's steps, or one of them, printed without ending the line; each with its step."""
        keys = [key for key in self._rests if key[0] == job and step in (None, key[2])]
        return [(key[2], self._rests.pop(key)) for key in keys]


class Lines:
    """One line for each thing that happens, with the job's label in front."""

    def __init__(self) -> None:
        self._split = Split()
        self._states: dict[tuple[int, str], str] = {}
        self._waits: dict[int, str] = {}
        self._runs: set[int] = set()

    def __enter__(self) -> Show:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def run(self, said: Values) -> None:
        if said["id"] not in self._runs:
            self._runs.add(said["id"])
            about = f"{titled(said)} of {said['repo']} at {said['commit'][:12]}"
            click.echo(f"run {said['id']}  {one_line(about)}")

    def job(self, said: Values) -> None:
        # That jobs need each other is known to whoever wrote the workflow.
        held_up = said["status"] in ("waiting", "queued") and not said["reason"].startswith(NEEDS)
        if held_up and said["reason"] != self._waits.get(said["id"], ""):
            self._waits[said["id"]] = said["reason"]
            self._print(said["label"], marked(said, said["name"]))
        for step in said["steps"]:
            if is_named(step["key"]) and step["conclusion"]:
                self._end_line(said, step["key"])
            self._tell(said, (said["id"], step["key"]), step, step["name"])
        if said["status"] not in ("waiting", "queued", "running"):
            self._end_line(said)
        self._tell(said, (said["id"], ""), said, "")

    def log(self, said: Values) -> None:
        key = (said["job"], said["step"])
        if said["name"] and self._states.get(key, "queued") == "queued":
            self._states[key] = "running"
            self._print(said["label"], marked(RUNNING, said["name"]))
        for line in self._split.lines(said):
            self._print(line_label(said["label"], said["step"]), line)

    def _end_line(self, job: Values, step: str | None = None) -> None:
        for of, line in self._split.rest(job["id"], step):
            self._print(line_label(job["label"], of), line)

    def _tell(self, job: Values, key: tuple[int, str], one: Values, name: str) -> None:
        known, status = self._states.get(key), one["status"]
        self._states[key] = status
        # Of a step that waits in a job whose other steps go on, nothing else tells.
        silent = ("queued",) if is_named(key[1]) else ("waiting", "queued")
        if status != known and status not in silent:
            self._print(job["label"], marked(one, name) if name else f"{marked(one, job['name'])}")

    def _print(self, job: str, line: str) -> None:
        for shown in visible(line.removesuffix("\r"), colours=True).split("\n"):
            click.echo(f"[{one_line(job)}] {shown}", color=coloured())
