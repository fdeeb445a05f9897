"""What a step left behind."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from runner.model.blob import Blob


class Result(StrEnum):
    """How a step, a job or a run ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    TIMED_OUT = "timed_out"

    @property
    def failed(self) -> bool:
        return self in (Result.FAILURE, Result.TIMED_OUT)

    @property
    def ok(self) -> bool:
        return self is Result.SUCCESS or self is Result.SKIPPED


@dataclass(frozen=True, slots=True)
class Exports:
    """What a step adds for the steps after it: variables, and folders put before PATH, newest last."""

    env: Mapping[str, str] = field(default_factory=dict)
    path: tuple[str, ...] = ()

    def then(self, later: "Exports") -> "Exports":
        """These, and on top of them what a later step adds."""
        return Exports({**self.env, **later.env}, self.path + later.path)


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a step says about a place in the repository's files, or about itself."""

    level: str
    """error, warning or notice"""
    message: str
    title: str = ""
    file: str = ""
    line: int | None = None
    end_line: int | None = None
    col: int | None = None
    end_col: int | None = None


def step_key(path: tuple[int, ...]) -> str:
    """How a step is known by: positions from 1, each but the first inside a composite action."""
    return ".".join(str(place + 1) for place in path)


NUMBER = "#"
"""In the key of a step that a program asked for by a name: between that and how often it was asked."""
_MARKS = "%#~!."
_WRITTEN = re.compile(r"%(?:u([0-9A-F]{6})|([0-9A-F]{2}))")


def named_key(name: str, number: int) -> str:
    """How the `number`th step that a program asked for under a name is known by.

    What has a meaning in keys, and what no text may have that is stored or shown on a page, stands there in
    other letters: no two steps have the same key, and none has that of another kind of step.
    """
    return "".join(map(_written, name)) + f"{NUMBER}{number}"


def is_named(key: str) -> bool:
    """Whether a step is one that a program asked for by a name."""
    return NUMBER in key


def name_in(key: str) -> str:
    """What such a step is called for people: as it was asked for, with a number from the second time on."""
    name, _, number = key.rpartition(NUMBER)
    number, _, end = number.partition(".")
    name = _read(name) if number == "1" else f"{_read(name)} ({number})"
    return f"{end.capitalize()} {name}" if end else name


def named_in(key: str) -> tuple[str, int]:
    """The name under which such a step was asked for, and how often that was: what `named_key` was given."""
    name, _, number = key.rpartition(NUMBER)
    return _read(name), int(number)


def _read(name: str) -> str:
    return _WRITTEN.sub(lambda found: chr(int(found[1] or found[2], 16)), name)


def _written(letter: str) -> str:
    odd = letter in _MARKS or unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    if not odd:
        return letter
    return f"%{ord(letter):02X}" if ord(letter) < 0x100 else f"%u{ord(letter):06X}"


@dataclass(frozen=True, slots=True)
class Post:
    """What an action still has to do when the job ends.

    `path` leads to its step: positions from 0, each but the first inside a composite action. `state` is what
    it wrote down for itself, `steps` what the steps before it in its composite action gave.
    """

    path: tuple[int, ...]
    state: Mapping[str, str] = field(default_factory=dict)
    steps: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{step_key(self.path)}.post"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one step ended and what it hands on.

    `result` is what the step itself did; `conclusion` is what counts for the job, and differs
    only under `continue-on-error`.
    """

    result: Result
    conclusion: Result
    exit_code: int | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    exports: Exports = field(default_factory=Exports)
    summary: str = ""
    reason: str = ""
    """Why it did not succeed where the exit code does not say it."""
    annotations: tuple[Annotation, ...] = ()
    posts: tuple[Post, ...] = ()
    masks: tuple[str, ...] = ()
    """What is not to be shown any more from this step on, beside the secrets."""
    matchers: tuple[str, ...] = ()
    """What it said about problem matchers: files to add, as JSON."""
    given_up: bool = False
    """Whether it was not done, for fear of doing it twice."""
    takes_back: bool = False
    """Whether it was to take back what the program had done before."""
    value: str | None = None
    """What it gave to the program that asked for it, as JSON in ASCII; of one that failed, its error."""
    blob: Blob | None = None
    """The object that the value is in, where it is too long to be a checkpoint's own."""
    shown: str | None = None
    """What people see of the value, where that is something else: less of it, or without its secrets."""
    request: str = ""
    """What the program asked for, in words for people."""
    line: str = ""
    """Where in the program: `deploy.py:12`."""
    on_lost: str = ""
    """What the program said is to become of it where it might run twice; empty where it does no harm."""


TRY = "~"
"""Between a step's key and a number: the key of the checkpoint of a try that was not the last one."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A step's outcome as it was recorded, once, under the fence of `attempt`.

    `snapshot` names the workspace's files as the step left them, or as they were before where they are not
    `kept`: the job came to its end.
    """

    job: int
    key: str
    attempt: int
    fingerprint: str
    outcome: Outcome
    started: datetime
    finished: datetime
    snapshot: str
    kept: bool = True
