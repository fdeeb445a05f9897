"""Reading `on`: the events that start a workflow, and the filters on them."""

from collections.abc import Callable

from runner.workflow.compose import Mapping, Node, Scalar, Sequence
from runner.workflow.document import Filter, Push, Triggers
from runner.workflow.globs import BadPattern, check_path_pattern, check_ref_pattern
from runner.workflow.reading import Reader, only
from runner.workflow.schema import EVENTS, PUSH, cut, here, meant

MAX_PATTERNS = 300

Check = Callable[[str], None]


def read_triggers(reader: Reader, node: Node) -> Triggers:
    """From any of the three forms: one event, a list of them, or a mapping with filters."""
    wanted = "an event, a list of events, or a mapping of events to filters"
    named: list[tuple[Node, Node | None]] = []
    match node:
        case Mapping(_, entries) if entries:
            named = [(name, value) for name, value in entries if is_known(reader, name)]
        case Sequence(_, items) if items:
            named = [(name, None) for name in items if is_known(reader, name)]
        case Scalar(_, str(text)) if text:
            named = [(node, None)] if is_known(reader, node) else []
        case _:
            reader.wrong(node, "on", wanted)
    pushes = [read_push(reader, filters) for _, filters in named]
    return Triggers(push=pushes[0] if pushes else None)


def is_known(reader: Reader, node: Node) -> bool:
    """Whether it names an event that starts something; says so where it does not."""
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        reader.wrong(node, "on", "the name of an event")
        return False
    if node.text in EVENTS.now:
        return True
    if node.text in EVENTS.later:
        reader.problem(node.pos, f"event `{node.text}` is not supported yet{here(EVENTS.now)}")
    else:
        hint = meant(node.text, (*EVENTS.now, *EVENTS.later))
        if not hint.endswith("?"):
            hint = here(EVENTS.now)
        reader.problem(node.pos, f"unknown event `{cut(node.text)}`{hint}")
    return False


def read_push(reader: Reader, node: Node | None) -> Push:
    if node is None or (isinstance(node, Scalar) and node.value is None):
        return Push()
    fields = reader.fields(node, "push", PUSH)
    return Push(
        branches=read_filter(reader, fields, "branches", check_ref_pattern),
        tags=read_filter(reader, fields, "tags", check_ref_pattern),
        paths=read_filter(reader, fields, "paths", check_path_pattern),
    )


def read_filter(reader: Reader, fields: dict[str, Node], key: str, check: Check) -> Filter | None:
    """The filter under `key` or under `key`-ignore; GitHub takes one of them only."""
    taken, ignored = only(fields, key), only(fields, f"{key}-ignore")
    if taken is not None and ignored is not None:
        what = f'"{key}" and "{key}-ignore" exclude each other; in "{key}", a pattern after "!" leaves out'
        reader.problem(ignored.pos, what)
    node = taken if taken is not None else ignored
    if node is None:
        return None
    patterns = read_patterns(reader, node, key if taken is not None else f"{key}-ignore", check)
    return Filter(patterns, ignore=taken is None)


def read_patterns(reader: Reader, node: Node, key: str, check: Check) -> tuple[str, ...]:
    patterns = []
    texts = reader.texts(node, key)
    if len(texts) > MAX_PATTERNS:
        reader.problem(node.pos, f'"{key}" has {len(texts)} patterns; {MAX_PATTERNS} are the most')
    for text, pos in texts[:MAX_PATTERNS]:
        try:
            check(text)
            patterns.append(text)
        except BadPattern as error:
            reader.problem(pos, f'"{cut(text)}" is no pattern for "{key}": {error}')
    return tuple(patterns)
