"""Jobs that go on where others stopped: from which step, with what, and what cannot be."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from runner.errors import NotFound, Rejected
from runner.model.forks import Fork
from runner.model.leasing import claim, postpone
from runner.model.lifecycle import decide
from runner.model.planning import plan
from runner.model.reruns import fork_at, fork_where_it_stopped, rerun, step_named
from runner.model.run import UNSAVED, Finished, Job, Lease, Queued, Ready, Running, StepName
from runner.model.step import Checkpoint, Outcome, Result
from tests.builders import LENGTH, NOON, a_checkpoint, a_job, a_run
from tests.model.test_reruns import ended

LATER = NOON.replace(hour=13)
STEPS = (StepName("1", "Run a"), StepName("2", "Run b"), StepName("3", "Run c", True))


def a_failed_job(**given: object) -> Job:
    phase = Finished(Result.FAILURE, NOON)
    return a_job("build", **{"id": 7, "steps": STEPS, "phase": phase, "attempt": 2, "started": NOON} | given)


def left(**said: str | bool) -> Mapping[str, Checkpoint]:
    """Checkpoints by key, with _ for other signs: a result, or False for files that were not kept."""
    found = {}
    for name, how in said.items():
        key = name.removeprefix("s").replace("_pre", ".pre").replace("_post", ".post").replace("_try", "~")
        result = Result.SUCCESS if isinstance(how, bool) else Result(how)
        made = a_checkpoint(running_lease(), key, outcome=Outcome(result, result), kept=how is not False)
        found[key] = made
    return found


def running_lease() -> Lease:
    phase = claim(a_job(id=7), "worker-1", NOON, LENGTH).phase
    assert isinstance(phase, Running)
    return phase.lease


@pytest.mark.parametrize(
    ("checkpoints", "step", "carried"),
    [
        (left(s1="success", s2="failure"), "2", 1),
        (left(s1="success"), "2", 1),
        (left(s1="success", s2_try1="failure", s2="failure", s3="success"), "2", 1),
        (left(s1="success", s2_try1="failure"), "2", 1),
        (left(s1_try1="failure", s1="success", s2="skipped", s3="timed_out"), "3", 3),
        (left(s1_pre="success", s1="failure"), "1", 1),
        (left(s1="success", s2=False, s3="success"), "2", 1),
        (left(s1="success", s2="success", s3="success", s1_post="failure"), "1.post", 3),
        (left(s1="success", s2="success", s3="success"), "", 3),
    ],
)
def test_a_job_goes_on_at_the_first_step_that_did_not_succeed_with_all_that_came_before(
    checkpoints: Mapping[str, Checkpoint], step: str, carried: int
) -> None:
    assert fork_where_it_stopped(a_failed_job(), checkpoints) == Fork(step, carried, ((7, 2),))


@pytest.mark.parametrize(
    "checkpoints", [{}, left(s1="failure"), left(s1_try1="failure"), left(s1_pre="failure")]
)
def test_where_nothing_came_before_that_it_begins_anew(checkpoints: Mapping[str, Checkpoint]) -> None:
    assert fork_where_it_stopped(a_failed_job(), checkpoints) is None


def test_the_new_job_has_the_terms_of_the_old_one_and_its_attempts_go_on() -> None:
    job = a_failed_job(base=1, lost=(1, 2), dynamic=True, name="build (1)", labels=("gpu",))
    fork = Fork("2", 1, ((7, 2),))

    again = decide(rerun(a_run(job), {7}, {7: fork}), LATER)

    assert (again.jobs[0].id, again.jobs[0].phase) == (UNSAVED, Ready(LATER))
    again = decide(plan(again, UNSAVED, again.jobs), LATER)
    new = again.jobs[0]
    assert (new.phase, new.attempt, new.base, new.lost) == (Queued(LATER), 2, 1, ())
    assert (new.forked, new.name, new.labels, new.steps) == (fork, "build (1)", ("gpu",), STEPS)
    assert claim(new, "worker-2", LATER, LENGTH).attempt == 3
    assert again.attempt == 2


def test_a_fork_of_a_fork_knows_all_that_it_comes_from() -> None:
    fork = Fork("2", 1, ((7, 2),))

    found = fork_where_it_stopped(a_failed_job(id=9, attempt=5, forked=fork), left(s1="success"))

    assert found == Fork("2", 1, ((9, 5), (7, 2)))
    assert [found.whose(attempt) for attempt in (1, 2, 3, 5, 6)] == [7, 7, 9, 9, None]


def test_what_needs_a_job_that_goes_on_begins_anew_though_it_was_to_go_on_too() -> None:
    run = a_run(a_failed_job(), replace(ended("deploy", 8, Result.FAILURE, "build"), attempt=1))
    forks = {7: Fork("2", 1, ((7, 2),)), 8: Fork("2", 1, ((8, 1),))}

    again = rerun(run, {7, 8}, forks)

    assert [(job.key, job.forked, job.attempt) for job in again.jobs] == [
        ("build", forks[7], 2),
        ("deploy", None, 0),
    ]


def test_that_a_fork_cannot_begin_is_no_time_of_its_own() -> None:
    job = a_failed_job(phase=Queued(NOON), started=None, forked=Fork("2", 1, ((7, 2),)))
    claimed = claim(job, "worker-1", NOON, LENGTH)
    assert isinstance(claimed.phase, Running)

    assert postpone(claimed, claimed.phase.lease, NOON, "away").started is None


@pytest.mark.parametrize("named", ["3", "last", "Run c"])
def test_a_step_is_meant_by_its_position_its_id_or_its_name(named: str) -> None:
    job = a_failed_job(step_ids={"last": "3"})

    assert step_named(a_run(job), job, named, {}) == "3"
    assert rerun(a_run(job)).jobs[0].step_ids == {"last": "3"}


@pytest.mark.parametrize(
    ("checkpoints", "says"),
    [
        (left(s1="success", s2="failure"), r"from step 3 \(Run c\): step 2 \(Run b\) did not succeed"),
        (left(s1="success"), r"from step 3 \(Run c\): step 2 \(Run b\) was not done"),
        (left(s1=False, s2="success"), r"step 1 \(Run a\) was done as the job was ending, and its files"),
        (left(s1_pre="failure"), "failed before its first step"),
    ],
)
def test_no_job_goes_on_from_a_step_that_it_has_not_come_to(
    checkpoints: Mapping[str, Checkpoint], says: str
) -> None:
    job = a_failed_job()

    with pytest.raises(Rejected, match=says):
        fork_at(a_run(job), job, "3", checkpoints)


def test_a_job_that_succeeded_goes_on_from_any_of_its_steps() -> None:
    job = a_failed_job(phase=Finished(Result.SUCCESS, NOON))
    checkpoints = left(s1="success", s2="success", s3="skipped")

    forks = [fork_at(a_run(job), job, step.key, checkpoints) for step in STEPS]

    assert [fork and fork.carried for fork in forks] == [None, 1, 2]


def test_what_has_no_steps_that_were_done_is_named() -> None:
    skipped = a_failed_job(phase=Finished(Result.SKIPPED, NOON))
    caller = a_failed_job(calls="deploy.yml", steps=())
    run = a_run(caller, ended("push", 8, caller=7))

    with pytest.raises(Rejected, match="was skipped: it has done no step"):
        step_named(a_run(skipped), skipped, "2", {})
    with pytest.raises(Rejected, match=r"it calls deploy.yml; name one of the jobs there \(push\)"):
        step_named(run, caller, "1", {})
    with pytest.raises(NotFound, match="has no step 'x'; it has 1: Run a; 2: Run b; 3: Run c"):
        step_named(a_run(a_failed_job()), a_failed_job(), "x", {})
    with pytest.raises(Rejected, match="has not ended"):
        fork_at(a_run(a_failed_job(phase=Queued(NOON))), a_failed_job(), "2", {})


def named(**said: bool) -> Mapping[str, Checkpoint]:
    """Checkpoints of steps that a program named, and whether their files were kept."""
    found = {f"{name}#1": kept for name, kept in said.items()} | {"ship#2~1": True, "ship#2": True}
    return {key: a_checkpoint(running_lease(), key, kept=kept) for key, kept in found.items()}


@pytest.mark.parametrize(("step", "carried"), [("ship", 2), ("ship#1", 2), ("ship (2)", 3), ("lint", 0)])
def test_a_job_goes_on_from_a_step_that_its_program_named(step: str, carried: int) -> None:
    job, done = a_failed_job(steps=()), named(lint=True, test=True, ship=True)

    key = step_named(a_run(job), job, step, done)

    fork = fork_at(a_run(job), job, key, done)
    assert fork == (Fork(key, carried, ((7, 2),)) if carried else None)


def test_it_does_not_where_its_program_has_not_come_to_or_where_files_are_missing() -> None:
    job = a_failed_job(steps=())
    run = a_run(job)

    with pytest.raises(NotFound, match=r"has done no step 'build'; its last were lint; ship \(2\)"):
        step_named(run, job, "build", named(lint=True))
    with pytest.raises(Rejected, match="cannot go on from step ship: before it, lint was done as the job"):
        fork_at(run, job, "ship#1", named(lint=False, ship=True))


def asked(**said: str) -> Mapping[str, Checkpoint]:
    """Checkpoints of steps that a program named, with how each ended; what is named so takes back."""
    found = {}
    for name, how in said.items():
        outcome = Outcome(Result(how), Result(how), takes_back=name.startswith("rollback"))
        found[f"{name}#1"] = a_checkpoint(running_lease(), f"{name}#1", outcome=outcome)
    return found


@pytest.mark.parametrize(
    ("done", "step", "carried"),
    [
        (asked(probe="failure", ship="success", smoke="failure"), "smoke#1", 2),
        (asked(probe="failure", ship="success"), "probe#1", 0),
        (asked(build="success", lint="failure", test="success"), "lint#1", 1),
        ({**asked(build="success", probe="failure"), **named(ship=False)}, "ship#1", 2),
        (asked(build="success"), "", 1),
        (asked(build="failure", rollback="success"), "build#1", 0),
    ],
)
def test_a_program_goes_on_at_its_last_step_that_failed_for_it_may_have_gone_past_others(
    done: Mapping[str, Checkpoint], step: str, carried: int
) -> None:
    found = fork_where_it_stopped(a_failed_job(steps=()), done)

    assert found == (Fork(step, carried, ((7, 2),)) if carried else None)


@pytest.mark.parametrize("undone", ["success", "failure"])
def test_a_program_that_took_back_what_it_did_goes_on_from_none_of_that(undone: str) -> None:
    job, done = a_failed_job(steps=()), asked(build="success", ship="failure", rollback=undone)

    with pytest.raises(Rejected, match=r"job build cannot go on where .* \(rollback\); rerun the job"):
        fork_where_it_stopped(job, done)
    with pytest.raises(Rejected, match="it has taken back what it had done"):
        fork_at(a_run(job), job, "ship#1", done)
    assert fork_at(a_run(job), job, "build#1", done) is None
