"""`runner check`: what is wrong with workflow files and actions."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import click

from runner.cli.batches import Question, answer_all
from runner.cli.terminal import coloured
from runner.errors import Rejected
from runner.workflow.document import Pos, Problem, problem_at
from runner.workflow.load import YAML, Reading, is_workflow, read_action, read_workflow
from runner.workflow.outline import outline
from runner.workflow.python import SUFFIX
from runner.workflow.rules import CONFINED

SKIPPED = frozenset({".git", "node_modules", ".venv"})
FOLDERS = (".runner/workflows", ".github/workflows")
ACTIONS = ("action.yml", "action.yaml")
INVALID = 5


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--github", is_flag=True, help="Refuse what GitHub does not have: retry, on-lost.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "github"]), default="text", show_default=True
)
@click.option("--batch", is_flag=True, help="Answer JSON lines on standard input.")
def check(paths: tuple[Path, ...], github: bool, as_json: bool, form: str, batch: bool) -> int:
    """Say all that is wrong with workflow files and actions.

    PATHS are files, or folders with all that are in them; this checkout if not given. Ends with 5 where
    one cannot be run. A warning says what GitHub takes but is surely a mistake.
    """
    if batch:
        answer_all(_answer)
        return 0
    found = [source for path in paths or (Path(),) for source in _sources(path)]
    if not found:
        raise Rejected(f"no workflow files or actions below {' '.join(map(str, paths)) or 'this folder'}")
    readings = [(source, _finished(source.read(), github)) for source in found]
    _FORMS["json" if as_json else form](readings)
    return INVALID if any(reading.errors for _, reading in readings) else 0


@dataclass(frozen=True, slots=True)
class Source:
    """A file to be checked, as part of the files below `root`."""

    path: Path
    root: Path
    name: str
    action: bool = False
    remote: Mapping[str, str] | None = None

    @property
    def is_unread(self) -> bool:
        """Whether it stands where a run reads no symlinks."""
        return self.path.is_symlink() and "/".join(self.path.absolute().parts[-3:-1]) in FOLDERS

    def read(self) -> Reading:
        if self.is_unread:
            what = "the file is a symlink, which no run follows; put a regular file there"
            return Reading(self.name, (problem_at(self.name, Pos(1, 1), what),))
        text = self.path.read_bytes()
        if self.action:
            return read_action(self.name, text)
        return read_workflow(self.name, text, self._find)

    def _find(self, name: str) -> bytes | None:
        if self.remote is not None and name in self.remote:
            return Path(self.remote[name]).read_bytes()
        if "@" in name or ".." in PurePosixPath(name).parts or name.startswith("/"):
            return None
        path = self.root / name
        return path.read_bytes() if path.is_file() else None


def _sources(path: Path) -> Iterator[Source]:
    if path.is_dir():
        yield from _below(path)
        return
    root = _root_of(path)
    yield Source(path, root, str(path), action=path.name in ACTIONS)


def _root_of(path: Path) -> Path:
    """The checkout that a file belongs to, else the folder it is in."""
    parts = path.resolve().parent.parts
    for folder in FOLDERS:
        wanted = tuple(folder.split("/"))
        if parts[-2:] == wanted:
            return path.resolve().parents[2]
    return path.resolve().parent


def _below(root: Path) -> Iterator[Source]:
    """The workflows and actions of all checkouts; the workflows of a folder that has no place for them."""
    places, actions = [root / folder for folder in FOLDERS if (root / folder).is_dir()], []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - SKIPPED)
        place = Path(folder)
        if "/".join(place.absolute().parts[-2:]) in FOLDERS and place not in places:
            places.append(place)
        actions += [place / name for name in ACTIONS if name in names]
    for place in places or [root]:
        for path in sorted(place.iterdir()):
            linked = bool(places) and path.is_symlink() and path.suffix in (*YAML, SUFFIX)
            if path.name not in ACTIONS and (linked or is_workflow_file(path)):
                yield Source(path, path.absolute().parents[2] if places else _root_of(path), str(path))
    for path in actions:
        yield Source(path, root, str(path), action=True)


def is_workflow_file(path: Path) -> bool:
    """Whether a file among workflows is one itself, and no module of theirs."""
    if path.suffix not in (*YAML, SUFFIX) or not path.is_file():
        return False
    return is_workflow(str(path.absolute()), path.read_bytes())


def _finished(reading: Reading, github: bool) -> Reading:
    if not github or reading.reader is None:
        return reading
    extra = [
        problem_at(reading.path, pos, f'"{key}" is not GitHub', "github")
        for pos, key in reading.reader.extensions
    ]
    theirs = [problem for problem in reading.problems if problem.rule != CONFINED]
    return Reading(reading.path, tuple(sorted({*theirs, *extra})), reading.root, reading.reader)


Readings = list[tuple[Source, Reading]]


def _as_text(readings: Readings) -> None:
    problems = warnings = 0
    for source, reading in readings:
        text = b"" if source.is_unread else source.path.read_bytes()
        lines = text.decode(errors="replace").splitlines()
        for problem in reading.problems:
            problems += not problem.warning
            warnings += problem.warning
            print_problem(problem, lines)
    said = [_counted(len(readings), "file"), _counted(problems, "problem")]
    if warnings:
        said.append(_counted(warnings, "warning"))
    click.echo(", ".join(said), err=True)


def _counted(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def print_problem(problem: Problem, lines: Sequence[str], *, err: bool = False) -> None:
    """A problem with its place, and under it the line of the file with a caret."""
    word = click.style("warning: ", fg="yellow") if problem.warning else ""
    place = click.style(f"{problem.path}:{problem.line}:{problem.col}:", bold=True)
    click.echo(f"{place} {word}{problem.message}", color=coloured(), err=err)
    if problem.line <= len(lines):
        click.echo(_snippet(lines[problem.line - 1], problem), color=coloured(), err=err)


def _snippet(line: str, problem: Problem) -> str:
    """The line with a caret under the place; of a long line, the part around it."""
    start = max(0, problem.col - 60)
    shown = "".join(c if c.isprintable() else " " for c in line[start : start + 110])
    gutter = f"{problem.line:>5} | "
    caret = " " * (len(gutter) + problem.col - 1 - start) + click.style(
        "^", fg="yellow" if problem.warning else "red"
    )
    return f"{gutter}{shown}\n{caret}"


def _as_json(readings: Readings) -> None:
    rows = [_listed(reading) for _, reading in readings]
    click.echo(json.dumps(rows, indent=2, ensure_ascii=False))


def _as_github(readings: Readings) -> None:
    """Workflow commands, which GitHub (and we) show beside the lines."""
    for _, reading in readings:
        for problem in reading.problems:
            kind = "warning" if problem.warning else "error"
            message = problem.message.replace("%", "%25")
            click.echo(f"::{kind} file={problem.path},line={problem.line},col={problem.col}::{message}")


_FORMS: Mapping[str, Callable[[Readings], None]] = {"text": _as_text, "json": _as_json, "github": _as_github}


def _listed(reading: Reading) -> dict[str, Any]:
    """The errors, for which GitHub refuses the file as we do, and the warnings, with which it runs.

    A rule belongs to one of them whatever else is wrong with the file, so that mending one problem never
    changes what another is called.
    """
    rows = [_row(problem) for problem in reading.problems]
    return {
        "path": reading.path,
        "errors": [row for row in rows if row["severity"] == "error"],
        "warnings": [row for row in rows if row["severity"] == "warning"],
    }


def _row(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.path,
        "line": problem.line,
        "col": problem.col,
        "message": problem.message,
        "rule": problem.rule,
        "severity": "warning" if problem.warning else "error",
    }


def _answer(question: Question) -> Question:
    path = Path(question["path"])
    root = Path(question.get("root") or path.parent)
    sources = list(_asked(question, path, root))
    rows = [_listed(source.read()) for source in sources]
    answer: Question = {
        "errors": [row for one in rows for row in one["errors"]],
        "warnings": [row for one in rows for row in one["warnings"]],
    }
    if question.get("kind") == "workflow" and not answer["errors"]:
        answer["model"] = outline(sources[0].read().root)
    return answer


def _asked(question: Question, path: Path, root: Path) -> Iterator[Source]:
    if question.get("kind") != "project":
        name = os.path.relpath(path, root)
        yield Source(path, root, name, question.get("kind") == "action", question.get("remote_workflows"))
        return
    for found in sorted(path.rglob("*")):
        if found.suffix in YAML and found.is_file():
            yield Source(found, root, os.path.relpath(found, root))
