"""What git has to be asked of the commits and files in a mirror, by a process for each question.

What it takes to read objects one by one is in `reading`, which keeps its processes.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from runner.errors import BrokenDefinition, Unavailable
from runner.workspaces.git import Git, GitFailed


class Contents:
    """Those of the mirror in `folder`; needs no lock. All raise `Unavailable` where git cannot read it."""

    def __init__(self, folder: Path, name: str, git: Git, timeout: float) -> None:
        self._folder = folder
        self._name = name
        self._git = git
        self._timeout = timeout

    def parting(self, one: str, other: str) -> str | None:
        """The newest commit that both have in their history, of those that are here."""
        asked = ["merge-base", "--end-of-options", one, other]
        try:
            return self._git.run(asked, self._folder, timeout=self._timeout).decode().strip() or None
        except GitFailed as error:
            if error.stderr.strip():
                raise Unavailable(f"the mirror of {self._name} cannot be read: {error.said}") from error
            return None

    def sizes(self, ids: Collection[str]) -> dict[str, int]:
        """How long objects are that are here."""
        if not ids:
            return {}
        asked = ["cat-file", "--batch-check=%(objectname) %(objectsize)", "--buffer"]
        lines = "".join(f"{id}\n" for id in ids).encode()
        try:
            said = self._git.run(asked, self._folder, timeout=self._timeout, input=lines).decode()
        except GitFailed as error:
            raise Unavailable(f"the mirror of {self._name} cannot be read: {error.said}") from error
        found = (line.split(" ", 1) for line in said.splitlines())
        return {id: int(size) for id, size in found if size.isdecimal()}

    def settings_at(self, blob: str) -> list[tuple[str, str]]:
        """The keys and values of a file of git's configuration, such as `COMMIT:.gitmodules`."""
        asked = ["config", "--no-includes", f"--blob={blob}", "--list", "-z"]
        try:
            said = self._git.run(asked, self._folder, timeout=self._timeout).decode(errors="replace")
        except GitFailed as error:
            raise BrokenDefinition(f"{blob.rpartition(':')[2]}: {error.said}") from error
        found = (one.partition("\n") for one in said.split("\0") if one)
        return [(key, value) for key, _, value in found]

    def attributes(
        self,
        index: bytes,
        paths: Collection[str],
        names: Sequence[str],
        more: str,
        check: Callable[[], None],
    ) -> Iterator[tuple[str, dict[str, str]]]:
        """What the attributes of those names are of each path, as the files in an index and `more` say."""
        kept = self._folder / f"attributes-{secrets.token_hex(8)}"
        asked = ["check-attr", "--cached", "--stdin", "-z", *names]
        lines = b"".join(os.fsencode(path) + b"\0" for path in paths)
        try:
            kept.mkdir(mode=0o700)
            (kept / "index").write_bytes(index)
            (kept / "more").write_text(more, errors="surrogateescape")
            git = self._git.beside({"GIT_INDEX_FILE": str(kept / "index")})
            settings = {"core.attributesFile": str(kept / "more")}
            said = git.run(asked, self._folder, settings, self._timeout, input=lines, check=check)
        except GitFailed as error:
            raise Unavailable(f"the mirror of {self._name} cannot be read: {error.said}") from error
        finally:
            shutil.rmtree(kept, ignore_errors=True)
        words = [os.fsdecode(word) for word in said.split(b"\0")]
        each = 3 * len(names)
        for at in range(0, len(words) - each, each):
            yield (
                words[at],
                dict(zip(words[at + 1 : at + each : 3], words[at + 2 : at + each : 3], strict=True)),
            )
