"""The workflow language as tables: which keys, events and contexts there are, and which run already.

What stands under `later` is part of GitHub's language and refused by name.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

MAX_WORDS = 300
"""Among how many words the nearest is looked for."""

MAX_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Words:
    """The words that may stand in one place, and those that will be able to."""

    now: tuple[str, ...]
    later: tuple[str, ...] = ()


NO_WORDS = Words(now=())

WORKFLOW = Words(
    now=("name", "description", "on", "env", "defaults", "jobs"),
    later=("run-name", "permissions", "concurrency"),
)
JOB = Words(
    now=("name", "needs", "runs-on", "env", "defaults", "timeout-minutes", "container", "steps"),
    later=(
        "if",
        "uses",
        "with",
        "secrets",
        "strategy",
        "outputs",
        "services",
        "permissions",
        "concurrency",
        "environment",
        "continue-on-error",
        "snapshot",
    ),
)
STEP = Words(
    now=("id", "name", "run", "shell", "working-directory", "env", "timeout-minutes", "continue-on-error"),
    later=("if", "uses", "with"),
)
DEFAULTS = Words(now=("run",))
RUN_DEFAULTS = Words(now=("shell", "working-directory"))
CONTAINER = Words(now=("image",), later=("credentials", "env", "ports", "volumes", "options"))
RUNS_ON = Words(now=(), later=("group", "labels"))
PUSH = Words(now=("branches", "branches-ignore", "tags", "tags-ignore", "paths", "paths-ignore"))

EVENTS = Words(
    now=("push",),
    later=(
        "branch_protection_rule",
        "check_run",
        "check_suite",
        "create",
        "delete",
        "deployment",
        "deployment_status",
        "discussion",
        "discussion_comment",
        "fork",
        "gollum",
        "image_version",
        "issue_comment",
        "issues",
        "label",
        "merge_group",
        "milestone",
        "page_build",
        "project",
        "project_card",
        "project_column",
        "public",
        "pull_request",
        "pull_request_comment",
        "pull_request_review",
        "pull_request_review_comment",
        "pull_request_target",
        "registry_package",
        "release",
        "repository_dispatch",
        "schedule",
        "status",
        "watch",
        "workflow_call",
        "workflow_dispatch",
        "workflow_run",
    ),
)

SHELLS = Words(now=("bash", "sh", "python", "pwsh"), later=("cmd", "powershell"))


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression in one place may use."""

    contexts: Words
    functions: Words = NO_WORDS


WORKFLOW_ENV = Scope(Words(now=("github",), later=("inputs", "secrets", "vars")))
JOB_ENV = Scope(
    Words(now=("github", "needs"), later=("inputs", "matrix", "secrets", "strategy", "vars")),
)
JOB_DEFAULTS = Scope(
    Words(now=("env", "github", "needs"), later=("inputs", "matrix", "strategy", "vars")),
)
STEP_TEXT = Scope(
    Words(
        now=("env", "github", "job", "needs", "runner", "steps"),
        later=("inputs", "matrix", "secrets", "strategy", "vars"),
    ),
    functions=Words(now=(), later=("hashFiles",)),
)
NOTHING = Scope(NO_WORDS)

ALL_CONTEXTS = frozenset((*STEP_TEXT.contexts.now, *STEP_TEXT.contexts.later, "jobs"))

STEP_RESULTS = ("outputs", "outcome", "conclusion")
JOB_RESULTS = ("result", "outputs")


def meant(word: str, words: Iterable[str]) -> str:
    """What to say after naming a word that is none of `words`."""
    words = tuple(words)[:MAX_WORDS]
    near = get_close_matches(word.lower()[:60], words, n=1)
    if near:
        return f'; did you mean "{near[0]}"?'
    return here(words)


def here(words: Iterable[str]) -> str:
    known = ", ".join(sorted(words)[:MAX_SHOWN])
    return f"; here you can use {known}" if known else ""


def cut(word: object) -> str:
    """A word from a file, short enough to be quoted in a message."""
    text = str(word)
    return text if len(text) <= 60 else f"{text[:60]}…"
