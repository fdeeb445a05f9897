"""A worker is killed after each message between it and a workflow in Python; another one goes on."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, select

from runner.engine import control
from runner.model.run import Finished, Run
from runner.model.waits import Signal
from runner.store.tables import checkpoints, jobs
from tests.crash.world import KEPT, PATIENCE, World, a_world, wait_for
from tests.servers import Redis, migrated_postgres

WORKERS = 3
EACH = 1 if int(os.environ.get("CRASH_KILLS", "8")) > 50 else 4
"""After each how manieth message somebody dies."""

PARTS = """\
import json
import os

def begins(step):
    with open("RECORD", "a") as file:
        file.write(f"{os.environ['RUNNER_RUN_ID']} {step} {os.environ['RUNNER_ATTEMPT']}\\n")

def said(step):
    return f'echo "$RUNNER_RUN_ID {step} $RUNNER_ATTEMPT" >> RECORD'
"""
FLOW = """\
import json
from parts import begins, said
from runner.sdk import workflow

@workflow(on="push", runs_on="linux", env={"DIES_AFTER": "POINT", "MESSAGES": "COUNTS"})
async def flow(event, step):
    seen = []

    async def taking(handle):
        value = await handle
        seen.append(handle.name)
        return value

    def read():
        begins("read")
        with open("made") as file:
            return file.read()

    made = said("make") + '; echo seven > made; echo "value=7" >> "$GITHUB_OUTPUT"'
    made = await taking(step.sh("make", made, rollback=said("unmake")))
    text = await taking(step.do("read", read, rollback=lambda value: begins("unread") or value))
    left, right = await step.gather(
        taking(step.do("left", lambda: begins("left"))),
        taking(step.sh("right", said("right"))),
    )
    place, (_, went) = await step.wait_any(
        step.sleep("long", "1 hour"),
        step.gather(taking(step.sleep("nap", 0.05)), taking(step.wait_for_event("go", type="go"))),
    )
    await taking(step.do("last", lambda: begins("last")))
    values = [made["value"], text, right.outputs, went.payload, place]
    raise RuntimeError("the end: " + json.dumps([seen, values]))
"""
BODIES = {
    **{name: f"{name}#1" for name in ("make", "read", "left", "right", "last")},
    **{"unread": "rollback read#1", "unmake": "rollback make#1"},
}


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path, redis_of: Redis) -> Iterator[World]:
    """A database of each kind, Redis, and processes on their own."""
    if request.param == "sqlite":
        with a_world(tmp_path, broker=redis_of.url) as made:
            yield made
            made.keeps_the_laws()
        return
    with migrated_postgres() as database, a_world(tmp_path, database, redis_of.url) as made:
        yield made
        made.keeps_the_laws()


@pytest.mark.timeout(PATIENCE * (3 + 20 / EACH))
def test_a_worker_killed_after_any_message_is_replaced_and_the_workflow_comes_to_the_same_end(
    world: World,
) -> None:
    world.start("clock")
    # Somebody has to say which runs there are before anybody works on them.
    world.start("worker", settings={"labels": "nothing"})
    whole = a_push(world, "push-1", {"flow.py": ""})
    # Of an attempt more there would be messages that no other run comes to.
    alone = world.start("worker", settings={"concurrency": "1", "lease": str(KEPT)})
    (undisturbed,) = ended(world, whole)
    alone.terminate()
    alone.wait()
    # To each database its own, where not all are tried.
    points = messages(world)[0 if world.database else EACH // 2 :: EACH]

    pushed = a_push(world, "push-2", {f"flow{number}.py": point for number, point in enumerate(points)})
    for _ in range(WORKERS):
        keep_up(world)
    found = ended(world, pushed)

    lost = sum(bool(run.jobs[0].lost) for run in found)
    # Once in a while it says once less that it can go on no further.
    assert lost >= len(points) - 3, f"{len(points)} workers were to die: {lost} did"
    assert len(found) == len(points)
    for run in found:
        assert what_came(world, run) == what_came(world, undisturbed)
    for run in (undisturbed, *found):
        ran_as_often_as_promised(world, run)


def keep_up(world: World) -> None:
    """Have a worker, and another one whenever it dies."""
    settings = {"concurrency": "1"}
    world.supervise(world.start("worker", settings=settings), "worker", settings)


def messages(world: World) -> list[str]:
    """Each message of the undisturbed run, as ATTEMPT:NUMBER."""
    counted = [line.split() for line in (world.folder / "messages").read_text().splitlines()]
    return [f"{attempt}:{number}" for attempt, most in counted for number in range(1, int(most) + 1)]


def a_push(world: World, guid: str, points: dict[str, str]) -> list[int]:
    """Push workflows of which each has a point to die at; what they wait for is there before they begin."""
    folder = world.repository / ".runner/workflows"
    if folder.exists():
        shutil.rmtree(folder)
    else:
        world.repository.mkdir()
        world.git("init", "--quiet", "--initial-branch=main")
    folder.mkdir(parents=True)
    for name, point in points.items():
        text = FLOW.replace("POINT", point).replace("COUNTS", "" if point else f"{world.folder}/messages")
        (folder / name).write_text(text)
    (folder / "parts.py").write_text(PARTS.replace("RECORD", str(world.record)))
    world.git("add", "--all")
    world.git("commit", "--quiet", "-m", guid)
    delivery = world.deliver(world.git("rev-parse", "HEAD"), guid)
    real = world.services
    runs = wait_for(lambda: real.store.delivery(delivery).runs or None, "the runs")
    for run in runs:
        said = Signal("go", "1", "ada", "go on")
        control.signal(run, said, store=real.store, dispatcher=real.dispatcher)
    return list(runs)


def ended(world: World, runs: list[int]) -> list[Run]:
    """However long all of them take: our patience is for the next thing that is done about any."""

    def look(number: int) -> Run:
        seen = steps_forward(world)
        while (run := world.services.store.load(number)).result is None:
            moved = partial(_another, world, seen)
            seen = wait_for(moved, f"anything to be done, and the end of run {number}: {run}")
        return run

    return [look(number) for number in runs]


def _another(world: World, seen: tuple[int, ...]) -> tuple[int, ...] | None:
    found = steps_forward(world)
    return found if found != seen else None


def steps_forward(world: World) -> tuple[int, ...]:
    """How much has been done: how often a job was claimed, its steps that are, and the jobs that ended."""
    done = select(func.count()).select_from(checkpoints).scalar_subquery()
    counted = select(func.sum(jobs.c.attempt), done, func.count(jobs.c.finished_at))
    with world.services.database.reading() as connection:
        return tuple(connection.execute(counted).one())


def what_came(world: World, run: Run) -> object:
    """What a run came to, and its steps in their order but for those that are done at once."""
    (job,) = run.jobs
    assert isinstance(job.phase, Finished)
    done = world.services.store.recall(job)
    order = list(done)
    said = job.phase.reason.partition("; ")[0]
    seen, values = json.loads(said.removeprefix("RuntimeError: the end: "))
    named = {key: seen_key for key in order if (seen_key := key.rpartition("#")[0]) in seen}
    assert list(named.values()) == seen, "they ended in the order in which the workflow was answered"
    for one, other in (("left#1", "right#1"), ("nap#1", "go#1")):
        first, second = sorted((order.index(one), order.index(other)))
        assert second - first == 1
        order[first : second + 1] = one, other
    return run.result, order, [done[key].outcome.result for key in order], values


def ran_as_often_as_promised(world: World, run: Run) -> None:
    """Every body ran, once in an attempt, and never after it was written down that it had."""
    (job,) = run.jobs
    done = world.services.store.recall(job)
    ran = [(step, int(attempt)) for number, step, attempt in world.lines() if int(number) == run.id]
    assert max(Counter(ran).values()) == 1
    for name, key in BODIES.items():
        attempts = [attempt for step, attempt in ran if step == name]
        assert attempts
        assert max(attempts) == done[key].attempt
        assert len(attempts) <= 1 + len(job.lost)
