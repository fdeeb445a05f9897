"""What a workflow file says, as values that cannot be wrong."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from runner.errors import BrokenDefinition
from runner.expr.template import Template

DEFAULT_TIMEOUT = 360.0
"""Minutes a job may take where it does not say."""

TITLE_LENGTH = 80


class Pos(NamedTuple):
    """A place in a file, both numbers from 1."""

    line: int
    col: int


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong with a file, and what would have worked; see `problem_at`."""

    path: str
    line: int
    col: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.col}: {self.message}"


def problem_at(path: str, pos: Pos, message: str) -> Problem:
    """A problem on one line of plain text, though it quotes a file that may hold anything."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
    return Problem(path, *pos, shown)


class InvalidWorkflow(BrokenDefinition):
    """A workflow file cannot be run; lists every problem, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Filter:
    """Patterns that a name must match, or with `ignore`, must not match."""

    patterns: tuple[str, ...]
    ignore: bool = False


@dataclass(frozen=True, slots=True)
class Push:
    """Which pushes start a workflow; without a filter on branches or tags, all of them."""

    branches: Filter | None = None
    tags: Filter | None = None
    paths: Filter | None = None


@dataclass(frozen=True, slots=True)
class Triggers:
    """The events that start a workflow; None for one that does not."""

    push: Push | None = None


@dataclass(frozen=True, slots=True)
class StepDef:
    """One step. `key` is its position among its job's steps, from 1, as text.

    The job's and the workflow's defaults are already in `shell` and `working_directory`; `env` is the
    step's own only. `timeout` is in minutes.
    """

    key: str
    run: Template
    pos: Pos
    id: str | None = None
    name: Template | None = None
    shell: str | None = None
    working_directory: Template | None = None
    env: Mapping[str, Template] = field(default_factory=dict)
    timeout: float | None = None
    continue_on_error: bool = False

    @property
    def title(self) -> str:
        """What to call it before it has run: its name as written, else the first line it runs."""
        if self.name is not None and self.name.text.strip():
            return " ".join(self.name.text.split())
        lines = self.run.text.strip().splitlines()
        title = f"Run {lines[0].strip()}" if lines else "Run"
        return title if len(title) <= TITLE_LENGTH else f"{title[: TITLE_LENGTH - 1]}…"


@dataclass(frozen=True, slots=True)
class JobDef:
    """One job. `runs_on` are its labels in lower case, each once; `timeout` is in minutes."""

    key: str
    name: str
    runs_on: tuple[str, ...]
    steps: tuple[StepDef, ...]
    pos: Pos
    needs: tuple[str, ...] = ()
    env: Mapping[str, Template] = field(default_factory=dict)
    timeout: float = DEFAULT_TIMEOUT
    container: str | None = None


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow file that can be run: `needs` name jobs that exist and never form a circle."""

    path: str
    name: str
    on: Triggers
    jobs: tuple[JobDef, ...]
    env: Mapping[str, Template] = field(default_factory=dict)

    def job(self, key: str) -> JobDef:
        for job in self.jobs:
            if job.key == key:
                return job
        raise KeyError(key)


def circle(needs: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Jobs that wait for each other, the first one again at the end; empty where there are none.

    Not recursive, so that a file with thousands of jobs in one chain can be read.
    """
    done: set[str] = set()
    for start in needs:
        trail: dict[str, list[str]] = {}
        current: str | None = start
        while current is not None:
            if current in done:
                current = last(trail)
            elif current not in trail:
                trail[current] = [need for need in needs[current] if need in needs]
            elif trail[current]:
                below = trail[current].pop()
                if below in trail:
                    path = list(trail)
                    return (*path[path.index(below) :], below)
                current = below
            else:
                del trail[current]
                done.add(current)
                current = last(trail)
    return ()


def last(trail: dict[str, list[str]]) -> str | None:
    return next(reversed(trail), None)
