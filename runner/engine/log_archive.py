"""Logs of jobs that have ended, as objects: one for each attempt, in the place of what steps appended.

An object is a row of frames, each packed by itself, so that a page of a long log is read without the rest of
it. The object is whole before a row names it, and named before what it was made of is let go: at every moment
one of the two is all there is to read, and it does not matter where a process dies. What is packed into very
little is kept in the row itself: an object takes at least a block of a disk, or a request to a bucket.
"""

import hashlib
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from tempfile import SpooledTemporaryFile
from typing import IO

from zstandard import ZstdCompressor, ZstdDecompressor, ZstdError

from runner.engine.leftovers import remove, sweep
from runner.engine.ports import ArchivedLogs, KeptLogs, LivingLogs, Objects
from runner.errors import Damaged, NotFound
from runner.model.blob import Blob
from runner.model.log import Frame, Section, StoredLog

PLACE = "logs"
FRAME_BYTES = 256 * 1024
"""How much text is unpacked for a single line."""
INLINE_BYTES = 4096
SETTLED = timedelta(minutes=1)
"""How long ago a job has ended that prints nothing more, not even by a worker that has lost it."""
ROUND = 100
_ROUND_SECONDS = 30.0
"""How long one round goes on with what has been left over: all there is, where this is new to a server."""
_MOST_IN_MEMORY = 1 << 20
_LEVEL = 6

log = logging.getLogger(__name__)


class StoredLogs(KeptLogs):
    """The logs of all jobs, wherever they are: readers see no difference.

    `reached`: whether all who read logs reach the objects; what is no object then stays as it was appended.
    """

    def __init__(
        self, living: LivingLogs, archived: ArchivedLogs, objects: Objects, reached: bool = True
    ) -> None:
        self._living = living
        self._archived = archived
        self._objects = objects
        self._reached = reached

    def append(self, job: int, attempt: int, step: str, chunk: bytes) -> None:
        self._living.append(job, attempt, step, chunk)

    def flush(self, job: int) -> None:
        self._living.flush(job)

    def read(self, job: int, attempt: int, step: str, offset: int, limit: int) -> bytes:
        """Raises `Unavailable` where the object cannot be had now; of one that is lost, a line says so."""
        stored = self._archived.of(job, attempt)
        if stored is None:
            found = self._living.read(job, attempt, step, offset, limit)
            # Where there is nothing any more, it may have become an object in between.
            if found or (stored := self._archived.of(job, attempt)) is None:
                return found
        return self._read(stored, step, offset, limit)

    def printed(self, job: int) -> Sequence[tuple[int, str]]:
        living = self._living.printed(job)
        # Asked afterwards: what has been let go by now is surely among these.
        stored = self._archived.sections(job)
        found = [(attempt, section.step) for attempt, sections in stored.items() for section in sections]
        found += [one for one in living if one[0] not in stored]
        return sorted(found, key=lambda one: one[0])

    def remove(self, job: int) -> None:
        keys = self._archived.forget(job)
        self._living.remove(job)
        remove(self._objects, keys)

    def archive(self) -> None:
        """Keep what has ended as objects, as far as one round goes. Raises `Unavailable`."""
        until = time.monotonic() + _ROUND_SECONDS
        while time.monotonic() < until:
            due = self._archived.due(SETTLED, ROUND)
            for job, place, attempts in due:
                for attempt in attempts:
                    self._archive(job, attempt, place)
                self._archived.settle(job, attempts[-1])
            if len(due) < ROUND:
                return

    def sweep(self) -> None:
        """Remove objects that no row names. Raises `Unavailable`."""
        sweep(self._objects, PLACE, self._archived.known)

    def _archive(self, job: int, attempt: int, place: str) -> None:
        if self._archived.of(job, attempt) is None:
            with SpooledTemporaryFile(_MOST_IN_MEMORY) as file:
                sections, frames = self._pack(job, attempt, file)
                if not sections:
                    return
                size = file.tell()
                file.seek(0)
                content: Blob | bytes
                if size <= INLINE_BYTES:
                    content = file.read()
                elif not self._reached:
                    return
                else:
                    content = self._objects.put(place, lambda to: shutil.copyfileobj(file, to))
            if not self._archived.add(job, attempt, StoredLog(sections, frames, content)):
                # It is another's already, or its time was over meanwhile.
                if isinstance(content, Blob):
                    remove(self._objects, [content.key])
                return
        self._living.let_go(job, attempt)

    def _pack(self, job: int, attempt: int, file: IO[bytes]) -> tuple[tuple[Section, ...], tuple[Frame, ...]]:
        packer = ZstdCompressor(level=_LEVEL)
        sections, frames = list[Section](), list[Frame]()
        gathered = bytearray()

        def close() -> None:
            packed = packer.compress(bytes(gathered))
            last = frames[-1] if frames else Frame(0, 0, 0, 0, "")
            digest = hashlib.sha256(packed).hexdigest()
            frames.append(Frame(last.end, len(gathered), last.at + last.packed, len(packed), digest))
            file.write(packed)
            gathered.clear()

        for step in [step for its, step in self._living.printed(job) if its == attempt]:
            size = 0
            for chunk in self._chunks(job, attempt, step):
                size += len(chunk)
                gathered += chunk
                while len(gathered) >= FRAME_BYTES:
                    rest = gathered[FRAME_BYTES:]
                    del gathered[FRAME_BYTES:]
                    close()
                    gathered += rest
            sections.append(Section(step, size))
        if gathered:
            close()
        return tuple(sections), tuple(frames)

    def _chunks(self, job: int, attempt: int, step: str) -> Iterator[bytes]:
        offset = 0
        while True:
            chunk = self._living.read(job, attempt, step, offset, FRAME_BYTES)
            offset += len(chunk)
            yield chunk
            if len(chunk) < FRAME_BYTES:
                return

    def _read(self, stored: StoredLog, step: str, offset: int, limit: int) -> bytes:
        first, last = stored.span(step)
        begin = first + offset
        end = min(begin + limit, last)
        found = bytearray()
        for frame in stored.within(begin, end):
            try:
                text = self._unpacked(stored.content, frame)
            except (NotFound, Damaged) as error:
                log.warning("a log is damaged", extra={"error": str(error)})
                # In the place of the text; what comes after that is no more.
                since = max(frame.begin, first)
                text = f"##[error]the rest of this log cannot be shown: {error}\n".encode()
                if since > first:
                    text = b"\n" + text
                found += text[max(begin - since, 0) :][: limit - len(found)]
                break
            found += text[max(begin - frame.begin, 0) : end - frame.begin]
        return bytes(found)

    def _unpacked(self, content: Blob | bytes, frame: Frame) -> bytes:
        if isinstance(content, Blob):
            what = f"the object {content.key}"
            packed = self._objects.part(content.key, frame.at, frame.packed)
        else:
            what, packed = "its row", content[frame.at : frame.at + frame.packed]
        if hashlib.sha256(packed).hexdigest() != frame.digest:
            raise Damaged(f"{what} is damaged")
        try:
            return ZstdDecompressor().decompress(packed, max_output_size=frame.size)
        except ZstdError:
            raise Damaged(f"{what} was written by another version") from None
