"""Runs that steps of a workflow in Python start, through the whole engine."""

import json
import time
from pathlib import Path
from textwrap import dedent

from runner.engine import control
from runner.model.run import Run
from runner.model.source import Repository
from tests.scenarios.engine import PATIENCE, Engine
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
CALLED = """
on:
  workflow_dispatch:
    inputs:
      who: {required: true, type: string}
  workflow_call:
    inputs:
      who: {required: true, type: string}
    outputs:
      greeting: {value: "${{ jobs.say.outputs.said }}, ${{ inputs.who }}!"}
      number: {value: "${{ fromJSON(jobs.say.outputs.number) }}"}
jobs:
  say:
    runs-on: self-hosted
    outputs: {said: hello, number: "${{ inputs.who == 'ada' && 1 || 'one' }}", hidden: inside}
    steps:
      - run: "true"
"""
KID = """
from runner.sdk import workflow

@workflow(on={"workflow_dispatch": {"inputs": {"n": {"type": "number"}}}})
async def kid(event, step):
    parent, twice = event.payload["parent"], int(event.inputs["n"]) * 2
    return {"twice": twice, "by": event.actor, "depth": parent["depth"], "of": parent["step"]}
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
    files = {"child.yml": CHILD, "called.yml": CALLED, "kid.py": KID, "slow.yml": SLOW}
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
        called = await step.run_workflow("called", "called.yml", inputs={"who": "ada"})
        ids = {"child": child.run, "kid": kid.run}
        return {"said": child["said"], "called": called.outputs, **ids, **kid.outputs}
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
    assert json.loads(job.outputs["called"]) == {"greeting": "hello, ada!", "number": "1"}
    # What was found out stands with the job: one that starts over for want of its files is told the same.
    (answer,) = (wait.answer for wait in job.waits if wait.key == "called#1")
    assert answer is not None
    assert answer.payload["outputs"] == {"greeting": "hello, ada!", "number": "1"}
    for one, step in ((child, "child#1"), (kid, "kid#1")):
        assert one.route == run.route
        assert one.parent is not None
        assert (one.parent.run, one.parent.job, one.parent.step) == (run.id, job.id, step)


def test_what_a_child_cannot_do_fails_its_step_by_name(engine: Engine, tmp_path: Path) -> None:
    run = pushed(
        engine,
        tmp_path,
        "parents/refused",
        """
        said = []
        async def tried(name, workflow, **terms):
            try:
                await step.run_workflow(name, workflow, **terms)
            except StepFailed as failed:
                said.append(f"{type(failed).__name__}: {failed}")
        await tried("fails", "child.yml", inputs={"who": "bob"})
        await tried("unknown", "kind.py")
        await tried("by hand", "parent.py")
        await tried("inputs", "child.yml", inputs={"whom": "ada"})
        await tried("outputs", "called.yml", inputs={"who": "bob"})
        return {"said": said}
        """,
    )

    (job,) = engine.ended(run.id).jobs

    failed, unknown, by_hand, inputs, outputs = json.loads(job.outputs["said"])
    assert failed.startswith("StepFailed: step fails: run ")
    assert failed.endswith(" of .runner/workflows/child.yml ended with failure")
    assert unknown == 'StepFailed: step unknown: there is no workflow "kind.py"; did you mean "kid.py"?'
    assert by_hand == (
        "StepFailed: step by hand: .runner/workflows/parent.py cannot be started by hand; give its "
        '"on" a workflow_dispatch'
    )
    assert 'the input "who" is required; there is no input "whom"' in inputs
    assert " of .runner/workflows/called.yml ended with success, but what it gives cannot be had: " in outputs


def test_a_child_that_nobody_waits_for_any_more_is_cancelled(engine: Engine, tmp_path: Path) -> None:
    run = pushed(
        engine,
        tmp_path,
        "parents/left",
        """
        which, _ = await step.wait_any(step.run_workflow("slow", "slow.yml"), step.sleep("nap", 0.3))
        try:
            await step.run_workflow("late", "slow.yml", timeout=0.3)
        except TimedOut as failed:
            return {"which": which, "late": failed.reason}
        """,
    )

    (job,) = engine.ended(run.id).jobs

    assert job.outputs["which"] == "1"
    assert job.outputs["late"].startswith("the run of .runner/workflows/slow.yml had not ended by ")
    left = children(engine, run)
    assert [str(engine.ended(one).result) for one in left] == ["cancelled", "cancelled"]


def test_a_cancel_of_the_parent_is_one_of_its_children(engine: Engine, tmp_path: Path) -> None:
    run = pushed(engine, tmp_path, "parents/cancelled", 'await step.run_workflow("slow", "slow.yml")')
    end = time.monotonic() + PATIENCE
    while not (found := children(engine, run)):
        assert time.monotonic() < end, "no child has begun"
        time.sleep(0.01)

    services, views = engine.services, engine.services.views
    control.cancel(run.id, store=services.store, dispatcher=services.dispatcher)

    assert str(engine.ended(run.id).result) == "cancelled"
    (child,) = map(engine.ended, found)
    assert str(child.result) == "cancelled"
    assert child.over == f"the step of run {run.id} that started it does not wait for it any more"
    (shown,) = views.run(run.id).jobs[0].steps
    assert (shown.name, shown.run) == ("slow", child.id)
    parent = views.run(child.id).parent
    assert parent is not None
    assert (parent.run, parent.step) == (run.id, "slow")


def test_a_rerun_of_the_parent_starts_a_new_child(engine: Engine, tmp_path: Path) -> None:
    body = 'return {"child": (await step.run_workflow("child", "child.yml", inputs={"who": "ada"})).run}'
    run = pushed(engine, tmp_path, "parents/again", body)
    (first,) = engine.ended(run.id).jobs
    services = engine.services

    control.rerun(run.id, store=services.store, dispatcher=services.dispatcher)

    (second,) = engine.ended(run.id).jobs
    assert first.outputs["child"] != second.outputs["child"]


def children(engine: Engine, run: Run) -> list[int]:
    return [step.run for job in engine.services.views.run(run.id).jobs for step in job.steps if step.run]
