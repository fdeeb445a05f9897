"""Laws of the state machine: whatever a run is made of, and in whatever order things happen to it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from runner.model.answers import deliver, settle_waits
from runner.model.ending import cancel, end
from runner.model.leasing import (
    begin_waits,
    claim,
    conclude,
    leave_waits,
    postpone,
    release,
    suspend,
    suspend_for_any,
)
from runner.model.lifecycle import decide
from runner.model.pauses import pause, unpause
from runner.model.planning import answer, call, plan, settle
from runner.model.reruns import rerun
from runner.model.run import (
    UNSAVED,
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
from runner.model.stops import Stop
from runner.model.waits import Answer, Awaited, Signal, Wait, Word
from tests.builders import LENGTH, NOON, a_job, a_run, with_ids

SECOND = timedelta(seconds=1)
DEEPEST = 3
MOST_JOBS = 40
MOST_WAITS = 8
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
        self.pauses = 0
        self.sent = 0
        self.inbox: list[Signal] = []
        self.taken: dict[int, tuple[int, str]] = {}
        self.change(lambda run, now: replace(run, jobs=self._draw(definitions())))

    def change(self, change: Callable[[Run, datetime], Run]) -> None:
        """As a store does it, with ids for what is new; and what must be true of it."""
        self.now += SECOND
        before, after = self.run, decide(change(self.run, self.now), self.now)
        after = replace(after, jobs=with_ids(after.jobs, self._ids))
        if after.attempt > before.attempt:
            # What was said to one attempt is not said to the next.
            self.inbox = []
        self.run = decide(self._deliver(after, self.now), self.now)
        assert decide(self.run, self.now) == self.run, "deciding twice changes nothing more"
        self._check(before)
        self._check_waits(before)

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
            assert job.awaits or job.asked is not None, "nobody is left to wait who waits for nothing"
            assert not job.cancelled, "nor who is to end"
            over = [wait for wait in job.waits if wait.joint and wait.answer is not None]
            assert not over or job.asked is not None, "nor of whose joint waits one is over"
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

    def _check_waits(self, before: Run) -> None:
        for number, (job_id, key) in self.taken.items():
            if self.run.has(job_id):
                (said,) = [wait.answer for wait in self.run.job(job_id).waits if wait.key == key]
                assert said, "what was given to a wait is there"
                assert said.payload == number
        heard = [wait for job in self.run.jobs for wait in job.hears if wait.awaited is Awaited.SIGNAL]
        missed = {wait.name for wait in heard} & {signal.name for signal in self.inbox}
        assert not missed, "no signal lies there that somebody waits for"
        for was in before.jobs if before.attempt == self.run.attempt else ():
            if not self.run.has(was.id):
                continue
            waits = {wait.key: wait for wait in self.run.job(was.id).waits}
            for wait in was.waits:
                now = waits[wait.key]
                if wait.answer is not None:
                    assert now.answer == wait.answer, "what was answered stays so"
                elif was.cancelled:
                    assert now.answer is None or now.answer.word is Word.LEFT, "who has to end hears nothing"
                shifted = wait in was.hears and before.pause is not None and self.run.pause is None
                by = self.now - max(before.pause.at, wait.since) if shifted and before.pause else timedelta()
                by = by if wait.shifts and now.answer is None else timedelta()
                # A gate of a job whose turn comes begins only then.
                if wait.due is not None and not isinstance(was.phase, Waiting):
                    assert now.due == wait.due + by, "its time moves by what the run was paused, and no more"

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
                    if job.hears:
                        yield lambda job=job: self._awake(job)  # type: ignore[misc]
                case Running():
                    yield lambda job=job: self._end(job)  # type: ignore[misc]
                    if job.hears:
                        yield lambda job=job: self._awake(job)  # type: ignore[misc]
                case Suspended():
                    yield lambda job=job: self._awake(job)  # type: ignore[misc]

    def _awake(self, job: Job) -> None:
        """By time, a signal or a person, whichever the job waits for."""
        waits = job.hears
        wait = waits[self._draw(st.integers(0, len(waits) - 1))]
        if wait.due is not None and self._draw(st.booleans()):
            self.now = max(self.now, wait.due)
            suspended = isinstance(job.phase, Suspended) and not job.over(self.now).awaits
            begun = suspended and job.started is not None and self._draw(st.booleans())
            self.change(
                lambda run, now: run.with_job(claim(run.job(job.id), "w", now, LENGTH)) if begun else run
            )
            return
        match wait.awaited:
            case Awaited.SIGNAL:
                self.sent += 1
                self.inbox.append(Signal(wait.name, f"{self.sent}", payload=self.sent, number=self.sent))
                self.change(lambda run, now: run)
            case Awaited.APPROVAL:
                word = self._draw(st.sampled_from([Word.APPROVED, Word.REJECTED]))
                said, steps = Answer(word, self.now, "anna"), {wait.key}
                # Where its time comes first, nobody asks any more.
                due = wait.due is not None and wait.due <= self.now + SECOND
                self.change(
                    lambda run, now: (
                        run
                        if due
                        else settle_waits(run, Awaited.APPROVAL, replace(said, at=now), [job.id], steps=steps)
                    )
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

    def _wait(self, key: str) -> tuple[Wait, timedelta | None]:
        awaited = self._draw(st.sampled_from([Awaited.TIME, Awaited.SIGNAL, Awaited.APPROVAL]))
        limited = awaited is Awaited.TIME or self._draw(st.booleans())
        relative = self._draw(st.booleans())
        due = self.now + timedelta(minutes=2) if limited and not relative else None
        wait = Wait(key, awaited, self.now, due, name=self._draw(st.sampled_from("ab")))
        return wait, timedelta(minutes=1) if limited and relative else None

    def _suspend(self, job: Job, lease: Lease) -> None:
        wait, length = self._wait(f"{len(job.waits)}")
        self.change(lambda run, now: run.with_job(suspend(run.job(job.id), lease, now, wait, length)))

    def _begin_waits(self, job: Job, lease: Lease) -> None:
        first = self._draw(st.integers(max(0, len(job.waits) - 1), len(job.waits)))
        begun = [self._wait(f"{first + more}") for more in range(self._draw(st.integers(1, 3)))]
        self.change(lambda run, now: run.with_job(begin_waits(run.job(job.id), lease, now, begun)))

    def _suspend_for_any(self, job: Job, lease: Lease) -> None:
        keys = [wait.key for wait in job.waits if wait.joint]
        open = self._draw_some(keys)
        if not open:
            return self._begin_waits(job, lease)
        self.change(lambda run, now: run.with_job(suspend_for_any(run.job(job.id), lease, now, open)))
        after = self.run.job(job.id)
        left = {wait.key for wait in after.waits if wait.answer and wait.answer.word is Word.LEFT}
        assert not left & open
        assert {wait.key for wait in after.waits if wait.joint} == open
        over = any(wait.answer for wait in after.waits if wait.joint)
        assert isinstance(after.phase, Suspended) or over or job.cancelled, (
            "it waits until one of them is over"
        )

    def _leave_waits(self, job: Job, lease: Lease) -> None:
        keys = self._draw_some([wait.key for wait in job.waits])
        self.change(lambda run, now: run.with_job(leave_waits(run.job(job.id), lease, now, keys)))
        assert not any(wait.joint for wait in self.run.job(job.id).waits if wait.key in keys)

    def _draw_some(self, keys: list[str]) -> set[str]:
        return {key for key in keys if self._draw(st.integers(0, 2))}

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
        ways = ["end", "end", "end", "release", "postpone", "lost", "suspend", "begin", "leave", "any", "any"]
        match self._draw(st.sampled_from(ways)):
            case "release" if job.attempt < 4:
                self.change(lambda run, now: run.with_job(release(run.job(job.id), lease, now)))
            case "suspend" if len(job.waits) < 3:
                self._suspend(job, lease)
            case "begin" if len(job.waits) < MOST_WAITS:
                self._begin_waits(job, lease)
            case "leave" if any(wait.joint for wait in job.waits):
                self._leave_waits(job, lease)
            case "any" if len(job.waits) < MOST_WAITS and job.attempt < 6:
                self._suspend_for_any(job, lease)
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

    def maybe_pause(self) -> None:
        """The run stands still for a while in which nobody says anything; its open waits go on after it."""
        if self.pauses > 2 or self._draw(st.integers(0, 9)):
            return
        self.pauses += 1
        self.change(lambda run, now: pause(run, Stop("anna", now, "", run.route.repo, run.id)))
        self.now += self._draw(st.sampled_from([SECOND, timedelta(minutes=1), timedelta(hours=1)]))
        self.change(lambda run, now: run)
        self.change(unpause)

    def to_its_end(self) -> None:
        while self.run.result is None:
            self.maybe_pause()
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
