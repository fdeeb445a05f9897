"""The mirrors of this machine: which repository has which, and how many of them there may be."""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from runner.engine.ports import Large
from runner.model.source import Repository, Route
from runner.workspaces.fetching import fetch_large
from runner.workspaces.git import Git
from runner.workspaces.hosts import Hosts, Lookup, Network
from runner.workspaces.keys import command_with
from runner.workspaces.layers import nothing
from runner.workspaces.mirrors import Mirror
from runner.workspaces.names import Address, address_of, file_name
from runner.workspaces.reading import Reader, Readers
from runner.workspaces.removal import Trash

IDLE_SECONDS = 3600.0
"""A mirror that was used within them is not removed, however little space there is."""

log = logging.getLogger(__name__)


class Repositories:
    """A mirror for each repository, in `folder`; what this process fetched is known by its routes."""

    def __init__(
        self,
        folder: Path,
        trash: Trash,
        protocols: str,
        *,
        environment: Mapping[str, str],
        networks: Collection[Network],
        lookup: Lookup,
        timeout: float,
        fetch_bytes: int,
    ) -> None:
        self._folder = folder
        self._trash = trash
        self._protocols = protocols
        self._timeout = timeout
        self._fetch_bytes = fetch_bytes
        self._environment = environment
        self._git = Git(protocols, environment)
        self._hosts = Hosts(networks, environment, lookup)
        self._readers = Readers(self._git)
        self._fetched: dict[tuple[str, str], Repository] = {}

    def close(self) -> None:
        """End the git processes that wait for the next use."""
        self._readers.close()

    def check(self, repo: Repository) -> None:
        """Raises `Rejected` where the repository's URL is none that may be fetched from."""
        self._hosts.check(repo.name, address_of(repo, self._protocols))

    def of(self, repo: Repository) -> Mirror:
        """The mirror of a repository, empty where it was one of another that had the name."""
        return self._belonging(self._mirror(repo.forge, repo.name), repo)

    @contextmanager
    def asking(self, repo: Repository, seconds: float | None = None) -> Iterator[Mirror]:
        """The same to ask the repository itself while the block lasts, with the key that was given for it."""
        with self._let_in(repo) as git:
            yield self._belonging(self._mirror(repo.forge, repo.name, seconds, git), repo)

    def named(self, forge: str, repo: str) -> Mirror:
        """The mirror of whatever repository has that name."""
        return self._mirror(forge, repo)

    def at(self, route: Route) -> Mirror:
        """The mirror in which a route's commit is."""
        return self.named(route.forge, route.repo)

    def all(self) -> list[Mirror]:
        return [
            Mirror(path, path.stem, self._git, self._hosts, self._readers, self._timeout)
            for path in self._folder.glob("*.git")
        ]

    def address(self, repo: Repository) -> Address:
        """Where it is fetched from; what is fetched for its routes later is fetched from there too."""
        self._fetched[repo.forge, repo.name] = replace(repo, key=None)
        return address_of(repo, self._protocols)

    def fetched(self, route: Route) -> Repository | None:
        """For whom this process fetched the route's commit."""
        return self._fetched.get((route.forge, route.repo))

    def fetch_large(
        self,
        repo: Repository,
        found: Mapping[str, Large],
        settings: Mapping[str, str],
        check: Callable[[], None] = nothing,
    ) -> None:
        """Have the contents here of files in Git LFS, with the `settings` of the repository's commit."""
        shelf = self.of(repo).shelf
        with self._let_in(repo) as git:
            fetch_large(
                repo.name,
                self.address(repo),
                found,
                settings,
                shelf,
                git=git,
                hosts=self._hosts,
                protocols=self._protocols,
                environment=self._environment,
                most=self._fetch_bytes,
                check=check,
            )

    @contextmanager
    def reading(self, route: Route) -> Iterator[Reader]:
        with self.at(route).reading(route.commit) as reader:
            yield reader

    @contextmanager
    def reading_of(self, name: str) -> Iterator[Reader]:
        """What is here of a repository by the names of its forge and its own, with a slash between them."""
        forge, _, repo = name.partition("/")
        with self.named(forge, repo).reading("") as reader:
            yield reader

    def tend(
        self, limit: int, lent: Callable[[str], bool], needed: Callable[[Collection[str]], bool]
    ) -> None:
        """Have mirrors in good order, and no more of them than fit into `limit` bytes, where that is not 0.

        Those go first that were not used for longest; one of whose objects some are `lent` stays, and one
        whose keep-refs, by their names, are still `needed`: its repository may have their commits no longer.
        """
        mirrors = self.all()
        for mirror in mirrors:
            mirror.tidy()
        if not limit:
            return
        sizes = {mirror.path: mirror.size() for mirror in mirrors}
        over = sum(sizes.values()) - limit
        idle = time.time() - IDLE_SECONDS
        # What can be fetched again without the rest goes first.
        for used, size, path in sorted(one for mirror in mirrors for one in mirror.shelf.kept()):
            if over <= 0 or used > idle:
                break
            path.unlink(missing_ok=True)
            over -= size
        for mirror in sorted(mirrors, key=lambda one: one.used_at()):
            if over <= 0 or mirror.used_at() > idle:
                return
            if lent(mirror.path.stem) or needed(mirror.refs.kept()):
                continue
            if mirror.remove(self._trash):
                log.info("a mirror is removed", extra={"mirror": mirror.path.stem})
                over -= sizes[mirror.path]

    @contextmanager
    def _let_in(self, repo: Repository) -> Iterator[Git]:
        """Git that may go where a repository is, with the key that was given for it."""
        if repo.key is None or not repo.key.private:
            yield self._git
            return
        with command_with(repo.key) as command:
            yield self._git.beside({"GIT_SSH_COMMAND": command})

    def _belonging(self, mirror: Mirror, repo: Repository) -> Mirror:
        mirror.belong(repo.registration, self._trash)
        return mirror

    def _mirror(self, forge: str, repo: str, seconds: float | None = None, git: Git | None = None) -> Mirror:
        path = self._folder / f"{file_name(f'{forge}/{repo}')}.git"
        timeout = self._timeout if seconds is None else min(seconds, self._timeout)
        return Mirror(path, repo, git or self._git, self._hosts, self._readers, timeout, self._fetch_bytes)
