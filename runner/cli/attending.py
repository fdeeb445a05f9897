"""What jobs of a local run wait for that only a person can give: given beforehand, or asked for."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import click

from runner.cli.interrupts import Interrupts
from runner.local import Local
from runner.model.answers import Unheard
from runner.model.run import Finished, Job, Pending, Run, Suspended, Waiting
from runner.model.waits import Awaited, Signal, Wait, Word, said_of
from runner.web.text import one_line
from runner.workflow.built_in import BadWait, signal_name

PATIENCE = timedelta(minutes=5)
"""How far away the end of a wait may be that is awaited though nobody will say anything."""


@dataclass(frozen=True, slots=True)
class Given:
    """What was said beforehand."""

    signals: tuple[Signal, ...] = ()
    approve: bool = False
    """Whether everything is approved."""


def given_of(signals: Sequence[str], approve: bool, person: str) -> Given:
    """Raises `UsageError`, naming the option. Of signals with one name each is one of its own."""
    return Given(
        tuple(_signal(text, str(number), person) for number, text in enumerate(signals, start=1)), approve
    )


def _signal(text: str, key: str, person: str) -> Signal:
    name, mark, payload = text.partition("=")
    try:
        return Signal(signal_name(name), key, person, json.loads(payload) if mark else None)
    except BadWait as error:
        raise click.UsageError(f"--signal: {error}") from None
    except ValueError as error:
        raise click.UsageError(
            f'--signal {name}: what follows "=" is no JSON: {error}; a text is written {name}=\'"so"\''
        ) from None


class Attendant:
    """Speaks for the person to the runs of this process."""

    def __init__(self, local: Local, runs: Sequence[int], given: Given, person: str) -> None:
        self._local = local
        self._runs = runs
        self._given = given
        self._person = person

    def begin(self) -> None:
        """Say what was said beforehand to every run; whoever waits for it later finds it."""
        for run in self._runs:
            for signal in self._given.signals:
                try:
                    self._local.signal(run, signal)
                except Unheard:
                    break

    def look(self) -> bool:
        """Approve what is to be approved; whether nothing more can happen without somebody."""
        if self._given.approve:
            for job, wait in self._open(Awaited.APPROVAL):
                self._answer(job, wait, Word.APPROVED)
        found = self._unfinished()
        there = {run.id for run in found}
        for delivery in _awaited(found):
            started = self._local.store.delivery(delivery).runs
            if not started or not there.issuperset(started):
                # It is about to begin, or its end about to be heard of.
                return False
        return bool(found) and all(_stuck(run, self._given.approve) for run in found)

    def ask(self, stops: Interrupts) -> bool:
        """Ask whoever sits at the terminal for approval; whether something was said by that."""
        asked = False
        if sys.stdin.isatty() and sys.stderr.isatty():
            for job, wait in self._open(Awaited.APPROVAL):
                if stops.status:
                    break
                question = f"{one_line(job.name)} {one_line(said_of(wait))}. Approve?"
                word = Word.APPROVED if click.confirm(question, err=True) else Word.REJECTED
                self._answer(job, wait, word)
                asked = True
        return asked

    def missing(self) -> Iterator[str]:
        """What is waited for, and which option would have given it."""
        for job, wait in self._open():
            yield f"{job.name} {said_of(wait)}{_option(wait)}"

    def _unfinished(self) -> list[Run]:
        """Those that go on, each before those that its steps have started and wait for."""
        found, ahead = list[Run](), list(reversed(self._runs))
        while ahead:
            view = self._local.views.run(ahead.pop())
            if not view.finished:
                found.append(self._local.store.load(view.id))
                for delivery in _awaited(found[-1:]):
                    ahead += self._local.store.delivery(delivery).runs
        return found

    def _open(self, *awaited: Awaited) -> Iterator[tuple[Job, Wait]]:
        for run in self._unfinished():
            for job in run.jobs:
                yield from ((job, one) for one in job.hears if not awaited or one.awaited in awaited)

    def _answer(self, job: Job, wait: Wait, word: Word) -> None:
        run = next(one for one in self._unfinished() if one.has(job.id))
        self._local.answer(run.id, job.id, wait, word, self._person)


def _awaited(runs: Sequence[Run]) -> list[str]:
    """The deliveries of the runs that steps of these wait for."""
    waits = [wait for run in runs for job in run.jobs for wait in job.hears]
    return [wait.name for wait in waits if wait.awaited is Awaited.RUN]


def _stuck(run: Run, approve: bool) -> bool:
    """Whether no job of a run goes on by itself within a while, given that all is approved or not."""
    phases = [job.phase for job in run.jobs]
    if any(job.asked is not None for job in run.jobs):
        return False
    if not all(isinstance(phase, Waiting | Pending | Suspended | Finished) for phase in phases):
        return False
    held = [job for job in run.jobs if isinstance(job.phase, Suspended)]
    return bool(held) and not any(_goes_on_soon(job, approve) for job in held)


def _goes_on_soon(job: Job, approve: bool) -> bool:
    soon = [_ends_soon(wait, approve) for wait in job.awaits]
    return any(soon) if any(wait.joint for wait in job.awaits) else all(soon)


def _ends_soon(wait: Wait, approve: bool) -> bool:
    if wait.awaited is Awaited.TIME or (approve and wait.awaited is Awaited.APPROVAL):
        return True
    return wait.due is not None and wait.due - datetime.now(wait.due.tzinfo) < PATIENCE


def _option(wait: Wait) -> str:
    match wait.awaited:
        case Awaited.SIGNAL:
            return f"; --signal {wait.name} gives it, --signal {wait.name}=JSON with a payload"
        case Awaited.APPROVAL:
            return "; --approve approves it, and on a terminal you are asked"
        case _:
            return ""
