"""A job's log as one sequence, to be read from any place in it and while it is written.

What steps print is kept by attempt and step. A job's transcript is all of it in the order in which it was
printed: attempt by attempt, and in each what was said before the first step, then step by step, and what is
said when all have ended. A reader's place is one page and an offset for each job, which is all that a cursor
has to carry. Pages are known by their numbers, for more come while a job runs: what its actions do at its
end.
"""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, replace

from runner.logs import LogReader
from runner.store.read_models import JobView

PROLOGUE = "0"
"""The key under which a job speaks before its first step."""
EPILOGUE = "end"
"""That under which it speaks after its last."""
LAST = 1_000_000
"""The number of that page: more than a job has steps, as some become known only while it runs."""
CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """What one step printed in one attempt of its job."""

    attempt: int
    key: str
    number: int
    name: str


@dataclass(frozen=True, slots=True)
class Place:
    """How far a job's transcript has been read: into which page, or to the end of all before it."""

    attempt: int = 1
    number: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """Text from `offset` on, in bytes; `place` is where the next piece begins."""

    job: JobView
    page: Page
    offset: int
    text: str
    place: Place


def pages_of(job: JobView) -> list[Page]:
    steps = [(step.key, step.number, step.name) for step in job.steps]
    steps = [(PROLOGUE, 0, ""), *steps, (EPILOGUE, LAST, "")]
    return [Page(attempt, *step) for attempt in range(1, job.attempt + 1) for step in steps]


def pieces(job: JobView, place: Place, logs: LogReader) -> Iterator[Piece]:
    """What can be read of a job from `place` on, now. `job` must have been read before, not after."""
    pages = pages_of(job)
    complete = _complete(job, pages)
    at = 0
    while at < len(pages):
        page = pages[at]
        if (page.attempt, page.number) < (place.attempt, place.number):
            at += 1
            continue
        if (page.attempt, page.number) > (place.attempt, place.number):
            place = Place(page.attempt, page.number)
        data = logs.read(job.id, page.attempt, page.key, place.offset, CHUNK)
        last = complete[at] and len(data) < CHUNK
        text, used = _decoded(data, last)
        if used:
            after = replace(place, offset=place.offset + used)
            yield Piece(job, page, place.offset, text, after)
            place = after
        elif complete[at]:
            place = Place(page.attempt, page.number + 1)
        elif _overtaken(job, pages, at, logs):
            # A later page has begun, so nothing more comes on this one; what came on it since
            # `data` was read is taken first.
            complete[at] = True
        else:
            return


def _complete(job: JobView, pages: list[Page]) -> list[bool]:
    """Which pages nobody writes any more, as far as `job` shows it."""
    if job.status != "running":
        return [True] * len(pages)
    running = next((step.number for step in job.steps if step.status == "running"), len(job.steps) + 1)
    # A job that starts over says so in its prologue and begins again at its first step, while its
    # finished steps may still show: its prologue ends only when a step has printed something.
    return [page.attempt < job.attempt or 0 < page.number < running for page in pages]


def _overtaken(job: JobView, pages: list[Page], page: int, logs: LogReader) -> bool:
    later = pages[page + 1 :] if pages[page].key == PROLOGUE else pages[page + 1 : page + 2]
    return any(logs.read(job.id, one.attempt, one.key, 0, 1) for one in later)


def _decoded(data: bytes, last: bool) -> tuple[str, int]:
    """The text and how many bytes it took: a letter that is cut at the end waits for its rest."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, last)
    return text, len(data) - len(decoder.getstate()[0])
