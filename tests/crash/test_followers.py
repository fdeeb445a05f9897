"""A worker is killed around the end of a run that another one follows; there is exactly one that follows."""

import pytest
from sqlalchemy import select

from runner.engine.standings import following
from runner.model.standing import Follows, Standing
from runner.store.tables import runs
from tests.crash.world import World, wait_for

AFTER = """\
name: after
on: {workflow_run: {workflows: [ci], types: [completed]}}
jobs:
  a: {runs-on: linux, steps: [{run: "true"}]}
"""


@pytest.mark.parametrize("point", [f"store.update:4:{side}" for side in ("before", "within", "after")])
def test_a_run_whose_worker_was_killed_as_it_ended_is_followed_once(distributed: World, point: str) -> None:
    world, real = distributed, distributed.services
    world.commit()
    (world.repository / ".runner/workflows/after.yml").write_text(AFTER)
    commit = world.commit("2")
    followed = Standing(commit, follows=frozenset({Follows("completed", ("ci",))}))
    assert real.standings.stand(real.repositories.get("git", "octo/hello"), 0, followed, following)

    world.start("clock")
    victim = world.start("worker", point)
    delivery = world.deliver(commit)
    world.killed(victim)
    world.start("worker")

    def after() -> list[int]:
        with real.database.reading() as connection:
            query = select(runs.c.id).where(runs.c.name == "after")
            return list(connection.execute(query).scalars())

    world.is_sound(world.ended(delivery), commit, "2")
    (follower,) = wait_for(lambda: after() or None, "the run that follows")
    wait_for(lambda: real.store.load(follower).result, "its end")
    assert after() == [follower]
    world.leaves_nothing_alive()
