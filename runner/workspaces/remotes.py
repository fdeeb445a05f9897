"""A repository itself, asked over the network: what it names, and the objects of what it has."""

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from runner.errors import RefNotFound, Rejected, Unavailable
from runner.model.source import FULL_COMMIT_ID
from runner.workspaces.git import Git, GitFailed
from runner.workspaces.hosts import Hosts
from runner.workspaces.names import Address

_NO_SUCH_COMMIT = re.compile(r"not our ref|unadvertised object|no such remote ref|couldn't find remote ref")


class TooLarge(Rejected):
    """A repository sends more for one fetch than it may."""


class Remote:
    """One repository as it is asked by git that works in `folder`, its mirror.

    All raise `Unavailable` where it does not answer.
    """

    def __init__(
        self, folder: Path, name: str, git: Git, hosts: Hosts, timeout: float, most: int = 0
    ) -> None:
        """`most`: how many bytes one fetch may bring; 0 is no limit."""
        self._folder = folder
        self._name = name
        self._git = git
        self._hosts = hosts
        self._timeout = timeout
        self._most = most

    def resolve(self, address: Address, ref: str, tag_first: bool = False) -> str:
        """The commit that `ref` names in the repository right now; a tag object is looked through."""
        names = [ref]
        if ref != "HEAD" and not ref.startswith("refs/"):
            kinds = ("tags", "heads") if tag_first else ("heads", "tags")
            names = [f"refs/{kind}/{ref}" for kind in kinds]
        patterns = [pattern for name in names for pattern in (name, name + "^{}")]
        found = self.refs(address, patterns)
        for name in names:
            if commit := found.get(name + "^{}") or found.get(name):
                return commit
        raise RefNotFound(f"{self._name} has no ref {ref!a}", self._suggestions(address, ref))

    def default_branch(self, address: Address) -> str | None:
        """The branch that HEAD names in the repository right now; None in an empty repository."""
        asked = ["ls-remote", "--quiet", "--symref", "--end-of-options", address.url, "HEAD"]
        said = self._ask(asked, address).decode(errors="replace")
        found = re.search(r"^ref: refs/heads/(\S+)\tHEAD$", said, re.MULTILINE)
        return found[1] if found else None

    def refs(self, address: Address, patterns: list[str]) -> dict[str, str]:
        """The commits that its refs name right now, of those that patterns of `git ls-remote` take."""
        lines = self._ask(["ls-remote", "--quiet", "--end-of-options", address.url, *patterns], address)
        refs = (line.split("\t", 1) for line in lines.decode(errors="replace").splitlines() if "\t" in line)
        return {name: commit for commit, name in refs if FULL_COMMIT_ID.fullmatch(commit)}

    def fetch(
        self, address: Address, options: Sequence[str], wanted: Sequence[str], check: Callable[[], None]
    ) -> None:
        """Have git fetch what is `wanted`, a commit first, under the mirror's lock.

        `check` is called now and then: by raising it ends the fetch. Raises `TooLarge`, and `Rejected` where
        the repository has no such commit.
        """
        commit = wanted[0]
        options = ["--quiet", "--no-tags", "--no-write-fetch-head", "--force", *options]
        command = ["fetch", *options, "--end-of-options", address.url, *wanted]
        settings = self._hosts.settings(self._name, address)
        packs = self._folder / "objects" / "pack"
        left = {path.name for path in packs.glob("tmp_*")}

        def watch() -> None:
            check()
            if self._most and sum(_sizes(packs, left)) > self._most:
                raise TooLarge(
                    f"{self._name} at {address.url} sends more than {self._most} bytes for one fetch, which "
                    "was ended (RUNNER_FETCH_BYTES)"
                )

        try:
            self._git.run(command, self._folder, settings, self._timeout, check=watch)
        except GitFailed as error:
            if _NO_SUCH_COMMIT.search(error.stderr):
                raise Rejected(
                    f"{self._name} at {address.url} has no commit {commit}; push it there, or give one it has"
                ) from error
            raise Unavailable(f"{self._name} at {address.url} does not answer: {error.said}") from error
        except TooLarge:
            for path in packs.glob("tmp_*"):
                if path.name not in left:
                    path.unlink(missing_ok=True)
            raise

    def _suggestions(self, address: Address, ref: str) -> str:
        short = [
            name.split("/", 2)[2]
            for name in self.refs(address, ["refs/heads/*", "refs/tags/*"])
            if name.count("/") >= 2 and not name.endswith("^{}")
        ]
        wanted = re.sub(r"^refs/(heads|tags)/", "", ref)
        shown = list(dict.fromkeys([*difflib.get_close_matches(wanted, short), *sorted(short)]))[:5]
        return f"; it has {', '.join(shown)}" if shown else "; it has no branches and no tags"

    def _ask(self, arguments: list[str], address: Address) -> bytes:
        settings = self._hosts.settings(self._name, address)
        try:
            return self._git.run(arguments, self._folder, settings, self._timeout)
        except GitFailed as error:
            raise Unavailable(f"{self._name} at {address.url} does not answer: {error.said}") from error


def _sizes(packs: Path, but: Collection[str]) -> Iterator[int]:
    """How much there is of what is being fetched."""
    for path in packs.glob("tmp_*"):
        if path.name not in but:
            with suppress(FileNotFoundError):
                yield path.stat().st_size
