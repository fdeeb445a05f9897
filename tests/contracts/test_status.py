"""How a run stands is computed twice, by the model and in SQL: both must say the same, on every database."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from runner.engine.ports import NewRun, Verdict
from runner.model.run import UNSAVED, Finished, Job, Lease, Phase, Queued, Ready, Run, Running, Waiting
from runner.model.step import Result
from runner.store import Database, SqlStore
from runner.store.read_models import RunFilter
from runner.store.views import Views
from tests.builders import LENGTH, NOON, a_job, a_route, an_event

# It computes all the time, and a busy machine lets it do so for a fraction of that.
pytestmark = pytest.mark.timeout(900)

ENDS = some.builds(Finished, some.sampled_from(Result), some.just(NOON), some.just(""), some.booleans())
OTHERS = some.sampled_from([Waiting(), Ready(NOON), Queued(NOON), Running(Lease(0, "w", 1, NOON))])
JOBS = some.tuples(ENDS | OTHERS, some.booleans(), some.booleans())
"""A job's phase, whether it has begun, and whether it belongs to a workflow that the first job called."""


@pytest.fixture
def store(database: Database) -> SqlStore:
    return SqlStore(database, LENGTH)


def stored(
    store: SqlStore, jobs: list[tuple[Phase, bool, bool]], problems: tuple[str, ...], cancelled: bool
) -> Run:
    guid = str(uuid4())
    delivery, _ = store.receive(an_event(), guid, guid)
    new = NewRun("ci.yml", "ci", (a_job(id=UNSAVED),), problems)
    (run,) = store.settle(delivery.id, Verdict("admitted", route=a_route(), runs=(new,)))
    first = run.jobs[0].id

    def a(phase: Phase, begun: bool, called: bool, id: int) -> Job:
        started = NOON - timedelta(minutes=1) if begun else None
        caller = first if called and id == UNSAVED else None
        return a_job(id=id, phase=phase, started=started, caller=caller)

    made = tuple(a(*job, first if at == 0 else UNSAVED) for at, job in enumerate(jobs))
    return store.update(run.id, lambda run, now: replace(run, jobs=made, cancelled=cancelled)).after


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.lists(JOBS, min_size=1, max_size=5), some.sampled_from([(), ("no jobs",)]), some.booleans())
def test_sql_and_the_model_agree_on_how_a_run_stands(
    store: SqlStore,
    database: Database,
    jobs: list[tuple[Phase, bool, bool]],
    problems: tuple[str, ...],
    cancelled: bool,
) -> None:
    run, views = stored(store, jobs, problems, cancelled), Views(database)
    begun = any(job.started for job in run.jobs)

    shown = views.run(run.id)

    assert shown.status == (str(run.result) if run.result else "running" if begun else "queued")
    assert shown.finished == (run.result is not None) == (shown.finished_at is not None)
    assert [one.status for one in views.runs(RunFilter(status=shown.status, limit=1))] == [shown.status]
    assert views.runs(RunFilter(status=shown.status, limit=1))[0].id == run.id
    again = replace(run, attempt=2, cancelled=not cancelled, jobs=(a_job(id=UNSAVED),))
    store.update(run.id, lambda run, now: again)
    former = views.run(run.id, attempt=1)
    assert (former.status, former.cancelled) == (shown.status, cancelled), "attempts stay as they are"
    assert views.run(run.id).cancelled is not cancelled
