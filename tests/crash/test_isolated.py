"""A worker is killed around what its sandbox or its container does: neither is left, and the run goes on."""

import pytest

from tests.crash.world import HANGS, World, wait_for

POINTS = [
    f"{passage}:1:{side}" for passage in ("executors.open", "store.record") for side in ("before", "after")
]


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_beside_a_step_is_replaced_by_another(isolated: World, point: str) -> None:
    commit = isolated.commit()
    isolated.start("clock")
    victim = isolated.start("worker", point)
    delivery = isolated.deliver(commit)

    isolated.killed(victim)
    isolated.leaves_nothing_alive()
    isolated.start("worker")

    isolated.is_sound(isolated.ended(delivery), commit)
    isolated.leaves_nothing_alive()


def test_a_worker_killed_in_the_middle_of_a_step_is_replaced_by_another(isolated: World) -> None:
    commit = isolated.commit(pause=HANGS)
    isolated.start("clock")
    victim = isolated.start("worker")
    delivery = isolated.deliver(commit)

    wait_for(lambda: isolated.lines() or None, "the first step to begin")
    victim.kill()
    isolated.leaves_nothing_alive()
    isolated.start("worker")

    isolated.is_sound(isolated.ended(delivery), commit)
    isolated.leaves_nothing_alive()
