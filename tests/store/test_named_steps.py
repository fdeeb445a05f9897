"""Steps that no definition lists, as people see them: known by checkpoints, waits, and as they begin."""

import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from runner.engine.beginnings import begins
from runner.engine.ports import NewRun, Verdict
from runner.logs import FileLogs
from runner.model.leasing import begin_waits, claim, conclude, leave_waits, release, retry, suspend
from runner.model.run import UNSAVED, Job, Lease
from runner.model.step import Outcome, Result, named_key
from runner.model.waits import Awaited, Wait
from runner.store import Database, SqlLogs, SqlStore
from runner.store.logs import FLUSH_SECONDS
from runner.store.named_steps import LONGEST_VALUE
from runner.store.read_models import JobView, StepView
from runner.store.views import Views
from runner.web.transcript import Place, pieces
from tests.builders import LENGTH, NOON, a_checkpoint, a_job, a_route, an_event
from tests.crash.world import wait_for

ODD = (
    *("a b", "x/y", "../../etc/passwd", "\u00e9t\u00e9 \u2603 \N{ROCKET}\u200d", "100%", ".", "begun", "end"),
    *("\"quoted\" & 'so'", "<b>", "q?a=1#z", "1", "0"),
)
_ = (
    "a b",
    "x/y",
    "../../etc/passwd",
    "été ☃ 🧑‍🚀",
    "100%",
    "\"quoted\" & 'so'",
    "<b>",
    "q?a=1#z",
    ".",
    "begun",
    "end",
)
LONGEST = "☃" * 256


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


class Stage:
    """A job whose program asks for steps, on a database, with its log in either place."""

    def __init__(self, database: Database, logs: FileLogs | SqlLogs) -> None:
        self.database = database
        self.store = SqlStore(database, LENGTH)
        self.logs = logs
        self.views = Views(database, read=logs.read)
        delivery, _ = self.store.receive(an_event(), "guid", "digest")
        new = NewRun(".runner/workflows/deploy.py", "deploy", (a_job("deploy", id=UNSAVED, steps=()),))
        self.run = self.store.settle(delivery.id, Verdict("admitted", route=a_route(), runs=(new,)))[0]
        self.lease = self.take()

    def take(self) -> Lease:
        id = self.run.jobs[0].id
        made = self.store.update(
            self.run.id, lambda run, now: run.with_job(claim(run.job(id), "w", now, LENGTH))
        )
        self.lease = Lease(id, "w", made.after.job(id).attempt, NOON)
        return self.lease

    def change(self, change: Callable[[Job, datetime], Job]) -> None:
        self.store.update(self.run.id, lambda run, now: run.with_job(change(run.job(self.lease.job), now)))

    def begin(self, name: str, at: float, number: int = 1) -> None:
        begins(self.lease, named_key(name, number), later(at), self.logs)

    def do(self, name: str, began: float, ended: float, number: int = 1, **given: object) -> None:
        self.logs.flush(self.lease.job)
        key = str(given.pop("key", named_key(name, number)))
        self.store.record(
            self.lease, a_checkpoint(self.lease, key, started=later(began), finished=later(ended), **given)
        )

    def say(self, name: str, said: bytes) -> None:
        self.logs.append(self.lease.job, self.lease.attempt, named_key(name, 1), said)

    def settled(self) -> JobView:
        """The job as it is seen, once what began can be."""
        if isinstance(self.logs, SqlLogs):
            wait_for(lambda: not self.logs._gathered or None, "the log to be stored")  # type: ignore[union-attr]
            self.logs._write()
        return self.views.run(self.run.id).jobs[0]

    @property
    def steps(self) -> tuple[StepView, ...]:
        return self.settled().steps

    @property
    def shown(self) -> list[tuple[int, str, str]]:
        return [(one.number, one.name, one.status) for one in self.steps]


@pytest.fixture(params=["files", "rows"])
def stage(request: pytest.FixtureRequest, database: Database, tmp_path: Path) -> Stage:
    return Stage(database, FileLogs(tmp_path) if request.param == "files" else SqlLogs(database))


def test_a_step_that_has_begun_runs_and_several_do_at_once(stage: Stage) -> None:
    assert stage.shown == []
    stage.begin("install", 1)
    assert stage.shown == [(1, "install", "running")]
    stage.do("install", 1, 2)
    stage.begin("lint", 3)
    stage.begin("test", 3.5)

    assert stage.shown == [(1, "install", "success"), (2, "lint", "running"), (3, "test", "running")]
    assert [(one.attempt, one.started_at, one.job) for one in stage.steps[1:]] == [
        (1, later(3), stage.lease.job),
        (1, later(3.5), stage.lease.job),
    ]


def test_steps_stand_in_the_order_in_which_they_began_and_not_in_which_they_ended(stage: Stage) -> None:
    for at, name in enumerate(("slow", "quick", "middle")):
        stage.begin(name, at)
    stage.do("quick", 1, 5)
    before = stage.shown
    stage.do("middle", 2, 6)
    stage.do("slow", 0, 7)
    stage.begin("quick", 8, number=2)

    assert before == [(1, "slow", "running"), (2, "quick", "success"), (3, "middle", "running")]
    assert [name for _, name, _ in stage.shown] == ["slow", "quick", "middle", "quick (2)"]


def test_a_step_that_waits_says_until_when_while_others_run(stage: Stage) -> None:
    wait = Wait(named_key("settle", 1), Awaited.TIME, later(2), later(60))
    stage.begin("settle", 2)
    stage.begin("test", 3)
    stage.change(lambda job, now: suspend(job, stage.lease, now, wait))

    settle, test = stage.steps

    assert (settle.name, settle.status) == ("settle", "waiting")
    assert settle.reason.startswith("sleeps, until ")
    assert (test.name, test.status, test.attempt) == ("test", "queued", 0)


def test_a_step_that_may_have_run_waits_for_a_word(stage: Stage) -> None:
    wait = Wait("ship#1!1", Awaited.RESUMPTION, NOON, message="it may have run")
    stage.change(lambda job, now: suspend(job, stage.lease, now, wait))

    assert [(one.name, one.status, one.reason) for one in stage.steps] == [
        ("ship", "waiting", "waits for a person: it may have run")
    ]


def test_tries_stand_below_their_step_and_what_the_engine_keeps_for_itself_is_no_step(stage: Stage) -> None:
    failed = Outcome(Result.FAILURE, Result.FAILURE, 3, reason="exit code 3")
    stage.begin("test", 1)
    stage.do("test", 1, 2, key="test#1~1", outcome=failed)
    stage.do("", 2, 2, key="!now#1")
    stage.do("", 2, 2, key="5.post")

    (running,) = stage.steps
    stage.do("test", 1, 4)
    (done,) = stage.steps

    assert (running.status, [one.reason for one in running.tries]) == ("running", ["exit code 3"])
    assert (done.status, [one.status for one in done.tries]) == ("success", ["failure"])


@pytest.mark.parametrize(
    ("result", "reason", "shown"),
    [
        (Result.FAILURE, "", ("cancelled", "the job ended before it did")),
        (Result.SUCCESS, "", ("cancelled", "the workflow gave it up")),
        (Result.TIMED_OUT, "it took longer than 5 minutes", ("timed_out", "it took longer than 5 minutes")),
        (Result.CANCELLED, "cancelled by anna", ("cancelled", "cancelled by anna")),
    ],
)
def test_what_had_begun_ends_with_its_job(
    stage: Stage, result: Result, reason: str, shown: tuple[str, str]
) -> None:
    stage.begin("install", 1)
    stage.do("install", 1, 2)
    stage.begin("test", 3)
    stage.change(lambda job, now: conclude(job, stage.lease, result, now, reason))

    install, test = stage.steps

    assert install.status == "success"
    assert (test.status, test.reason, test.conclusion) == (*shown, shown[0])
    assert test.finished_at is not None


def test_a_wait_that_was_given_up_ended_then_and_not_with_its_job(stage: Stage) -> None:
    waits: list[tuple[Wait, timedelta | None]] = [
        (Wait(named_key(name, 1), Awaited.SIGNAL, NOON, message=name), None) for name in ("go", "stop")
    ]
    stage.change(lambda job, now: begin_waits(job, stage.lease, now, waits))
    stage.change(lambda job, now: leave_waits(job, stage.lease, now, ["go#1"]))
    (before, _) = stage.steps
    stage.change(lambda job, now: conclude(job, stage.lease, Result.FAILURE, now))

    go, stop = stage.steps

    assert (go.status, go.reason) == ("cancelled", "the workflow gave it up")
    assert (stop.status, stop.reason) == ("cancelled", "the job ended before it did")
    assert (before.reason, before.finished_at) == (go.reason, go.finished_at)
    assert go.finished_at != stop.finished_at


def test_after_a_loss_a_step_runs_only_once_it_has_begun_again(stage: Stage) -> None:
    stage.begin("install", 1)
    stage.do("install", 1, 2)
    stage.begin("test", 3)
    assert stage.shown[1:] == [(2, "test", "running")]
    stage.change(lambda job, now: release(job, stage.lease, now))
    assert stage.shown[1:] == [(2, "test", "queued")]
    stage.take()
    assert stage.shown == [(1, "install", "success")]
    stage.begin("test", 9)

    assert stage.shown[1:] == [(2, "test", "running")]


def test_what_a_try_of_the_job_did_is_not_shown_of_the_next(stage: Stage) -> None:
    stage.begin("install", 1)
    stage.do("install", 1, 2)
    stage.begin("test", 3)
    stage.change(lambda job, now: retry(job, stage.lease, now, timedelta(), Result.FAILURE, "it failed"))

    assert stage.shown == []


def test_what_a_step_gave_and_where_it_was_asked_for_are_shown(stage: Stage) -> None:
    value = json.dumps({"version": "1.2", "odd": "\x00\ud800☃"})
    outcome = Outcome(Result.SUCCESS, Result.SUCCESS, value=value, request="do version", line="deploy.py:12")
    stage.do("version", 1, 2, outcome=outcome)
    stage.do("long", 3, 4, outcome=Outcome(Result.SUCCESS, Result.SUCCESS, value='"' + "x" * 2**20 + '"'))

    version, long = stage.steps

    assert (version.value, version.line) == (value, "deploy.py:12")
    assert long.value == '"' + "x" * (LONGEST_VALUE - 1) + "…"
    kept = stage.store.recall(stage.store.load(stage.run.id).jobs[0])
    assert kept["version#1"].outcome == outcome
    assert len(kept["long#1"].outcome.value or "") == 2**20 + 2


@pytest.mark.parametrize("name", [*ODD, LONGEST, "%" * 256, "\x00\n\u2028\ud800"])
def test_a_step_may_have_any_name(stage: Stage, name: str) -> None:
    stage.begin(name, 1)
    stage.say(name, b"said\n")
    stage.begin("other", 2)
    stage.say("other", b"other\n")
    assert stage.shown == [(1, name, "running"), (2, "other", "running")]
    stage.do(name, 1, 3)
    stage.do("other", 2, 3)

    job = stage.settled()

    assert [(one.key, one.name, one.status) for one in job.steps] == [
        (named_key(name, 1), name, "success"),
        ("other#1", "other", "success"),
    ]
    assert [(one.page.name, one.page.number, one.text) for one in pieces(job, Place(), stage.logs)] == [
        (name, 1, "said\n"),
        ("other", 2, "other\n"),
    ]


def test_that_steps_begin_is_no_transaction(database: Database) -> None:
    written = 0

    class Counting:
        reading = database.reading

        def writing(self, work: Callable[..., object], **given: bool) -> object:
            nonlocal written
            written += 1
            return database.writing(work, **given)

    stage = Stage(database, SqlLogs(database))
    logs = SqlLogs(Counting())  # type: ignore[arg-type]
    began = time.monotonic()
    for number in range(1, 101):
        begins(stage.lease, named_key("a", number), NOON, logs)
        logs.flush(stage.lease.job)

    # What is gathered in a moment is written together.
    assert written <= 2 + (time.monotonic() - began) / FLUSH_SECONDS
    wait_for(lambda: len(stage.shown) == 100 or None, "all to be seen")


def test_logs_of_steps_that_print_at_once_are_each_read_whole_from_wherever_a_reader_was(
    stage: Stage,
) -> None:
    said: dict[str, str] = {}
    place, keys = Place(), [str(at) for at in range(5)]
    expected = dict.fromkeys(keys, "") | {"": "the program begins\n"}
    ended = set[str]()

    def look() -> None:
        nonlocal place
        for piece in pieces(stage.settled(), place, stage.logs):
            said[piece.page.name] = said.get(piece.page.name, "") + piece.text
            place = piece.place

    stage.logs.append(stage.lease.job, 1, "0", b"the program begins\n")
    for at, key in enumerate(keys):
        stage.begin(key, at)
        printing = [one for one in keys[: at + 1] if one not in ended]
        for one in printing:
            # A letter that is cut in two is told once it is whole.
            stage.say(one, f"{one} while {key} ☃".encode()[:-1])
        look()
        for one in printing:
            stage.say(one, "☃".encode()[-1:] + b"\n")
            expected[one] += f"{one} while {key} ☃\n"
        look()
        if at % 2:
            stage.do(keys[at - 1], at, at)
            ended.add(keys[at - 1])
            stage.logs.append(stage.lease.job, 1, "0", b"its own\n")
            expected[""] += "its own\n"
            look()
    # What has ended is not read again, but for the last page that was read.
    assert [order for order, _ in place.offsets] == [0, 2, 4, 5]
    stage.change(lambda job, now: conclude(job, stage.lease, Result.SUCCESS, now))
    look()

    assert said == expected
