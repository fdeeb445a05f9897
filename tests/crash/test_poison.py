"""Steps that break what they stand on end as failures of their own; the worker lives and works on."""

from collections.abc import Iterator

import pytest

from runner.model.step import Result
from tests.crash.world import KEPT, World, a_world
from tests.executors.jobs import open_folder

MEGABYTES = 100
POISON = f"""\
name: ci
on: push
jobs:
  a:
    runs-on: linux
    steps:
      - name: segfault
        continue-on-error: true
        run: kill -SEGV $$
      - name: out of memory
        continue-on-error: true
        run: |
          ulimit -v 200000
          exec python3 -c 'bytearray(1 << 30)'
      - name: fork bomb
        continue-on-error: true
        timeout-minutes: 0.02
        run: |
          ulimit -u 64
          bomb() {{{{ bomb | bomb & }}}}; bomb
          while :; do :; done
      - name: flood
        run: yes | head -c {MEGABYTES}000000
      - run: echo "a $RUNNER_STEP $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)"
"""


@pytest.fixture(params=["host", "sandbox"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with open_folder() as folder, a_world(folder, lease=KEPT, executor=request.param) as made:
        yield made
        made.keeps_the_laws()


def test_steps_that_crash_grow_and_flood_hurt_only_themselves(world: World) -> None:
    text = POISON if world.executor == "sandbox" else POISON.replace("ulimit -u 64", "exec sleep 1000")
    commit = world.commit(text=text)
    server = world.start("embedded")

    run = world.ended(world.deliver(commit))

    assert run.result is Result.SUCCESS
    done = world.services.store.recall(run.jobs[0])
    assert [done[key].outcome.result for key in ("1", "2", "3", "4", "5")] == [
        Result.FAILURE,
        Result.FAILURE,
        Result.TIMED_OUT,
        Result.SUCCESS,
        Result.SUCCESS,
    ]
    assert done["1"].outcome.exit_code == 139
    assert run.jobs[0].attempt == 1
    assert server.poll() is None
    world.leaves_nothing_alive()
