"""Following runs on a terminal: jobs and steps as a tree that is redrawn in place."""

from collections import deque

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
from rich.text import Text

from runner.cli.lines import Show, Split, Values, in_order, mark_of, titled
from runner.cli.terminal import took
from runner.environment import colourless
from runner.model.step import is_named, name_in
from runner.web.text import one_line, visible

LAST_LINES = 8
MOST_STEPS = 16


class Tree:
    """Jobs and steps with their times, redrawn in place, and the last lines of what runs."""

    def __init__(self) -> None:
        self._runs: dict[int, Values] = {}
        self._jobs: dict[int, Values] = {}
        self._split = Split()
        self._last: dict[int, deque[str]] = {}
        self._console = Console(no_color=colourless())

    def __enter__(self) -> Show:
        # One that is left, as to ask something, is drawn anew below that.
        self._live = Live(console=self._console, get_renderable=self._drawn, refresh_per_second=8)
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.refresh()
        self._live.__exit__(None, None, None)

    def run(self, said: Values) -> None:
        self._runs[said["id"]] = said

    def job(self, said: Values) -> None:
        self._jobs[said["id"]] = said

    def log(self, said: Values) -> None:
        last = self._last.setdefault(said["job"], deque(maxlen=LAST_LINES))
        whose = f"{name_in(said['step'])}: " if is_named(said["step"]) else ""
        for line in self._split.lines(said):
            last.extend(visible(whose + line.removesuffix("\r")).split("\n"))

    def _drawn(self) -> RenderableType:
        rows: list[RenderableType] = []
        for run in list(self._runs.values()):
            about = one_line(f"{titled(run)} of {run['repo']}")
            rows.append(Text(f"run {run['id']}  {about} at {run['commit'][:12]}", style="bold"))
            # Whoever follows a single run need not be told whose jobs these are.
            for job in in_order(self._jobs.values()):
                if job.get("run", run["id"]) == run["id"]:
                    rows += self._rows_of(job)
        return Group(*rows)

    def _rows_of(self, job: Values) -> list[RenderableType]:
        rows = [_row(job, job["name"], 0)]
        if job["status"] != "success":
            more, steps = _shown(job["steps"])
            rows += [Text(f"    {more} more, which are over", style="dim")] * bool(more)
            rows += [_row(step, step["name"], 2) for step in steps]
        if job["status"] == "running":
            lines = self._last.get(job["id"], ())
            rows += [Text(f"    │ {line}", style="dim", no_wrap=True, overflow="ellipsis") for line in lines]
        return rows


def _shown(steps: list[Values]) -> tuple[int, list[Values]]:
    """Of the steps of a program, which may be thousands, the last and all that go on; how many are not."""
    if not any(is_named(step["key"]) for step in steps):
        return 0, steps
    last = len(steps) - MOST_STEPS
    shown = [step for at, step in enumerate(steps) if at >= last or not step["conclusion"]]
    return len(steps) - len(shown), shown


def _row(one: Values, name: str, indent: int) -> RenderableType:
    mark, colour = mark_of(one)
    text = Text(one_line(name))
    text.append(f"  {took(one['started_at'], one['finished_at'])}", style="dim")
    if one["reason"]:
        text.append(f"  {one_line(one['reason'])}", style="dim")
    if one["status"] != "running":
        return Text.assemble(" " * indent, (f"{mark} ", colour), text)
    spinner = Spinner("dots", text, style="blue")
    return Padding(spinner, (0, 0, 0, indent))
