"""Deliveries that wait are stored together: one commit for all of them, each answered once it stands.

One thread does it. More would only take turns at the database's lock, and at the interpreter's.
"""

import asyncio
import hashlib
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runner.engine.ports import Arrival, Dispatcher, Forge
from runner.engine.receive import receive_all
from runner.errors import Rejected, Unavailable
from runner.model.source import Delivery, Event
from runner.store import SqlRepositories, SqlStore
from runner.web.names import REPOSITORY

BATCH = 50
WAITING = 2000
"""Deliveries that may wait; beyond them a forge is told to come back later."""
Secret = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Posted:
    """A webhook's request, and where its answer is awaited."""

    forge: Forge
    name: str
    headers: Mapping[str, str]
    body: bytes
    loop: asyncio.AbstractEventLoop
    answer: "asyncio.Future[Delivery]"


class Intake:
    def __init__(self, store: SqlStore, repositories: SqlRepositories, dispatcher: Dispatcher) -> None:
        self._store = store
        self._repositories = repositories
        self._dispatcher = dispatcher
        self._posted: queue.Queue[Posted | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._take, name="intake", daemon=True)
        self._thread.start()

    async def take(self, name: str, forge: Forge, headers: Mapping[str, str], body: bytes) -> Delivery:
        """Verify and store one delivery. Raises what the forge's adapter and the store raise."""
        loop = asyncio.get_running_loop()
        posted = Posted(forge, name, headers, body, loop, loop.create_future())
        try:
            self._posted.put_nowait(posted)
        except queue.Full:
            raise Unavailable("too many deliveries are waiting; send it again in a moment") from None
        return await posted.answer

    def close(self) -> None:
        """Store what was accepted, and end."""
        self._posted.put(None)
        self._thread.join()

    def _take(self) -> None:
        while (first := self._posted.get()) is not None:
            batch, last = [first], False
            while len(batch) < BATCH and not last:
                try:
                    following = self._posted.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    last = True
                else:
                    batch.append(following)
            self._store_batch(batch)
            if last:
                return

    def _store_batch(self, batch: list[Posted]) -> None:
        secrets: dict[tuple[str, str], str | None] = {}
        read: list[tuple[Posted, Arrival]] = []
        outcomes: list[tuple[Posted, Delivery | Exception]] = []
        for posted in batch:
            try:
                read.append((posted, _read(posted, self._secret_of(posted.name, secrets))))
            except Exception as error:  # noqa: BLE001 - whatever it is belongs to this request alone
                outcomes.append((posted, error))
        outcomes += self._stored(read)
        for loop in {posted.loop for posted in batch}:
            answered = [outcome for outcome in outcomes if outcome[0].loop is loop]
            loop.call_soon_threadsafe(_answer, answered)

    def _stored(self, read: list[tuple[Posted, Arrival]]) -> list[tuple[Posted, Delivery | Exception]]:
        arrivals = [arrival for _, arrival in read]
        if not arrivals:
            return []
        try:
            stored = receive_all(arrivals, store=self._store, dispatcher=self._dispatcher)
        except Exception as error:  # noqa: BLE001 - it is raised again where the request is answered
            if len(read) == 1 or isinstance(error, Unavailable):
                return [(posted, error) for posted, _ in read]
            # One that the database refuses must not take the others with it.
            return [outcome for one in read for outcome in self._stored([one])]
        return [(posted, delivery) for (posted, _), delivery in zip(read, stored, strict=True)]

    def _secret_of(self, forge: str, known: dict[tuple[str, str], str | None]) -> Secret:
        def secret(repo: str) -> str | None:
            if (forge, repo) not in known:
                named = REPOSITORY.fullmatch(repo) is not None
                known[forge, repo] = self._repositories.secret(forge, repo) if named else None
            return known[forge, repo]

        return secret


def _read(posted: Posted, secret: Secret) -> Arrival:
    event, guid = posted.forge.parse(posted.headers, posted.body, secret)
    _check_text(event, guid)
    return Arrival(event, guid, hashlib.sha256(posted.body).hexdigest())


def _check_text(event: Event, guid: str) -> None:
    """JSON can spell what no database stores as text; raises `Rejected`."""
    for said in (event.ref, event.actor, event.default_branch or "", guid):
        if "\0" in said or any("\ud800" <= letter <= "\udfff" for letter in said):
            raise Rejected(f"the payload holds {said[:100]!a}, which is no text")


def _answer(outcomes: list[tuple[Posted, Delivery | Exception]]) -> None:
    for posted, outcome in outcomes:
        # Whoever waited may have hung up.
        if posted.answer.cancelled():
            continue
        if isinstance(outcome, Exception):
            posted.answer.set_exception(outcome)
        else:
            posted.answer.set_result(outcome)
