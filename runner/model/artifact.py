"""Artifacts: files that a run keeps under a name, for its later jobs, for other runs and for people."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from runner.errors import BrokenDefinition
from runner.model.blob import Blob
from runner.model.source import Route

MOST_BYTES = 2 * 1024**3
MOST_FILES = 100_000
MOST_OF_A_JOB = 500
LONGEST_NAME = 255
LONGEST_PATH = 2**16 - 1
"""As in zip files."""
_IN_PATHS = {
    '"': 'Double quote "',
    ":": "Colon :",
    "<": "Less than <",
    ">": "Greater than >",
    "|": "Vertical bar |",
    "*": "Asterisk *",
    "?": "Question mark ?",
    "\r": "Carriage return \\r",
    "\n": "Line feed \\n",
}
_IN_NAMES = {**_IN_PATHS, "\\": "Backslash \\", "/": "Forward slash /"}
"""What forges take in no name, since some file systems do not."""


class NameTaken(BrokenDefinition):
    """The attempt of the run has an artifact of that name already."""


@dataclass(frozen=True, slots=True)
class Maker:
    """Who makes an artifact: a step of a job's attempt. `base` is the job's: what came before starts over.

    `trusted`: whether the code that makes it is of those who may push.
    """

    route: Route
    run: int
    run_attempt: int
    job: int
    attempt: int
    base: int
    step: str
    trusted: bool


@dataclass(frozen=True, slots=True)
class Artifact:
    """One that is kept. `files` is how many it has, `expires_at` None where it stays as long as its run."""

    id: int
    run: int
    run_attempt: int
    job: int
    step: str
    name: str
    blob: Blob
    files: int
    trusted: bool
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewArtifact:
    """One that is about to be. `days`: for how long it is to be kept; None is as long as it may be."""

    maker: Maker
    name: str
    blob: Blob
    files: int
    days: int | None = None


def newest(found: Iterable[Artifact]) -> list[Artifact]:
    """Of each name the one that counts, which is the newest attempt's; in the order of their names."""
    counting: dict[str, Artifact] = {}
    for one in sorted(found, key=lambda one: (one.run_attempt, one.id)):
        counting[one.name] = one
    return [counting[name] for name in sorted(counting)]


def checked_name(name: str) -> str:
    """Raises `BrokenDefinition`."""
    for letter, called in _IN_NAMES.items():
        if letter in name:
            raise BrokenDefinition(
                f"The artifact name is not valid: {name[:100]!a}. Contains the following character: {called}"
            )
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable() or name in (".", ".."):
        raise BrokenDefinition(
            f"The artifact name is not valid: {name[:100]!a}. It has 1 to {LONGEST_NAME} printable letters"
        )
    return name


def checked_path(path: str) -> str:
    """The path of a file in an artifact. Raises `BrokenDefinition`."""
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        raise BrokenDefinition(
            f"The path for one of the files in artifact is not valid: {path[:200]!a}. It is no UTF-8"
        ) from None
    if length > LONGEST_PATH:
        raise BrokenDefinition(
            f"The path for one of the files in artifact is not valid: {path[:200]!a}... It is longer than "
            f"{LONGEST_PATH} bytes"
        )
    for letter, called in _IN_PATHS.items():
        if letter in path:
            raise BrokenDefinition(
                f"The path for one of the files in artifact is not valid: {path[:200]!a}. "
                f"Contains the following character: {called}"
            )
    return path
