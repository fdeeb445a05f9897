from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import pytest

from runner.engine.ports import NewRun, Verdict
from runner.errors import NotFound, Rejected
from runner.model.ending import cancel
from runner.model.ending import end as end_by_force
from runner.model.leasing import claim, conclude
from runner.model.lifecycle import decide
from runner.model.planning import call, settle
from runner.model.reruns import failed_jobs, rerun
from runner.model.run import UNSAVED, Finished, Job, Lease, Leg, Phase, Ready, Run, StepName, Waiting
from runner.model.source import Event, Repository
from runner.model.step import Annotation, Outcome, Post, Result
from runner.store import Database, SqlRepositories, SqlStore
from runner.store.read_models import AnnotationView, BadgeState, JobEnd, RunFilter
from runner.store.views import Views
from tests.builders import LENGTH, NOON, a_checkpoint, a_job, a_new_run, a_route, an_event

OTHER = "2" * 40


@pytest.fixture
def store(database: Database) -> SqlStore:
    return SqlStore(database, LENGTH)


@pytest.fixture
def views(database: Database) -> Views:
    return Views(database)


def admitted(store: SqlStore, guid: str, event: Event | None = None, *new: NewRun) -> tuple[Run, ...]:
    event = event or an_event()
    delivery, _ = store.receive(event, guid, guid)
    route = a_route(event.commit or OTHER, repo=event.repo, forge=event.forge)
    return store.settle(delivery.id, Verdict("admitted", route=route, runs=new or (a_new_run(),)))


def take(store: SqlStore, run: Run, at: int = 0) -> Lease:
    job = run.jobs[at]
    made = store.update(run.id, lambda run, now: run.with_job(claim(run.job(job.id), "w", now, LENGTH)))
    return Lease(job.id, "w", made.after.job(job.id).attempt, NOON)


def end(store: SqlStore, run: Run, result: Result, at: int = 0) -> None:
    lease = take(store, run, at)
    store.update(
        run.id,
        lambda run, now: decide(run.with_job(conclude(run.job(lease.job), lease, result, now)), now),
    )


def test_the_status_of_a_run_is_computed_from_its_jobs(store: SqlStore, views: Views) -> None:
    def status(run: Run) -> str:
        listed = views.runs(RunFilter())[0].status
        assert views.runs(RunFilter(status=listed))[0].id == run.id
        assert views.run(run.id).status == listed
        return listed

    run = admitted(store, "1", None, a_new_run("build", "test", needs={"test": ("build",)}))[0]
    assert status(run) == "queued"
    take(store, run)
    assert status(run) == "running"
    run = store.load(run.id)
    store.stranded(everything=True)
    end(store, run, Result.SUCCESS)
    assert status(run) == "running"
    end(store, run, Result.FAILURE, at=1)
    assert status(run) == "failure"


ORDER = ["failure", "timed_out", "cancelled", "success", "skipped"]


@pytest.mark.parametrize("worst", ORDER)
def test_the_worst_job_counts_as_in_the_model(store: SqlStore, views: Views, worst: str) -> None:
    order = ORDER
    results = [Result(word) for word in order[order.index(worst) :]]
    run = admitted(store, "1", None, a_new_run(*results))[0]
    for at, result in enumerate(results):
        end(store, run, result, at)

    assert store.load(run.id).result == worst
    assert [one.status for one in views.runs(RunFilter(status=worst))] == [worst]


def test_a_run_that_was_cancelled_counts_as_such_though_a_job_of_it_had_failed(
    store: SqlStore, views: Views
) -> None:
    run = admitted(store, "1", None, a_new_run("a", "b"))[0]
    end(store, run, Result.FAILURE)
    store.update(run.id, lambda run, now: decide(cancel(run, now), now))

    assert store.load(run.id).result is Result.CANCELLED
    assert views.run(run.id).status == "cancelled"


@pytest.mark.parametrize("result", list(Result))
def test_a_failure_that_is_tolerated_counts_as_in_the_model(
    store: SqlStore, views: Views, result: Result
) -> None:
    run = admitted(store, "1", None, a_new_run("a"))[0]
    lease = take(store, run)
    store.update(
        run.id, lambda run, now: run.with_job(conclude(run.jobs[0], lease, result, now, tolerated=True))
    )

    assert views.run(run.id).status == store.load(run.id).result


def test_a_job_of_a_called_workflow_counts_through_the_job_that_called_it(
    store: SqlStore, views: Views
) -> None:
    caller = Job(UNSAVED, "call", "call", (), (), (), calls="called.yml")
    run = admitted(store, "1", None, NewRun("ci.yml", "ci", (caller,)))[0]
    inner = Job(UNSAVED, "x", "x", (), ("linux",), ())
    run = store.update(
        run.id, lambda run, now: decide(call(run, run.jobs[0].id, [inner], {}, now), now)
    ).after
    end(store, run, Result.SKIPPED, at=1)
    store.update(run.id, lambda run, now: settle(run, run.jobs[0].id, Result.SUCCESS, now))

    assert views.run(run.id).status == store.load(run.id).result == "success"


def test_a_broken_workflow_is_a_failed_run_with_its_problems(store: SqlStore, views: Views) -> None:
    run = admitted(store, "1", None, NewRun("ci.yml", "ci.yml", problems=("ci.yml:1:1: no jobs",)))[0]

    shown = views.run(run.id)

    assert (shown.status, shown.problems, shown.jobs) == ("failure", ("ci.yml:1:1: no jobs",), ())
    assert shown.finished_at == shown.created_at
    assert [one.id for one in views.runs(RunFilter(status="failure"))] == [run.id]


def test_a_run_is_called_by_its_title_or_else_by_its_workflow(store: SqlStore, views: Views) -> None:
    titled = NewRun("a.yml", "a", a_new_run().jobs, title=lambda run: "Deploy")
    runs = admitted(store, "1", None, titled, NewRun("b.yml", "b", a_new_run().jobs))

    assert [(one.name, one.title) for one in views.runs(RunFilter())] == [("b", "b"), ("a", "Deploy")]
    assert views.run(runs[0].id).title == "Deploy"


def test_what_actions_do_before_the_first_step_is_shown_before_it(store: SqlStore, views: Views) -> None:
    steps = tuple(StepName(str(number), f"step {number}") for number in (1, 2))
    run = admitted(store, "1", None, NewRun("ci.yml", "ci", (a_job(id=UNSAVED, steps=steps),)))[0]
    lease = take(store, run)
    for key in ("2.pre", "2.1.pre", "1"):
        store.record(lease, a_checkpoint(lease, key))

    shown = [(step.number, step.key, step.name, step.status) for step in views.run(run.id).jobs[0].steps]

    assert shown == [
        (1, "2.pre", "Pre step 2", "success"),
        (2, "2.1.pre", "Pre step 2", "success"),
        (3, "1", "step 1", "success"),
        (4, "2", "step 2", "running"),
    ]


def test_steps_show_their_checkpoints_and_where_the_job_is(store: SqlStore, views: Views) -> None:
    steps = tuple(StepName(str(number), f"step {number}") for number in (1, 2, 3))
    new = NewRun("ci.yml", "ci", (Job(UNSAVED, "build", "build", (), ("linux",), steps),))
    run = admitted(store, "1", None, new)[0]
    assert [step.status for step in views.run(run.id).jobs[0].steps] == ["queued"] * 3
    lease = take(store, run)
    failed = Outcome(Result.FAILURE, Result.SUCCESS, 3, summary="# sums", reason="exit code 3")
    store.record(lease, a_checkpoint(lease, outcome=failed, finished=NOON + timedelta(seconds=1)))

    job = views.run(run.id).jobs[0]

    assert (job.status, job.attempt, job.worker) == ("running", 1, "w")
    first, second, third = job.steps
    assert (first.status, first.conclusion, first.exit_code) == ("failure", "success", 3)
    assert (first.reason, first.summary, first.attempt) == ("exit code 3", "# sums", 1)
    assert (first.started_at, first.finished_at) == (NOON, NOON + timedelta(seconds=1))
    assert (second.status, second.attempt, second.started_at) == ("running", 1, first.finished_at)
    assert (third.status, third.attempt, third.started_at) == ("queued", 0, None)
    store.update(run.id, lambda run, now: run.with_job(conclude(run.jobs[0], lease, Result.FAILURE, now)))
    assert [step.status for step in views.run(run.id).jobs[0].steps] == ["failure", "skipped", "skipped"]


def test_a_step_that_no_failure_reaches_is_skipped_at_once(store: SqlStore, views: Views) -> None:
    ifs = (False, False, True, False)
    steps = tuple(StepName(str(number), f"step {number}", asks) for number, asks in enumerate(ifs, start=1))
    run = admitted(store, "1", None, NewRun("ci.yml", "ci", (a_job(id=UNSAVED, steps=steps),)))[0]

    def shown() -> list[tuple[str, str | None]]:
        return [(step.status, step.conclusion) for step in views.run(run.id).jobs[0].steps]

    failed, skipped = ("failure", "failure"), ("skipped", "skipped")
    lease = take(store, run)
    store.record(lease, a_checkpoint(lease, outcome=Outcome(Result.FAILURE, Result.FAILURE, 1)))
    assert shown() == [failed, skipped, ("running", None), skipped]
    store.record(lease, a_checkpoint(lease, "3"))
    assert shown() == [failed, skipped, ("success", "success"), skipped]


def test_the_step_that_ran_when_its_job_was_ended_by_force_was_cancelled_and_keeps_its_log(
    store: SqlStore, views: Views
) -> None:
    steps = tuple(StepName(str(number), f"step {number}", number == 3) for number in range(1, 5))
    run = admitted(
        store, "1", None, NewRun("ci.yml", "ci", (a_job(id=UNSAVED, steps=steps, phase=Waiting()),))
    )[0]
    lease = take(store, run)
    store.record(lease, a_checkpoint(lease, "1"))
    store.update(run.id, end_by_force)

    shown = views.run(run.id).jobs[0]

    assert [(step.status, step.conclusion, step.attempt) for step in shown.steps] == [
        ("success", "success", 1),
        ("cancelled", "cancelled", 1),
        ("skipped", "skipped", 0),
        ("skipped", "skipped", 0),
    ]
    assert (shown.steps[1].reason, shown.steps[1].finished_at) == (
        "it was cancelled by force",
        shown.finished_at,
    )


def test_what_actions_do_at_the_end_follows_the_declared_steps(store: SqlStore, views: Views) -> None:
    steps = tuple(StepName(str(number), f"step {number}") for number in (1, 2))
    run = admitted(store, "1", None, NewRun("ci.yml", "ci", (a_job(id=UNSAVED, steps=steps),)))[0]

    def shown() -> list[tuple[int, str, str, str]]:
        return [(one.number, one.key, one.name, one.status) for one in views.run(run.id).jobs[0].steps]

    lease = take(store, run)
    posts = tuple(Outcome(Result.SUCCESS, Result.SUCCESS, 0, posts=(Post(path),)) for path in ((0,), (1, 2)))
    store.record(lease, a_checkpoint(lease, "1", outcome=posts[0]))
    assert [status for *_, status in shown()] == ["success", "running"]
    store.record(lease, a_checkpoint(lease, "2", outcome=posts[1]))
    assert shown()[2:] == [(3, "2.3.post", "Post step 2", "running"), (4, "1.post", "Post step 1", "queued")]
    store.record(lease, a_checkpoint(lease, "2.3.post", outcome=Outcome(Result.SKIPPED, Result.SKIPPED)))
    assert shown()[2:] == [(3, "2.3.post", "Post step 2", "skipped"), (4, "1.post", "Post step 1", "running")]
    store.update(run.id, lambda run, now: run.with_job(conclude(run.jobs[0], lease, Result.FAILURE, now)))
    assert shown()[3] == (4, "1.post", "Post step 1", "skipped")


def test_what_steps_say_about_files_is_shown_with_the_step(store: SqlStore, views: Views) -> None:
    run = admitted(store, "1", None, a_new_run("build", "test"))[0]
    for at, said in enumerate((("a\udcff",), ("b", "c"))):
        lease = take(store, run, at)
        found = tuple(Annotation("warning", one, "T", "a.c", 3, 4, 5, 6) for one in said)
        outcome = Outcome(Result.SUCCESS, Result.SUCCESS, 0, annotations=found)
        store.record(lease, a_checkpoint(lease, outcome=outcome))

    shown = views.run(run.id)

    first, second = (job.id for job in run.jobs)
    assert shown.jobs[0].steps[0].annotations == (
        AnnotationView("warning", "a?", "T", "a.c", 3, 4, 5, 6, first, "1"),
    )
    assert [(one.job, one.message) for one in shown.annotations] == [
        (first, "a?"),
        (second, "b"),
        (second, "c"),
    ]


def with_jobs(store: SqlStore, *jobs: Job) -> Run:
    """A run whose jobs are these, however they came to be so."""
    run = admitted(store, "1", None, NewRun("ci.yml", "ci", jobs))[0]
    saved = tuple(replace(job, id=made.id) for job, made in zip(jobs, run.jobs, strict=True))
    return store.update(run.id, lambda run, now: replace(run, jobs=saved)).after


def test_the_legs_of_a_matrix_show_what_they_are(store: SqlStore, views: Views) -> None:
    def leg(node: float, phase: Phase) -> Job:
        made = Leg({"node": node, "os": {"name": "linux"}})
        return a_job("test", name=f"test ({node:g}, linux)", leg=made, phase=phase, outputs={"v": f"{node}"})

    tolerated = Finished(Result.FAILURE, NOON, "exit code 1", tolerated=True)
    run = with_jobs(store, leg(20.0, tolerated), leg(22.5, Waiting()))

    first, second = views.run(run.id).jobs

    assert (first.key, first.path, second.key, second.label) == ("test", "test", "test", second.name)
    assert (first.matrix, repr(first.matrix["node"])) == ({"node": 20, "os": {"name": "linux"}}, "20")
    assert (first.status, first.conclusion, first.reason) == ("failure", "success", "exit code 1")
    assert first.outputs == {"v": "20.0"}
    assert (second.matrix["node"], second.status, second.conclusion) == (22.5, "waiting", None)


def test_a_job_whose_definition_is_being_evaluated_waits(store: SqlStore, views: Views) -> None:
    run = with_jobs(store, a_job(phase=Ready(NOON), dynamic=True, planned=False))

    assert (views.run(run.id).status, views.run(run.id).jobs[0].status) == ("queued", "waiting")


def test_a_called_workflow_is_shown_below_the_job_that_calls_it(store: SqlStore, views: Views) -> None:
    calls = "ci/deploy.yml"
    run = with_jobs(store, a_job("deploy", calls=calls, phase=Waiting(), steps=()), a_job("after"))
    caller = run.jobs[0].id
    assert views.run(run.id).jobs[0].status == "waiting"
    called = (
        a_job("push", id=UNSAVED, name="deploy / push", caller=caller),
        a_job("more", id=UNSAVED, name="deploy / more", caller=caller, calls=calls, phase=Waiting()),
    )
    run = store.update(run.id, lambda run, now: replace(run, jobs=(*run.jobs, *called))).after
    deepest = a_job("last", id=UNSAVED, name="deploy / more / last", caller=run.jobs[3].id)
    run = store.update(run.id, lambda run, now: replace(run, jobs=(*run.jobs, deepest))).after
    take(store, run, at=4)

    shown = views.run(run.id)

    top, push, more, last, after = shown.jobs
    paths = ["deploy", "deploy/push", "deploy/more", "deploy/more/last", "after"]
    assert [job.path for job in shown.jobs] == paths
    assert (top.caller, push.caller, last.caller, after.caller) == (None, caller, more.id, None)
    assert (top.calls, push.calls) == (calls, None)
    assert (top.label, push.label) == ("deploy", "deploy / push")
    statuses = ["running", "queued", "running", "running", "queued"]
    assert [job.status for job in shown.jobs] == statuses
    assert (top.started_at, more.started_at) == (last.started_at, last.started_at)
    assert shown.status == "running"


def test_former_attempts_stay_as_they_were(store: SqlStore, views: Views) -> None:
    run = admitted(store, "1", None, a_new_run("a", "b"))[0]
    end(store, run, Result.FAILURE)
    store.update(run.id, lambda run, now: decide(cancel(run, now), now))
    store.update(run.id, lambda run, now: decide(rerun(run), now))

    assert (views.run(run.id).status, views.run(run.id).attempt) == ("queued", 2)
    former = views.run(run.id, attempt=1)
    assert (former.status, former.attempt, former.attempts) == ("cancelled", 1, 2)
    assert (former.cancelled, views.run(run.id).cancelled) == (True, False)
    with pytest.raises(NotFound, match="no attempt 3; it has 2"):
        views.run(run.id, attempt=3)
    with pytest.raises(NotFound, match="no run 99"):
        views.run(99)


def with_job(job: Job, run: Run, now: datetime) -> Run:
    return run.with_job(job)


def test_what_was_not_run_again_is_part_of_both_attempts(store: SqlStore, views: Views) -> None:
    run = admitted(store, "1", None, a_new_run("build", "test", "lint"))[0]
    for place, result in enumerate((Result.SUCCESS, Result.FAILURE, Result.SUCCESS)):
        lease = take(store, run, place)
        store.record(lease, a_checkpoint(lease))
        ended = conclude(store.load(run.id).jobs[place], lease, result, NOON)
        store.update(run.id, partial(with_job, ended))

    again = store.update(run.id, lambda run, now: decide(rerun(run, failed_jobs(run)), now)).after

    former, newest = views.run(run.id, 1), views.run(run.id)
    assert [(job.key, job.status, job.id) for job in former.jobs] == [
        ("build", "success", run.jobs[0].id),
        ("test", "failure", run.jobs[1].id),
        ("lint", "success", run.jobs[2].id),
    ]
    assert [(job.key, job.status, job.id) for job in newest.jobs] == [
        ("build", "success", run.jobs[0].id),
        ("test", "queued", again.jobs[1].id),
        ("lint", "success", run.jobs[2].id),
    ]
    assert [job.steps[0].status for job in newest.jobs] == ["success", "queued", "success"]
    assert (former.status, newest.status) == ("failure", "queued")
    assert (former.finished_at is None, newest.started_at) == (False, None)
    take(store, again, 1)
    assert views.run(run.id).status == "running"


def test_runs_are_filtered_by_everything_they_are_known_by(store: SqlStore, views: Views) -> None:
    main = admitted(store, "1")[0].id
    event = an_event(ref="refs/heads/topic", commit=OTHER, actor="octo", repo="octo/other")
    topic = admitted(store, "2", event, NewRun(".runner/workflows/b_d.yml", "Build", a_new_run().jobs))[0].id

    def found(**wanted: object) -> list[int]:
        return [run.id for run in views.runs(RunFilter(**wanted))]  # type: ignore[arg-type]

    assert found() == [topic, main]
    assert found(repo="octo/other") == found(branch="topic") == found(actor="octo") == [topic]
    assert found(commit="222") == found(commit=OTHER.upper()) == [topic]
    assert found(workflow="b_d.yml") == found(workflow="Build") == [topic]
    assert found(workflow=".runner/workflows/b_d.yml") == [topic]
    assert found(workflow="bxd.yml") == found(workflow="d.yml") == found(commit="%") == []
    assert found(event="push", status="queued", limit=1) == [topic]
    assert found(before=topic) == [main]
    with pytest.raises(Rejected, match="there are queued, running"):
        found(status="finished")
    with pytest.raises(Rejected, match="between 1 and 1000"):
        found(limit=0)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
def test_a_number_that_no_row_can_have_is_that_of_no_row(store: SqlStore, views: Views, number: int) -> None:
    run = admitted(store, "1")[0]

    with pytest.raises(NotFound, match=f"no run {number}"):
        views.run(number)
    with pytest.raises(NotFound, match=f"no run {number}"):
        store.update(number, lambda run, now: run)
    with pytest.raises(NotFound, match=f"has no attempt {number}; it has 1"):
        views.run(run.id, number)


def test_a_badge_takes_the_newest_finished_run_of_the_default_branch(
    database: Database, store: SqlStore, views: Views
) -> None:
    SqlRepositories(database).add(Repository("git", "octo/hello", "https://example.org/x"), "secret")
    assert views.badge("octo/hello") is None
    known = an_event(default_branch="main")
    end(store, admitted(store, "1", known)[0], Result.FAILURE)
    end(store, admitted(store, "2", an_event(ref="refs/heads/topic"))[0], Result.SUCCESS)
    end(store, admitted(store, "3", known)[0], Result.SKIPPED)
    admitted(store, "4", known)

    assert views.badge("octo/hello") == BadgeState("ci", "failure")
    assert views.badge("octo/hello", "ci.yml", "topic", "push") == BadgeState("ci", "success")
    assert views.badge("octo/hello", "other.yml") is None
    assert views.badge("octo/unknown") is None


def test_deliveries_are_listed_with_what_became_of_them(store: SqlStore, views: Views) -> None:
    run = admitted(store, "1", an_event(payload={"key": "value"}))[0]
    ignored, _ = store.receive(an_event(ignored="nothing to do"), "2", "2")

    newest, oldest = views.deliveries()

    assert (newest.id, newest.status, newest.reason) == (ignored.id, "ignored", "nothing to do")
    assert (oldest.status, oldest.runs) == ("admitted", (run.id,))
    assert views.deliveries(status="ignored") == [newest]
    assert views.deliveries(repo="octo/other") == []
    assert views.deliveries(before=newest.id, limit=5) == [oldest]
    shown = views.delivery(oldest.id)
    assert (shown.guid, shown.payload, shown.runs) == ("1", {"key": "value"}, (run.id,))
    with pytest.raises(NotFound, match="no delivery nothing"):
        views.delivery("nothing")


def test_a_job_is_held_until_it_ends_or_another_worker_has_it(store: SqlStore, views: Views) -> None:
    held, late, ended, _ = (admitted(store, guid)[0] for guid in "1234")
    lease, over = take(store, held), take(store, ended)
    store.update(late.id, lambda run, now: run.with_job(claim(run.jobs[0], "w", now - LENGTH, LENGTH)))
    store.update(ended.id, lambda run, now: run.with_job(conclude(run.jobs[0], over, Result.SUCCESS, now)))
    mine = (lease.job, lease.attempt)

    assert views.held() == {mine, (late.jobs[0].id, 1)}

    take(store, late)
    assert views.held() == {mine, (late.jobs[0].id, 2)}


def test_a_delivery_goes_on_until_the_last_of_its_jobs_has_ended(store: SqlStore, views: Views) -> None:
    (run,) = admitted(store, "1", None, a_new_run("early", "late"))
    (other,) = admitted(store, "2")
    wanted = [run.delivery, other.delivery, "no such delivery"]
    end(store, other, Result.SUCCESS)
    end(store, run, Result.FAILURE)
    assert views.going_on(wanted) == {run.delivery}

    end(store, run, Result.SUCCESS, at=1)

    assert views.going_on(wanted) == set()


def test_counts_say_how_much_there_is(store: SqlStore, views: Views) -> None:
    run = admitted(store, "1", None, a_new_run("a", "b"))[0]
    take(store, run)

    counts = views.counts()

    assert (counts.deliveries, counts.runs, counts.jobs_queued, counts.jobs_running) == (1, 1, 1, 1)


def test_what_a_job_left_may_be_gone_on_with_from_the_end_of_its_run(store: SqlStore, views: Views) -> None:
    (run,) = admitted(store, "1", None, a_new_run("early", "late"))
    early, late = (job.id for job in run.jobs)
    end(store, run, Result.FAILURE)
    assert views.ends([early]) == {early: None}

    end(store, run, Result.SUCCESS, at=1)

    ended = store.load(run.id).job(late).phase
    assert isinstance(ended, Finished)
    assert views.ends([early, late]) == {early: JobEnd(ended.at, False), late: JobEnd(ended.at, True)}
