"""A process is killed as a step starts another run: that is started once, and its parent hears of its end."""

import pytest

from runner.model.step import Result
from runner.store.read_models import RunFilter
from tests.crash.world import World, wait_for

CHILD = """\
name: child
on: workflow_dispatch
jobs:
  a:
    runs-on: linux
    outputs: {{said: "${{{{ steps.one.outputs.said }}}}"}}
    steps:
      - id: one
        run: |
          echo "a 1 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          {pause}
          echo "said=hello" >> "$GITHUB_OUTPUT"
"""
PARENT = """\
from runner.sdk import workflow

@workflow(on="push", runs_on="linux")
async def parent(event, step):
    child = await step.run_workflow("call", "ci.yml")
    return {{"run": child.run, "said": child["said"]}}
"""


@pytest.mark.parametrize(
    "point",
    [
        "store.receive_all:1:before",
        # The other run is there, and nobody was rung for it, or waits for it.
        "store.receive_all:1:after",
        "dispatcher.admit:2:after",
        # Who waits for it is written down, or it is claimed: whichever comes first.
        "store.update:2:before",
    ],
)
def test_a_server_killed_as_a_step_starts_a_run_has_started_it_once_and_hears_of_its_end(
    embedded: World, point: str
) -> None:
    delivery = embedded.deliver(embedded.commit(text=CHILD, called={"parent.py": PARENT}))
    victim = embedded.start("embedded", point)

    embedded.killed(victim)
    embedded.start("embedded")

    run = embedded.ended(delivery)
    assert run.result is Result.SUCCESS, run
    (job,) = run.jobs
    assert job.outputs["said"] == "hello"
    runs = embedded.services.views.runs(RunFilter())
    assert {one.id for one in runs} == {run.id, int(job.outputs["run"])}


@pytest.mark.parametrize("point", ["store.update:1:within", "store.update:1:after"])
def test_what_is_paused_or_goes_on_as_who_says_so_is_killed_is_so_with_all_that_it_waits_for_or_not_at_all(
    embedded: World, point: str
) -> None:
    gate = f"until test -e {embedded.gate}; do sleep 0.05; done"
    delivery = embedded.deliver(embedded.commit(text=CHILD, pause=gate, called={"parent.py": PARENT}))
    embedded.start("embedded")
    wait_for(lambda: embedded.lines() or None, "the step of the child to begin")
    parent, store = embedded.run_of(delivery), embedded.services.store
    assert parent is not None
    (child,) = (one.id for one in embedded.services.views.runs(RunFilter()) if one.id != parent.id)

    def stand_still() -> list[bool]:
        return [bool(store.load(one).stopped) for one in (parent.id, child)]

    stands = point.endswith("after")
    embedded.killed(embedded.start("pause", point, str(parent.id)))
    wait_for(lambda: stand_still() == [stands, stands] or None, "the child to be in step", stand_still)
    embedded.start("pause", "", str(parent.id)).wait()
    embedded.killed(embedded.start("unpause", point, str(parent.id)))
    wait_for(lambda: stand_still() == [not stands] * 2 or None, "the child to be in step", stand_still)
    embedded.start("unpause", "", str(parent.id)).wait()
    embedded.gate.touch()

    assert embedded.ended(delivery).result is Result.SUCCESS
