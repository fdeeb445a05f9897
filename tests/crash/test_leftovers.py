"""What workers that died, or were overtaken, left in folders."""

from pathlib import Path

from runner import wiring
from runner.model.lifecycle import conclude
from runner.model.step import Result
from tests.contracts.test_store import a_stored_run, claimed
from tests.crash.world import a_world


def a_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("left")
    return path


def test_what_nobody_needs_any_more_is_removed_and_nothing_else(tmp_path: Path) -> None:
    with a_world(tmp_path) as world:
        store, home = world.services.store, world.services.settings.home
        ended, running = a_stored_run(store, guid="1"), a_stored_run(store, guid="2")
        lease, held = claimed(store, ended), claimed(store, running)
        store.update(
            ended.id, lambda run, now: run.with_job(conclude(run.jobs[0], lease, Result.SUCCESS, now))
        )
        old, new = ended.jobs[0].id, running.jobs[0].id
        left = [
            a_file(home / f"temp/{old}-1/big"),
            a_file(home / f"temp/{new}-0/big"),
            a_file(home / f"workspaces/job-{old}/1/big"),
            a_file(home / f"snapshots/job-{old}/1.1"),
        ]
        needed = [
            a_file(home / f"temp/{new}-{held.attempt}/big"),
            a_file(home / "temp/whatever/big"),
            a_file(home / f"workspaces/job-{new}/1/big"),
            a_file(home / f"snapshots/job-{new}/1.1"),
            a_file(home / "snapshots/job-99999/1.1"),
        ]

        wiring.sweep(world.services, wiring.station(world.services, "worker-1"))

        assert not any(path.exists() for path in left)
        assert all(path.exists() for path in needed)
