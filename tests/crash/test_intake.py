"""`runner serve` is killed around the storing of a delivery; a sender that tries again gets one run."""

import signal

import pytest

from tests.crash.world import PATIENCE, World

POINTS = [
    f"{passage}:1:{side}"
    for passage in ("store.receive_all", "dispatcher.admit")
    for side in ("before", "after")
]


@pytest.mark.parametrize("kind", ["embedded", "distributed"])
@pytest.mark.parametrize("point", POINTS)
def test_a_server_killed_while_a_push_comes_in_loses_and_doubles_nothing(
    kind: str, point: str, request: pytest.FixtureRequest
) -> None:
    world: World = request.getfixturevalue(kind)
    commit = world.commit()
    if kind == "distributed":
        world.start("clock")
        world.start("worker")
    victim = world.start("serve", point)
    world.supervise(victim, "serve")

    delivery = world.push(commit)

    world.is_sound(world.ended(delivery), commit)
    assert victim.wait(PATIENCE) == -signal.SIGKILL
    assert len(world.services.views.deliveries()) == 1
    world.leaves_nothing_alive()
