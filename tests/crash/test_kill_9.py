"""A process is killed before and after every commit, spawn and checkpoint on a run's way; the run goes on."""

import pytest

from tests.crash.world import HANGS, World

PASSAGES = (
    "store.settle:1",
    "store.update:1",
    "store.update:2",
    "store.update:3",
    "store.update:4",
    "store.record:1",
    "store.record:2",
    "store.record:3",
    "workspaces.fetch:1",
    "workspaces.open:1",
    "workspaces.open:2",
    "workspace.save:1",
    "workspace.save:2",
    "executors.open:1",
    "executors.open:2",
    "sandbox.run:1",
    "sandbox.run:2",
    "sandbox.run:3",
    "sandbox.close:1",
    "dispatcher.perform:1",
    "dispatcher.perform:2",
    "dispatcher.report:1",
    "dispatcher.report:2",
)
"""Every port that a run of three steps in two jobs comes by, and how often."""
POINTS = [f"{passage}:{side}" for passage in PASSAGES for side in ("before", "after")]

OF_A_WORKER = [
    point
    for point in POINTS
    if point.removesuffix(":before")
    not in (
        *("workspaces.open:1", "workspaces.open:2", "executors.open:1", "executors.open:2"),
        *("sandbox.run:1", "sandbox.run:2", "sandbox.run:3", "workspace.save:1", "workspace.save:2"),
        *("store.record:1", "store.record:2", "store.record:3"),
    )
]
"""What is left out: to others, the moment before it is the moment after what comes before it."""


@pytest.mark.parametrize("point", POINTS)
def test_an_embedded_server_killed_anywhere_goes_on_where_it_was(embedded: World, point: str) -> None:
    commit = embedded.commit()
    delivery = embedded.deliver(commit)

    embedded.killed(embedded.start("embedded", point))
    embedded.start("embedded")

    run = embedded.ended(delivery)
    embedded.is_sound(run, commit)
    embedded.leaves_nothing_alive()


@pytest.mark.parametrize("point", OF_A_WORKER)
def test_a_worker_killed_anywhere_is_replaced_by_another(distributed: World, point: str) -> None:
    commit = distributed.commit()
    distributed.start("clock")
    victim = distributed.start("worker", point)
    delivery = distributed.deliver(commit)

    distributed.killed(victim)
    distributed.start("worker")

    run = distributed.ended(delivery)
    distributed.is_sound(run, commit)
    distributed.leaves_nothing_alive()


@pytest.mark.parametrize("point", ["store.renew:1:before", "store.renew:1:after"])
def test_an_embedded_server_killed_at_a_heartbeat_goes_on_where_it_was(embedded: World, point: str) -> None:
    commit = embedded.commit(pause=HANGS)
    delivery = embedded.deliver(commit)

    embedded.killed(embedded.start("embedded", point))
    embedded.start("embedded")

    embedded.is_sound(embedded.ended(delivery), commit)
    embedded.leaves_nothing_alive()


@pytest.mark.parametrize("point", ["store.renew:1:before", "store.renew:1:after"])
def test_a_worker_killed_at_a_heartbeat_is_replaced_by_another(distributed: World, point: str) -> None:
    commit = distributed.commit(pause=HANGS)
    distributed.start("clock")
    victim = distributed.start("worker", point)
    delivery = distributed.deliver(commit)

    distributed.killed(victim)
    distributed.start("worker")

    distributed.is_sound(distributed.ended(delivery), commit)
    distributed.leaves_nothing_alive()


@pytest.mark.parametrize("point", ["store.recall:1:before", "store.recall:1:after"])
def test_a_worker_that_is_killed_while_it_takes_over_is_replaced_too(distributed: World, point: str) -> None:
    commit = distributed.commit()
    distributed.start("clock")
    victim = distributed.start("worker", "store.record:1:after")
    delivery = distributed.deliver(commit)

    distributed.killed(victim)
    distributed.killed(distributed.start("worker", point))
    distributed.start("worker")

    distributed.is_sound(distributed.ended(delivery), commit)
    distributed.leaves_nothing_alive()
