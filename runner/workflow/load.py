"""The text of a file -> what it says, or every problem at once."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial

from runner.workflow.action_language import ACTION, USED
from runner.workflow.build import Builder
from runner.workflow.build_file import build_action, build_workflow
from runner.workflow.calls import Find, Neighbours, check_neighbours
from runner.workflow.compose import Node, compose
from runner.workflow.conform import conform
from runner.workflow.document import ActionDef, InvalidWorkflow, Problem, Workflow
from runner.workflow.injections import check_injections
from runner.workflow.language import WORKFLOW
from runner.workflow.reading import MAX_PROBLEMS, Enough, Reader, items_of, value_at
from runner.workflow.rules import check_rules, check_step_ids
from runner.workflow.shapes import Fields
from runner.workflow.surroundings import Surroundings, action_contexts, check_names
from runner.workflow.waits import check_wait

MAX_BYTES = 512 * 1024


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
    """Read a workflow file; `path` is how problems name it.

    With `find`, also the local actions and the workflows that it uses are read and compared with it.
    """
    return read(path, text, WORKFLOW, partial(check_workflow, find=find))


def read_action(path: str, text: bytes) -> Reading:
    """Read an `action.yml`."""
    return read(path, text, ACTION, check_action)


def read(path: str, text: bytes, language: Fields, check: Callable[[Reader, Node], None]) -> Reading:
    problems: list[Problem] = []
    source = decode(path, text, problems)
    root = None if source is None else compose(path, source, problems)
    if source is None or root is None:
        return Reading(path, in_order(problems or [empty(path, language)]))
    reader = Reader(path, source, problems)
    with suppress(Enough):
        conform(reader, root, language, "the file")
        check(reader, root)
    return Reading(path, in_order(problems), root, reader)


def check_workflow(reader: Reader, root: Node, find: Find | None) -> None:
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
    return build_workflow(Builder(reading.reader), reading.path, reading.root)


def load_action(path: str, text: bytes) -> ActionDef:
    """What an `action.yml` says, to use it. Raises `InvalidWorkflow`."""
    reading = read(path, text, USED, check_action)
    if reading.errors or reading.reader is None or reading.root is None:
        raise InvalidWorkflow(reading.errors)
    return build_action(Builder(reading.reader), path, reading.root)
