"""YAML text -> nodes, each with its place, by the core schema of YAML 1.2.

Our own composer over libyaml's events: `on` is a text and `3.10` a number, a key is given once, and
`<<` and tags are refused. Limits are applied to each event as it comes, before a node is built from
it; libyaml itself stays linear as long as it is not driven deeper than that.
"""

import re
from dataclasses import dataclass, field

import yaml

from runner.workflow.document import Pos, Problem, problem_at
from runner.workflow.scalars import resolve

MAX_NODES = 10_000
MAX_DEPTH = 50
MAX_EXPANDED = 10_000

UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\ufeff")
# libyaml compares each directive with all before it, so that many of them take seconds.
DIRECTIVE = re.compile(r"^%TAG\b", re.MULTILINE)

CORE = "tag:yaml.org,2002:"
STRING_TAG = f"{CORE}str"
TYPES: dict[str, tuple[type, ...]] = {
    f"{CORE}null": (type(None),),
    f"{CORE}bool": (bool,),
    f"{CORE}int": (int,),
    f"{CORE}float": (int, float),
    STRING_TAG: (str,),
}
TAGS = {
    yaml.ScalarEvent: frozenset({*TYPES, "!"}),
    yaml.SequenceStartEvent: frozenset({f"{CORE}seq"}),
    yaml.MappingStartEvent: frozenset({f"{CORE}map"}),
}
"""What may be said of a kind of node; of all other tags we do not know what they mean."""

EXPLAINED = {
    "mapping values are not allowed in this context": (
        'a ":" cannot stand here; put a value that holds ": " in quotes, or check the indentation'
    ),
    "could not find expected ':'": 'a key must be followed by ":"',
    "did not find expected key": "this line is not indented like the lines it belongs to",
    "did not find expected '-' indicator": 'this line is not indented like the list before it, or lacks "- "',
    "did not find expected ',' or ']'": 'a list in brackets needs "," between its items and "]" at its end',
    "did not find expected ',' or '}'": 'a mapping in braces needs "," between its items and "}" at its end',
    "did not find expected node content": "a value is missing here",
    "found unexpected end of stream": "the closing quote is missing",
    "found character that cannot start any token": "no value begins with this character; put it in quotes",
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value. `start` and `end` are where its text stands in the file, as indices."""

    pos: Pos
    value: bool | int | float | str | None
    text: str
    start: int
    end: int
    style: str


@dataclass(frozen=True, slots=True)
class Sequence:
    pos: Pos
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Mapping:
    pos: Pos
    entries: tuple[tuple[Scalar, "Node"], ...]


Node = Scalar | Sequence | Mapping


def compose(path: str, text: str, problems: list[Problem]) -> Node | None:
    """The one document in `text`, None where it cannot be read; adds what is wrong to `problems`."""
    if (match := UNPRINTABLE.search(text)) is not None:
        what = f"the character U+{ord(match[0]):04X} cannot stand in a workflow file"
        problems.append(Problem(path, *position(text, match.start()), what))
        return None
    if (match := DIRECTIVE.search(text)) is not None:
        what = "tags are not supported; no line may begin with %TAG"
        problems.append(Problem(path, *position(text, match.start()), what))
        return None
    composer = Composer(path, problems)
    try:
        for event in yaml.parse(text, Loader=yaml.CLoader):
            composer.take(event)
    except Stop:
        return None
    except yaml.MarkedYAMLError as error:
        problems.append(syntax_problem(path, text, error))
        return None
    except yaml.YAMLError as error:
        problems.append(Problem(path, 1, 1, f"not valid YAML: {error}"))
        return None
    return composer.root


def position(text: str, index: int) -> Pos:
    before = text[:index]
    return Pos(before.count("\n") + 1, index - before.rfind("\n"))


def syntax_problem(path: str, text: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    if error.context == "while scanning a simple key":
        mark = error.context_mark
    what = error.problem or "it cannot be read"
    if mark is None:
        return Problem(path, 1, 1, f"not valid YAML: {what}")
    if text[mark.index : mark.index + 1] == "\t":
        message = "a tab cannot indent or begin a value in YAML; use spaces"
    else:
        message = EXPLAINED.get(what, f"not valid YAML: {what}")
    if mark.index >= len(text.rstrip()):
        return Problem(path, *position(text, len(text.rstrip())), message)
    return Problem(path, mark.line + 1, mark.column + 1, message)


class Stop(Exception):
    """A limit is passed; nothing more is read."""


@dataclass(slots=True)
class Open:
    """A collection that has begun. `size` counts its nodes with aliases expanded, `height` its levels."""

    pos: Pos
    anchor: str | None
    is_mapping: bool
    items: list[Node] = field(default_factory=list)
    size: int = 1
    height: int = 1


@dataclass(frozen=True, slots=True)
class Anchored:
    node: Node
    size: int
    height: int


class Composer:
    """Builds nodes from events, with a stack of its own rather than Python's."""

    def __init__(self, path: str, problems: list[Problem]) -> None:
        self.root: Node | None = None
        self._path = path
        self._problems = problems
        self._open: list[Open] = []
        self._anchors: dict[str, Anchored | None] = {}
        self._idle: dict[str, Pos] = {}
        self._nodes = 0
        self._expanded = 0

    def take(self, event: yaml.Event) -> None:
        match event:
            case yaml.AliasEvent():
                self._count(event)
                self._alias(event)
            case yaml.ScalarEvent():
                self._count(event)
                self._add(self._scalar(event), 1, 1, event.anchor)
            case yaml.CollectionStartEvent():
                self._count(event)
                self._begin(event)
            case yaml.CollectionEndEvent():
                self._end()
            case yaml.DocumentEndEvent():
                for name, pos in self._idle.items():
                    self._unused(name, pos)
            case yaml.DocumentStartEvent() if self.root is not None:
                self._problem(at(event), "a workflow file holds one document; this begins another")
                raise Stop

    def _problem(self, pos: Pos, message: str) -> None:
        self._problems.append(problem_at(self._path, pos, message, "yaml"))

    def _unused(self, name: str, pos: Pos) -> None:
        what = f"no alias names the anchor &{name[:60]}"
        self._problems.append(problem_at(self._path, pos, what, "yaml", warning=True))

    def _limit(self, pos: Pos, message: str) -> None:
        self._problem(pos, message)
        raise Stop

    def _count(self, event: yaml.NodeEvent) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._limit(at(event), f"the file has more than {MAX_NODES} values")
        if event.anchor is not None and not isinstance(event, yaml.AliasEvent):
            if event.anchor in self._idle:
                self._unused(event.anchor, self._idle[event.anchor])
            self._idle[event.anchor] = at(event)
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in TAGS[type(event)]:
            short = str(tag).replace("tag:yaml.org,2002:", "!!")[:60]
            self._problem(at(event), f"tags such as {short} are not supported; quote a value to make it text")

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        if len(self._open) >= MAX_DEPTH:
            self._limit(at(event), f"the file is more than {MAX_DEPTH} levels deep")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._open.append(Open(at(event), event.anchor, isinstance(event, yaml.MappingStartEvent)))

    def _end(self) -> None:
        done = self._open.pop()
        node: Node
        if done.is_mapping:
            node = Mapping(done.pos, self._entries(done.items))
        else:
            node = Sequence(done.pos, tuple(done.items))
        self._add(node, done.size, done.height, done.anchor)

    def _alias(self, event: yaml.AliasEvent) -> None:
        name = event.anchor or ""
        anchored = self._anchors.get(name)
        self._idle.pop(name, None)
        if anchored is None:
            what = "stands inside what it names" if name in self._anchors else "names no anchor before it"
            self._problem(at(event), f"the alias *{name[:60]} {what}")
            anchored = Anchored(Scalar(at(event), None, "", 0, 0, ""), 1, 1)
        self._expanded += anchored.size
        if self._expanded > MAX_EXPANDED:
            self._limit(at(event), f"aliases expand to more than {MAX_EXPANDED} values")
        if len(self._open) + anchored.height > MAX_DEPTH:
            self._limit(at(event), f"the file is more than {MAX_DEPTH} levels deep")
        self._add(anchored.node, anchored.size, anchored.height, None)

    def _add(self, node: Node, size: int, height: int, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = Anchored(node, size, height)
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        parent.items.append(node)
        parent.size += size
        parent.height = max(parent.height, height + 1)

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        plain = not event.style and event.implicit[0]
        value = resolve(event.value) if plain else event.value
        if event.tag in TYPES:
            value = resolve(event.value) if event.tag != STRING_TAG else event.value
            if not isinstance(value, TYPES[event.tag]):
                self._problem(
                    at(event), f'"{event.value[:60]}" is no value of {event.tag.replace(CORE, "!!")}'
                )
        style = event.style or ""
        start, end = (mark.index if mark else 0 for mark in (event.start_mark, event.end_mark))
        return Scalar(at(event), value, event.value, start, end, style)

    def _entries(self, items: list[Node]) -> tuple[tuple[Scalar, Node], ...]:
        entries: dict[str, tuple[Scalar, Node]] = {}
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, Scalar):
                self._problem(key.pos, "a key must be a single text")
            elif key.text == "<<" and not key.style:
                self._problem(
                    key.pos, "`<<` is not supported; write the keys out, or give a whole value an alias"
                )
            elif key.text in entries:
                line = entries[key.text][0].pos.line
                self._problem(key.pos, f'the key "{key.text}" is already given in line {line}')
            else:
                entries[key.text] = (key, value)
        return tuple(entries.values())


def at(event: yaml.Event) -> Pos:
    mark = event.start_mark
    return Pos(mark.line + 1, mark.column + 1) if mark else Pos(1, 1)
