"""The files through which a step hands things on: GITHUB_OUTPUT, GITHUB_ENV, GITHUB_PATH, summaries.

The format is GitHub's "Workflow commands", section "Environment files":
https://docs.github.com/actions/reference/workflow-commands-for-github-actions#environment-files
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runner.engine.remove import remove
from runner.errors import BrokenDefinition
from runner.model.step import Exports

FILE_BYTES = 1024 * 1024
"""The limit of each file: a step's result is at most 1 MiB."""
VARIABLES = {
    "GITHUB_OUTPUT": "output",
    "GITHUB_ENV": "env",
    "GITHUB_PATH": "path",
    "GITHUB_STEP_SUMMARY": "summary",
    "GITHUB_STATE": "state",
}
FOLDER = "_runner_"
"""How the names of our own files in the temp folder begin."""
BLOCKED = frozenset({"NODE_OPTIONS"})
"""GitHub refuses to set these for later steps."""


class BadCommandFile(BrokenDefinition):
    """A step wrote what cannot be read as an environment file, or too much of it."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a step wrote into its files."""

    outputs: Mapping[str, str]
    exports: Exports
    summary: str
    state: Mapping[str, str] = field(default_factory=dict)


class CommandFiles:
    """A job's files in its temp folder: `folder` as we see it, `inside` as the steps do.

    Each step finds them empty. They are the same files for all steps, because making one costs more
    than all else that we do for a short step.
    """

    def __init__(self, folder: Path, inside: str, slot: str = "") -> None:
        """`slot` sets those of steps apart that run at the same time."""
        self._paths = {kind: f"{folder}/{FOLDER}{slot}{kind}" for kind in VARIABLES.values()}
        self.variables = {name: f"{inside}/{FOLDER}{slot}{kind}" for name, kind in VARIABLES.items()}

    def empty(self) -> None:
        """Make them empty, whatever an earlier step put in their place."""
        for path in self._paths.values():
            if not _is_empty(path):
                place_file(path, b"", 0o666)

    def read(self) -> Written:
        """Raises `BadCommandFile`."""
        env = parse_pairs(self._text("GITHUB_ENV"), "GITHUB_ENV")
        for name in env:
            if name.upper() in BLOCKED:
                raise BadCommandFile(f"GITHUB_ENV: {name} cannot be set for later steps")
        path = parse_lines(self._text("GITHUB_PATH"), "GITHUB_PATH")
        outputs = parse_pairs(self._text("GITHUB_OUTPUT"), "GITHUB_OUTPUT")
        state = parse_pairs(self._text("GITHUB_STATE"), "GITHUB_STATE")
        return Written(outputs, Exports(env, path), self._text("GITHUB_STEP_SUMMARY"), state)

    def _text(self, variable: str) -> str:
        path = self._paths[VARIABLES[variable]]
        if _is_empty(path):
            return ""
        try:
            # A step may have put a link or a pipe here; neither may make us read another file or wait.
            opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise BadCommandFile(f"{variable}: the file cannot be read: {error.strerror}") from None
        try:
            found = os.fstat(opened)
            if not stat.S_ISREG(found.st_mode):
                raise BadCommandFile(f"{variable}: the step replaced the file with something that is no file")
            data = os.read(opened, FILE_BYTES + 1) if found.st_size else b""
        finally:
            os.close(opened)
        if len(data) > FILE_BYTES:
            raise BadCommandFile(f"{variable}: more than the limit of {FILE_BYTES} bytes was written")
        return data.decode("utf-8-sig", errors="replace")


def _is_empty(path: str) -> bool:
    """Whether it is a file of no other name, with nothing in it: that much is known without opening it."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    # A second name could be one for a file elsewhere.
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and not found.st_size


def place_file(path: str, data: bytes, mode: int) -> None:
    """Write a new file where steps can write too: a link that one of them left is never followed."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
    try:
        made = os.open(path, flags, 0o600)
    except FileExistsError:
        try:
            os.unlink(path)  # noqa: PTH108 - on the way of every step
        except IsADirectoryError:
            remove(path)
        made = os.open(path, flags, 0o600)
    try:
        os.fchmod(made, mode)
        while data:
            data = data[os.write(made, data) :]
    finally:
        os.close(made)


def parse_lines(text: str, variable: str) -> tuple[str, ...]:
    """Read one value to a line; raises `BadCommandFile` with the line."""
    return tuple(line for line in _lines(text, variable) if line)


def _lines(text: str, variable: str) -> list[str]:
    lines = text.replace("\r\n", "\n").split("\n")
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise BadCommandFile(f"{variable}:{number}: the line holds a NUL, which no variable can")
    return lines


def parse_pairs(text: str, variable: str) -> dict[str, str]:
    """Read `NAME=value` lines and `NAME<<DELIMITER` blocks; raises `BadCommandFile` with the line."""
    found: dict[str, str] = {}
    lines = _lines(text, variable)
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if not line:
            continue
        equals, heredoc = line.find("="), line.find("<<")
        if heredoc >= 0 and (equals < 0 or heredoc < equals):
            name, delimiter = line[:heredoc], line[heredoc + 2 :]
            if not name or not delimiter:
                raise BadCommandFile(f"{variable}:{at}: the line has no name or no delimiter around <<")
            try:
                end = lines.index(delimiter, at)
            except ValueError:
                raise BadCommandFile(f"{variable}:{at}: the delimiter after << never comes") from None
            found[name] = "\n".join(lines[at:end])
            at = end + 1
        elif equals > 0:
            found[line[:equals]] = line[equals + 1 :]
        else:
            raise BadCommandFile(f"{variable}:{at}: the line is neither NAME=value nor NAME<<DELIMITER")
    return found
