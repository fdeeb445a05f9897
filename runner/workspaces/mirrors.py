"""One bare mirror per repository: what was fetched, and what it has of it."""

import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from runner.errors import Rejected, Unavailable
from runner.model.source import FULL_COMMIT_ID
from runner.workspaces.contents import Contents
from runner.workspaces.git import Git, GitFailed
from runner.workspaces.holding import Held, alone
from runner.workspaces.hosts import Hosts
from runner.workspaces.large import Shelf
from runner.workspaces.layers import nothing
from runner.workspaces.names import Address
from runner.workspaces.reading import MissingObject, Reader, Readers
from runner.workspaces.refs import ORIGIN, Refs, text_in
from runner.workspaces.remotes import Remote, TooLarge
from runner.workspaces.removal import Trash
from runner.workspaces.tidying import is_tidy, tidy_after_fetch, tidy_at_leisure

_BRANCHES_AND_TAGS = tuple(f"+refs/{kind}/*:{ORIGIN}{kind}/*" for kind in ("heads", "tags"))
JOINED = 50
"""How many commits one fetch gets that others wait for."""
_DAMAGED = re.compile(
    r"missing|bad object|cannot be accessed|unable to read|corrupt|not a valid|broken", re.I
)

log = logging.getLogger(__name__)


class _Busy(Exception):
    """Somebody else has the lock."""


class Mirror:
    """What this machine has of one repository. Any number of threads and processes may use it at once.

    It belongs to one registration of its name: see `belong`. `remote` is the repository itself, `refs` and
    `contents` are what is here of it.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        git: Git,
        hosts: Hosts,
        readers: Readers,
        timeout: float,
        most: int = 0,
    ) -> None:
        """`most`: how many bytes one fetch may bring; 0 is no limit."""
        self.path = path
        self.refs = Refs(path)
        self.remote = Remote(path, name, git, hosts, timeout, most)
        self.contents = Contents(path, name, git, timeout)
        self._name = name
        self._git = git
        self._readers = readers
        self._timeout = timeout
        self._incomplete = path / "incomplete"
        self._owner = path / "registration"
        self._registration = ""

    def belong(self, registration: str, trash: Trash) -> None:
        """Be the mirror of this registration. What was fetched for another one is thrown away.

        Otherwise whoever registers a name could reach the commits of whoever had it before. A job of the
        former one finds its commit gone, and nothing of the new one's.
        """
        self._registration = registration
        if text_in(self._owner) == registration:
            return
        self._ensure(registration)
        if text_in(self._owner) != registration:
            with self._alone():
                if text_in(self._owner) != registration:
                    trash.remove(self.path)
            self._ensure(registration)

    def _used(self) -> None:
        """Say that the mirror is used now: those that are not for longest are the first to go."""
        with suppress(FileNotFoundError):
            os.utime(self._owner)

    def belong_from_birth(self, registration: str) -> None:
        """Say whose a mirror is that somebody else made just now."""
        self._owner.write_text(registration)

    # --- what is here ----------------------------------------------------------------------------

    def fetch(
        self,
        address: Address,
        commit: str,
        keep: str,
        history: bool = True,
        check: Callable[[], None] = nothing,
    ) -> None:
        """Have a commit here and hold it, without a word to the repository where it is here already."""
        self._used()
        usable = not self._incomplete.exists()
        if usable and self.refs.keeps(keep, commit):
            return
        if not (usable and self.has(commit)):
            self.download(address, commit, history, check)
            self.refs.build_on(commit)
        self.refs.keep(keep, commit)

    def release(self, keep: str) -> None:
        """Hold a commit no longer that was fetched under that name."""
        if (packed := self.refs.let_go(keep)) is not None:
            # Where somebody does not let go of the mirror it stays, and holds a commit for longer.
            with suppress(GitFailed, Unavailable), self._alone():
                self._git.run(["update-ref", "--no-deref", "-d", "--end-of-options", packed], self.path)

    def download(
        self,
        address: Address,
        commit: str,
        history: bool = True,
        check: Callable[[], None] = nothing,
    ) -> None:
        """Fetch a commit, unless somebody else just did; hold nothing.

        Whoever fetches does so for all that wait for it.
        """
        with self._wanted(commit, history), self._alone(check):
            if text_in(self._owner) != self._registration:
                raise Unavailable(f"{self._name} was registered anew just now")
            refetch = self._incomplete.exists()
            if not refetch and self.has(commit):
                return
            try:
                self._fetch_pack(address, commit, refetch, history, check)
                found = self.has(commit)
            except Unavailable:
                if not self._is_broken():
                    raise
                found = False
            if not found and (refetch or self._is_broken()):
                # As long as the repository does not answer, what is left is better than nothing.
                self.remote.refs(address, ["HEAD"])
                log.warning("a damaged mirror is made again", extra={"repository": self._name})
                self._begin_again()
                self._fetch_pack(address, commit, False, history, check)
                found = self.has(commit)
            if not found:
                raise Unavailable(f"{self._name} at {address.url} did not send {commit}")
            self._incomplete.unlink(missing_ok=True)
            tidy_after_fetch(self.path, self._git, self._timeout)

    def refresh(self, address: Address) -> None:
        """Have the branches and tags here that the repository has now."""
        with self._alone():
            if text_in(self._owner) == self._registration and not self._incomplete.exists():
                self.remote.fetch(address, ["--prune"], _BRANCHES_AND_TAGS, nothing)

    def has(self, commit: str) -> bool:
        """Is it here? Raises `Rejected` where it is something else than a commit."""
        try:
            with self._readers.reading(self.path) as reader:
                kind, _ = reader.one(commit)
        except (MissingObject, FileNotFoundError):
            return False
        if kind != "commit":
            raise Rejected(f"{commit} is a {kind} in {self._name}; give the id of a commit")
        return True

    def shallow(self, commit: str) -> bool:
        """Whether a commit is here without those before it."""
        return commit in (text_in(self.path / "shallow") or "").split()

    @property
    def borrowed(self) -> str:
        """Where objects are that it has of another repository, a folder on a line; empty for none."""
        return text_in(self.path / "objects" / "info" / "alternates") or ""

    @property
    def shelf(self) -> Shelf:
        """What it has of the repository's contents that are not in git."""
        return Shelf(self.path / "lfs")

    def _is_broken(self) -> bool:
        """Whether git itself cannot go on from what is held here."""
        asked = ["rev-list", "--quiet", "--objects", "--all", "--max-count=1"]
        try:
            self._git.run(asked, self.path, timeout=self._timeout)
        except GitFailed as error:
            return bool(_DAMAGED.search(error.stderr))
        return False

    def _begin_again(self) -> None:
        """Forget all objects and what holds them; under the lock."""
        for name in ("objects", "refs", "packed-refs", "shallow"):
            path = self.path / name
            if path.exists():
                path.rename(self.path / f"aside-{secrets.token_hex(8)}")
        for folder in ("objects/info", "objects/pack", "refs/heads"):
            (self.path / folder).mkdir(parents=True, mode=0o700)
        self._readers.forget(self.path)
        for left in self.path.glob("aside-*"):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)

    @contextmanager
    def _wanted(self, commit: str, history: bool) -> Iterator[None]:
        """Let whoever fetches meanwhile know that somebody waits for a commit."""
        path = self.path / f"wanted-{secrets.token_hex(8)}"
        try:
            if history:
                with suppress(FileNotFoundError):
                    path.write_text(commit)
            yield
        finally:
            path.unlink(missing_ok=True)

    def _awaited(self, commit: str) -> list[str]:
        """The other commits that somebody waits for, and that are not here yet."""
        found = set[str]()
        for path in self.path.glob("wanted-*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - self._timeout:
                    # Of one who was killed.
                    path.unlink()
                found.add(text_in(path) or "")
        found = {one for one in found if one != commit and FULL_COMMIT_ID.fullmatch(one)}
        return [one for one in sorted(found)[:JOINED] if not self._is_here(one)]

    def _is_here(self, commit: str) -> bool:
        try:
            return self.has(commit)
        except Rejected:
            return True

    def _fetch_pack(
        self, address: Address, commit: str, refetch: bool, history: bool, check: Callable[[], None]
    ) -> None:
        options = ["--refetch"] if refetch else []
        if not history:
            self.remote.fetch(address, [*options, "--depth=1"], [commit], check)
            return
        options.append("--prune")
        if others := self._awaited(commit):
            try:
                self.remote.fetch(address, options, [commit, *others, *_BRANCHES_AND_TAGS], check)
                return
            except TooLarge:
                raise
            except Rejected:
                # Which of them it lacks is for those to say who want it.
                log.info("commits are fetched one by one", extra={"repository": self._name})
        self.remote.fetch(address, options, [commit, *_BRANCHES_AND_TAGS], check)

    @contextmanager
    def reading(self, commit: str) -> Iterator[Reader]:
        """A reader for what belongs to a fetched commit; an object it lacks is fetched anew next time."""
        with ExitStack() as held:
            try:
                reader = held.enter_context(self._readers.reading(self.path))
            except FileNotFoundError:
                raise Unavailable(f"{self._name} was not fetched to this machine yet") from None
            try:
                yield reader
            except MissingObject as missing:
                if missing.args[0] == commit and not self.refs.held(commit):
                    problem = f"{commit} of {self._name} was not fetched to this machine yet"
                else:
                    self._incomplete.touch()
                    log.warning("a mirror is damaged", extra={"repository": self._name, "missing": missing})
                    problem = (
                        f"{missing} is missing from the mirror of {self._name}; the next fetch gets it again"
                    )
                raise Unavailable(problem) from missing

    # --- the folder ------------------------------------------------------------------------------

    def _ensure(self, registration: str) -> None:
        """Make the mirror where it is missing: aside, then renamed, so that two makers do not meet."""
        if self.path.exists():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = self.path.with_name(f".aside-{secrets.token_hex(8)}")
        try:
            command = ["init", "--quiet", "--bare", "--template=", "--initial-branch=main", str(aside)]
            self._git.run(command)
            (aside / self._owner.name).write_text(registration)
            with suppress(OSError):
                aside.rename(self.path)
        except GitFailed as error:
            raise Unavailable(f"cannot make a mirror of {self._name}: {error.said}") from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    @contextmanager
    def _alone(self, check: Callable[[], None] = nothing) -> Iterator[None]:
        """Hold the mirror's lock against all threads and processes.

        `check` is called while it is another's, and ends the waiting by raising. Raises `Unavailable` where
        that takes longer than a fetch may.
        """
        with ExitStack() as held:
            try:
                held.enter_context(alone(self.path.with_suffix(".lock"), 2 * self._timeout, check))
            except Held as error:
                raise Unavailable(f"the mirror of {self._name} is locked: {error}") from None
            # Whoever packs refs or fetches holds our lock, so these are left over from one who was killed.
            for lock_of_git in ("packed-refs.lock", "shallow.lock"):
                (self.path / lock_of_git).unlink(missing_ok=True)
            for lock_of_ref in (self.path / ORIGIN).rglob("*.lock"):
                lock_of_ref.unlink(missing_ok=True)
            yield

    def size(self) -> int:
        """The space that it takes."""
        files = (Path(folder, name) for folder, _, names in os.walk(self.path) for name in names)
        total = 0
        for path in files:
            with suppress(FileNotFoundError):
                total += path.lstat().st_blocks * 512
        return total

    def used_at(self) -> float:
        """When somebody needed it last."""
        try:
            return self._owner.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def remove(self, trash: Trash) -> bool:
        """Remove it, unless somebody fetches into it just now."""
        with self._quietly() as alone:
            if alone:
                trash.remove(self.path)
            return alone

    def tidy(self) -> None:
        """Make what steps ask of the history quick, and packs few, where much was fetched since the last.

        Nothing where somebody fetches just now.
        """
        if is_tidy(self.path):
            return
        with self._quietly() as alone:
            if alone and not self._incomplete.exists():
                tidy_at_leisure(self.path, self._git, self._timeout)

    @contextmanager
    def _quietly(self) -> Iterator[bool]:
        """Hold the lock where it is nobody's; says whether it is."""

        def busy() -> None:
            raise _Busy

        with ExitStack() as held:
            try:
                held.enter_context(self._alone(busy))
            except _Busy:
                yield False
                return
            yield True
