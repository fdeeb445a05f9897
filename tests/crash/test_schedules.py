"""A clock is killed around and in the middle of what starts a scheduled run; there is exactly one."""

import time
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from runner.engine.standings import following
from runner.model.standing import Scheduled, Standing
from runner.store.tables import deliveries, schedules
from tests.crash.world import World, wait_for

CI = ".runner/workflows/ci.yml"


@pytest.mark.parametrize("point", [f"standings.fire:1:{side}" for side in ("before", "within", "after")])
def test_a_schedule_whose_clock_was_killed_starts_one_run_of_the_newest_commit(
    distributed: World, point: str
) -> None:
    world, real = distributed, distributed.services
    world.commit()
    file = world.repository / CI
    file.write_text(file.read_text().replace("on: push", "on: {schedule: [{cron: '0 0 1 1 *'}]}"))
    world.git("add", "--all")
    world.git("commit", "--quiet", "-m", "nightly")
    commit = world.git("rev-parse", "HEAD")
    wanted = Standing("1" * 40, frozenset({Scheduled(CI, "0 0 1 1 *")}))
    assert real.standings.stand(real.repositories.get("git", "octo/hello"), 0, wanted, following)
    due = update(schedules).values(due_at=1)
    real.database.writing(lambda connection: connection.execute(due))

    world.killed(world.start("clock", point))
    for _ in range(2):
        world.start("clock")
    world.start("worker")

    def delivered() -> list[str]:
        with real.database.reading() as connection:
            return list(connection.execute(select(deliveries.c.id)).scalars())

    (delivery,) = wait_for(lambda: delivered() or None, "the event of the schedule")
    run = world.ended(delivery)
    # Long enough for both clocks to look again.
    time.sleep(timedelta(seconds=2).total_seconds())
    world.is_sound(run, commit)
    assert delivered() == [delivery]
    assert real.store.delivery(delivery).runs == (run.id,)
    world.leaves_nothing_alive()
