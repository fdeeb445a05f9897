"""Blows at random, as many as one likes: whatever dies, stops or forgets, and when, runs come out right.

`shake` deals them to a world that works on a workload; its seed gives their order again, though not the
moment in a step that each one meets. A new blow is a method of `Storm` and a line in `BLOWS`.
"""

import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Row

from runner.engine.control import cancel, rerun
from runner.engine.control import signal as signal_to
from runner.errors import Rejected, Unavailable
from runner.model.reruns import failed_jobs
from runner.model.run import Run
from runner.model.step import Result
from runner.model.waits import Signal
from tests.crash import invariants
from tests.crash.world import PATIENCE, World, wait_for
from tests.forked import Forked
from tests.servers import Postgres, Redis

T = TypeVar("T")
AT_ONCE = 2
"""How many runs are on their way at a time."""
LONGEST_WAIT = 8.0
"""How long steps may begin nothing before the next blow falls all the same, in seconds."""
NEWEST = 5
"""Of how many runs people still ask for something."""
EACH = 10
"""After so many blows the laws are checked, while everything goes on."""

SAY = (
    'echo "$RUNNER_RUN_ID $GITHUB_RUN_ATTEMPT $GITHUB_JOB $LEG $RUNNER_STEP $RUNNER_ATTEMPT $GITHUB_SHA '
    '$(cat version)" {record}'
)
WORKLOAD = """\
name: ci
on: {{push: {{branches: [main]}}}}
env: {{LEG: "0"}}
jobs:
  a:
    runs-on: linux
    outputs: {{value: "${{{{ steps.made.outputs.value }}}}"}}
    steps:
      - run: |
          SAY
          echo one > first
          setsid env -i sleep {token} &
      - id: made
        run: |
          SAY
          test "$(cat first)" = one
          echo value=7 >> "$GITHUB_OUTPUT"
  b:
    needs: a
    runs-on: linux
    strategy: {{max-parallel: 2, matrix: {{leg: [1, 2, 3]}}}}
    env: {{LEG: "${{{{ matrix.leg }}}}"}}
    steps:
      - run: |
          SAY
          echo "enter b-$RUNNER_RUN_ID-$GITHUB_RUN_ATTEMPT 2 $LEG" >> STAMPS
          sleep 0.1
      - retry: {{max-attempts: 9, delay: 100ms}}
        run: |
          SAY
          test "${{{{ needs.a.outputs.value }}}}" = 7
          test -e FOLDER/b-$RUNNER_RUN_ID-$GITHUB_RUN_ATTEMPT-$LEG || {{
            touch FOLDER/b-$RUNNER_RUN_ID-$GITHUB_RUN_ATTEMPT-$LEG
            exit 1
          }}
          echo "leave b-$RUNNER_RUN_ID-$GITHUB_RUN_ATTEMPT 2 $LEG" >> STAMPS
  slow:
    runs-on: linux
    steps:
      - run: |
          SAY
          sleep 1000
        timeout-minutes: 0.015
        continue-on-error: true
      - run: SAY
  waits:
    runs-on: linux
    steps:
      - run: |
          SAY
          echo kept > first
      - uses: runner/sleep@v1
        with: {{for: 1s}}
      - uses: runner/wait@v1
        with: {{signal: go}}
      - uses: runner/wait@v1
        with: {{signal: go}}
      - run: |
          SAY
          test "$(cat first)" = kept
  deploy:
    needs: [b, slow]
    runs-on: linux
    concurrency: {{group: deploy, queue: max}}
    retry: {{max-attempts: 9, delay: 100ms}}
    steps:
      - run: |
          SAY
          echo "enter deploy 1 $RUNNER_RUN_ID-$GITHUB_RUN_ATTEMPT" >> STAMPS
      - run: |
          SAY
          test -e FOLDER/d-$RUNNER_RUN_ID-$GITHUB_RUN_ATTEMPT || {{
            touch FOLDER/d-$RUNNER_RUN_ID-$GITHUB_RUN_ATTEMPT
            exit 1
          }}
          echo "leave deploy 1 $RUNNER_RUN_ID-$GITHUB_RUN_ATTEMPT" >> STAMPS
"""
PROGRAM = """\
import os
from runner.sdk import workflow

SAID = '''SAY'''

def say(step):
    names = "RUNNER_RUN_ID GITHUB_RUN_ATTEMPT GITHUB_JOB LEG - RUNNER_ATTEMPT GITHUB_SHA".split()
    words = [os.environ.get(name, step) for name in names]
    with open("version") as version, open("RECORD", "a") as record:
        print(*words, version.read(), file=record, flush=True)
    return step

@workflow(on={{"push": {{"branches": ["programs"]}}}}, runs_on="linux", env={{"LEG": "0"}})
async def program(event, step):
    made = await step.sh("made", SAID + "\\necho one > first\\necho value=7 >> $GITHUB_OUTPUT")
    await step.gather(step.sh("left", SAID), step.do("right", lambda: say("right#1")))
    mark = "FOLDER/p-$RUNNER_RUN_ID-$GITHUB_RUN_ATTEMPT"
    flaky = f"{{SAID}}\\ntest -e {{mark}} || {{{{ touch {{mark}}; exit 1; }}}}"
    await step.sh("flaky", flaky, retry={{"max-attempts": 9, "delay": 0.1}})
    await step.wait_any(
        step.sleep("long", "1 hour"),
        step.gather(step.sleep("nap", 1), step.wait_for_event("go", type="go")),
    )

    def last():
        assert open("first").read() == "one\\n"
        return say("last#1")

    assert [made["value"], await step.do("last", last)] == ["7", "last#1"]
"""
PROGRAMS = "refs/heads/programs"
NAMED = {"program": {"made#1", "left#1", "right#1", "flaky#1", "nap#1", "go#1", "last#1"}}
"""The steps of jobs that say themselves, as they go on, which they have."""
TRIED = {"b": "2", "program": "flaky#1"}
"""Steps that run more than once in an attempt."""
SILENT = {"slow": {"1"}, "waits": {"2", "3", "4"}, "program": {"nap#1", "go#1"}}
"""Those of which nothing has to be heard."""


@dataclass
class Storm:
    world: World
    dice: random.Random
    redis: Redis | None = None
    postgres: Postgres | None = None
    there: dict[str, Forked] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    cancelled: set[int] = field(default_factory=set)
    dealt: Counter[str] = field(default_factory=Counter)
    told: int = 0

    def begin(self, *places: str) -> None:
        """`places`: roles, each with a number where there are several of it."""
        names = {"STAMPS": self.world.stamps, "FOLDER": self.world.folder, "RECORD": self.world.record}
        text, program = (_named(one, {"SAY": SAY, **names}) for one in (WORKLOAD, PROGRAM))
        self.commit = self.world.commit(text=text, called={"program.py": program})
        for place in places:
            self._start(place)

    def _start(self, place: str) -> None:
        self.there[place] = self.world.start(place.rstrip("0123456789"))

    # --- blows ---

    def kill(self) -> None:
        place = self.dice.choice(sorted(self.there))
        self.there[place].kill()
        self.there[place].wait()
        self._start(place)

    def stop(self) -> None:
        """Past its lease, and on."""
        place = self.dice.choice([one for one in sorted(self.there) if "clock" not in one])
        self.there[place].send_signal(signal.SIGSTOP)
        time.sleep(self.world.lease + self.dice.uniform(0.2, 1.0))
        self.there[place].send_signal(signal.SIGCONT)

    def flush(self) -> None:
        assert self.redis is not None
        self.redis.flush()

    def break_broker(self) -> None:
        assert self.redis is not None
        self.redis.kill()
        time.sleep(self.dice.uniform(0, 0.5))
        self.redis.start()

    def break_database(self) -> None:
        assert self.postgres is not None
        self.postgres.crash()
        time.sleep(self.dice.uniform(0, 0.5))
        self.postgres.start()

    # --- what people do meanwhile ---

    def cancel(self) -> None:
        if (run := self._any(over=False)) is not None:
            self.cancelled.add(run.id)
            self._ask(cancel, run.id)

    def rerun(self) -> None:
        if (run := self._any(over=True)) is None:
            return
        which = failed_jobs if run.result is not Result.SUCCESS and self.dice.random() < 0.5 else None
        self._ask(rerun, run.id, **({"chosen": which} if which else {}))

    def tell(self) -> None:
        """Send all that go on what they wait for."""
        for run in self._all():
            self._tell(run)

    def _tell(self, run: Run) -> None:
        if run.result is None:
            # Another one of a key is a copy, and of two keys an attempt needs both. Not by the dice: how
            # often this is done depends on the machine.
            self.told += 1
            self._ask(signal_to, run.id, said=Signal("go", str(self.told % 2)))

    def _any(self, over: bool) -> Run | None:
        found = [run for run in self._all() if (run.result is not None) is over]
        return self.dice.choice(found) if found else None

    def _ask(self, verb: Callable[..., Any], run: int, **given: Any) -> None:
        real = self.world.services
        # It may have changed since it was seen.
        with suppress(Rejected):
            self._surely(lambda: verb(run, store=real.store, dispatcher=real.dispatcher, **given))

    # --- the course of things ---

    def deal(self, blows: int) -> None:
        kinds = [name for name, weight in BLOWS.items() for _ in range(weight) if self._can(name)]
        acts = [name for name, weight in ACTS.items() for _ in range(weight)]
        while sum(self.dealt[name] for name in BLOWS) < blows:
            self._keep_busy()
            self.tell()
            self._await_lines(self.dice.choice([0, 1, 1, 2, 3]))
            time.sleep(self.dice.uniform(0, 0.15))
            name = self.dice.choice(acts if self.dice.random() < 0.2 else kinds)
            getattr(self, name)()
            self.dealt[name] += 1
            if name in BLOWS and sum(self.dealt[one] for one in BLOWS) % EACH == 0:
                self._surely(self._look)
        for run in self.runs:
            self._ended(run)
        self._look()
        check_truth(self.world, self.commit, self.cancelled)

    def _can(self, name: str) -> bool:
        return {"flush": self.redis, "break_broker": self.redis, "break_database": self.postgres}.get(
            name, self.world
        ) is not None

    def _look(self) -> None:
        invariants.check(self.world.services.database)
        self.world.past.look(self.world.services.database)

    def _keep_busy(self) -> None:
        going = sum(self._surely(lambda run=run: self._going(run)) for run in self.runs[-2 * AT_ONCE :])  # type: ignore[misc]
        if going < AT_ONCE:
            guid = f"push-{len(self.runs)}"
            ref = PROGRAMS if len(self.runs) % 2 else "refs/heads/main"
            self.runs.append(self._surely(lambda: self.world.deliver(self.commit, guid, ref)))

    def _going(self, delivery: str) -> bool:
        run = self.world.run_of(delivery)
        return run is None or run.result is None

    def _all(self) -> list[Run]:
        found = [self._surely(lambda one=one: self.world.run_of(one)) for one in self.runs[-NEWEST:]]  # type: ignore[misc]
        return [run for run in found if run is not None]

    def _await_lines(self, more: int) -> None:
        wanted = len(self.world.lines()) + more
        end = time.monotonic() + LONGEST_WAIT
        while len(self.world.lines()) < wanted and time.monotonic() < end:
            time.sleep(0.02)

    def _ended(self, delivery: str) -> None:
        def look() -> bool | None:
            run = self._surely(lambda: self.world.run_of(delivery))
            if run is not None:
                self._tell(run)
            return None if run is None or run.result is None else True

        wait_for(
            look,
            f"the end of the run of {delivery}: {self.world.run_of(delivery)}",
        )

    def _surely(self, ask: Callable[[], T]) -> T:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return ask()
            except Unavailable:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)


BLOWS = {"kill": 8, "stop": 1, "flush": 1, "break_broker": 1, "break_database": 1}
ACTS = {"cancel": 1, "rerun": 2}


def shake(
    world: World,
    seed: int,
    blows: int,
    *places: str,
    redis: Redis | None = None,
    postgres: Postgres | None = None,
) -> None:
    """Deal blows to the processes at `places`; raises `AssertionError` where a law is broken."""
    say(f"{blows} blows to {', '.join(places)}: CRASH_SEED={seed}")
    storm = Storm(world, random.Random(seed), redis, postgres)
    try:
        storm.begin(*places)
        storm.deal(blows)
    except BaseException:
        say(f"failed after {dict(storm.dealt)}: CRASH_SEED={seed}")
        raise
    say(f"{dict(storm.dealt)} over {len(storm.runs)} runs, {len(world.lines())} steps begun")


def _named(text: str, names: Mapping[str, object]) -> str:
    for name, one in names.items():
        text = text.replace(name, str(one))
    return text


def say(what: str) -> None:
    sys.stderr.write(f"{what}\n")
    sys.stderr.flush()


# --- what is true of the workload --------------------------------------------------------------


def check_truth(world: World, commit: str, cancelled: Collection[int]) -> None:
    """Every step ran, none after its checkpoint, all at the same commit, and the results are right.

    `cancelled`: the runs of which somebody wanted one attempt to end.
    """
    rows = invariants.read(world.services.database)
    lines: dict[tuple[int, int, str, str], list[tuple[str, int]]] = defaultdict(list)
    for run, attempt, key, leg, step, fence, seen, version in world.lines():
        lines[int(run), int(attempt), key, leg].append((step, int(fence)))
        assert (seen, version) == (commit, "1"), "every attempt saw the same commit"
    for job in rows.jobs:
        leg = str(int(job.leg["matrix"].get("leg", 0)))
        _check_job(rows, job, lines.get((job.run, job.run_attempt, job.key, leg), []))
        if job.run not in cancelled and job.result not in ("success", "skipped"):
            what = [one for one in rows.jobs if one.run == job.run and one.result == "failure"]
            assert what, f"it should succeed: {job}"
            assert all(one.reason.startswith("poisoned") for one in what), f"it should succeed: {what}"


def _check_job(rows: invariants.Rows, job: Row[Any], ran: list[tuple[str, int]]) -> None:
    tried = [attempt for attempt, *_ in job.tried]
    done = {(one.base, one.key): one for one in rows.checkpoints_of(job.id)}
    times = Counter(ran)
    for step, fence in ran:
        assert fence <= job.attempt, f"step {step} ran under the fence {fence}, which nobody had: {job}"
        base = max((one for one in tried if one < fence), default=0)
        kept = done.get((base, step))
        assert kept is None or fence <= kept.attempt, (
            f"step {step} ran in attempt {fence}, after its checkpoint of {kept.attempt}: {job}"
        )
        if TRIED.get(job.key) != step:
            assert times[step, fence] == 1, f"step {step} ran twice in attempt {fence}: {job}"
    if job.result == "success":
        last = {key for base, key in done if base == job.base}
        wanted = NAMED.get(job.key) or {step for step, *_ in job.steps}
        assert wanted <= last, f"{job.key} ended with checkpoints for {last}: {job}"
        missing = wanted - {step for step, _ in ran} - SILENT.get(job.key, set())
        assert not missing, f"the steps {missing} never ran: {job}"
