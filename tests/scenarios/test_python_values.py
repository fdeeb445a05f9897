"""What steps of a workflow in Python keep: artifacts, caches, long values, and secrets."""

import json
from pathlib import Path
from textwrap import dedent

from runner.engine import control
from runner.model.blob import Blob
from runner.model.run import Run
from runner.model.source import Repository
from tests.scenarios.engine import SECRETS, Engine
from tests.workspaces.origin import git

WORKFLOW = """
import os

from runner.sdk import StepFailed, workflow


@workflow(on="push", env={"TOKEN": "${{ secrets.TOKEN }}"})
async def keep(event, step):
"""
LOG_BYTES = 1024 * 1024


def pushed(engine: Engine, origin: Path, name: str, body: str) -> Run:
    """A run of a workflow of which only the body is given, once it has ended."""
    file = origin / ".runner/workflows/keep.py"
    file.parent.mkdir(parents=True)
    git(origin, "init", "--quiet", "--initial-branch=main")
    file.write_text(WORKFLOW + "".join(f"    {line}\n" for line in dedent(body).strip().splitlines()))
    git(origin, "add", "--all")
    git(origin, "commit", "--quiet", "--message", "a change")
    (run,) = engine.push(Repository("git", name, str(origin)), git(origin, "rev-parse", "HEAD")).runs
    return engine.ended(run)


def test_artifacts_and_caches_are_kept_beside_other_steps(engine: Engine, tmp_path: Path) -> None:
    body = """
    deps = await step.cache("deps", key="deps-1", path=["deps"], restore_keys=["deps-"])
    await step.sh("make", "[ -e deps/a ] || { mkdir deps; echo made > deps/a; }; mkdir out; echo 1 > out/x")
    up, _ = await step.gather(step.artifact("up", "out", artifact="mine"), step.sh("beside", "echo beside"))
    await step.sleep("nap", 0.05)
    await step.sh("lose", "rm -r out")
    await step.download("down", artifact="mine", path="got")
    got = await step.do("got", lambda: open("got/x").read())
    late = await step.save_cache("late", key="late-1", path="got")
    again = await step.cache("again", key="late-1", path="got", save=False)
    try:
        await step.uses("node", "actions/setup-node@v4")
    except StepFailed as failed:
        refused = failed.reason
    try:
        await step.artifact("nothing", "nowhere")
    except StepFailed as failed:
        nothing = failed.reason
    return {"hit": deps.hit, "matched": deps.matched, "got": got, "again": again.hit, "refused": refused,
            "nothing": nothing, "id": up["artifact-id"]}
    """

    services = engine.services
    first = pushed(engine, tmp_path, "values/files", body)
    control.rerun(first.id, store=services.store, dispatcher=services.dispatcher)
    second = engine.ended(first.id)

    for run, hit in ((first, "false"), (second, "true")):
        (job,) = run.jobs
        assert str(run.result) == "success", job.phase
        assert (job.outputs["hit"], job.outputs["got"], job.outputs["again"]) == (hit, "1\n", "true")
        assert "step.uses() knows actions/cache@v4" in job.outputs["refused"]
        assert "No files were found" in job.outputs["nothing"]
    log = services.logs.read(first.jobs[0].id, first.jobs[0].attempt, "deps#1.post", 0, LOG_BYTES)
    assert b"saved 2 files and folders" in log
    (shown,) = services.views.run(first.id).jobs
    assert [step.name for step in shown.steps][-1] == "Post deps"


def test_a_long_value_is_the_same_when_the_workflow_is_run_again(engine: Engine, tmp_path: Path) -> None:
    body = """
    import hashlib
    long = await step.do("long", lambda: ["\\u00e9" * 100] * 20_000)
    before = hashlib.sha256(repr(long).encode()).hexdigest()
    await step.sleep("nap", 0.05)
    try:
        await step.do("too long", lambda: "x" * (64 * 1024 * 1024))
    except StepFailed as failed:
        over = failed.reason
    return {"digest": await step.do("digest", lambda: before), "length": len(long), "over": over}
    """

    run = pushed(engine, tmp_path, "values/long", body)

    (job,) = run.jobs
    assert str(run.result) == "success", job.phase
    assert job.outputs["length"] == "20000"
    assert job.outputs["over"] == "its value has 67108866 bytes as JSON; the limit is 67108864"
    outcome = engine.services.store.recall(job)["long#1"].outcome
    assert outcome.value is None
    assert isinstance(outcome.blob, Blob)
    with engine.services.objects.open(outcome.blob) as file:
        assert json.load(file) == ["\u00e9" * 100] * 20_000
    assert engine.services.retention.known([outcome.blob.key, "values/1/none"]) == {outcome.blob.key}
    shown = next(step for step in engine.services.views.run(run.id).jobs[0].steps if step.name == "long")
    assert shown.value is not None
    assert shown.value.startswith('["\\u00e9')
    assert len(shown.value) == 2001


def test_people_see_no_secret_in_what_steps_give_and_the_workflow_gets_it(
    engine: Engine, tmp_path: Path
) -> None:
    body = """
    token = os.environ["TOKEN"]
    value = await step.do("value", lambda: {"token": os.environ["TOKEN"], "n": 1})
    await step.sleep("nap", 0.05)
    try:
        await step.do("error", lambda: int(os.environ["TOKEN"]))
    except StepFailed as failed:
        heard = token in failed.reason
    await step.sh("hide", "echo '::add-mask::later-secret'")
    await step.sleep("another nap", 0.05)
    await step.do("later", lambda: "the later-secret")
    await step.sh("request", f"true {token}")
    try:
        await step.wait_for_event("event", type=f"of {token}")
    except StepFailed as failed:
        refused = failed.reason
    return {"same": value["token"] == token, "heard": heard, "refused": refused}
    """

    run = pushed(engine, tmp_path, "values/secret", body)

    (job,) = run.jobs
    assert str(run.result) == "success", job.phase
    assert (job.outputs["same"], job.outputs["heard"]) == ("true", "true")
    assert job.outputs["refused"].startswith("the type of an event has a secret in it")
    shown = {step.name: step for step in engine.services.views.run(run.id).jobs[0].steps}
    assert shown["value"].value == '{"token": "***", "n": 1}'
    assert shown["later"].value == '"the ***"'
    assert SECRETS["TOKEN"] not in repr(shown)
    requests = [done.outcome.request for done in engine.services.store.recall(job).values()]
    assert "sh request: true ***" in requests


def test_a_step_whose_name_has_a_secret_in_it_ends_the_job_and_says_so(
    engine: Engine, tmp_path: Path
) -> None:
    run = pushed(engine, tmp_path, "values/named", 'await step.sh("with " + os.environ["TOKEN"], "true")')

    assert "the name of a step has a secret in it" in getattr(run.jobs[0].phase, "reason", "")


def test_a_long_upload_keeps_no_step_waiting_and_ends_when_nobody_waits_for_it(
    engine: Engine, tmp_path: Path
) -> None:
    body = """
    await step.sh("make", "truncate -s 20G big")
    which, _ = await step.wait_any(step.artifact("up", "big"), step.sh("beside", "true"))
    await step.sh("after", "true")
    return {"which": which}
    """

    run = pushed(engine, tmp_path, "values/left", body)

    assert run.jobs[0].outputs == {"which": "1"}
    assert engine.services.artifacts.of_run(run.route, run.id) == []
