"""`GET /api/v1/runs/{id}/stream`: a run as server-sent events, while it happens.

Events: `run` (the run without its jobs), `job` (one job, whenever it changed), `log` (text of one step),
`end` (the run has ended and all of it was sent). A stream begins with the run and, job by job, what it
printed and how it stands; whoever comes back with Last-Event-ID gets the logs from where they stopped.
Closed without `end`: come back.
"""

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from pydantic import TypeAdapter
from starlette.datastructures import Headers, QueryParams
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from runner.errors import Rejected, RunnerError, Unavailable
from runner.store.read_models import JobView, RunSummary, RunView
from runner.store.views import Views
from runner.web.answers import refusal
from runner.web.site import Site
from runner.web.transcript import Piece, Place, pieces

POLL_SECONDS = 0.15
ALIVE_SECONDS = 15.0
"""How often a silent stream says that it is still there."""
CHECK_SECONDS = 15.0
"""How long a token that was revoked may go on to read."""
BATCH_LETTERS = 512 * 1024
THREADS = 8
_CURSOR = re.compile(r"[0-9]{1,9}(;[0-9]{1,18}([.:])[0-9]{1,9}\2[0-9]{1,9}\2[0-9]{1,12})*")
_RUN = TypeAdapter(RunSummary)
_JOB = TypeAdapter(JobView)


class Streams:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._views = Recent(site.views)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="stream")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, query = Headers(scope=scope), QueryParams(scope["query_string"])
        try:
            loop = asyncio.get_running_loop()
            run_id = scope["path_params"]["run_id"]
            check = partial(self._check, scope["method"], headers, run_id)
            await loop.run_in_executor(self._threads, check)
            attempt = _number(query.get("attempt"))
            cursor = headers.get("last-event-id") or query.get("after", "")
            watcher = Watcher(run_id, attempt, cursor, self._site, self._views)
            first = await loop.run_in_executor(self._threads, watcher.look)
        except RunnerError as error:
            await refusal(error)(scope, receive, send)
            return
        response = StreamingResponse(
            self._events(watcher, first, check),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )
        await response(scope, receive, send)

    def _check(self, method: str, headers: Headers, run_id: int) -> None:
        # Every role reads.
        self._site.views.run_of(run_id, self._site.guard.check(method, headers).scope)

    async def _events(
        self, watcher: "Watcher", first: bytes, check: Callable[[], None]
    ) -> AsyncIterator[bytes]:
        """`check` raises `Rejected` once whoever reads may not any more."""
        loop, batch, said = asyncio.get_running_loop(), first, time.monotonic()
        checked = said
        while True:
            if batch:
                yield batch
                said = time.monotonic()
            if watcher.ended or self._site.ending.is_set():
                return
            if not batch:
                await asyncio.sleep(POLL_SECONDS)
                if time.monotonic() - said > ALIVE_SECONDS:
                    yield b": still here\n\n"
                    said = time.monotonic()
            try:
                if time.monotonic() - checked > CHECK_SECONDS:
                    await loop.run_in_executor(self._threads, check)
                    checked = time.monotonic()
                batch = await loop.run_in_executor(self._threads, watcher.look)
            except (Unavailable, Rejected):
                # The reader comes back, and is told what is wrong if it still is.
                return


class Recent:
    """One reading of a run for all who watch it at the same moment."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._found: dict[tuple[int, int], tuple[float, RunView]] = {}
        self._lock = threading.Lock()

    def run(self, run_id: int, attempt: int | None) -> RunView:
        now = time.monotonic()
        with self._lock:
            self._found = {one: seen for one, seen in self._found.items() if now - seen[0] < POLL_SECONDS}
            # Whoever has just had it run again means the attempt that there is now.
            if attempt is not None and (run_id, attempt) in self._found:
                return self._found[run_id, attempt][1]
        view = self._views.run(run_id, attempt)
        with self._lock:
            self._found[run_id, view.attempt] = (now, view)
        return view


class Watcher:
    """What one reader has seen of one attempt of a run. `ended`: there is nothing more to see."""

    def __init__(self, run_id: int, attempt: int | None, cursor: str, site: Site, views: Recent) -> None:
        self._run_id = run_id
        self._site = site
        self._views = views
        from_cursor, self._places = _read_cursor(cursor)
        self._attempt = attempt or from_cursor
        self._seen: dict[int, JobView] = {}
        self._summary = b"", ""
        self.ended = False

    def look(self) -> bytes:
        """Everything new, as events; empty if there is nothing new. Raises `NotFound`."""
        run = self._views.run(self._run_id, self._attempt)
        self._attempt = run.attempt
        return b"".join(self._events(run))

    def _events(self, run: RunView) -> Iterator[bytes]:
        yield from self._run_changed(run)
        letters = 0
        for job in run.jobs:
            # What a step printed comes before the news of its end.
            for piece in pieces(job, self._places.get(job.id, Place()), self._site.logs):
                self._places[job.id] = piece.place
                yield event("log", _log(piece), self._cursor())
                letters += len(piece.text)
                if letters > BATCH_LETTERS:
                    return
            if self._seen.get(job.id) != job:
                self._seen[job.id] = job
                yield event("job", _JOB.dump_json(job))
        if run.finished:
            self.ended = True
            yield event("end", json.dumps({"status": run.status}).encode())

    def _run_changed(self, run: RunView) -> Iterator[bytes]:
        summary = _RUN.dump_json(_summary_of(run))
        if (summary, run.reason) != self._summary:
            self._summary = summary, run.reason
            rest = json.dumps(
                {"attempts": run.attempts, "reason": run.reason, "problems": list(run.problems)}
            )
            yield event("run", summary[:-1] + b"," + rest.encode()[1:])

    def _cursor(self) -> str:
        places = (
            f"{job}:{place.attempt}:{order}:{offset}"
            for job, place in self._places.items()
            for order, offset in place.offsets
        )
        return ";".join((str(self._attempt), *places))


def event(kind: str, data: bytes, cursor: str = "") -> bytes:
    told = f"id: {cursor}\n" if cursor else ""
    return b"event: %s\ndata: %s\n%s\n" % (kind.encode(), data, told.encode())


def _summary_of(run: RunView) -> RunSummary:
    names = RunSummary.__dataclass_fields__
    return RunSummary(**{name: getattr(run, name) for name in names})


def _log(piece: Piece) -> bytes:
    said = {
        "job": piece.job.id,
        "key": piece.job.key,
        "label": piece.job.label,
        "attempt": piece.page.attempt,
        "step": piece.page.key,
        "number": piece.page.number,
        "name": piece.page.name,
        "offset": piece.offset,
        "text": piece.text,
    }
    return json.dumps(said).encode()


def _read_cursor(cursor: str) -> tuple[int | None, dict[int, Place]]:
    """The run's attempt and where each job's log was left; raises `Rejected`.

    A job comes several times where several of its steps printed at once.
    """
    if not cursor:
        return None, {}
    if not _CURSOR.fullmatch(cursor):
        raise Rejected(f"Last-Event-ID {cursor[:100]!a} was not given by this server")
    attempt, *places = cursor.split(";")
    # One with dots was given while pages were counted otherwise: that log is told anew.
    read = sorted([int(part) for part in place.split(":")] for place in places if ":" in place)
    found: dict[int, Place] = {}
    for job, at, order, offset in read:
        before = found[job].offsets if job in found and found[job].attempt == at else ()
        found[job] = Place(at, (*before, (order, offset)))
    return int(attempt), found


def _number(said: str | None) -> int | None:
    if said is None:
        return None
    if not said.isdecimal() or len(said) > 9:
        raise Rejected(f"attempt={said[:20]!a} is no number")
    return int(said)
