"""Runs that steps of a workflow in Python start, through the whole engine."""

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

from runner.engine import control
from runner.model.run import Run
from runner.model.source import Repository
from tests.scenarios.engine import Engine
from tests.workspaces.origin import git

CHILD = """
on:
  workflow_dispatch:
    inputs:
      who: {required: true, type: string}
jobs:
  say:
    runs-on: self-hosted
    outputs: {said: "${{ steps.a.outputs.x }}"}
    steps:
      - id: a
        run: echo "x=hello ${{ inputs.who }}" >> $GITHUB_OUTPUT; test "${{ inputs.who }}" = ada
"""
KID = """
from runner.sdk import workflow

@workflow(on={"workflow_dispatch": {"inputs": {"n": {"type": "number"}}}})
async def kid(event, step):
    parent = event.payload["parent"]
    return {"twice": int(event.inputs["n"]) * 2, "by": event.actor, "depth": parent["depth"], "of": parent["step"]}
"""
SLOW = """
on: workflow_dispatch
jobs:
  slow:
    runs-on: self-hosted
    steps:
      - run: sleep 60
"""
WORKFLOW = """
from runner.sdk import workflow, StepFailed, TimedOut

@workflow(on="push")
async def parent(event, step):
"""


def pushed(engine: Engine, origin: Path, name: str, body: str) -> Run:
    files = {"child.yml": CHILD, "kid.py": KID, "slow.yml": SLOW}
    text = WORKFLOW + "".join(f"    {line}\n" for line in dedent(body).strip().splitlines())
    folder = origin / ".runner/workflows"
    folder.mkdir(parents=True)
    git(origin, "init", "--quiet", "--initial-branch=main")
    for file, content in {**files, "parent.py": text}.items():
        (folder / file).write_text(content)
    git(origin, "add", "--all")
    git(origin, "commit", "--quiet", "--message", "a change")
    delivery = engine.push(Repository("git", name, str(origin)), git(origin, "rev-parse", "HEAD"))
    (run,) = delivery.runs
    return engine.services.store.load(run)


def values(engine: Engine, run: Run) -> dict[str, Any]:
    """What the steps of a run's only job gave, by their keys."""
    (job,) = run.jobs
    found = engine.services.store.recall(job)
    return {key: one.outcome.value and json.loads(one.outcome.value) for key, one in found.items()}


def test_a_child_runs_at_the_same_commit_and_its_parent_gets_what_its_jobs_gave(
    engine: Engine, tmp_path: Path
) -> None:
    run = pushed(
        engine,
        tmp_path,
        "parents/all",
        """
        child = await step.run_workflow("child", "child.yml", inputs={"who": "ada"})
        kid, _ = await step.gather(
            step.run_workflow("kid", ".runner/workflows/kid.py", inputs={"n": 4}),
            step.sh("beside", "echo beside"),
        )
        return {"said": child["said"], "child": child.run, "kid": kid.run, **kid.outputs}
        """,
    )

    ended = engine.ended(run.id)

    (job,) = ended.jobs
    assert str(ended.result) == "success", job.phase
    child, kid = (engine.services.store.load(int(job.outputs[one])) for one in ("child", "kid"))
    assert {name: job.outputs[name] for name in ("said", "twice", "by", "depth", "of")} == {
        "said": "hello ada",
        "twice": "8",
        "by": "ada",
        "depth": "2",
        "of": "kid",
    }
    for one, step in ((child, "child#1"), (kid, "kid#1")):
        assert one.route == run.route
        assert one.parent is not None
        assert (one.parent.run, one.parent.job, one.parent.step) == (run.id, job.id, step)
