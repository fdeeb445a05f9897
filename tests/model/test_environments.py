"""What a job waits for before it begins, as the state machine has it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from runner.errors import Rejected
from runner.model.answers import NotAsked, settle_waits
from runner.model.environment import REVIEW, Environment, gates, shut
from runner.model.lifecycle import decide
from runner.model.pauses import pause, unpause
from runner.model.run import Finished, Queued, Run, Suspended, Waiting
from runner.model.step import Result
from runner.model.stops import Stop
from runner.model.waits import Answer, Awaited, Wait, Word
from tests.builders import NOON, a_job, a_run

HOUR = timedelta(hours=1)
RULES = Environment("production", ("anna", "bert"), wait_timer=60)


def planned(*waits: Wait) -> Run:
    """A run whose only job has its turn at noon, and waits for these."""
    return decide(a_run(replace(a_job(phase=Waiting()), waits=waits)), NOON)


def said(run: Run, word: Word, by: str = "anna", *, anyone: bool = False, person: str = "") -> Run:
    answer = Answer(word, NOON, by)
    return decide(settle_waits(run, Awaited.APPROVAL, answer, anyone=anyone, person=person), NOON)


def test_a_job_without_gates_is_queued_in_its_turn() -> None:
    assert planned().jobs[0].phase == Queued(NOON)


def test_a_job_begins_when_its_review_and_its_timer_are_both_over() -> None:
    run = planned(*gates(RULES, NOON, ""))
    assert run.jobs[0].phase == Suspended(NOON)
    assert decide(run, NOON + HOUR).jobs[0].phase == Suspended(NOON)

    approved = said(run, Word.APPROVED)

    assert approved.jobs[0].phase == Suspended(NOON)
    assert decide(approved, NOON + HOUR).jobs[0].phase == Queued(NOON + HOUR)


def test_a_refusal_ends_the_job_before_its_timer_does() -> None:
    run = said(planned(*gates(RULES, NOON, "")), Word.REJECTED)

    assert run.jobs[0].phase == Finished(Result.FAILURE, NOON, "anna rejected it")


def test_a_job_that_may_not_deploy_fails_in_its_turn_and_never_waits() -> None:
    run = planned(shut("production", NOON, "not from here"))

    assert run.jobs[0].phase == Finished(Result.FAILURE, NOON, "not from here")


def test_whoever_reviews_is_known_by_their_login_too() -> None:
    run = planned(*gates(replace(RULES, prevent_self_review=True), NOON, "Bert"))

    with pytest.raises(NotAsked, match="bert started run 1, and environment production prevents self-review"):
        said(run, Word.APPROVED, by="phone-of-bert", person="bert")
    with pytest.raises(NotAsked, match="carl is not among those who may approve"):
        said(run, Word.APPROVED, by="carl")
    approved = said(run, Word.APPROVED, by="laptop-of-anna", person="anna")
    assert (answer := approved.jobs[0].waits[0].answer) is not None
    assert answer.by == "laptop-of-anna"


def test_whoever_started_it_does_not_approve_it_though_they_may_for_everybody_else() -> None:
    run = planned(*gates(replace(RULES, prevent_self_review=True), NOON, "Admin"))

    with pytest.raises(NotAsked, match="prevents self-review"):
        said(run, Word.APPROVED, "admin", anyone=True)
    assert isinstance(said(run, Word.REJECTED, "admin", anyone=True).jobs[0].phase, Finished)


def test_a_review_and_a_timer_stand_still_while_the_run_does() -> None:
    run = planned(*gates(RULES, NOON, ""))

    again = unpause(pause(run, Stop("carl", NOON, "", "octo/hello", run=1)), NOON + 2 * HOUR)

    dues = [wait.due for wait in again.jobs[0].waits]
    assert dues == [NOON + REVIEW + 2 * HOUR, NOON + 3 * HOUR]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": ""}, "cannot name an environment"),
        ({"name": "a\nb"}, "cannot name an environment"),
        ({"name": "x" * 256}, "use 1 to 255 letters"),
        ({"wait_timer": -1}, "0 to 43200 minutes, not -1"),
        ({"reviewers": ("a\0",)}, "is nobody's name"),
        ({"reviewers": ("a",) * 101}, "101 reviewers are too many"),
        ({"branches": ("a",) * 201}, "201 patterns are too many"),
        ({"prevent_self_review": True}, "name a reviewer"),
    ],
)
def test_rules_that_cannot_be_are_none(given: dict[str, object], said: str) -> None:
    fields: dict[str, object] = {"name": "production"} | given
    with pytest.raises(Rejected, match=said):
        Environment(**fields)  # type: ignore[arg-type]
