"""Laws of the state machine: whatever a run is made of, and in whatever order things happen to it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from runner.model.lifecycle import (
    UNSAVED,
    answer,
    call,
    cancel,
    claim,
    conclude,
    decide,
    deliver,
    end,
    plan,
    postpone,
    release,
    settle,
    settle_waits,
    suspend,
)
from runner.model.reruns import rerun
from runner.model.run import (
    Finished,
    Job,
    Lease,
    Leg,
    Queued,
    Ready,
    Run,
    Running,
    Suspended,
    Waiting,
    combined,
)
from runner.model.step import Result
from runner.model.waits import Answer, Awaited, Signal, Wait, Word
from tests.builders import LENGTH, NOON, a_job, a_run, with_ids

SECOND = timedelta(seconds=1)
DEEPEST = 3
MOST_JOBS = 40
Draw = Callable[[st.SearchStrategy[int]], int]


@st.composite
def definitions(draw: st.DrawFn) -> tuple[Job, ...]:
    """The jobs of a workflow before anything has happened."""
    keys = [f"j{number}" for number in range(draw(st.integers(1, 4)))]
    made = []
    for place, key in enumerate(keys):
        conditional = draw(st.booleans())
        dynamic = conditional or draw(st.booleans())
        made.append(
            a_job(
                key,
                id=UNSAVED,
                needs=tuple(need for need in keys[:place] if draw(st.booleans())),
                phase=Waiting(),
                conditional=conditional,
                dynamic=dynamic,
                planned=not dynamic,
                calls="called.yml" if draw(st.integers(0, 3)) == 0 else None,
            )
        )
    return tuple(made)


class World:
    """A run as a store keeps it, and everything that may happen to it."""

    def __init__(self, data: st.DataObject) -> None:
        self._draw = data.draw
        self._ids = count(1)
        self.now = NOON
        self.run = a_run()
        self.cancels = 0
        self.sent = 0
        self.inbox: list[Signal] = []
        self.taken: dict[int, tuple[int, str]] = {}
        self.change(lambda run, now: replace(run, jobs=self._draw(definitions())))

    def change(self, change: Callable[[Run, datetime], Run]) -> None:
        """As `advance` does it, with ids for what is new; and what must be true of it."""
        self.now += SECOND
        before, after = self.run, decide(change(self.run, self.now), self.now)
        assert decide(after, self.now) == after, "deciding twice changes nothing more"
        self.run = replace(after, jobs=with_ids(after.jobs, self._ids))
        self._check(before)

    def _check(self, before: Run) -> None:
        for job in before.jobs if before.attempt == self.run.attempt else ():
            if isinstance(job.phase, Finished):
                assert self.run.job(job.id) == job, "what has finished stays as it is"
        if self.run.result is not None:
            assert all(isinstance(job.phase, Finished) for job in self.run.jobs), "an end leaves none behind"
            assert all(job.asked is None for job in self.run.jobs), "and nothing to be asked"
        for job in self.run.jobs:
            self._check_job(job)

    def _check_job(self, job: Job) -> None:
        needed = [self.run.ended((job.caller, key)) for key in job.needs]
        called = self.run.called_by(job.id)
        if isinstance(job.phase, Ready | Queued | Running) or called:
            assert None not in needed, "nothing begins before what it needs has ended"
            if not job.conditional:
                results = self.run.ancestors(job).values()
                assert all(result is Result.SUCCESS for result in results), "nor after a failure"
        if isinstance(job.phase, Suspended):
            assert job.awaits, "nobody is left to wait who waits for nothing"
            assert not job.cancelled, "nor who is to end"
        if isinstance(job.phase, Queued):
            assert (job.planned, job.calls) == (True, None)
            assert not job.cancelled or job.started, "only what has begun has something left to do"
        if job.asked is not None:
            assert (job.planned, job.conditional, job.cancelled) == (True, True, False)
            assert self.run.winds_down(job), "nobody is asked before there is a cancel"
        elif self.run.cancelled and not isinstance(job.phase, Finished):
            assert job.conditional or job.cancelled, "a job without an if does not outlive a cancel"
        most = job.leg.max_parallel
        legs = self.run.legs(job.group)
        begun = [leg for leg in legs if isinstance(leg.phase, Ready | Queued | Running)]
        begun += [leg for leg in legs if isinstance(leg.phase, Waiting) and self.run.called_by(leg.id)]
        assert most is None or len(begun) <= most, "no more legs at once than are allowed"

    def moves(self) -> Iterator[Callable[[], None]]:
        """All that can happen to the run as it is, but for a cancel."""
        for job in self.run.jobs:
            match job.phase:
                case Running() if job.asked is not None:
                    yield lambda job=job: self._answer(job)  # type: ignore[misc]
                    yield lambda job=job: self._end(job)  # type: ignore[misc]
                case _ if job.asked is not None:
                    yield lambda job=job: self._answer(job)  # type: ignore[misc]
                case Ready():
                    yield lambda job=job: self._evaluate(job)  # type: ignore[misc]
                case Queued():
                    yield lambda job=job: self._claim(job)  # type: ignore[misc]
                case Running():
                    yield lambda job=job: self._end(job)  # type: ignore[misc]
                case Suspended():
                    yield lambda job=job: self._awake(job)  # type: ignore[misc]

    def _awake(self, job: Job) -> None:
        """By time, a signal or a person, whichever the job waits for."""
        (wait,) = job.awaits
        if wait.due is not None and self._draw(st.booleans()):
            self.now = max(self.now, wait.due)
            begun = job.started is not None and self._draw(st.booleans())
            self.change(
                lambda run, now: run.with_job(claim(run.job(job.id), "w", now, LENGTH)) if begun else run
            )
            return
        match wait.awaited:
            case Awaited.SIGNAL:
                self.sent += 1
                signal = Signal(wait.name, f"{self.sent}", number=self.sent)
                self.inbox.append(signal)
                self.change(self._deliver)
            case Awaited.APPROVAL:
                word = self._draw(st.sampled_from([Word.APPROVED, Word.REJECTED]))
                self.change(
                    lambda run, now: settle_waits(run, Awaited.APPROVAL, Answer(word, now, "anna"), [job.id])
                )
            case _:
                self.now = max(self.now, wait.due or self.now)
                self.change(lambda run, now: run)

    def _deliver(self, run: Run, now: datetime) -> Run:
        after, given = deliver(run, self.inbox, now)
        self.inbox = [signal for signal in self.inbox if signal.number not in given]
        assert not set(given) & set(self.taken), "a signal is taken once"
        self.taken |= given
        return after

    def _suspend(self, job: Job, lease: Lease) -> None:
        awaited = self._draw(st.sampled_from([Awaited.TIME, Awaited.SIGNAL, Awaited.APPROVAL]))
        length = timedelta(minutes=1) if awaited is Awaited.TIME or self._draw(st.booleans()) else None
        wait = Wait(f"{len(job.waits)}", awaited, self.now, name=self._draw(st.sampled_from("ab")))
        self.change(lambda run, now: run.with_job(suspend(run.job(job.id), lease, now, wait, length)))
        # What was said before it began to wait is not lost.
        self.change(self._deliver)

    def _answer(self, job: Job) -> None:
        goes_on = self._draw(st.booleans())
        self.change(lambda run, now: answer(run, job.id, goes_on))

    def _evaluate(self, job: Job) -> None:
        called = self.run.called_by(job.id)
        if called:
            result = combined(one.phase for one in called) or Result.FAILURE
            self.change(lambda run, now: settle(run, job.id, result, now))
        elif self._draw(st.integers(0, 4)) == 0 or len(self.run.jobs) > MOST_JOBS:
            result = self._draw(st.sampled_from([Result.SKIPPED, Result.FAILURE]))
            self.change(lambda run, now: settle(run, job.id, result, now))
        elif not job.planned and job.leg != Leg():
            # A leg of an earlier attempt is planned as it was.
            self.change(lambda run, now: plan(run, job.id, [job]))
        elif not job.planned:
            total = self._draw(st.integers(1, 3))
            fast = self._draw(st.booleans())
            most = self._draw(st.sampled_from([None, 1, 2]))
            legs = [replace(job, leg=Leg({"n": n}, n, total, fast, most)) for n in range(total)]
            self.change(lambda run, now: plan(run, job.id, legs))
        elif self._depth(job) < DEEPEST:
            children = self._draw(definitions())
            self.change(lambda run, now: call(run, job.id, children, {}, now))
        else:
            self.change(lambda run, now: settle(run, job.id, Result.FAILURE, now))

    def _depth(self, job: Job) -> int:
        return 1 if job.caller is None else 1 + self._depth(self.run.job(job.caller))

    def _claim(self, job: Job) -> None:
        if isinstance(job.phase, Queued) and job.phase.due is not None:
            self.now = max(self.now, job.phase.due)
        self.change(lambda run, now: run.with_job(claim(job, "w", now, LENGTH)))

    def _end(self, job: Job) -> None:
        assert isinstance(job.phase, Running)
        lease = job.phase.lease
        match self._draw(st.sampled_from(["end", "end", "end", "release", "postpone", "lost", "suspend"])):
            case "release" if job.attempt < 4:
                self.change(lambda run, now: run.with_job(release(run.job(job.id), lease, now)))
            case "suspend" if len(job.waits) < 3:
                self._suspend(job, lease)
            case "postpone":
                self.change(lambda run, now: run.with_job(postpone(run.job(job.id), lease, now, "why")))
            case "lost" if job.attempt < 4:
                self.now = max(self.now, lease.until)
                held = job.cancelled or job.asked is not None
                self.change(lambda run, now: run if held else run.with_job(claim(job, "v", now, LENGTH)))
            case _:
                ends = [Result.SUCCESS, Result.SUCCESS, Result.FAILURE]
                result = Result.CANCELLED if job.cancelled else self._draw(st.sampled_from(ends))
                tolerated = self._draw(st.booleans())
                self.change(
                    lambda run, now: run.with_job(
                        conclude(run.job(job.id), lease, result, now, tolerated=tolerated)
                    )
                )

    def maybe_cancel(self) -> None:
        if self.cancels < 2 and self._draw(st.integers(0, 9)) == 0:
            self.cancels += 1
            self.change(cancel)

    def to_its_end(self) -> None:
        while self.run.result is None:
            self.maybe_cancel()
            if self.run.result is not None:
                return
            moves = list(self.moves())
            assert moves, f"nothing can move this run, and it has not ended: {self.run}"
            moves[self._draw(st.integers(0, len(moves) - 1))]()


@given(st.data())
def test_every_run_comes_to_its_end_once_whatever_happens_to_it(data: st.DataObject) -> None:
    world = World(data)

    world.to_its_end()

    ended = world.run
    assert list(world.moves()) == []
    world.change(cancel)
    assert world.run == ended


@given(st.data())
def test_a_rerun_of_any_run_begins_with_what_it_began_with_and_ends_too(data: st.DataObject) -> None:
    world = World(data)
    began = [(job.key, job.needs, job.planned, job.conditional) for job in world.run.jobs]
    world.to_its_end()

    world.change(lambda run, now: rerun(run))

    assert [(job.key, job.needs, job.planned, job.conditional) for job in world.run.jobs] == began
    world.to_its_end()


@given(st.data())
def test_a_rerun_in_part_begins_what_was_chosen_keeps_the_rest_and_ends(data: st.DataObject) -> None:
    world = World(data)
    world.to_its_end()
    former = world.run
    chosen = data.draw(st.sets(st.sampled_from([job.id for job in former.jobs]), min_size=1))

    world.change(lambda run, now: rerun(run, chosen))

    ids = {job.id for job in world.run.jobs}
    assert not ids & chosen
    for one in ids & {job.id for job in former.jobs}:
        # What called it may be another one by now, which stands for the former.
        assert replace(world.run.job(one), caller=former.job(one).caller) == former.job(one)
    assert {job.key for job in world.run.jobs if job.caller is None} == {
        job.key for job in former.jobs if job.caller is None
    }
    assert all(job.caller is None or job.caller in ids for job in world.run.jobs)
    world.to_its_end()


@given(st.data())
def test_a_run_that_was_cancelled_ends_without_anybody_but_who_works_on_it_or_is_asked(
    data: st.DataObject,
) -> None:
    world = World(data)
    for _ in range(data.draw(st.integers(0, 12))):
        if world.run.result is not None:
            return
        moves = list(world.moves())
        moves[data.draw(st.integers(0, len(moves) - 1))]()

    world.change(cancel)

    for job in world.run.jobs:
        begun = isinstance(job.phase, Running | Finished) or world.run.called_by(job.id)
        assert job.conditional or begun or job.started, job
    world.to_its_end()


@given(st.data())
def test_a_run_that_is_ended_by_force_has_ended_at_once(data: st.DataObject) -> None:
    world = World(data)
    for _ in range(data.draw(st.integers(0, 12))):
        world.maybe_cancel()
        if world.run.result is not None:
            return
        moves = list(world.moves())
        moves[data.draw(st.integers(0, len(moves) - 1))]()
    before = world.run

    world.change(end)

    assert list(world.moves()) == []
    stopped = [job.id for job in before.jobs if not isinstance(job.phase, Finished)]
    results = {job.id: job.phase.result for job in world.run.jobs if isinstance(job.phase, Finished)}
    assert before.result is not None or {results[id] for id in stopped} == {Result.CANCELLED}
