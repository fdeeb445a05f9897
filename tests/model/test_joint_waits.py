"""Several waits of one job at once, of which the end of one is enough."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from runner.errors import LeaseLost, Rejected
from runner.model.answers import answer_wait, deliver, settle_waits
from runner.model.ending import cancel
from runner.model.leasing import (
    begin_waits,
    claim,
    fix_answer,
    leave_waits,
    release,
    suspend,
    suspend_for_any,
)
from runner.model.lifecycle import decide
from runner.model.pauses import pause, unpause
from runner.model.run import Finished, Job, Lease, Queued, Run, Running, Suspended
from runner.model.step import Result
from runner.model.stops import Stop
from runner.model.waits import Answer, Awaited, Signal, Wait, Word, refusal
from tests.builders import LENGTH, NOON, a_job, a_run, running

HOUR = timedelta(hours=1)
LEASE = running().lease
NAP = (Wait("nap", Awaited.TIME, NOON), HOUR)
GO = (Wait("go", Awaited.SIGNAL, NOON, name="go"), None)
OK = (Wait("ok", Awaited.APPROVAL, NOON), None)
SENT = Answer(Word.SENT, NOON, "anna")


def branching(*waits: tuple[Wait, timedelta | None], at: datetime = NOON) -> Job:
    job = a_job(phase=running(), attempt=1, started=NOON, claimed=NOON)
    return begin_waits(job, LEASE, at, waits or (NAP, GO))


def waiting(*waits: tuple[Wait, timedelta | None], open: Collection[str] = ("nap", "go", "ok")) -> Run:
    return a_run(suspend_for_any(branching(*waits), LEASE, NOON, open))


def words(job: Job) -> dict[str, Word | None]:
    return {wait.key: wait.answer.word if wait.answer else None for wait in job.waits}


def test_a_job_that_begins_to_wait_goes_on_running() -> None:
    job = branching()

    assert job.phase == running()
    assert job.waits == (
        replace(NAP[0], due=NOON + HOUR, shifts=True, joint=True),
        replace(GO[0], joint=True),
    )


def test_a_wait_that_is_there_already_stays_as_it_is() -> None:
    job = branching()
    told = answer_wait(a_run(job), 1, "go", SENT).jobs[0]

    again = begin_waits(told, LEASE, NOON + HOUR, [NAP, GO, OK, OK])

    assert again.waits[:2] == told.waits
    assert [wait.key for wait in again.waits] == ["nap", "go", "ok"]


def test_the_first_of_them_that_is_over_lets_it_go_on() -> None:
    run = waiting()
    assert run.jobs[0].wakes == NOON + HOUR
    assert decide(run, NOON) == run

    slept = decide(run, NOON + HOUR).jobs[0]
    told = decide(answer_wait(run, 1, "go", SENT), NOON).jobs[0]

    assert (slept.phase, words(slept)) == (Queued(NOON + HOUR), {"nap": Word.DUE, "go": None})
    assert (told.phase, words(told)) == (Queued(NOON), {"nap": None, "go": Word.SENT})
    assert (told.awaits, told.wakes) == ((), None)


def test_it_wakes_for_the_earliest_of_those_that_ever_do() -> None:
    later = replace(NAP[0], key="later"), 2 * HOUR

    assert waiting(later, NAP, GO, open=["later", "nap", "go"]).jobs[0].wakes == NOON + HOUR
    assert waiting(GO, OK).jobs[0].wakes is None


def test_what_has_been_told_before_it_suspends_queues_it_at_once() -> None:
    told = answer_wait(a_run(branching()), 1, "go", SENT).jobs[0]

    job = suspend_for_any(told, LEASE, NOON + HOUR / 2, ["nap", "go"])

    assert (job.phase, job.worked) == (Queued(NOON + HOUR / 2), HOUR / 2)


def test_what_time_has_ended_before_it_suspends_queues_it_too() -> None:
    job = suspend_for_any(branching(), LEASE, NOON + HOUR, ["nap", "go"])

    assert decide(a_run(job), NOON + HOUR).jobs[0].phase == Queued(NOON + HOUR)


def test_what_it_has_heard_does_not_wake_it_again_and_what_it_leaves_nobody_answers() -> None:
    told = answer_wait(a_run(branching(NAP, GO, OK)), 1, "go", SENT).jobs[0]

    run = a_run(suspend_for_any(told, LEASE, NOON, ["nap"]))

    job = run.jobs[0]
    assert isinstance(job.phase, Suspended)
    assert words(job) == {"nap": None, "go": Word.SENT, "ok": Word.LEFT}
    assert [wait.joint for wait in job.waits] == [True, False, False]
    with pytest.raises(Rejected, match=r"does not wait for approval; nobody has waited for it since 2026"):
        settle_waits(run, Awaited.APPROVAL, Answer(Word.APPROVED, NOON, "anna"))


def test_a_job_leaves_waits_while_it_runs() -> None:
    told = answer_wait(a_run(branching(NAP, GO, OK)), 1, "go", SENT).jobs[0]

    job = leave_waits(told, LEASE, NOON, ["go", "ok", "never begun"])

    assert words(job) == {"nap": None, "go": Word.SENT, "ok": Word.LEFT}
    assert refusal(job.waits[2]) == "nobody waits for it any more"
    assert (job.phase, [wait.key for wait in job.hears]) == (running(), ["nap"])


@pytest.mark.parametrize("queued", [False, True])
def test_signals_persons_and_time_reach_the_branches_that_wait_while_others_go_on(queued: bool) -> None:
    job = branching(NAP, GO, OK)
    run = a_run(release(job, LEASE, NOON) if queued else job)

    run, given = deliver(run, [Signal("go", "1", "anna", 7, number=3)], NOON)
    run = settle_waits(run, Awaited.APPROVAL, Answer(Word.APPROVED, NOON, "bert"))
    run = decide(run, NOON + HOUR)

    assert given == {3: (1, "go")}
    assert words(run.jobs[0]) == {"nap": Word.DUE, "go": Word.SENT, "ok": Word.APPROVED}
    assert run.jobs[0].phase == (Queued(NOON) if queued else running())


def test_each_of_two_branches_takes_a_signal_of_its_own_also_once_the_job_is_awake() -> None:
    other = replace(GO[0], key="other"), None
    run = waiting(GO, other, open=["go", "other"])

    first, given = deliver(run, [Signal("go", "1", number=1)], NOON)
    second, more = deliver(decide(first, NOON), [Signal("go", "2", number=2)], NOON)
    _, none = deliver(second, [Signal("go", "3", number=3)], NOON)

    assert (given, more, none) == ({1: (1, "go")}, {2: (1, "other")}, {})


@pytest.mark.parametrize("suspended", [False, True])
def test_nothing_reaches_a_job_that_is_cancelled(suspended: bool) -> None:
    run = waiting(NAP, GO, OK) if suspended else a_run(branching(NAP, GO, OK))

    run = decide(cancel(run, NOON), NOON)
    later = decide(answer_wait(run, 1, "go", SENT), NOON + LENGTH / 2)

    assert deliver(run, [Signal("go", "1", number=1)], NOON) == (run, {})
    assert words(later.jobs[0]) == {"nap": None, "go": None, "ok": None}
    assert later.jobs[0].phase == (Queued(NOON) if suspended else running())


def test_a_pause_makes_longer_what_branches_of_a_running_job_sleep() -> None:
    until = replace(NAP[0], key="until", due=NOON + 2 * HOUR), None
    run = pause(a_run(branching(NAP, until)), Stop("anna", NOON + HOUR / 2, "", "octo/hello", 1))

    over = decide(run, NOON + 3 * HOUR)
    on = unpause(over, NOON + 3 * HOUR)

    assert words(over.jobs[0]) == {"nap": None, "until": Word.DUE}
    assert [wait.due for wait in on.jobs[0].waits] == [NOON + 3.5 * HOUR, NOON + 2 * HOUR]


def test_while_the_run_is_paused_a_job_that_suspends_does_not_go_on_by_time() -> None:
    job = suspend_for_any(branching(NAP), LEASE, NOON + 2 * HOUR, ["nap"])
    run = a_run(job, pause=Stop("anna", NOON + HOUR / 2, "", "octo/hello", 1))

    assert isinstance(decide(run, NOON + 2 * HOUR).jobs[0].phase, Suspended)


def test_a_job_that_waits_for_one_thing_alone_does_not_go_on_for_another() -> None:
    job = suspend(branching(GO), LEASE, NOON, *OK)
    run = decide(answer_wait(a_run(job), 1, "go", SENT), NOON)

    assert isinstance(run.jobs[0].phase, Suspended)
    said = settle_waits(run, Awaited.APPROVAL, Answer(Word.APPROVED, NOON, "anna"))
    assert decide(said, NOON).jobs[0].phase == Queued(NOON)


def test_a_worker_that_wakes_it_finds_what_time_has_ended() -> None:
    run = waiting()

    job = claim(run.jobs[0], "w", NOON + HOUR, LENGTH)

    assert (isinstance(job.phase, Running), words(job)) == (True, {"nap": Word.DUE, "go": None})


def test_of_several_steps_that_wait_for_approval_a_person_says_which() -> None:
    other = replace(OK[0], key="other"), None
    run = waiting(OK, other, open=["ok", "other"])
    said = Answer(Word.REJECTED, NOON, "anna")

    for chosen in (None, [1]):
        with pytest.raises(
            Rejected, match="several steps of job build wait for approval; name one of ok, other"
        ):
            settle_waits(run, Awaited.APPROVAL, said, chosen)
    one = settle_waits(run, Awaited.APPROVAL, said, steps=["other"])
    with pytest.raises(
        Rejected, match="this step of run 1 does not wait for approval; anna has said rejected"
    ):
        settle_waits(one, Awaited.APPROVAL, said, steps=["other"])

    assert words(one.jobs[0]) == {"ok": None, "other": Word.REJECTED}


def test_only_who_has_the_lease_says_what_a_job_waits_for() -> None:
    lost = Lease(1, "worker-0", 0, NOON)

    with pytest.raises(LeaseLost):
        begin_waits(branching(), lost, NOON, [OK])
    with pytest.raises(LeaseLost):
        leave_waits(branching(), lost, NOON, ["go"])
    with pytest.raises(LeaseLost):
        suspend_for_any(branching(), lost, NOON, ["go"])
    with pytest.raises(LeaseLost):
        fix_answer(branching(), lost, "go", {})


def test_what_an_answer_brings_is_found_out_once_it_is_there_and_of_no_other_wait() -> None:
    told = replace(branching(NAP, GO, OK).waits[1], answer=SENT)
    job = branching(NAP, GO, OK).with_waits([told])

    fixed = fix_answer(fix_answer(job, LEASE, "go", {"a": 1}), LEASE, "ok", {"a": 2})

    assert fixed == job.with_waits([replace(told, answer=replace(SENT, payload={"a": 1}))])


def test_a_job_that_has_ended_hears_nothing() -> None:
    job = replace(branching(), phase=Finished(Result.SUCCESS, NOON))

    assert job.hears == ()
    assert decide(a_run(job), NOON + HOUR).jobs[0] == job
