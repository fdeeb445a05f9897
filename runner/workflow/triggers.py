"""Does this event start this workflow?"""

import re
from collections.abc import Callable, Iterable, Mapping

from runner.model.source import Event
from runner.workflow.document import Filter, Schedule, Trigger, Workflow
from runner.workflow.event_tables import DEFAULT_TYPES
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
    on = workflow.on
    match event.kind:
        case "workflow_dispatch" if on.dispatch is not None:
            return None
        case "workflow_call" if on.call is not None:
            return None
        case "schedule" if on.schedules:
            return schedule_refusal(on.schedules, event)
    trigger = on.events.get(event.kind)
    if trigger is None:
        return f"it does not start on {event.kind or 'this event'}"
    return (
        type_refusal(trigger, event) or where_refusal(trigger, event) or path_refusal(trigger, event, changed)
    )


def schedule_refusal(schedules: tuple[Schedule, ...], event: Event) -> str | None:
    cron = event.payload.get("schedule")
    if cron is None or any(one.cron == cron for one in schedules):
        return None
    return f"none of its schedules is {cron}"


def type_refusal(trigger: Trigger, event: Event) -> str | None:
    types = trigger.types if trigger.types is not None else DEFAULT_TYPES.get(event.kind)
    key = "event_type" if event.kind == "repository_dispatch" else "action"
    kind = event.payload.get(key, event.payload.get("action"))
    if types is None or kind is None or kind in types:
        return None
    return f"it starts on {event.kind} {', '.join(types)}, not {kind}"


def where_refusal(trigger: Trigger, event: Event) -> str | None:
    """By the branch or tag that was pushed, or the branch that the event is about."""
    if event.kind == "push":
        if event.tag is not None:
            return tag_refusal(trigger, event.tag)
        if event.branch is None:
            return f"{event.ref or 'the event'} names neither a branch nor a tag"
        return branch_refusal(trigger, event.branch)
    if event.kind == "workflow_run" and trigger.workflows:
        name = member(event.payload, "workflow_run", "name")
        if name is not None and not included(trigger.workflows, str(name)):
            return f"it starts after {', '.join(trigger.workflows)}, not after {name}"
    branch = branch_of(event)
    if trigger.branches is None or branch is None or passes(trigger.branches, branch):
        return None
    return f"its filter on branches leaves out {branch}"


def branch_of(event: Event) -> str | None:
    """The branch that a filter on branches is about: of a pull request, the one it is to be merged into."""
    found: object = None
    match event.kind:
        case "pull_request" | "pull_request_target":
            found = member(event.payload, "pull_request", "base", "ref")
        case "merge_group":
            found = member(event.payload, "merge_group", "base_ref")
        case "workflow_run":
            found = member(event.payload, "workflow_run", "head_branch")
    return str(found).removeprefix("refs/heads/") if found is not None else event.branch


def member(payload: object, *keys: str) -> object:
    for key in keys:
        payload = payload.get(key) if isinstance(payload, Mapping) else None
    return payload


def tag_refusal(trigger: Trigger, tag: str) -> str | None:
    if trigger.tags is None:
        return "it starts on branches only" if trigger.branches is not None else None
    return None if passes(trigger.tags, tag) else f"its filter on tags leaves out {tag}"


def branch_refusal(trigger: Trigger, branch: str) -> str | None:
    if trigger.branches is None:
        return "it starts on tags only" if trigger.tags is not None else None
    return None if passes(trigger.branches, branch) else f"its filter on branches leaves out {branch}"


def path_refusal(trigger: Trigger, event: Event, changed: Changed) -> str | None:
    """A filter on paths lets an event pass for the sake of a single path that it lets pass.

    It says nothing of tags: what they point to was pushed before.
    """
    if trigger.paths is None or event.tag is not None:
        return None
    paths = changed()
    if paths is None or any(passes(trigger.paths, path) for path in paths):
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
