"""A job's log as one sequence, to be read from any place in it and while it is written.

What steps print is kept by attempt and step. A job's transcript is all of it in the order in which it was
printed: attempt by attempt, and in each the pages as they were begun, whatever became of their steps since. A
reader's place is one page and an offset for each job, which is all that a cursor has to carry; where several
steps run at once, also the pages before it that grow still.
"""

import codecs
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from runner.logs import LogReader
from runner.model.beginnings import BEGUN
from runner.model.step import is_named
from runner.store.read_models import JobView
from runner.store.steps import title_of

CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """What one step printed in one attempt of its job, or the job itself did before or after its steps.

    `order` counts the pages of its attempt; `number` is the step's, where the job still shows such a step.
    `job` is the one that printed it: another one where this one goes on from there.
    """

    job: int

    attempt: int
    order: int
    key: str
    number: int | None
    name: str


@dataclass(frozen=True, slots=True)
class Place:
    """How far a job's transcript has been read: in one attempt, to an offset in each of some pages, by order.

    The last of these is the one read last; of those before it that are not among them, all has been read.
    """

    attempt: int = 1
    offsets: tuple[tuple[int, int], ...] = ((0, 0),)

    def within(self, page: Page) -> int | None:
        """From where on a page is to be read; None for one that was read to its end."""
        if page.attempt != self.attempt:
            return 0 if page.attempt > self.attempt else None
        last, _ = self.offsets[-1]
        return 0 if page.order > last else dict(self.offsets).get(page.order)

    def moved(self, page: Page, offset: int, ended: Collection[int]) -> "Place":
        """The place where a page has been read up to an offset; on those that `ended` there is no more."""
        known = dict(self.offsets) if page.attempt == self.attempt else {}
        known[page.order] = offset
        last = max(known)
        kept = ((order, at) for order, at in sorted(known.items()) if order == last or order not in ended)
        return Place(page.attempt, tuple(kept))


@dataclass(frozen=True, slots=True)
class Piece:
    """Text from `offset` on, in bytes; `place` is where the next piece begins."""

    job: JobView
    page: Page
    offset: int
    text: str
    place: Place


def pages_of(job: JobView, logs: LogReader) -> list[Page]:
    """All that have been begun, in their order."""
    numbers = {step.key: step.number for step in job.steps}
    names = {step.key: step.name for step in job.steps}
    return [
        Page(whose, attempt, order, key, numbers.get(key), names.get(key) or title_of(key, names))
        for (attempt, whose), printed in groupby(_printed(job, logs), lambda one: one[:2])
        for order, (*_, key) in enumerate(printed)
    ]


def _printed(job: JobView, logs: LogReader) -> Iterator[tuple[int, int, str]]:
    """Attempt, job and step of each log, in their order; of what it goes on from, that which it has of it."""
    carried: dict[int, set[tuple[int, str]]] = {}
    for step in job.steps:
        if step.job not in (0, job.id):
            attempts = (step.attempt, *(one.attempt for one in step.tries))
            carried.setdefault(step.job, set()).update((attempt, step.key) for attempt in attempts)
    # Numbers of attempts go on from one job to the next.
    for whose in sorted(carried, key=lambda one: min(carried[one])):
        kept = carried[whose]
        yield from ((attempt, whose, key) for attempt, key in logs.printed(whose) if (attempt, key) in kept)
    yield from ((attempt, job.id, key) for attempt, key in logs.printed(job.id) if key != BEGUN)


def pieces(job: JobView, place: Place, logs: LogReader) -> Iterator[Piece]:
    """What can be read of a job from `place` on, now. `job` must have been read before, not after."""
    pages = pages_of(job, logs)
    ended = set[int]()
    for page in pages:
        if (offset := place.within(page)) is None:
            continue
        place = place.moved(page, offset, ended)
        over = _is_over(page, pages, job)
        while piece := _piece(job, page, place, ended, over, logs):
            yield piece
            place = piece.place
        if over and page.attempt == pages[-1].attempt:
            ended.add(page.order)


def _is_over(page: Page, pages: Sequence[Page], job: JobView) -> bool:
    """Whether nothing more comes on a page."""
    last = pages[-1]
    if page.attempt < last.attempt or (job.status != "running" and page.attempt <= job.attempt):
        return True
    if not any(map(is_named, (page.key, last.key, *(step.key for step in job.steps)))):
        # One is written after another: where a later one was seen, all of this one is there.
        return page is not last
    # Steps that a program asks for may run at once, and it may print something of its own at any time.
    return any(page.key == step.key and step.conclusion is not None for step in job.steps)


def _piece(
    job: JobView, page: Page, place: Place, ended: Collection[int], over: bool, logs: LogReader
) -> Piece | None:
    """The next text of a page; `over`: nothing more comes on it."""
    offset = place.within(page) or 0
    data = logs.read(page.job, page.attempt, page.key, offset, CHUNK)
    text, used = _decoded(data, over and len(data) < CHUNK)
    after = place.moved(page, offset + used, ended)
    return Piece(job, page, offset, text, after) if used else None


def _decoded(data: bytes, last: bool) -> tuple[str, int]:
    """The text and how many bytes it took: a letter that is cut at the end waits for its rest."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, last)
    return text, len(data) - len(decoder.getstate()[0])
