"""Laws of concurrency groups: whatever runs and jobs ask for, and in whatever order things happen to them."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.model.concurrency import concerned, hear, take_turns
from runner.model.ending import cancel
from runner.model.leasing import claim, conclude, release
from runner.model.lifecycle import decide
from runner.model.planning import answer, call, line_up, plan, settle
from runner.model.reruns import rerun
from runner.model.run import UNSAVED, Finished, Job, Queued, Ready, Run, Running, Waiting, combined
from runner.model.step import Result
from runner.model.turns import MOST_WAITING, Place, State, Turn, line
from tests.builders import LENGTH, NOON, a_job, a_run, with_ids

SECOND = timedelta(seconds=1)


def a_turn(group: str = "deploy", **given: object) -> Turn:
    return replace(Turn(group, group.upper()), **given)  # type: ignore[arg-type]


class Server:
    """The runs of one repository and its lines, changed one run at a time as a store does it.

    Who has to hear of something does so when `hears` is called, in any order.
    """

    def __init__(self) -> None:
        self.now = NOON
        self.runs: dict[int, Run] = {}
        self.places: tuple[Place, ...] = ()
        self.stirred: set[int] = set()
        self._ids = count(1)

    def admit(self, *jobs: Job, turn: Turn | None = None) -> int:
        id = len(self.runs) + 1
        self.runs[id] = decide(a_run(*self._saved(jobs), id=id, turn=turn), self.now)
        if turn is not None:
            number = max((place.number for place in self.places), default=0) + 1
            self.places = (*self.places, Place(number, id, None, turn))
            self.stirred.add(id)
        return id

    def change(self, id: int, change: Callable[[Run, datetime], Run]) -> None:
        self.now += SECOND
        before = self.runs[id]
        heard = hear(before, self.places, self.now) if id in self.stirred else before
        changed = decide(change(heard, self.now), self.now)
        changed = replace(changed, jobs=self._saved(changed.jobs))
        known = {place.number: place for place in self.places}
        run, self.places = take_turns(before, changed, self.places, self.now)
        assert not concerned(run, run), "it does not come or leave twice"
        self.runs[id] = run
        self.stirred.discard(id)
        self.stirred |= {one.run for one in self.places if one.run != id and known.get(one.number) != one}
        self._check()

    def hears(self, id: int) -> None:
        self.change(id, lambda run, now: run)

    def all_hear(self) -> None:
        while self.stirred:
            self.hears(min(self.stirred))

    def begin(self, id: int, job: int = 0) -> None:
        one = self.runs[id].jobs[job]
        self.change(id, lambda run, now: run.with_job(claim(one, "w", now, LENGTH)))

    def end(self, id: int, job: int = 0, result: Result = Result.SUCCESS) -> None:
        one = self.runs[id].jobs[job]
        assert isinstance(one.phase, Running)
        lease = one.phase.lease
        self.change(id, lambda run, now: run.with_job(conclude(run.job(one.id), lease, result, now)))

    def phases(self, id: int) -> list[str]:
        return [type(job.phase).__name__ for job in self.runs[id].jobs]

    def reasons(self, id: int) -> list[str]:
        return [job.phase.reason for job in self.runs[id].jobs if isinstance(job.phase, Finished)]

    def _saved(self, jobs: tuple[Job, ...]) -> tuple[Job, ...]:
        return with_ids(jobs, self._ids)

    # --- what must be true, always -----------------------------------------------------------------

    def _check(self) -> None:
        came = all(one.turn.state is not State.WANTED for one in self.places)
        assert not came or line(self.places) == self.places, "a line that is in order stays so"
        held = Counter(one.turn.key for one in self.places if one.turn.state is State.HELD)
        assert all(number == 1 for number in held.values()), "one at a time"
        for key in {one.turn.key for one in self.places}:
            waiting = [one for one in self.places if (one.turn.key, one.turn.state) == (key, State.WAITING)]
            assert not waiting or held[key], "nobody waits for a group that is free"
            assert len(waiting) <= MOST_WAITING
            assert all(one.turn.queues for one in waiting[1:]), "who does not queue replaces who waits"
        going_on = Counter(key for run in self.runs.values() for key in _goes_on(run))
        assert all(number == 1 for number in going_on.values()), f"two in one group: {going_on}"


def _goes_on(run: Run) -> Iterator[str]:
    """The groups that something of a run is in right now, as only one may be."""
    begun = [job for job in run.jobs if _has_begun(run, job)]
    if run.turn is not None and run.result is None and begun:
        yield run.turn.key
    for job in begun:
        yield from (turn.key for turn in job.turns if not turn.called or run.called_by(job.id))


def _has_begun(run: Run, job: Job) -> bool:
    if isinstance(job.phase, Waiting):
        return bool(run.called_by(job.id))
    return isinstance(job.phase, Running | Queued) or (isinstance(job.phase, Ready) and job.planned)


# --- one after another ------------------------------------------------------------------------------


def a_member(key: str = "build", **given: object) -> Job:
    return a_job(key, **{"id": UNSAVED, "phase": Waiting()} | given)


def test_the_second_run_of_a_group_begins_when_the_first_has_ended() -> None:
    server = Server()
    first, second = (server.admit(a_member(), turn=a_turn(group)) for group in ("deploy", "Deploy"))
    server.all_hear()
    assert [server.phases(first), server.phases(second)] == [["Queued"], ["Waiting"]]

    server.begin(first)
    server.end(first)
    assert server.stirred == {second}
    server.all_hear()

    assert server.phases(second) == ["Queued"]


def test_a_newer_run_replaces_the_one_that_waits_and_says_so() -> None:
    server = Server()
    first, second, third = (server.admit(a_member(), turn=a_turn()) for _ in range(3))

    server.all_hear()

    assert [server.phases(one) for one in (first, second, third)] == [["Queued"], ["Finished"], ["Waiting"]]
    assert server.reasons(second) == ['replaced by run 3 in the concurrency group "deploy"']
    assert (server.runs[second].result, server.runs[second].cancelled) == (Result.CANCELLED, True)


def test_runs_come_to_their_group_in_the_order_of_their_admission_whoever_lets_them_in() -> None:
    server = Server()
    for _ in range(3):
        server.admit(a_member(), turn=a_turn())

    server.hears(3)
    server.hears(2)
    server.hears(1)

    assert [server.phases(one) for one in (1, 2, 3)] == [["Queued"], ["Finished"], ["Waiting"]]


def test_what_queues_waits_in_order_up_to_a_hundred() -> None:
    server = Server()
    for _ in range(MOST_WAITING + 2):
        server.admit(a_member(), turn=a_turn(queues=True))
    server.all_hear()

    last = server.runs[MOST_WAITING + 2]
    assert server.reasons(last.id) == [
        '100 wait for the concurrency group "deploy" already, the most there may be'
    ]
    assert {run.result for run in server.runs.values() if run != last} == {None}
    for one in range(1, 4):
        server.begin(one)
        server.end(one)
        server.all_hear()
        assert server.phases(one + 1) == ["Queued"]


def test_what_cancels_waits_until_what_it_cancelled_has_ended() -> None:
    server = Server()
    tidy = a_member("tidy", conditional=True, dynamic=True, planned=False, needs=("build",))
    first = server.admit(a_member(), tidy, turn=a_turn())
    server.all_hear()
    server.begin(first)
    second = server.admit(a_member(), turn=a_turn(cancels=True))
    server.all_hear()

    assert [job.cancelled for job in server.runs[first].jobs] == [True, False], "its if may ask for always()"
    assert server.phases(second) == ["Waiting"]
    server.end(first, 0, Result.CANCELLED)
    server.all_hear()
    assert server.phases(second) == ["Waiting"]
    tidy = server.runs[first].jobs[1]
    server.change(first, lambda run, now: settle(run, tidy.id, Result.SUCCESS, now))
    server.all_hear()

    assert server.phases(second) == ["Queued"]
    assert server.runs[first].result is Result.CANCELLED


def test_a_job_that_is_cancelled_by_another_says_so_and_leaves_the_rest_of_its_run_alone() -> None:
    server = Server()
    first = server.admit(a_member("deploy", turns=(a_turn(),)), a_member("other"))
    server.hears(first)
    server.begin(first, 0)

    second = server.admit(a_member("deploy", turns=(a_turn(cancels=True),)))
    server.hears(second)
    server.all_hear()

    assert [job.cancelled for job in server.runs[first].jobs] == [True, False]
    server.end(first, 0, Result.CANCELLED)
    assert server.reasons(first) == [
        'cancelled by run 2, job deploy, which is next in the concurrency group "deploy"'
    ]
    server.all_hear()
    assert server.phases(second) == ["Queued"]


def test_legs_with_one_group_run_one_after_another() -> None:
    server = Server()
    turn = a_turn(queues=True)
    run = server.admit(*(a_member("deploy", turns=(turn,)) for _ in range(3)))
    server.hears(run)

    for leg in range(3):
        phases = ["Finished"] * leg + ["Queued"] + ["Pending"] * (2 - leg)
        assert server.phases(run) == phases
        server.begin(run, leg)
        server.end(run, leg)
    assert server.places == ()


def test_a_job_in_the_group_of_its_own_run_is_a_deadlock_that_is_named() -> None:
    server = Server()
    run = server.admit(a_member(turns=(a_turn(cancels=True),)), a_member("other"), turn=a_turn())

    server.all_hear()

    assert server.phases(run) == ["Finished", "Queued"]
    assert server.reasons(run) == [
        'deadlock: it would wait for the concurrency group "deploy", which run 1 has until this has ended'
    ]


def test_a_called_workflow_in_the_group_of_its_caller_is_a_deadlock_that_is_named() -> None:
    server = Server()
    run = server.admit(a_member(turns=(a_turn(),), calls="called.yml"))
    server.hears(run)
    job = server.runs[run].jobs[0]
    assert isinstance(job.phase, Ready)

    server.change(run, lambda run, now: line_up(run, job.id, a_turn(called=True), now))

    assert server.reasons(run) == [
        'deadlock: it would wait for the concurrency group "deploy", which run 1, job build has until this '
        "has ended"
    ]
    assert server.places == ()


def test_two_runs_that_would_wait_for_each_other_are_a_deadlock_that_is_named() -> None:
    server = Server()
    one = server.admit(a_member(turns=(a_turn("b"),), planned=False), turn=a_turn("a"))
    two = server.admit(a_member(turns=(a_turn("a"),)), turn=a_turn("b"))
    server.all_hear()
    assert server.phases(two) == ["Pending"]

    job = server.runs[one].jobs[0]
    server.change(one, lambda run, now: run.with_job(replace(job, planned=True, phase=Waiting())))

    assert server.reasons(one) == [
        'deadlock: it would wait for the concurrency group "b", which run 2 has until this has ended'
    ]
    server.all_hear()
    assert server.phases(two) == ["Queued"]


def test_a_caller_has_its_group_until_what_it_called_has_ended() -> None:
    server = Server()
    first = server.admit(a_member(turns=(a_turn(),), calls="called.yml"))
    second = server.admit(a_member(turns=(a_turn(),)))
    server.hears(first)
    server.hears(second)
    caller = server.runs[first].jobs[0].id
    server.change(first, lambda run, now: call(run, caller, [a_member("inner")], {}, now))
    server.begin(first, 1)
    server.end(first, 1)
    assert server.phases(second) == ["Pending"]

    server.change(first, lambda run, now: settle(run, caller, Result.SUCCESS, now))
    server.all_hear()

    assert server.phases(second) == ["Queued"]


def test_a_run_that_waits_and_is_cancelled_leaves_the_line_with_all_its_jobs() -> None:
    server = Server()
    server.admit(a_member(), turn=a_turn())
    waits = server.admit(a_member(), a_member("tidy", conditional=True), turn=a_turn())
    server.all_hear()

    server.change(waits, cancel)

    assert server.phases(waits) == ["Finished", "Finished"]
    assert [place.run for place in server.places] == [1]


def test_a_rerun_comes_to_its_group_again() -> None:
    server = Server()
    first = server.admit(a_member(), turn=a_turn())
    server.all_hear()
    server.begin(first)
    server.end(first)
    server.admit(a_member(), turn=a_turn())
    server.all_hear()

    server.change(first, lambda run, now: rerun(run))

    assert server.phases(first) == ["Waiting"]


@pytest.mark.parametrize("over", [Result.FAILURE, Result.SKIPPED, Result.CANCELLED, Result.TIMED_OUT])
def test_however_a_run_ends_its_group_is_free(over: Result) -> None:
    server = Server()
    first, second = (server.admit(a_member(), turn=a_turn()) for _ in range(2))
    server.all_hear()
    server.begin(first)

    server.end(first, 0, over)
    server.all_hear()

    assert server.phases(second) == ["Queued"]


# --- anything, in any order ---------------------------------------------------------------------------

TURNS = st.builds(
    lambda group, mode: Turn(group, group.upper(), cancels=mode == "cancel", queues=mode == "max"),
    st.sampled_from(["a", "b", "A"]),
    st.sampled_from(["single", "single", "cancel", "max"]),
)


@st.composite
def definitions(draw: st.DrawFn) -> tuple[Job, ...]:
    made = []
    for place in range(draw(st.integers(1, 3))):
        made.append(
            a_member(
                f"j{place}",
                needs=tuple(f"j{before}" for before in range(place) if draw(st.booleans())),
                turns=(draw(TURNS),) if draw(st.booleans()) else (),
                calls="called.yml" if draw(st.integers(0, 3)) == 0 else None,
                conditional=draw(st.booleans()),
            )
        )
    return tuple(made)


class Anything(Server):
    def __init__(self, data: st.DataObject) -> None:
        super().__init__()
        self._draw = data.draw
        self._left = 5

    def moves(self) -> Iterator[Callable[[], None]]:
        for id in self.stirred:
            yield lambda id=id: self.hears(id)  # type: ignore[misc]
        for run in self.runs.values():
            for at, job in enumerate(run.jobs):
                match job.phase:
                    case _ if job.asked is not None:
                        yield lambda run=run, job=job: self._answer(run, job)  # type: ignore[misc]
                    case Ready():
                        yield lambda run=run, job=job: self._evaluate(run, job)  # type: ignore[misc]
                    case Queued():
                        yield lambda id=run.id, at=at: self.begin(id, at)  # type: ignore[misc]
                    case Running():
                        yield lambda run=run, at=at: self._end(run, at)  # type: ignore[misc]

    def _answer(self, run: Run, job: Job) -> None:
        goes_on = self._draw(st.booleans())
        self.change(run.id, lambda run, now: answer(run, job.id, goes_on))

    def _evaluate(self, run: Run, job: Job) -> None:
        called = run.called_by(job.id)
        if called:
            result = combined(one.phase for one in called) or Result.FAILURE
            self.change(run.id, lambda run, now: settle(run, job.id, result, now))
        elif not any(turn.called for turn in job.turns) and self._draw(st.booleans()):
            turn = replace(self._draw(TURNS), called=True)
            self.change(run.id, lambda run, now: line_up(run, job.id, turn, now))
        elif job.caller is None:
            children = self._draw(definitions())
            self.change(run.id, lambda run, now: call(run, job.id, children, {}, now))
        else:
            self.change(run.id, lambda run, now: settle(run, job.id, Result.FAILURE, now))

    def _end(self, run: Run, at: int) -> None:
        job = run.jobs[at]
        assert isinstance(job.phase, Running)
        lease = job.phase.lease
        if job.attempt < 3 and self._draw(st.integers(0, 4)) == 0:
            self.change(run.id, lambda run, now: run.with_job(release(run.job(job.id), lease, now)))
        else:
            ends = st.sampled_from([Result.SUCCESS, Result.SUCCESS, Result.FAILURE])
            self.end(run.id, at, Result.CANCELLED if job.cancelled else self._draw(ends))

    def person(self) -> None:
        """Somebody pushes, cancels or reruns."""
        self._left -= 1
        ended = [run.id for run in self.runs.values() if run.result is not None]
        going = [run.id for run in self.runs.values() if run.result is None]
        what = self._draw(st.sampled_from(["push", "push", "cancel", "rerun"]))
        if what == "cancel" and going:
            self.change(self._draw(st.sampled_from(going)), cancel)
        elif what == "rerun" and ended:
            self.change(self._draw(st.sampled_from(ended)), lambda run, now: rerun(run))
        else:
            self.admit(*self._draw(definitions()), turn=self._draw(st.none() | TURNS))
            self.hears(len(self.runs))

    def to_its_end(self) -> None:
        while self._left or any(run.result is None for run in self.runs.values()):
            moves = list(self.moves())
            if self._left and (not moves or self._draw(st.integers(0, 3)) == 0):
                self.person()
            else:
                assert moves, f"nothing can move, and it has not ended: {self.runs}"
                moves[self._draw(st.integers(0, len(moves) - 1))]()


def test_two_runs_that_want_each_others_group_are_not_stuck_though_one_is_cancelled_for_the_other() -> None:
    server = Server()
    first, second = (
        server.admit(a_member(conditional=True, dynamic=True, planned=False), turn=a_turn(group))
        for group in ("a", "b")
    )
    server.all_hear()
    for id, wanted in ((first, a_turn("b")), (second, a_turn("a", cancels=True))):
        job = server.runs[id].jobs[0]
        leg = replace(job, turns=(wanted,))
        server.change(id, lambda run, now, job=job, leg=leg: plan(run, job.id, [leg]))  # type: ignore[misc]
        server.all_hear()
    for id in (first, second):
        job = server.runs[id].jobs[0]
        server.change(id, lambda run, now, job=job: answer(run, job.id, goes_on=True))  # type: ignore[misc]
        server.all_hear()

    assert "Finished" in server.phases(first) + server.phases(second)


@given(st.data())
def test_whatever_runs_ask_for_one_at_a_time_goes_on_and_all_come_to_their_end(data: st.DataObject) -> None:
    server = Anything(data)

    server.to_its_end()
    server.all_hear()

    assert server.places == (), "an end leaves nobody in line"


@given(st.lists(st.sampled_from(["admit", "admit", "end", "hear", "cancel"]), max_size=30), st.data())
def test_of_runs_that_replace_each_other_the_newest_is_never_replaced(
    what: list[str], data: st.DataObject
) -> None:
    server, wanted = Server(), set[int]()
    for one in what:
        going = [run for run in server.runs.values() if run.result is None]
        if one == "admit":
            server.admit(a_member(), turn=a_turn(cancels=data.draw(st.booleans())))
        elif one == "hear" and server.stirred:
            server.hears(data.draw(st.sampled_from(sorted(server.stirred))))
        elif one == "end" and going:
            run = data.draw(st.sampled_from(going))
            if isinstance(run.jobs[0].phase, Queued):
                server.begin(run.id)
                server.end(run.id)
        elif one == "cancel" and going:
            run = data.draw(st.sampled_from(going))
            wanted.add(run.id)
            server.change(run.id, cancel)
    server.all_hear()

    for run in server.runs.values():
        if run.result is Result.CANCELLED and run.id not in wanted:
            assert run.turn is not None
            assert run.turn.reason, "nobody is cancelled without a reason"
            assert run.id < len(server.runs), "nor the newest one at all"
    waiting = [place.run for place in server.places if place.turn.state is State.WAITING]
    assert len(waiting) <= 1
