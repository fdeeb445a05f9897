"""A process is killed around the moment in which a run is bound to a commit of another repository.

The tag is moved meanwhile. Whatever was committed counts, and all jobs of the run have the same.
"""

import pytest

from runner.model.run import Run
from runner.model.step import Result
from tests.crash.world import World

SHOWN = """\
name: ci
on: push
jobs:
  a:
    runs-on: linux
    steps: [{{uses: tools/kit@v1}}]
  b:
    needs: a
    runs-on: linux
    steps: [{{uses: tools/kit@v1}}]
"""
MADE = """\
name: ci
on: push
jobs:
  a:
    runs-on: linux
    steps: &steps
      - run: |
          mkdir made
          said="{{using: composite, steps: [{{uses: tools/kit@v1}}]}}"
          echo "{{name: m, description: m, runs: $said}}" > made/action.yml
      - uses: ./made
  b:
    needs: a
    runs-on: linux
    steps: *steps
"""


def kit(world: World, version: int) -> str:
    said = f'echo "$GITHUB_JOB {version}" >> {world.record}'
    action = f"name: k\ndescription: k\nruns: {{using: composite, steps: [{{shell: bash, run: '{said}'}}]}}\n"
    return world.publish("tools/kit", "v1", action)


def is_bound(world: World, run: Run, version: int, commit: str) -> None:
    assert run.result is Result.SUCCESS, run
    assert run.pins == {"tools/kit@v1": commit}
    assert world.lines()
    assert {said for _, said in world.lines()} == {str(version)}
    assert {job for job, _ in world.lines()} == {job.key for job in run.jobs}
    world.leaves_nothing_alive()


@pytest.mark.parametrize(
    ("point", "version"),
    [
        ("workspaces.resolve:1:after", 2),
        ("store.settle:1:before", 2),
        ("store.settle:1:after", 1),
        ("store.update:1:before", 1),
        ("store.update:1:after", 1),
        ("workspaces.place:1:before", 1),
        ("workspaces.place:1:after", 1),
        ("store.record:1:after", 1),
    ],
)
def test_what_a_workflow_shows_is_bound_with_the_run_itself(
    embedded: World, point: str, version: int
) -> None:
    commits = [kit(embedded, 1)]
    delivery = embedded.deliver(embedded.commit(text=SHOWN))

    embedded.killed(embedded.start("embedded", point))
    commits.append(kit(embedded, 2))
    embedded.start("embedded")

    is_bound(embedded, embedded.ended(delivery), version, commits[version - 1])


@pytest.mark.parametrize(
    ("point", "version"),
    [
        ("workspaces.resolve:1:after", 2),
        ("store.update:2:before", 2),
        ("store.update:2:within", 2),
        ("store.update:2:after", 1),
        ("workspaces.place:1:after", 1),
        ("store.record:2:before", 1),
        ("store.update:3:after", 1),
    ],
)
def test_what_only_a_step_shows_is_bound_before_the_next_one_uses_it(
    embedded: World, point: str, version: int
) -> None:
    commits = [kit(embedded, 1)]
    delivery = embedded.deliver(embedded.commit(text=MADE))

    embedded.killed(embedded.start("embedded", point))
    commits.append(kit(embedded, 2))
    embedded.start("embedded")

    is_bound(embedded, embedded.ended(delivery), version, commits[version - 1])


@pytest.mark.parametrize("point", ["store.settle:1:after", "workspaces.place:1:after"])
def test_another_machine_has_the_commit_that_the_run_is_bound_to(distributed: World, point: str) -> None:
    commit = kit(distributed, 1)
    distributed.start("clock")
    victim = distributed.start("worker", point)
    delivery = distributed.deliver(distributed.commit(text=SHOWN))

    distributed.killed(victim)
    kit(distributed, 2)
    distributed.start("worker", home=distributed.folder / "another")

    is_bound(distributed, distributed.ended(delivery), 1, commit)
