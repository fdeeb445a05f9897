"""A process is killed wherever a definition is evaluated, and between legs; every leg runs, and once only."""

from collections import Counter

import pytest

from runner.engine.control import cancel
from runner.model.run import Finished, Running
from runner.model.step import Result
from tests.crash.world import World, wait_for

LEGS = """\
name: ci
on: push
jobs:
  a:
    strategy:
      max-parallel: 1
      matrix: {{n: [x, y]}}
    runs-on: linux
    outputs: {{said: "of ${{{{ matrix.n }}}}"}}
    steps:
      - run: |
          echo "a-${{{{ matrix.n }}}} 1 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          setsid env -i sleep {token} &
          {pause}
  c:
    needs: a
    uses: ./.runner/workflows/called.yml
    with: {{said: "${{{{ needs.a.outputs.said }}}}"}}
  d:
    needs: c
    if: always()
    runs-on: linux
    steps:
      - run: |
          echo "d 1 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          test "${{{{ needs.c.result }}}} ${{{{ needs.c.outputs.said }}}}" = "success it said: of y"
"""
CALLED = """\
on:
  workflow_call:
    inputs: {{said: {{type: string}}}}
    outputs:
      said: {{value: "${{{{ jobs.b.outputs.said }}}}"}}
jobs:
  b:
    runs-on: linux
    outputs: {{said: "it said: ${{{{ inputs.said }}}}"}}
    steps:
      - run: echo "b 1 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
"""

POINTS = (
    # Legs planned, each leg claimed and ended, the workflow called, its job claimed and ended, its end.
    *(f"store.update:{number}:after" for number in range(1, 10)),
    *(f"store.update:{number}:within" for number in (1, 6, 9)),
    *(f"dispatcher.plan:{number}:before" for number in range(1, 5)),
    "dispatcher.perform:2:before",
    "workspaces.fetch:2:after",
)
OF_A_WORKER = ("store.update:1:within", "store.update:1:after", "store.update:6:after")


def commit(world: World, pause: str = "") -> str:
    return world.commit(pause=pause, text=LEGS, called={"called.yml": CALLED})


def is_whole(world: World, delivery: str, made: str) -> None:
    run = world.ended(delivery)
    assert Counter(job.name for job in run.jobs) == Counter(["a (x)", "a (y)", "c", "d", "c / b"])
    world.is_sound(run, made)
    world.leaves_nothing_alive()


@pytest.mark.parametrize("point", POINTS)
def test_an_embedded_server_killed_while_it_plans_plans_everything_once(embedded: World, point: str) -> None:
    made = commit(embedded)
    delivery = embedded.deliver(made)

    embedded.killed(embedded.start("embedded", point))
    embedded.start("embedded")

    is_whole(embedded, delivery, made)


@pytest.mark.parametrize("point", OF_A_WORKER)
def test_a_worker_killed_while_it_plans_is_replaced_by_another(distributed: World, point: str) -> None:
    made = commit(distributed)
    distributed.start("clock")
    victim = distributed.start("worker", point)
    delivery = distributed.deliver(made)

    distributed.killed(victim)
    distributed.start("worker")

    is_whole(distributed, delivery, made)


def test_workers_that_are_rung_for_three_times_plan_everything_once(distributed: World) -> None:
    made = commit(distributed)
    distributed.start("clock")
    distributed.start("worker", "--thrice")
    distributed.start("worker", "--thrice")

    is_whole(distributed, distributed.deliver(made), made)


def test_a_worker_killed_under_a_cancelled_job_leaves_its_run_to_end_with_what_asks_for_it(
    embedded: World,
) -> None:
    delivery = embedded.deliver(commit(embedded, pause="trap '' INT TERM; sleep 1000"))
    victim = embedded.start("embedded")
    wait_for(lambda: embedded.lines() or None, "the first leg to begin")
    run = embedded.run_of(delivery)
    assert run is not None
    assert any(isinstance(job.phase, Running) for job in run.jobs)

    cancel(run.id, store=embedded.services.store, dispatcher=embedded.services.dispatcher)
    victim.kill()
    embedded.start("embedded")

    ended = embedded.ended(delivery)
    assert ended.result is Result.CANCELLED
    assert {job.name: str(job.phase.result) for job in ended.jobs if isinstance(job.phase, Finished)} == {
        "a (x)": "cancelled",
        "a (y)": "cancelled",
        "c": "cancelled",
        # It asked to run always, and found that what it needs was cancelled.
        "d": "failure",
    }
    embedded.leaves_nothing_alive()
