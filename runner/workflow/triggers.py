"""Does this event start this workflow?"""

import re
from collections.abc import Callable, Iterable

from runner.model.source import Event
from runner.workflow.document import Filter, Push, Workflow
from runner.workflow.globs import excluded, included

Changed = Callable[[], Iterable[str] | None]

SKIP_WORD = re.compile(r"\[(?:skip ci|ci skip|no ci|skip actions|actions skip)\]", re.IGNORECASE)
SKIP_TRAILER = re.compile(r"skip-checks:\s*true\s*", re.IGNORECASE)


def starts(workflow: Workflow, event: Event, changed: Changed) -> bool:
    """Whether the event starts the workflow; see `refusal`."""
    return refusal(workflow, event, changed) is None


def refusal(workflow: Workflow, event: Event, changed: Changed) -> str | None:
    """Why the event does not start the workflow, None where it does.

    `changed` gives the paths that the event changed, or None where that cannot be known, which starts
    it. It is only called where a filter on paths has to be answered: it may cost a fetch.
    """
    push = workflow.on.push
    if event.kind != "push" or push is None:
        return f"it does not start on {event.kind or 'this event'}"
    if event.tag is not None:
        return tag_refusal(push, event.tag)
    if event.branch is None:
        return f"{event.ref or 'the event'} names neither a branch nor a tag"
    return branch_refusal(push, event.branch) or path_refusal(push, changed)


def tag_refusal(push: Push, tag: str) -> str | None:
    if push.tags is None:
        return "it starts on branches only" if push.branches is not None else None
    return None if passes(push.tags, tag) else f"its filter on tags leaves out {tag}"


def branch_refusal(push: Push, branch: str) -> str | None:
    if push.branches is None:
        return "it starts on tags only" if push.tags is not None else None
    return None if passes(push.branches, branch) else f"its filter on branches leaves out {branch}"


def path_refusal(push: Push, changed: Changed) -> str | None:
    """A filter on paths lets an event pass for the sake of a single path that it lets pass."""
    if push.paths is None:
        return None
    paths = changed()
    if paths is None or any(passes(push.paths, path) for path in paths):
        return None
    return "its filter on paths leaves out everything that changed"


def passes(filter_: Filter, name: str) -> bool:
    if filter_.ignore:
        return not excluded(filter_.patterns, name)
    return included(filter_.patterns, name)


def skip_word(message: str) -> str | None:
    """The words in a commit message or title that ask for no run, as they are written there."""
    if (match := SKIP_WORD.search(message)) is not None:
        return match[0]
    trailers = message.rstrip().replace("\r\n", "\n").rsplit("\n\n", 1)[-1]
    for line in trailers.splitlines():
        if SKIP_TRAILER.fullmatch(line) is not None:
            return line.strip()
    return None
