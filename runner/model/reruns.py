"""Runs again: which jobs a new attempt begins, which of them go on from a step, and what stays as it was."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from runner.errors import NotFound, Rejected
from runner.model.forks import PRE, Fork, done_before
from runner.model.run import UNSAVED, Finished, Job, Run
from runner.model.step import TRY, Checkpoint, Result, is_named, name_in
from runner.model.turns import State
from runner.model.waits import LOSS

NONE: Mapping[int, Fork] = MappingProxyType({})
UNKEPT = "was done as the job was ending, and its files were not kept"
MOST_SHOWN = 20
"""Of the steps of a program, where somebody means one that there is not."""


def rerun(run: Run, chosen: Collection[int] | None = None, forks: Mapping[int, Fork] = NONE) -> Run:
    """Jobs again, as a new attempt at the same commit: all, or those chosen by id and what needs them.

    The others are part of the new attempt as they ended. What runs again is a job of its own; the former one
    stays as it is. A job of a called workflow runs again by itself: what called it is put in the place of its
    former self, with the id that this had, negative. With a leg run those beside it that failed. `forks` are
    the chosen ones that do not begin with their first step; one that needs what runs again does.
    """
    if run.problems:
        raise Rejected(f"run {run.id} has an invalid workflow at {run.route.commit[:12]}; push a mended one")
    if run.result is None:
        raise Rejected(f"run {run.id} has not ended; cancel it first, or wait")
    if chosen is None:
        chosen = {job.id for job in run.jobs if job.caller is None}
    for one in chosen:
        if not run.has(one):
            raise Rejected(f"the newest attempt of run {run.id} has no job {one}")
    jobs = _Again(run, chosen, forks).jobs()
    turn = replace(run.turn, state=State.WANTED, reason="") if run.turn else None
    return replace(
        run, attempt=run.attempt + 1, cancelled=False, over="", jobs=tuple(jobs), turn=turn, pause=None
    )


def failed_jobs(run: Run, within: Collection[int] | None = None) -> frozenset[int]:
    """What `rerun` is given to do again whatever did not succeed. Raises `Rejected` where all did.

    `within`: only of these jobs, and of the workflows that they call.
    """
    own = {job.id for job in run.jobs if job.caller is None}
    chosen = [job for job in run.jobs if job.id in (own if within is None else within)]
    found = frozenset(one.id for job in chosen for one in _failed_leaves(run, job))
    if not found and run.result is not None and not run.problems:
        which = "no job" if within is None else "none of these jobs"
        raise Rejected(f"{which} of run {run.id} has failed; rerun all of it, or one job")
    return found


def _failed_leaves(run: Run, job: Job) -> Iterator[Job]:
    """A job that did not succeed; where it calls a workflow, the jobs there for which it did not."""
    if _succeeded(job):
        return
    beneath = [leaf for one in run.called_by(job.id) for leaf in _failed_leaves(run, one)]
    yield from beneath or [job]


def fork_at(run: Run, job: Job, step: str, checkpoints: Mapping[str, Checkpoint]) -> Fork | None:
    """Go on from a step, by its key; None where nothing came before it. `checkpoints`: those of the job.

    Raises `Rejected` where the job did not come as far as that.
    """
    if run.result is None:
        raise Rejected(f"run {run.id} has not ended; cancel it first, or wait")
    _check_has_steps(run, job)
    stopped, order = _stopped_at(job, checkpoints), [one.key for one in job.steps]
    if stopped.endswith(PRE):
        raise Rejected(f"job {job.key} of run {run.id} failed before its first step; rerun the job")
    if stopped in order and order.index(step) > order.index(stopped):
        names = {one.key: one.name for one in job.steps}
        raise Rejected(
            f"job {job.key} of run {run.id} cannot go on from step {step} ({names[step]}): "
            f"step {stopped} ({names[stopped]}) {_what_it_lacks(checkpoints.get(stopped))}; "
            "go on from that one"
        )
    _check_not_taken_back(job, step, checkpoints)
    if is_named(step):
        # Its program went on after what failed, but files that were not kept are nowhere.
        before = list(checkpoints)[: done_before(step, checkpoints)]
        for key in before:
            if not checkpoints[key].kept:
                raise Rejected(
                    f"job {job.key} of run {run.id} cannot go on from step {name_in(step)}: before it, "
                    f"{name_in(key)} {UNKEPT}; go on from that one"
                )
    return _fork(job, step, checkpoints)


def _what_it_lacks(done: Checkpoint | None) -> str:
    if done is None:
        return "was not done"
    if not done.outcome.conclusion.ok:
        return "did not succeed"
    return UNKEPT


def fork_where_it_stopped(job: Job, checkpoints: Mapping[str, Checkpoint]) -> Fork | None:
    """Go on from the step where it stopped; None where nothing came before it. Raises `Rejected`."""
    step = _stopped_at(job, checkpoints)
    _check_not_taken_back(job, step, checkpoints)
    return _fork(job, step, checkpoints)


def _check_not_taken_back(job: Job, step: str, checkpoints: Mapping[str, Checkpoint]) -> None:
    """Raises `Rejected` where what came before a step may stand no more, whatever is written down of it."""
    taken = next((key for key, done in checkpoints.items() if done.outcome.takes_back), None)
    if taken is not None and done_before(step, checkpoints):
        raise Rejected(
            f"job {job.key} cannot go on where it stopped: it has taken back what it had done "
            f"({name_in(taken.split(TRY)[0])}); rerun the job"
        )


def step_named(run: Run, job: Job, named: str, checkpoints: Mapping[str, Checkpoint]) -> str:
    """The key of the step of a job that somebody means: its position, id or name. Raises `NotFound`.

    `checkpoints`: those of the job, by which alone the steps are known that its program named.
    """
    _check_has_steps(run, job)
    if not job.steps:
        return _asked_for(run, job, named, checkpoints)
    keys = [one.key for one in job.steps if named == one.key]
    keys += [key for id, key in job.step_ids.items() if named == id]
    keys += [one.key for one in job.steps if named == one.name]
    if not keys:
        there = "; ".join(f"{one.key}: {one.name}" for one in job.steps)
        raise NotFound(f"job {job.key} of run {run.id} has no step {named!r}; it has {there}")
    return keys[0]


def _asked_for(run: Run, job: Job, named: str, keys: Collection[str]) -> str:
    """As `step_named`, of those that a program asked for and that were done."""
    there = {key: name_in(key) for key in keys if is_named(key) and TRY not in key and LOSS not in key}
    found = [key for key, name in there.items() if named in (key, name)]
    if not found:
        last = "; ".join(list(there.values())[-MOST_SHOWN:])
        raise NotFound(f"job {job.key} of run {run.id} has done no step {named!r}; its last were {last}")
    return found[0]


def _check_has_steps(run: Run, job: Job) -> None:
    if job.calls is not None:
        there = ", ".join(dict.fromkeys(one.key for one in run.called_by(job.id)))
        raise Rejected(
            f"job {job.key} of run {run.id} has no steps of its own: it calls {job.calls}; "
            f"name one of the jobs there{f' ({there})' if there else ''}"
        )
    if isinstance(job.phase, Finished) and job.phase.result is Result.SKIPPED:
        raise Rejected(f"job {job.key} of run {run.id} was skipped: it has done no step; rerun the job")


def _fork(job: Job, step: str, checkpoints: Mapping[str, Checkpoint]) -> Fork | None:
    carried = done_before(step, checkpoints)
    line = ((job.id, job.attempt), *(job.forked.line if job.forked else ()))
    return Fork(step, carried, line) if carried else None


def _stopped_at(job: Job, checkpoints: Mapping[str, Checkpoint]) -> str:
    """The key of the first step that did not succeed, or whose files were not kept; empty for none.

    A program may go on after a step that failed: of its steps it is the last that did.
    """
    stops = [
        key
        for key, done in checkpoints.items()
        if TRY not in key and not (done.kept and (done.outcome.conclusion.ok or done.outcome.takes_back))
    ]
    if stops and not job.steps:
        return next((key for key in stops if not checkpoints[key].kept), stops[-1])
    if stops:
        return stops[0]
    return next((step.key for step in job.steps if step.key not in checkpoints), "")


def _succeeded(job: Job) -> bool:
    return isinstance(job.phase, Finished) and job.phase.conclusion.ok


class _Again:
    """The jobs of a run's next attempt, found workflow by workflow, from the run's own down."""

    def __init__(self, run: Run, chosen: Collection[int], forks: Mapping[int, Fork]) -> None:
        self._run = run
        self._chosen = set(chosen)
        self._forks = forks
        self._called: dict[int | None, list[Job]] = {}
        for job in run.jobs:
            self._called.setdefault(job.caller, []).append(job)
        self._instead: dict[int, Job | None] = {}

    def jobs(self) -> Iterator[Job]:
        """In the order of the former ones."""
        self._workflow(None, None)
        found = (self._instead.get(job.id, job) for job in self._run.jobs)
        return (job for job in found if job is not None)

    def _workflow(self, former: int | None, caller: int | None) -> None:
        """Find what becomes of the jobs that `former` called, which are those of `caller` from now on."""
        jobs = self._called.get(former, [])
        self._add_legs(jobs)
        # How many of these go on at once is settled where they begin.
        self._chosen.update(
            job.id for job in jobs if job.leg.max_parallel is not None and self._is_entered(job)
        )
        begun = {job.id for job in jobs if job.id in self._chosen}
        entered = {job.id for job in jobs if job.id not in begun and self._is_entered(job)}
        whole = _whole(jobs, begun - self._forks.keys(), begun | entered)
        met = set[str]()
        for job in jobs:
            if job.key in whole:
                anew = None if job.key in met else replace(_afresh(job), caller=caller)
                met.add(job.key)
                self._leave_out(job)
                self._instead[job.id] = anew
            elif job.id in begun:
                self._leave_out(job)
                self._instead[job.id] = replace(self._once_more(job), caller=caller)
            elif job.id in entered:
                self._instead[job.id] = replace(_taken_over(job), caller=caller)
                self._workflow(job.id, -job.id)
            else:
                self._instead[job.id] = job if caller == former else replace(job, caller=caller)

    def _add_legs(self, jobs: Sequence[Job]) -> None:
        """Choose those beside a leg that has failed: no other one would run there."""
        keys = {job.key for job in jobs if job.id in self._chosen or self._is_entered(job)}
        for job in jobs:
            if job.key in keys and job.leg.fail_fast and not self._is_entered(job):
                self._chosen.update(one.id for one in _failed_leaves(self._run, job))

    def _is_entered(self, job: Job) -> bool:
        return any(one.id in self._chosen or self._is_entered(one) for one in self._called.get(job.id, ()))

    def _leave_out(self, job: Job) -> None:
        for one in self._called.get(job.id, ()):
            self._instead[one.id] = None
            self._leave_out(one)

    def _once_more(self, job: Job) -> Job:
        """A leg as it was planned, or a job that goes on."""
        # What it calls comes to its own group when it is called.
        turns = tuple(replace(turn, state=State.WANTED, reason="") for turn in job.turns if not turn.called)
        # What its environment asks for is found anew: its rules may be others by now.
        planned = not job.dynamic or job.calls is not None
        again = replace(_afresh(job), name=job.name, planned=planned, leg=job.leg, turns=turns)
        if (fork := self._forks.get(job.id)) is None:
            return again
        return replace(again, attempt=job.attempt, base=job.base, forked=fork)


def _whole(jobs: Iterable[Job], begun: Collection[int], again: Collection[int]) -> set[str]:
    """The keys of the jobs of which no leg stays as it was planned: all of them are `begun` anew, or one that
    they need is among those that run `again`."""
    jobs = list(jobs)
    changed = {job.key for job in jobs if job.id in again}
    while more := {job.key for job in jobs if changed & set(job.needs)} - changed:
        changed |= more
    kept = {job.key for job in jobs if job.id not in begun}
    return {job.key for job in jobs if job.key not in kept or changed & set(job.needs)}


def _afresh(job: Job) -> Job:
    return Job(
        UNSAVED,
        job.key,
        job.key if job.dynamic else job.name,
        job.needs,
        job.labels,
        job.steps,
        dynamic=job.dynamic,
        planned=not job.dynamic,
        conditional=job.conditional,
        calls=job.calls,
        position=job.position,
        step_ids=job.step_ids,
        tolerant=job.tolerant,
    )


def _taken_over(job: Job) -> Job:
    """What called a workflow of which some jobs run again: it was called before, and goes on."""
    turns = tuple(replace(turn, state=State.WANTED, reason="") for turn in job.turns)
    return replace(
        _afresh(job),
        id=-job.id,
        name=job.name,
        planned=True,
        leg=job.leg,
        turns=turns,
        inputs=job.inputs,
        stands_for=job.stands_for or job.id,
    )
