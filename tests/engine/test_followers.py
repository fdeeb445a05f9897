"""Runs that follow other runs."""

from runner.engine.control import cancel, rerun
from runner.engine.ports import Command, Exit
from runner.model.reruns import failed_jobs
from runner.model.run import Run
from runner.model.source import Delivery
from tests.builders import an_event
from tests.engine.conftest import TWO_STEPS, Bench

FOLLOWER = """\
name: after
on: {workflow_run: {workflows: [ci], types: [TYPES], branches: [main]}}
jobs:
  a:
    runs-on: linux
    steps:
      - run: follow
        env:
          SEEN: ${{ github.event.workflow_run.conclusion }} ${{ github.event.workflow_run.head_sha }}
          EVENT: ${{ github.event_name }} ${{ github.event.action }} ${{ github.event.workflow_run.event }}
"""


def given(bench: Bench, types: str = "completed", follower: str = FOLLOWER) -> Run:
    """A run of `ci` on a default branch where `after` waits for it."""
    bench.write(TWO_STEPS)
    bench.write(follower.replace("TYPES", types), ".runner/workflows/after.yml")
    delivery = bench.admit(bench.receive(an_event(default_branch="main", commit="2" * 40)))
    return bench.store.load(delivery.runs[-1])


def judged(bench: Bench, name: str = "ci") -> list[Delivery]:
    """What is told of runs of a workflow and waits for the clock, judged."""
    found = [bench.admit(bench.store.delivery(one)) for one in bench.store.stranded().deliveries]
    return [one for one in found if one.event.payload["workflow_run"]["name"] == name]


def followers(bench: Bench) -> list[Run]:
    return [bench.store.load(run) for delivery in judged(bench) for run in delivery.runs]


def test_a_run_that_ended_is_followed_at_the_default_branchs_newest_commit(bench: Bench) -> None:
    given(bench)
    assert followers(bench) == []
    bench.work()

    (follower,) = followers(bench)
    bench.work()

    env = bench.executor.commands[-1].env
    assert (follower.name, follower.route.commit) == ("after", "1" * 40)
    assert env["SEEN"] == f"success {'2' * 40}"
    assert env["EVENT"] == "workflow_run completed push"
    assert env["GITHUB_REF"] == "refs/heads/main"


def test_each_stage_is_told_once(bench: Bench) -> None:
    given(bench, "requested, in_progress, completed")
    bench.work()

    deliveries = judged(bench)

    told = [delivery.event.payload["action"] for delivery in deliveries]
    assert sorted(told) == ["completed", "in_progress", "requested"]
    assert all(len(delivery.runs) == 1 for delivery in deliveries)
    assert judged(bench) == []


def test_a_failed_and_a_cancelled_run_are_followed_too(bench: Bench) -> None:
    def fails(command: Command) -> Exit:
        return Exit(1)

    run = given(bench)
    bench.executor.act = fails
    bench.work()
    assert [one.event.payload["workflow_run"]["conclusion"] for one in judged(bench)] == ["failure"]

    rerun(run.id, store=bench.store, dispatcher=bench.bell)
    cancel(run.id, store=bench.store, dispatcher=bench.bell)

    (again,) = judged(bench)
    about = again.event.payload["workflow_run"]
    assert (about["conclusion"], about["run_attempt"], again.status) == ("cancelled", 2, "admitted")


def test_what_is_kept_of_an_earlier_attempt_is_no_beginning_of_a_rerun(bench: Bench) -> None:
    more = "  fails: {runs-on: linux, steps: [{run: fails}]}\n"
    bench.write(TWO_STEPS + more)
    bench.write(FOLLOWER.replace("TYPES", "in_progress"), ".runner/workflows/after.yml")
    delivery = bench.admit(bench.receive(an_event(default_branch="main", commit="2" * 40)))
    run = bench.store.load(delivery.runs[-1])
    bench.executor.act = lambda command: Exit(int(command.env["GITHUB_JOB"] == "fails"))
    bench.work()
    assert len(judged(bench)) == 1

    rerun(run.id, store=bench.store, dispatcher=bench.bell, chosen=failed_jobs)

    assert judged(bench) == []
    bench.work()
    assert [one.event.payload["workflow_run"]["run_attempt"] for one in judged(bench)] == [2]


def test_other_workflows_and_branches_are_not_followed(bench: Bench) -> None:
    given(bench, follower=FOLLOWER.replace("[ci]", "[other]"))
    bench.work()
    assert judged(bench) == []

    bench.write(FOLLOWER.replace("TYPES", "completed"), ".runner/workflows/after.yml")
    bench.admit(bench.receive(an_event(default_branch="main"), "again"))
    bench.admit(bench.receive(an_event(ref="refs/heads/topic", default_branch="main"), "topic"))
    bench.work()

    reasons = [one.reason for one in judged(bench)]
    assert "its filter on branches leaves out topic" in reasons[-1]


def test_where_nothing_waits_nothing_is_stored(bench: Bench) -> None:
    bench.a_run()
    bench.work()

    assert judged(bench) == []


def test_runs_that_would_follow_each_other_for_ever_stop_after_the_third(bench: Bench) -> None:
    bench.write(
        TWO_STEPS.replace("on: push", "on: {push: , workflow_run: {workflows: [ci], types: [completed]}}")
    )
    bench.admit(bench.receive(an_event(default_branch="main")))
    bench.work()

    runs = 0
    while found := followers(bench):
        runs += len(found)
        bench.work()

    assert runs == 3


def test_a_broken_workflow_is_a_run_that_was_requested_and_has_ended(bench: Bench) -> None:
    bench.write("on: push\njobs: 5\n", ".runner/workflows/broken.yml")
    given(bench, follower=FOLLOWER.replace("[ci]", "['**']"))

    broken = ".runner/workflows/broken.yml"
    ended = [one for one in judged(bench, broken) if one.event.payload["action"] == "completed"]

    assert [one.event.payload["workflow_run"]["conclusion"] for one in ended] == ["failure"]
