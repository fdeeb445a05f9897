"""A job's log as one sequence, to be read from any place in it and while it is written.

What steps print is kept by attempt and step. A job's transcript is all of it in the order in which it was
printed: attempt by attempt, and in each the pages as they were begun, whatever became of their steps since. A
reader's place is one page and an offset for each job, which is all that a cursor has to carry.
"""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from runner.logs import LogReader
from runner.store.read_models import JobView
from runner.store.steps import title_of

CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """What one step printed in one attempt of its job, or the job itself did before or after its steps.

    `order` counts the pages of its attempt; `number` is the step's, where the job still shows such a step.
    """

    attempt: int
    order: int
    key: str
    number: int | None
    name: str


@dataclass(frozen=True, slots=True)
class Place:
    """How far a job's transcript has been read: into which page, and to the end of all before it."""

    attempt: int = 1
    order: int = 0
    offset: int = 0


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
        Page(attempt, order, key, numbers.get(key), names.get(key) or title_of(key, names))
        for attempt, printed in groupby(logs.printed(job.id), lambda one: one[0])
        for order, (_, key) in enumerate(printed)
    ]


def pieces(job: JobView, place: Place, logs: LogReader) -> Iterator[Piece]:
    """What can be read of a job from `place` on, now. `job` must have been read before, not after."""
    pages = pages_of(job, logs)
    for page in pages:
        if (page.attempt, page.order) < (place.attempt, place.order):
            continue
        if (page.attempt, page.order) > (place.attempt, place.order):
            place = Place(page.attempt, page.order)
        # One is written after another: where a later one was seen, all of this one is there.
        over = page is not pages[-1] or (job.status != "running" and page.attempt <= job.attempt)
        while piece := _piece(job, page, place.offset, over, logs):
            yield piece
            place = piece.place


def _piece(job: JobView, page: Page, offset: int, over: bool, logs: LogReader) -> Piece | None:
    """The next text of a page from `offset` on; `over`: nothing more comes on it."""
    data = logs.read(job.id, page.attempt, page.key, offset, CHUNK)
    text, used = _decoded(data, over and len(data) < CHUNK)
    after = Place(page.attempt, page.order, offset + used)
    return Piece(job, page, offset, text, after) if used else None


def _decoded(data: bytes, last: bool) -> tuple[str, int]:
    """The text and how many bytes it took: a letter that is cut at the end waits for its rest."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, last)
    return text, len(data) - len(decoder.getstate()[0])
