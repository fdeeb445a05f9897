"""GitHub's events: the kinds each has, and how it may be filtered.

https://docs.github.com/actions/reference/events-that-trigger-workflows
"""

from runner.workflow.checks import path_pattern, ref_pattern
from runner.workflow.shapes import Fields, Many, Shape, Text, either

TYPES: dict[str, tuple[str, ...]] = {
    "branch_protection_rule": ("created", "edited", "deleted"),
    "check_run": ("created", "rerequested", "completed", "requested_action"),
    "check_suite": ("completed",),
    "create": (),
    "delete": (),
    "deployment": (),
    "deployment_status": (),
    "discussion": (
        *("created", "edited", "deleted", "transferred", "pinned", "unpinned", "labeled", "unlabeled"),
        *("locked", "unlocked", "category_changed", "answered", "unanswered"),
    ),
    "discussion_comment": ("created", "edited", "deleted"),
    "fork": (),
    "gollum": (),
    "image_version": (),
    "issue_comment": ("created", "edited", "deleted"),
    "issues": (
        *("opened", "edited", "deleted", "transferred", "pinned", "unpinned", "closed", "reopened"),
        *("assigned", "unassigned", "labeled", "unlabeled", "locked", "unlocked", "milestoned"),
        *("demilestoned", "typed", "untyped", "field_added", "field_removed"),
    ),
    "label": ("created", "edited", "deleted"),
    "merge_group": ("checks_requested",),
    "milestone": ("created", "closed", "opened", "edited", "deleted"),
    "page_build": (),
    "project": ("created", "updated", "closed", "reopened", "edited", "deleted"),
    "project_card": ("created", "moved", "converted", "edited", "deleted"),
    "project_column": ("created", "updated", "moved", "deleted"),
    "public": (),
    "pull_request": (),
    "pull_request_comment": ("created", "edited", "deleted"),
    "pull_request_review": ("submitted", "edited", "dismissed"),
    "pull_request_review_comment": ("created", "edited", "deleted"),
    "pull_request_target": (),
    "push": (),
    "registry_package": ("published", "updated"),
    "release": ("published", "unpublished", "created", "edited", "deleted", "prereleased", "released"),
    "repository_dispatch": (),
    "status": (),
    "watch": ("started",),
    "workflow_run": ("completed", "requested", "in_progress"),
}
PULL_REQUEST = (
    *("assigned", "unassigned", "labeled", "unlabeled", "opened", "edited", "closed", "reopened"),
    *("synchronize", "converted_to_draft", "locked", "unlocked", "enqueued", "dequeued", "milestoned"),
    *("demilestoned", "ready_for_review", "review_requested", "review_request_removed"),
    *("auto_merge_enabled", "auto_merge_disabled"),
)
TYPES |= {"pull_request": PULL_REQUEST, "pull_request_target": PULL_REQUEST}

DEFAULT_TYPES = {
    "pull_request": ("opened", "synchronize", "reopened"),
    "pull_request_target": ("opened", "synchronize", "reopened"),
}
"""What starts a workflow that names no types; for other events, all of them."""

BRANCHES = ("branches", "branches-ignore")
TAGS = ("tags", "tags-ignore")
PATHS = ("paths", "paths-ignore")
FILTERS = {
    "push": (*BRANCHES, *TAGS, *PATHS),
    "pull_request": (*BRANCHES, *PATHS),
    "pull_request_target": (*BRANCHES, *PATHS),
    "merge_group": BRANCHES,
    "workflow_run": ("workflows", *BRANCHES),
    "image_version": ("names", "versions"),
}


def texts(text: Text) -> Shape:
    return either(text, Many(text))


KEYS: dict[str, Shape] = {
    **{key: texts(Text(filled=True, check=ref_pattern, means="a pattern")) for key in (*BRANCHES, *TAGS)},
    **{key: texts(Text(filled=True, check=path_pattern, means="a pattern")) for key in PATHS},
    "workflows": texts(Text(filled=True, means="the name of a workflow")),
    "names": texts(Text(filled=True)),
    "versions": texts(Text(filled=True)),
}


def fields_of(event: str) -> Fields:
    keys: dict[str, Shape] = {}
    if event in ("repository_dispatch", "image_version"):
        keys["types"] = texts(Text(filled=True))
    elif TYPES[event]:
        keys["types"] = texts(Text(choices=TYPES[event]))
    keys |= {key: KEYS[key] for key in FILTERS.get(event, ())}
    return Fields(event, keys)


EVENTS = {event: fields_of(event) for event in TYPES}
