"""What workers that died, or were overtaken, left in folders."""

import os
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

from runner import wiring
from runner.model.leasing import conclude
from runner.model.reruns import rerun
from runner.model.run import Lease, Run
from runner.model.source import Repository, Route
from runner.model.step import Result
from tests.contracts.test_store import a_stored_run, claimed
from tests.crash.world import a_world
from tests.deep import nested
from tests.workspaces.origin import Origin


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
            nested(home / f"temp/{old}-2"),
        ]
        needed = [
            a_file(home / f"temp/{new}-{held.attempt}/big"),
            a_file(home / "temp/whatever/big"),
            a_file(home / f"workspaces/job-{new}/1/big"),
            a_file(home / f"snapshots/job-{old}/1.1"),
            a_file(home / f"snapshots/job-{new}/1.1"),
            a_file(home / "snapshots/job-99999/1.1"),
        ]

        wiring.sweep(world.services, wiring.station(world.services, "worker-1"))
        wiring.collect(world.services)

        assert not any(path.exists() for path in left)
        assert all(path.exists() for path in needed)


def test_what_jobs_left_goes_after_a_while_but_for_those_of_runs_that_go_on(tmp_path: Path) -> None:
    with a_world(tmp_path) as world:
        store, home = world.services.store, world.services.settings.home
        ended, again, running = (a_stored_run(store, guid=guid) for guid in "123")
        for run in (ended, again):
            store.update(run.id, partial(concluded, lease=claimed(store, run)))
        store.update(again.id, lambda run, now: rerun(run))
        left = a_file(home / f"snapshots/job-{ended.jobs[0].id}/1.1")
        needed = [a_file(home / f"snapshots/job-{run.jobs[0].id}/1.1") for run in (again, running)]
        settings = world.services.settings.model_copy(update={"keep_snapshots": 0})

        wiring.collect(replace(world.services, settings=settings))

        assert not left.exists()
        assert all(path.exists() for path in needed)


def test_the_commits_of_a_run_that_sleeps_outlive_its_branch_however_little_space_there_is(
    tmp_path: Path,
) -> None:
    with a_world(tmp_path) as world:
        store, workspaces = world.services.store, world.services.workspaces
        run = a_stored_run(store)
        origin = Origin(tmp_path / "origin")
        route, others = origin.route(origin.commit({"a": "1"})), Origin(tmp_path / "others")
        action = Route("git", "octo/action", others.commit({"a": "2"}))
        workspaces.fetch(origin.repository, route, run.delivery)
        workspaces.fetch(
            Repository("git", action.repo, str(others.path)), action, f"{run.delivery}-{action.commit}"
        )
        mirrors = [*(world.services.settings.home / "mirrors").glob("*.git")]
        for mirror in mirrors:
            os.utime(mirror / "registration", (0, 0))
        services = replace(
            world.services, settings=world.services.settings.model_copy(update={"mirror_bytes": 1})
        )

        wiring.collect(services)
        assert len(mirrors) == 2
        assert all(mirror.exists() for mirror in mirrors)

        store.update(run.id, partial(concluded, lease=claimed(store, run)))
        wiring.collect(services)
        assert not any(mirror.exists() for mirror in mirrors)


def test_a_repository_says_how_long_what_its_jobs_left_is_kept(tmp_path: Path) -> None:
    with a_world(tmp_path) as world:
        store, home = world.services.store, world.services.settings.home
        run = a_stored_run(store)
        store.update(run.id, partial(concluded, lease=claimed(store, run)))
        left = a_file(home / f"snapshots/job-{run.jobs[0].id}/1.1")
        settings = world.services.settings.model_copy(update={"keep_snapshots": 0})
        repositories = world.services.repositories
        its = repositories.get("git", "octo/hello")

        repositories.change(its, {"keep_snapshots": 0})
        wiring.collect(replace(world.services, settings=settings))
        assert left.exists(), "0 is no limit"

        repositories.change(its, {"keep_snapshots": None})
        wiring.collect(replace(world.services, settings=settings))
        assert not left.exists(), "what the server says counts"


def concluded(run: Run, now: datetime, lease: Lease) -> Run:
    return run.with_job(conclude(run.jobs[0], lease, Result.FAILURE, now))
