"""The text of a file -> what it says, or every problem at once."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from pathlib import PurePosixPath

from runner.workflow.action_language import ACTION, USED
from runner.workflow.build import Builder
from runner.workflow.build_file import build_action, build_workflow
from runner.workflow.calls import Find, Neighbours, check_neighbours
from runner.workflow.compose import Node, compose
from runner.workflow.conform import conform
from runner.workflow.document import ActionDef, InvalidWorkflow, Problem, Workflow
from runner.workflow.injections import check_injections
from runner.workflow.language import PYTHON_WORKFLOW, WORKFLOW
from runner.workflow.place import BREAK, PYTHON_BREAK, Source
from runner.workflow.python import (
    FOLDER,
    as_function,
    compose_python,
    has_workflow,
    is_python,
    may_be_workflow,
)
from runner.workflow.reading import MAX_PROBLEMS, Enough, Reader, items_of, value_at
from runner.workflow.rules import check_rules, check_step_ids
from runner.workflow.shapes import Fields
from runner.workflow.surroundings import Surroundings, action_contexts, check_names
from runner.workflow.waits import check_wait

MAX_BYTES = 512 * 1024
YAML = (".yml", ".yaml")


@dataclass(frozen=True, slots=True)
class Reading:
    """A file as it was read: its problems in order, and what stands where, for as far as it could be read."""

    path: str
    problems: tuple[Problem, ...]
    root: Node | None = None
    reader: Reader | None = None

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What must be mended before it can be run."""
        return tuple(problem for problem in self.problems if not problem.warning)


def read_workflow(path: str, text: bytes, find: Find | None = None) -> Reading:
    """Read a workflow file, in YAML or Python as its name ends; `path` is how problems name it.

    With `find`, also the local actions and the workflows that it uses are read and compared with it.
    """
    language = PYTHON_WORKFLOW if is_python(path) else WORKFLOW
    return read(path, text, language, partial(check_workflow, find=find))


def is_workflow(path: str, text: bytes) -> bool:
    """Whether a file among workflows is one, though it may have mistakes.

    One in Python that decorates no function is a module, which others import; so is all in Python that is
    in a folder of GitHub's.
    """
    if not is_python(path):
        return path.endswith(YAML)
    return PurePosixPath(path).parts[-3:-1] == FOLDER and may_be_workflow(text) and _decorates(path, text)


@lru_cache(maxsize=64)
def _decorates(path: str, text: bytes) -> bool:
    source = decode(path, text, [])
    return source is None or has_workflow(path, source)


def read_action(path: str, text: bytes) -> Reading:
    """Read an `action.yml`."""
    return read(path, text, ACTION, check_action)


def read(path: str, text: bytes, language: Fields, check: Callable[[Reader, Node], None]) -> Reading:
    problems: list[Problem] = []
    source = decode(path, text, problems)
    composed, breaks = (compose_python, PYTHON_BREAK) if is_python(path) else (compose, BREAK)
    root = None if source is None else composed(path, source, problems)
    if source is None or root is None:
        return Reading(path, in_order(problems or [empty(path, language)]))
    reader = Reader(path, Source(source, breaks), problems)
    with suppress(Enough):
        conform(reader, root, language, "the file")
        check(reader, root)
    return Reading(path, in_order(problems), root, reader)


def check_workflow(reader: Reader, root: Node, find: Find | None) -> None:
    if is_python(reader.path):
        reader.extensions.append((root.pos, "@workflow"))
    check_rules(reader, root)
    if find is None:
        check_names(reader, Surroundings(root).at)
        check_injections(reader, root)
        return
    neighbours = Neighbours(find, cache(read_workflow), cache(read_action))
    check_neighbours(reader, root, neighbours)
    check_names(reader, Surroundings(root, neighbours.outputs).at)
    check_injections(reader, root)


def check_action(reader: Reader, root: Node) -> None:
    check_step_ids(reader, items_of(value_at(root, "runs", "steps")))
    for step in items_of(value_at(root, "runs", "steps")):
        check_wait(reader, step, within=True)
    check_names(reader, action_contexts(root))
    check_injections(reader, root)


def empty(path: str, language: Fields) -> Problem:
    needed = " and ".join(f'"{key}"' for key in language.needs)
    return Problem(path, 1, 1, f"the file is empty; a {language.name} needs {needed}")


def decode(path: str, text: bytes, problems: list[Problem]) -> str | None:
    """The file as text; None, and a problem, where it is none."""
    if len(text) > MAX_BYTES:
        what = f"the file has {len(text)} bytes; a workflow file is limited to {MAX_BYTES}"
        problems.append(Problem(path, 1, 1, what))
        return None
    for mark, name in (
        (b"\xef\xbb\xbf", "begins with a byte order mark"),
        (b"\xff\xfe", "is UTF-16"),
        (b"\xfe\xff", "is UTF-16"),
    ):
        if text.startswith(mark):
            what = f"the file {name}; save it as UTF-8 without a byte order mark"
            problems.append(Problem(path, 1, 1, what))
            return None
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        before = text[: error.start].decode()
        line, col = before.count("\n") + 1, len(before) - before.rfind("\n")
        problems.append(Problem(path, line, col, f"the byte 0x{text[error.start]:02x} is not UTF-8"))
        return None


def in_order(problems: list[Problem]) -> tuple[Problem, ...]:
    """The problems by place, each once: a value that has an alias is read more than once."""
    ordered = sorted(set(problems))
    # However many warnings there are, they hide no error and are none.
    errors = _most([problem for problem in ordered if not problem.warning])
    return tuple(sorted([*errors, *_most([problem for problem in ordered if problem.warning])]))


def _most(problems: list[Problem]) -> list[Problem]:
    if len(problems) <= MAX_PROBLEMS:
        return problems
    more = replace(problems[MAX_PROBLEMS], message="and more problems like these")
    return [*problems[:MAX_PROBLEMS], more]


def load(path: str, text: bytes) -> Workflow:
    """What a workflow file says.

    Raises `InvalidWorkflow` with every problem in it, in the order of the file, and nothing else
    whatever the bytes are.
    """
    return built(read_workflow(path, text))


def built(reading: Reading) -> Workflow:
    """The value of a workflow file that was read; raises `InvalidWorkflow`."""
    if reading.errors or reading.reader is None or reading.root is None:
        raise InvalidWorkflow(reading.errors)
    workflow = build_workflow(Builder(reading.reader), reading.path, reading.root)
    return as_function(workflow) if is_python(reading.path) else workflow


def load_action(path: str, text: bytes) -> ActionDef:
    """What an `action.yml` says, to use it. Raises `InvalidWorkflow`."""
    reading = read(path, text, USED, check_action)
    if reading.errors or reading.reader is None or reading.root is None:
        raise InvalidWorkflow(reading.errors)
    return build_action(Builder(reading.reader), path, reading.root)
