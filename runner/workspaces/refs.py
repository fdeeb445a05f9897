"""The refs of a mirror: which commits are held for whom, and what the repository had at the last fetch.

`refs/runner/keep/*` hold commits for runs; `refs/runner/latest` is what the next fetch builds on when every
run is over. Both are written by us, so that they cost no process. `refs/runner/origin/*` are the branches and
tags of the repository as of the last fetch; git writes them, and what a fetch that is killed leaves locked is
unlocked by the next one.
"""

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from runner.model.source import FULL_COMMIT_ID
from runner.workspaces.looking import inside
from runner.workspaces.names import file_name

ORIGIN = "refs/runner/origin/"
_KEEP = "refs/runner/keep/"
_LATEST = "refs/runner/latest"


class Refs:
    """Those of the mirror in `folder`. A keep-ref is known by the name that whoever needs it gave it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, name: str, commit: str) -> None:
        """Hold a commit that is here."""
        self._point(_KEEP + file_name(name), commit)

    def keeps(self, name: str, commit: str) -> bool:
        """Whether it is held under that name, as far as one look can tell."""
        return text_in(self._folder / _KEEP / file_name(name)) == commit

    def let_go(self, name: str) -> str | None:
        """Release a keep-ref. Gives its ref where git has packed it, for only git can take it away then."""
        ref = _KEEP + file_name(name)
        (self._folder / ref).unlink(missing_ok=True)
        packed = self._folder / "packed-refs"
        return ref if packed.exists() and f" {ref}\n".encode() in packed.read_bytes() else None

    def kept(self, prefix: str = "") -> set[str]:
        """The keep-refs whose names begin so."""
        # Git writes into the file what it takes out of the folder then.
        names = {path.name for path in inside(self._folder / _KEEP)}
        if text := text_in(self._folder / "packed-refs"):
            names |= set(re.findall(rf"^\S+ {_KEEP}(\S+)$", text, re.MULTILINE))
        return {name for name in names if name.startswith(file_name(prefix))} if prefix else names

    def held(self, commit: str) -> bool:
        """Whether a keep-ref says that a commit is here."""
        if any(text_in(path) == commit for path in inside(self._folder / _KEEP)):
            return True
        return f"{commit} {_KEEP}" in (text_in(self._folder / "packed-refs") or "")

    def build_on(self, commit: str) -> None:
        """Have the next fetch begin from a commit, though nobody needs it by then."""
        self._point(_LATEST, commit)

    def origin(self) -> dict[str, str]:
        """The branches and tags of the repository when it was fetched last, such as `heads/main`."""
        found: dict[str, str] = {}
        packed = text_in(self._folder / "packed-refs") or ""
        for id, name in re.findall(rf"^([0-9a-f]{{40}}) {ORIGIN}([^\n]+)$", packed, re.MULTILINE):
            found[name] = id
        top = self._folder / ORIGIN
        for folder, _, names in os.walk(top):
            for name in names:
                path = Path(folder, name)
                if FULL_COMMIT_ID.fullmatch(id := text_in(path) or ""):
                    found[str(path.relative_to(top))] = id
        return found

    def _point(self, ref: str, commit: str) -> None:
        """Write a loose ref as gitrepository-layout describes it: a file with the id.

        By hand, because `git update-ref` is a process of 2 ms and GitPython opens the whole repository
        for it. Git reads a ref in one go, so a rename is as good as its lock; a keep-ref is only ever
        written with one value.
        """
        path = self._folder / ref
        aside = self._folder / f"aside-{secrets.token_hex(8)}"
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, f"{commit}\n".encode())
            # An empty ref after a power cut would be a broken one, at which git stops.
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        while True:
            # Git takes a folder away when it has packed all refs in it, and may at any moment of this.
            with suppress(FileExistsError, FileNotFoundError):
                path.parent.mkdir(parents=True)
            try:
                aside.rename(path)
                return
            except FileNotFoundError:
                if not aside.exists():
                    raise


def text_in(path: Path) -> str | None:
    """What one of a mirror's files says; None where it is not there."""
    try:
        return path.read_text(errors="surrogateescape").strip()
    except FileNotFoundError:
        return None
