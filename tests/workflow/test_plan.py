"""What an event starts, and in which stages and combinations."""

from typing import Any

import pytest

from runner.expr.template import parse_template
from runner.model.source import Event
from runner.workflow.graph import as_mermaid, as_svg, as_text
from runner.workflow.load import load
from runner.workflow.plan import planned, stages
from runner.workflow.trees import settled
from runner.workflow.triggers import refusal

STEPS = "steps: [{run: x}]"
TEXT = f"""\
on:
  push: {{branches: [main]}}
  pull_request: {{branches: ['release/**'], paths: ['src/**']}}
  issues: {{types: [opened]}}
  workflow_run: {{workflows: [CI], branches: [main]}}
  schedule: [{{cron: '0 6 * * *'}}]
  workflow_dispatch:
jobs:
  build:
    runs-on: ${{{{ matrix.os }}}}
    strategy: {{matrix: {{os: [linux, mac], n: [1]}}, max-parallel: 1}}
    {STEPS}
  test: {{needs: build, runs-on: [self-hosted, '${{{{ github.event_name }}}}'], {STEPS}}}
  late: {{needs: [test], runs-on: x, strategy: {{matrix: '${{{{ fromJSON(needs.test.x) }}}}'}}, {STEPS}}}
  "lint": {{runs-on: x, name: 'Say "hi" & <go>', {STEPS}}}
"""
WORKFLOW = load("ci.yml", TEXT.encode())
CONTEXTS: dict[str, object] = {"github": {"event_name": "push"}, "matrix": {}}


def test_jobs_come_in_stages() -> None:
    assert stages(WORKFLOW) == (("build", "lint"), ("test",), ("late",))


def test_a_job_is_planned_as_far_as_can_be_told_without_a_run() -> None:
    build, test, late, _ = (planned(job, CONTEXTS) for job in WORKFLOW.jobs)

    assert build.legs == ({"os": "linux", "n": 1.0}, {"os": "mac", "n": 1.0})
    assert (build.labels, build.fail_fast, build.max_parallel) == (("linux",), True, 1.0)
    assert (test.legs, test.labels, test.needs) == (({},), ("self-hosted", "push"), ("build",))
    assert (late.legs, late.labels) == (None, None)


def test_a_tree_is_settled_by_evaluating_what_is_in_it() -> None:
    contexts = {"m": {"a": "x", "list": ["y"]}}
    one, mixed = parse_template("${{ m.list }}"), parse_template("<${{ m.a }}>")

    assert settled({"k": (one, mixed, 1.0), "${{ m.a }}": True}, contexts) == {
        "k": ["y", "<x>", 1.0],
        "x": True,
    }
    assert settled({"${{ insert }}": parse_template("${{ m }}"), "b": None}, contexts) == {
        "a": "x",
        "list": ["y"],
        "b": None,
    }


@pytest.mark.parametrize(
    ("kind", "payload", "reason"),
    [
        ("push", {}, None),
        ("release", {}, "it does not start on release"),
        ("workflow_dispatch", {}, None),
        ("schedule", {"schedule": "0 6 * * *"}, None),
        ("schedule", {"schedule": "1 1 * * *"}, "none of its schedules is 1 1 * * *"),
        ("issues", {"action": "opened"}, None),
        ("issues", {"action": "closed"}, "it starts on issues opened, not closed"),
        (
            "pull_request",
            {"action": "closed"},
            "it starts on pull_request opened, synchronize, reopened, not",
        ),
        ("pull_request", {"action": "opened", "pull_request": {"base": {"ref": "release/1"}}}, None),
        (
            "pull_request",
            {"pull_request": {"base": {"ref": "main"}}},
            "its filter on branches leaves out main",
        ),
        ("workflow_run", {"workflow_run": {"name": "CI", "head_branch": "main"}}, None),
        ("workflow_run", {"workflow_run": {"name": "X"}}, "it starts after CI, not after X"),
        ("workflow_call", {}, "it does not start on workflow_call"),
    ],
)
def test_an_event_starts_what_names_its_kind(kind: str, payload: dict[str, Any], reason: str | None) -> None:
    event = Event(kind, "github", "o/r", "refs/heads/main", payload=payload)

    found = refusal(WORKFLOW, event, lambda: ["src/a"])

    assert found is None if reason is None else found is not None and found.startswith(reason)


def test_a_pull_request_is_filtered_by_paths_too() -> None:
    event = Event("pull_request", "github", "o/r", payload={"pull_request": {"base": {"ref": "release/1"}}})

    assert (
        refusal(WORKFLOW, event, lambda: ["docs/a"])
        == "its filter on paths leaves out everything that changed"
    )


def test_the_graph_is_drawn_as_text_mermaid_and_svg() -> None:
    assert as_text(WORKFLOW).splitlines()[2] == "2  test  <- build"
    assert '  job4["Say #quot;hi#quot; & <go>"]' in as_mermaid(WORKFLOW).splitlines()
    assert "  job1 --> job2" in as_mermaid(WORKFLOW).splitlines()
    assert as_svg(WORKFLOW).count("<rect") == 4
    assert "&amp; &lt;go&gt;" in as_svg(WORKFLOW)
