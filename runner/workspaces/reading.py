"""Objects of a mirror, read through `git cat-file --batch` processes which stay open.

A git process costs 2 ms to start and an object through an open one 0.05 ms. The process looks for new
packs whenever it misses an object, so it sees what was fetched after it started.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO

from runner.workspaces.git import Git

IDLE_READERS = 16
_REQUESTS = 256  # 256 ids are 10 KiB, which a pipe takes whole: asking never waits for the answers
_CHUNK = 1 << 20


class MissingObject(Exception):
    """The mirror has no such object, or cannot read it."""


@dataclass(slots=True)
class Content:
    """One object as it comes out of git. What is not read of it is skipped."""

    id: str
    kind: str
    size: int
    stream: IO[bytes]
    left: int

    def chunks(self) -> Iterator[bytes]:
        while self.left:
            chunk = self.stream.read(min(self.left, _CHUNK))
            if not chunk:
                raise MissingObject(self.id)
            self.left -= len(chunk)
            yield chunk

    def whole(self) -> bytes:
        return b"".join(self.chunks())


class Reader:
    """One open `git cat-file --batch`, for one thread at a time."""

    def __init__(self, git: Git, git_dir: Path) -> None:
        self._process = git.start(["cat-file", "--batch"], git_dir)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._asking, self._answers = self._process.stdin, self._process.stdout
        self.awaited = 0

    def contents(self, ids: Sequence[str]) -> Iterator[Content]:
        """The objects in the order asked for; each is read before the next is asked of the iterator."""
        for start in range(0, len(ids), _REQUESTS):
            batch = ids[start : start + _REQUESTS]
            self._ask(batch)
            for id in batch:
                content = self._answer(id)
                yield content
                for _ in content.chunks():
                    pass
                self._answers.read(1)
                self.awaited -= 1

    def one(self, id: str) -> tuple[str, bytes]:
        """An object's kind and content."""
        (found,) = [(content.kind, content.whole()) for content in self.contents([id])]
        return found

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def abandon(self) -> None:
        """Let go of the pipes without touching the process, which belongs to the process we forked from."""
        self._process.returncode = 0
        nothing = os.open(os.devnull, os.O_RDWR)
        for pipe in (self._asking, self._answers):
            os.dup2(nothing, pipe.fileno())
            pipe.close()
        os.close(nothing)

    def _ask(self, ids: Sequence[str]) -> None:
        self.awaited += len(ids)
        try:
            self._asking.write("".join(f"{id}\n" for id in ids).encode())
            self._asking.flush()
        except BrokenPipeError:
            raise MissingObject(ids[0]) from None

    def _answer(self, id: str) -> Content:
        match self._answers.readline().split():
            case [_, kind, size]:
                return Content(id, kind.decode(), int(size), self._answers, int(size))
            case [_, b"missing"]:
                self.awaited -= 1
                raise MissingObject(id)
            case _:
                raise MissingObject(id)


class Readers:
    """Readers that wait for their next use, at most `IDLE_READERS` over all mirrors.

    A mirror that an administrator removed and that was made again is another folder: its former
    reader is never used for it.
    """

    def __init__(self, git: Git) -> None:
        self._git = git
        self._begin()

    def _begin(self) -> None:
        self._lock = Lock()
        self._process = os.getpid()
        self._idle: list[tuple[Path, int, Reader]] = []

    @contextmanager
    def reading(self, git_dir: Path) -> Iterator[Reader]:
        folder = git_dir.stat().st_ino
        reader = self._take(git_dir, folder) or Reader(self._git, git_dir)
        try:
            yield reader
        finally:
            self._give_back(git_dir, folder, reader)

    def forget(self, git_dir: Path) -> None:
        """End the readers of a mirror whose objects are not those any more that they have open."""
        with self._lock:
            stale = [reader for path, _, reader in self._idle if path == git_dir]
            self._idle = [one for one in self._idle if one[0] != git_dir]
        for reader in stale:
            reader.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for *_, reader in idle:
            reader.close()

    def _take(self, git_dir: Path, folder: int) -> Reader | None:
        if self._process != os.getpid():
            for *_, reader in self._idle:
                reader.abandon()
            self._begin()
        with self._lock:
            for index in reversed(range(len(self._idle))):
                if self._idle[index][:2] == (git_dir, folder):
                    reader = self._idle.pop(index)[2]
                    if reader.alive:
                        return reader
                    reader.close()
        return None

    def _give_back(self, git_dir: Path, folder: int, reader: Reader) -> None:
        surplus = [reader]
        if not reader.awaited:
            with self._lock:
                self._idle.append((git_dir, folder, reader))
                surplus = [old for *_, old in self._idle[:-IDLE_READERS]]
                del self._idle[:-IDLE_READERS]
        for old in surplus:
            old.close()
