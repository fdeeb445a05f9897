"""The files through which a step hands things on: GITHUB_OUTPUT, GITHUB_ENV, GITHUB_PATH, summaries.

The format is GitHub's "Workflow commands", section "Environment files":
https://docs.github.com/actions/reference/workflow-commands-for-github-actions#environment-files
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class CommandFiles:
    """One step's files in the job's temp folder: `folder` as we see it, `inside` as the step does."""

    folder: Path
    inside: str
    step: str

    def create(self) -> dict[str, str]:
        """Make them empty, and give the variables that name them."""
        for kind in VARIABLES.values():
            # The step runs under another user; O_EXCL keeps a link that an earlier step left from
            # leading us elsewhere.
            path = self.folder / self._name(kind)
            path.unlink(missing_ok=True)
            made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o666)
            os.fchmod(made, 0o666)
            os.close(made)
        return {variable: f"{self.inside}/{self._name(kind)}" for variable, kind in VARIABLES.items()}

    def read(self) -> Written:
        """Raises `BadCommandFile`."""
        env = parse_pairs(self._text("env"), "GITHUB_ENV")
        for name in env:
            if name.upper() in BLOCKED:
                raise BadCommandFile(f"GITHUB_ENV: {name} cannot be set for later steps")
        path = tuple(line for line in self._text("path").splitlines() if line)
        outputs = parse_pairs(self._text("output"), "GITHUB_OUTPUT")
        return Written(outputs, Exports(env, path), self._text("summary"))

    def _name(self, kind: str) -> str:
        return f"{kind}-{self.step}"

    def _text(self, kind: str) -> str:
        variable = next(name for name, value in VARIABLES.items() if value == kind)
        try:
            # A step may have put a link or a pipe here; neither may make us read another file or wait.
            opened = os.open(self.folder / self._name(kind), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise BadCommandFile(f"{variable}: the file cannot be read: {error.strerror}") from None
        with os.fdopen(opened, "rb") as file:
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                raise BadCommandFile(f"{variable}: the step replaced the file with something that is no file")
            data = file.read(FILE_BYTES + 1)
        if len(data) > FILE_BYTES:
            raise BadCommandFile(f"{variable}: more than the limit of {FILE_BYTES} bytes was written")
        return data.decode("utf-8-sig", errors="replace")


def parse_pairs(text: str, variable: str) -> dict[str, str]:
    """Read `NAME=value` lines and `NAME<<DELIMITER` blocks; raises `BadCommandFile` with the line."""
    found: dict[str, str] = {}
    lines = text.replace("\r\n", "\n").split("\n")
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
                raise BadCommandFile(f"{variable}:{at}: {line!r} has no name or no delimiter around <<")
            try:
                end = lines.index(delimiter, at)
            except ValueError:
                raise BadCommandFile(f"{variable}:{at}: the delimiter {delimiter!r} never comes") from None
            found[name] = "\n".join(lines[at:end])
            at = end + 1
        elif equals > 0:
            found[line[:equals]] = line[equals + 1 :]
        else:
            raise BadCommandFile(f"{variable}:{at}: {line!r} is neither NAME=value nor NAME<<DELIMITER")
    return found
