"""Makes the dump of a version, with work of every kind under way, for later versions to go on with.

    cd CHECKOUT-OF-THAT-VERSION && python .../tests/upgrade/dump.py FOLDER

Uses that version's own code and its tests' World. FOLDER gets `repository.bundle`, and for SQLite and
PostgreSQL each what the database has as SQL, what the home has, and the moment at which it was left.
"""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path.cwd()))
folder = Path(sys.argv[1]).absolute()
os.environ["RUNNER_TEST_SERVERS"] = tempfile.mkdtemp(prefix="runner-dump-", dir="/tmp")
Path(os.environ["RUNNER_TEST_SERVERS"]).chmod(0o711)
for who in ("AUTHOR", "COMMITTER"):
    # The same commits in both databases.
    os.environ[f"GIT_{who}_DATE"] = "2026-11-01T12:00:00Z"

from runner.model.run import Queued, Running  # noqa: E402
from tests.crash.world import World, a_world, wait_for  # noqa: E402
from tests.servers import end_servers, postgres_database, redis_server  # noqa: E402

WORKFLOWS = {
    "ended": """\
on: push
jobs:
  a: {runs-on: linux, steps: [{run: echo "a was done by the former version"}]}
  b: {needs: a, runs-on: linux, steps: [{run: echo "b was done by the former version"}]}
""",
    "running": """\
on: push
concurrency: {group: deploy, queue: max}
jobs:
  a:
    runs-on: linux
    outputs: {said: "${{ steps.first.outputs.said }}"}
    steps:
      - id: first
        run: |
          mkdir -p kept; echo "of attempt $RUNNER_ATTEMPT" >> kept/file
          echo "said=of attempt $RUNNER_ATTEMPT" >> "$GITHUB_OUTPUT"
      - run: |
          test "$(cat kept/file)" = "${{ steps.first.outputs.said }}"
          test "$RUNNER_RUN_ID $RUNNER_ATTEMPT" != "2 1" || sleep 1000
  b:
    needs: a
    runs-on: linux
    steps: [{run: 'echo "a said: ${{ needs.a.outputs.said }}"'}]
""",
    "retried": """\
on: push
jobs:
  a:
    runs-on: linux
    steps:
      - run: echo "tried in attempt $RUNNER_ATTEMPT"; test $RUNNER_ATTEMPT != 1
        retry: {max-attempts: 3, delay: 120}
""",
    "second": """\
on: push
jobs:
  a: {runs-on: linux, steps: [{run: 'test $RUNNER_ATTEMPT != 1 || sleep 1000'}]}
""",
    "queued": """\
on: {push: {}, schedule: [{cron: "30 5 * * *", timezone: Europe/Berlin}]}
jobs:
  a:
    runs-on: linux
    env: {TOKEN: "${{ secrets.TOKEN }}"}
    steps: [{run: 'test "$TOKEN" = "of the victim"'}]
""",
}


def commit(world: World, name: str) -> str:
    path = world.repository / ".runner/workflows/ci.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(WORKFLOWS[name])
    if not (world.repository / ".git").exists():
        world.git("init", "--quiet", "--initial-branch=main")
    world.git("add", "--all")
    world.git("commit", "--quiet", "-m", name)
    return world.git("rev-parse", "HEAD")


def phases(world: World, delivery: str) -> dict[str, object] | None:
    run = world.run_of(delivery)
    return {job.key: job.phase for job in run.jobs} if run else None


def fill(world: World) -> None:
    """Bring about one run of every kind, and leave as a machine does that loses its power."""
    assert world.start("keep").wait() == 0
    roles = ("embedded",) if world.broker == "memory://" else ("clock", "worker")
    for role in roles:
        world.start(role)
    commits = {name: commit(world, name) for name in WORKFLOWS}
    world.ended(world.deliver(commits["ended"], "push-ended"))

    def stands(name: str, guid: str, job: str, phase: type) -> None:
        delivery = world.deliver(commits[name], guid)

        def look() -> bool | None:
            found = phases(world, delivery)
            return True if found and isinstance(found.get(job), phase) else None

        wait_for(look, f"{guid} to be {phase}")

    stands("running", "push-running", "a", Running)
    # Its first step has a checkpoint, and its second one runs.
    time.sleep(5)
    world.deliver(commits["running"], "push-waits-for-its-turn")
    delivery = world.deliver(commits["retried"], "push-retried")
    wait_for(
        lambda: True if (found := phases(world, delivery)) and getattr(found["a"], "due", None) else None,
        "a retry to wait",
    )
    stands("second", "push-second", "a", Running)
    stands("queued", "push-queued", "a", Queued)
    time.sleep(2)
    for process in world.processes:
        process.kill()
        process.wait()
    world.deliver(commits["queued"], "push-received")
    end_steps(world)


def end_steps(world: World) -> None:
    """What the steps of a killed worker leave, as the next worker ends it."""
    mark = f"RUNNER_TEMP={world.settings.home}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (process / "environ").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)


def keep(world: World, name: str, text: str) -> None:
    text = re.sub(r"^\\.*\n|^--.*\n", "", text, flags=re.MULTILINE).replace(
        str(world.repository), "@REPOSITORY@"
    )
    (folder / f"{name}.sql").write_text(re.sub(r"\n\n+", "\n", text).lstrip())
    (folder / f"{name}.json").write_text(json.dumps({"left_at": time.time_ns() // 1000}) + "\n")
    with tarfile.open(folder / f"{name}.home.tar.gz", "w:gz") as tar:
        for part in ("logs", "snapshots", "secret-key"):
            if (world.settings.home / part).exists():
                tar.add(world.settings.home / part, part)
    world.git("bundle", "create", "--quiet", str(folder / "repository.bundle"), "main")


def main() -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir="/tmp") as place, a_world(Path(place)) as world:
        fill(world)
        with sqlite3.connect(world.settings.home / "runner.db") as database:
            keep(world, "sqlite", "\n".join(database.iterdump()) + "\n")
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as place,
        redis_server(Path(place)) as redis,
        postgres_database() as url,
        a_world(Path(place), url, redis.url) as world,
    ):
        fill(world)
        command = ["pg_dump", "--inserts", "--no-owner", "--no-privileges", "-d", url.replace("+psycopg", "")]
        keep(world, "postgres", subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    end_servers(Path(os.environ["RUNNER_TEST_SERVERS"]))


main()
