"""A process is killed as a step starts another run: that is started once, and its parent hears of its end."""

import pytest

from runner.model.step import Result
from runner.store.read_models import RunFilter
from tests.crash.world import World

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
