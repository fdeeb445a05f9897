"""Where what strangers write becomes part of a script, which then does what they say.

The values are those that GitHub warns of, https://docs.github.com/actions/concepts/security/script-injections,
and those that https://codeql.github.com finds beside them. What only those choose who may push is none. What
a signal brings, and what people say who approve, comes from others than these too.
"""

from collections.abc import Collection, Iterator

from runner.expr.syntax import Call, Context, Index, Literal, Logical, Node
from runner.expr.template import children
from runner.workflow.built_in import WAIT
from runner.workflow.compose import Node as Value
from runner.workflow.compose import Scalar, Sequence
from runner.workflow.reading import MAX_PROBLEMS, Path, Reader, value_at
from runner.workflow.words import cut

PEOPLE = ("author.email", "author.name", "committer.email", "committer.name")
STRANGERS = tuple(
    tuple(path.split("."))
    for path in (
        "github.head_ref",
        *(
            f"github.event.{path}"
            for path in (
                *("issue.title", "issue.body", "pull_request.title", "pull_request.body", "comment.body"),
                *("review.body", "review_comment.body", "discussion.title", "discussion.body"),
                *("pull_request.head.ref", "pull_request.head.label"),
                *("pull_request.head.repo.default_branch", "pages.*.page_name"),
                *("commits.*.message", "head_commit.message"),
                *(f"commits.*.{one}" for one in PEOPLE),
                *(f"head_commit.{one}" for one in PEOPLE),
                *("workflow_run.head_branch", "workflow_run.display_title"),
                *("workflow_run.head_commit.message", "workflow_run.pull_requests.*.head.ref"),
                *(f"workflow_run.head_commit.{one}" for one in PEOPLE),
            )
        ),
    )
)
SAFE = ("contains", "startsWith", "endsWith", "hashFiles")
"""Functions whose value has nothing of the text that they are given."""
SCRIPTED = "actions/github-script@"
Words = tuple[str, ...]
"""The properties that lead to a value; `*` is each of several, or one that is computed."""


def check_injections(reader: Reader, root: Value) -> None:
    left = MAX_PROBLEMS
    for use in reader.uses:
        variable = _script(root, use.path)
        if variable is None:
            continue
        strangers = STRANGERS + _answers(root, use.path)
        for expression in use.template.expressions:
            for words, offset in _strangers(expression, False, strangers):
                reader.inside(use.node, offset, _said(words, variable), warning=True, rule="injection")
                left -= 1
                if not left:
                    return


def _said(words: Words, variable: str) -> str:
    what = cut(".".join(words))
    who = "strangers" if words[0].lower() == "github" else "whoever answers that step"
    name = words[-1].upper() if words[-1].isidentifier() else "VALUE"
    value = "…" if "*" in words else what
    return (
        f"{what} can be written by {who}, and becomes part of the script here; hand it over as a "
        f'variable: "env: {{{name}: ${{{{ {value} }}}}}}", and {variable.format(name)} in the script'
    )


def _script(root: Value, path: Path) -> str | None:
    """How a script asks for a variable, where the value at `path` is one."""
    match path:
        case ("jobs", _, "steps", int(), "run") | ("runs", "steps", int(), "run"):
            return '"${}"'
        case (*step, "with", "script"):
            uses = value_at(_at(root, tuple(step)), "uses")
            named = isinstance(uses, Scalar) and uses.text.lower().startswith(SCRIPTED)
            return "process.env.{}" if named else None
    return None


def _answers(root: Value, path: Path) -> tuple[Words, ...]:
    """What of the outputs of the steps beside a script others say: a signal's payload, and comments."""
    if path[0] != "jobs":
        return ()
    steps, found = _at(root, path[:3]), list[Words]()
    for step in steps.items if isinstance(steps, Sequence) else ():
        id, uses = value_at(step, "id"), value_at(step, "uses")
        if isinstance(id, Scalar) and isinstance(uses, Scalar) and (wait := WAIT.fullmatch(uses.text)):
            told = {"wait": ("*",), "approve": ("comment",)}.get(wait[1].lower(), ())
            found += [("steps", id.text.lower(), "outputs", one) for one in told]
    return tuple(found)


def _at(node: Value | None, path: Path) -> Value | None:
    for part in path:
        if isinstance(part, int):
            node = node.items[part] if isinstance(node, Sequence) and part < len(node.items) else None
        else:
            node = value_at(node, part)
    return node


def _strangers(node: Node, whole: bool, strangers: Collection[Words]) -> Iterator[tuple[Words, int]]:
    """What of strangers' is in the text that an expression gives, with its place.

    `whole`: an object is written out with all that is in it, where else it is no more than its kind.
    """
    match node:
        case Index() | Context():
            yield from _of_path(node, whole, strangers)
        case Logical(_, _, "&&", operands):
            # Those before the last are its value only where they are empty.
            yield from _strangers(operands[-1], whole, strangers)
        case Call(_, _, signature, _) if signature.name in SAFE:
            return
        case Call(_, _, signature, args):
            for arg in args:
                yield from _strangers(arg, whole or signature.name == "toJSON", strangers)
        case Logical():
            for part in children(node):
                yield from _strangers(part, whole, strangers)
        case _:
            return


def _of_path(node: Node, whole: bool, strangers: Collection[Words]) -> Iterator[tuple[Words, int]]:
    keys: list[str] = []
    while isinstance(node, Index):
        keys.append(
            node.key.value if isinstance(node.key, Literal) and isinstance(node.key.value, str) else "*"
        )
        node = node.target
    if not isinstance(node, Context):
        yield from _strangers(node, True, strangers)
        return
    words = (node.name, *reversed(keys))
    if any(_leads(words, path, whole) for path in strangers):
        yield words, node.offset


def _leads(words: Words, path: Words, whole: bool) -> bool:
    """Whether it is that value, or has it somewhere in it that is written out."""
    if len(words) > len(path) or (len(words) < len(path) and not whole):
        return False
    return all(one == "*" or other in ("*", one.lower()) for one, other in zip(words, path, strict=False))
