"""Local and called files: do a workflow's `uses` fit what they name?

The files themselves come from whoever asks; what is not given is not judged.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from runner.expr.template import OPEN
from runner.expr.types import STRING, Type, an_object
from runner.workflow.compose import Mapping, Node, Scalar
from runner.workflow.document import Pos
from runner.workflow.reading import Reader, entries_of, items_of, value_at
from runner.workflow.references import BadReference, Local, parse_action
from runner.workflow.words import cut, here, meant

Find = Callable[[str], bytes | None]
"""The content of a file of this repository, or of a workflow by its whole `uses`; None for one not given."""

MAX_CALLS = 10
"""How deep workflows may call each other, as on GitHub."""

LEVELS = {"none": 0, "read": 1, "write": 2}


class Read(Protocol):
    """What calls need of a file that was read."""

    @property
    def root(self) -> Node | None: ...
    @property
    def errors(self) -> tuple[object, ...]: ...


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The files around one file; `workflow` and `action` read them."""

    find: Find
    workflow: Callable[[str, bytes], Read]
    action: Callable[[str, bytes], Read]

    def called(self, uses: str) -> Read | None:
        name = uses.removeprefix("./") if uses.startswith("./") else uses
        text = self.find(name)
        return self.workflow(name, text) if text is not None else None

    def local_action(self, uses: str) -> Read | None:
        try:
            reference = parse_action(uses)
        except BadReference:
            return None
        if not isinstance(reference, Local):
            return None
        folder = f"{reference.path}/" if reference.path not in ("", ".") else ""
        for name in (f"{folder}action.yml", f"{folder}action.yaml"):
            text = self.find(name)
            if text is not None:
                return self.action(name, text)
        return None

    def outputs(self, uses: str) -> Type | None:
        """What a step or job with this `uses` gives."""
        found = self.local_action(uses)
        if found is not None:
            return names_of(value_at(found.root, "outputs"), "that action has no output")
        found = self.called(uses)
        if found is None:
            return None
        outputs = value_at(found.root, "on", "workflow_call", "outputs")
        return names_of(outputs, "that workflow has no output")


def names_of(node: Node | None, lacks: str) -> Type:
    return an_object({key.text: STRING for key, _ in entries_of(node)}, lacks=lacks)


def check_neighbours(reader: Reader, root: Node, neighbours: Neighbours) -> None:
    """Say where jobs call workflows, and steps use actions, in ways that they cannot be."""
    allowed = grants_of(value_at(root, "permissions"))
    for key, job in entries_of(value_at(root, "jobs")):
        uses = value_at(job, "uses")
        if isinstance(uses, Scalar) and OPEN not in uses.text:
            found = neighbours.called(uses.text)
            if found is not None:
                check_call(reader, job, uses, found)
                own = grants_of(value_at(job, "permissions"))
                Chain(reader, reader.path, key.pos, neighbours).check(
                    uses.text, own if own is not None else allowed
                )
            elif uses.text.startswith("./"):
                what = f'there is no "{cut(uses.text)}" in this repository'
                reader.problem(uses.pos, what, "call", warning=True)
        for step in items_of(value_at(job, "steps")):
            check_step(reader, step, neighbours)


def check_call(reader: Reader, job: Node, uses: Scalar, found: Read) -> None:
    call = value_at(found.root, "on", "workflow_call")
    events = [item.text for item in items_of(value_at(found.root, "on")) if isinstance(item, Scalar)]
    listed = {key.text for key, _ in entries_of(value_at(found.root, "on"))}
    if found.errors:
        reader.problem(uses.pos, f'"{cut(uses.text)}" cannot be called: {found.errors[0]}', "call")
    elif "workflow_call" not in {*events, *listed}:
        reader.problem(
            uses.pos, f'"{cut(uses.text)}" cannot be called; it does not start on workflow_call', "call"
        )
    given = value_at(job, "with")
    if given is None or isinstance(given, Mapping):
        check_given(reader, uses, given, value_at(call, "inputs"), "input")
    secrets = value_at(job, "secrets")
    if secrets is None or isinstance(secrets, Mapping):
        check_given(reader, uses, secrets, value_at(call, "secrets"), "secret")


def check_given(reader: Reader, uses: Scalar, given: Node | None, declared: Node | None, kind: str) -> None:
    known = {key.text.lower(): (key.text, one) for key, one in entries_of(declared)}
    names = {key.text.lower() for key, _ in entries_of(given)}
    if any(OPEN in name for name in names):
        return
    for key, value in entries_of(given):
        found = known.get(key.text.lower())
        if found is None:
            hint = meant(key.text, [name for name, _ in known.values()])
            reader.problem(key.pos, f'the called workflow has no {kind} "{cut(key.text)}"{hint}', "call")
        elif (wanted := mismatch(value, found[1])) is not None:
            reader.problem(value.pos, f'the {kind} "{cut(key.text)}" must be {wanted}', "call")
    for lowered, (name, one) in known.items():
        if lowered not in names and is_true(value_at(one, "required")) and value_at(one, "default") is None:
            reader.problem(uses.pos, f'the called workflow needs the {kind} "{cut(name)}"', "call")


def mismatch(value: Node, declared: Node) -> str | None:
    kind = value_at(declared, "type")
    if not isinstance(kind, Scalar) or not isinstance(value, Scalar) or OPEN in value.text:
        return None
    if kind.text == "boolean" and not isinstance(value.value, bool):
        return "true or false"
    if kind.text == "number" and (isinstance(value.value, bool) or not isinstance(value.value, int | float)):
        return "a number"
    return None


def check_step(reader: Reader, step: Node, neighbours: Neighbours) -> None:
    uses = value_at(step, "uses")
    found = neighbours.local_action(uses.text) if isinstance(uses, Scalar) else None
    if found is None or not isinstance(uses, Scalar):
        return
    if found.errors:
        reader.problem(uses.pos, f'"{cut(uses.text)}" cannot be used: {found.errors[0]}', "action")
    declared = {key.text.lower(): (key.text, one) for key, one in entries_of(value_at(found.root, "inputs"))}
    given = {key.text.lower() for key, _ in entries_of(value_at(step, "with"))}
    if any(OPEN in name for name in given):
        return
    for key, _ in entries_of(value_at(step, "with")):
        if key.text.lower() not in declared and key.text.lower() not in ("args", "entrypoint"):
            hint = here(name for name, _ in declared.values())
            reader.problem(
                key.pos, f'the action has no input "{cut(key.text)}"{hint}', "action", warning=True
            )
    for lowered, (name, one) in declared.items():
        if lowered not in given and is_true(value_at(one, "required")) and value_at(one, "default") is None:
            reader.problem(uses.pos, f'the action needs the input "{cut(name)}"', "action", warning=True)


def is_true(node: Node | None) -> bool:
    return isinstance(node, Scalar) and node.value is True


Grants = dict[str, str]
"""Levels by scope; `*` is what the others have."""


def grants_of(node: Node | None) -> Grants | None:
    """What `permissions` grants; None where nothing is said."""
    if isinstance(node, Scalar):
        return {"*": "write" if node.text == "write-all" else "read"}
    if isinstance(node, Mapping):
        return {key.text: value.text for key, value in node.entries if isinstance(value, Scalar)}
    return None


def level(grants: Grants, scope: str) -> str:
    return grants.get(scope, grants.get("*", "none"))


@dataclass(frozen=True, slots=True)
class Chain:
    """Follows calls from one job: what is called may not ask for more than its caller has.

    `path` and `pos` are where the job that calls is.
    """

    reader: Reader
    path: str
    pos: Pos
    neighbours: Neighbours
    depth: int = 1
    seen: frozenset[str] = frozenset()

    def check(self, uses: str, allowed: Grants | None) -> None:
        found = self.neighbours.called(uses)
        if found is None or uses in self.seen:
            return
        if self.depth > MAX_CALLS:
            self.reader.problem(
                self.pos, f"workflows call each other more than {MAX_CALLS} levels deep", "call"
            )
            return
        whole = grants_of(value_at(found.root, "permissions"))
        self._compare(uses, whole, allowed)
        inner = whole if whole is not None else allowed
        for key, job in entries_of(value_at(found.root, "jobs")):
            own = grants_of(value_at(job, "permissions"))
            self._compare(uses, own, inner if whole is None else allowed)
            below = value_at(job, "uses")
            if isinstance(below, Scalar):
                seen = self.seen | {uses}
                chain = Chain(self.reader, uses, key.pos, self.neighbours, self.depth + 1, seen)
                chain.check(below.text, own if own is not None else inner)

    def _compare(self, uses: str, asked: Grants | None, allowed: Grants | None) -> None:
        if asked is None or allowed is None:
            return
        for scope in asked:
            wanted, has = level(asked, scope), level(allowed, scope)
            if LEVELS.get(wanted, 0) > LEVELS.get(has, 0):
                name = "every permission" if scope == "*" else scope
                what = f'"{cut(uses)}" asks for {name}: {wanted}, but its caller has {has}'
                self.reader.elsewhere(self.path, self.pos, what, "permissions")
