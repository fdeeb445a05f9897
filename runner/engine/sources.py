"""Which repository `owner/name` is where a workflow uses it, and what it has at a version.

It is the run's own one where it has that name, else one of the same forge that the administrator shares with
all others. Everything else is cloned from below one address that is open to all.

What is registered here and not shared must not be a stranger's who took its name there. So there it is asked
for, and refused as what has no such version: of a name that is not there nobody learns that it is one here.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from runner.engine.ports import Large, Repositories, Wanted, Workspaces
from runner.errors import BrokenDefinition, RefNotFound, Rejected, Unavailable
from runner.model.source import FULL_COMMIT_ID, Key, Repository, Route, bare_url, shown_url
from runner.workflow.references import SHORT_COMMIT_ID, Remote

log = logging.getLogger(__name__)

_HOST_AND_PATH = re.compile(r"(?:[a-z+]+://)?(?:[^@/]*@)?([^/:]+)(?::\d+(?=/))?[:/]/*(.+)")

_HTTP_SERVER = re.compile(r"https?://[^/]+/", re.IGNORECASE)
_SSH_SERVER = re.compile(r"ssh://[^/]*?(:\d+)?/", re.IGNORECASE)
_OVER_HTTP = re.compile(r"https?://", re.IGNORECASE)
_OVER_SSH = re.compile(r"(?:ssh://)?(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9.-]+(?::\d+/|[:/])[^:]", re.IGNORECASE)
OPEN = "actions"
"""Stands for the forge of what nobody registered; no forge has this name."""
GIVEN = "given"
"""How the name begins that stands for the forge of what is fetched with the key of a step."""
_REFUSED = re.compile(
    r"authentication failed|could not read (username|password)|permission denied|publickey|error: 40[13]"
    r"|not found|host key verification|identification has changed|error in libcrypto|invalid format",
    re.IGNORECASE,
)
"""What git and ssh say where another try is of no use."""


_BASE = re.compile(r"/|file:///|(https?|ssh|git)://[^/\s]|[^/@:\s]+@[^/@:\s]+:")


def checked_base(url: str) -> str:
    """An address to clone from below. Raises `Rejected` where it is none, or holds a secret."""
    if not _BASE.match(url):
        raise Rejected("give the address of a forge, such as https://github.com")
    if shown_url(url) != url:
        raise Rejected("all may see what is cloned from there, so the address holds no login and no query")
    return url


@dataclass(frozen=True, slots=True)
class Sources:
    """Other repositories, as the workflows of one may use them.

    `url` is what `owner/name` is cloned from below. `patient`: whether one that does not answer is worth
    another try; else it is an error at once.
    """

    url: str
    repositories: Repositories
    workspaces: Workspaces
    patient: bool = True

    def repository(self, own: Route, name: str) -> Repository:
        """What the workflows of the repository at `own` mean by a name."""
        if name.lower() == own.repo.lower():
            return self.repositories.get(own.forge, own.repo)
        found = [one for one in self.repositories.alike(name) if one.forge == own.forge and one.shared]
        # Some forges tell names by their case.
        found.sort(key=lambda one: one.name != name)
        return found[0] if found else Repository(OPEN, name, f"{self.url}/{name}", registration=self.url)

    def is_shared(self, own: Route, name: str) -> bool:
        """Whether a name means another repository that is registered here."""
        return name.lower() != own.repo.lower() and self.repository(own, name).forge != OPEN

    def resolve(self, own: Route, wanted: Remote, seconds: float | None = None) -> str:
        """The commit that a version is right now; a tag comes before a branch of that name, as on GitHub.

        Errors: `BrokenDefinition` where there is none, `Unavailable`.
        """
        ref = wanted.ref.lower()
        if FULL_COMMIT_ID.fullmatch(ref):
            return ref
        repository = self.repository(own, wanted.repository)
        try:
            commit = self.workspaces.resolve(repository, wanted.ref, tag_first=True, seconds=seconds)
            if self._is_taken(repository):
                raise RefNotFound(wanted.ref, "")
            return commit
        except RefNotFound as error:
            others = error.others
            if SHORT_COMMIT_ID.fullmatch(ref):
                others = f"; a commit is named by all of its 40 digits{others}"
            where = repository.url if repository.forge == OPEN else repository.name
            what = f'{wanted.version}: {where} has no branch, tag or commit "{wanted.ref}"{others}'
            raise BrokenDefinition(what) from None
        except Rejected as error:
            raise BrokenDefinition(self._said(own, wanted, repository, error)) from None
        except Unavailable as error:
            reason = self._said(own, wanted, repository, error)
            raise (Unavailable(reason) if self.patient else BrokenDefinition(reason)) from error

    def ref(
        self,
        own: Route,
        wanted: Remote,
        seconds: float | None = None,
        repository: Repository | None = None,
    ) -> tuple[str, str]:
        """The full ref that is meant, and its commit right now: a branch comes before a tag here.

        Where none is said it is the default branch. A commit has no ref. `repository` and errors are as of
        `fetch`.
        """
        repository = repository or self.repository(own, wanted.repository)
        if FULL_COMMIT_ID.fullmatch(wanted.ref.lower()):
            return "", wanted.ref.lower()
        with self._told(own, wanted, repository):
            ref = wanted.ref
            if not ref:
                branch = self.workspaces.default_branch(repository)
                if branch is None:
                    raise RefNotFound(f"{wanted.repository} has no default branch", "")
                ref = f"refs/heads/{branch}"
            kinds = ("",) if ref.startswith("refs/") else ("refs/heads/", "refs/tags/")
            for kind in kinds:
                try:
                    commit = self.workspaces.resolve(repository, f"{kind}{ref}", seconds=seconds)
                    if self._is_taken(repository):
                        raise RefNotFound(ref, "")
                    return f"{kind}{ref}", commit
                except RefNotFound as error:
                    missing = error
            hint = missing.others
            if SHORT_COMMIT_ID.fullmatch(ref):
                hint = f"; a commit is named by all of its 40 digits{hint}"
            raise BrokenDefinition(f'{wanted.repository} has no branch, tag or commit "{ref[:200]}"{hint}')

    def at(self, own: Route, url: str) -> Repository:
        """What the files of a repository mean by the URL of another one: for whoever could see it anyhow.

        With the login that is registered here it is only the run's own one, and those that are shared. All
        else is fetched as what is open to all: nobody reads with the server's keys what is not theirs.
        Raises `BrokenDefinition`.
        """
        host, path = here = _place(url)
        mine = self.repositories.get(own.forge, own.repo)
        for one in (mine, *self.repositories.shared(own.forge)):
            if _place(one.url) == here:
                return one
        if _OVER_HTTP.match(url):
            anonymous = bare_url(url)
        elif url.startswith(f"{self.url}/") and ".." not in url:
            anonymous = url
        elif host and _OVER_SSH.match(url):
            # Whoever writes it for people who have keys means what others see here.
            anonymous = f"https://{host}/{path}"
        else:
            raise BrokenDefinition(
                f"{shown_url(url)[:200]!a} is no address of a repository that is open to all; give "
                "https://HOST/PATH, or have the repository registered and shared here"
            )
        return Repository(OPEN, f"{host}/{path}".lstrip("/"), anonymous, registration=anonymous)

    def let_in(
        self, own: Route, repository: Repository, key: Key, server: str, user: str, deep: bool
    ) -> Repository:
        """A repository that is open to all, as whoever has a key for `server` finds it: maybe it is not.

        What is fetched with it is for those who show the same key in a workflow of the same repository.
        `user` is whom an ssh key is for; `deep`: whether the history is wanted too. Where it is on another
        server, which has no business with the key, it stays as it is.
        """
        host, path = _place(repository.url)
        if repository.forge != OPEN or host != _place(server)[0]:
            return repository
        url = repository.url
        if host:
            path = f"{path.strip('/')}{'.git' if url.endswith('.git') else ''}"
            url = f"{over_ssh(server, user) if key.private else over_http(server)}{path}"
        registration = self.repositories.get(own.forge, own.repo).registration
        told = [own.forge, own.repo, registration, url, key.token, key.private, deep]
        digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()
        return Repository(f"{GIVEN}-{digest}", repository.name, url, registration=digest, key=key)

    def fetch(
        self,
        own: Route,
        wanted: Remote,
        commit: str,
        keep: str,
        seconds: float | None = None,
        check: Callable[[], None] = lambda: None,
        repository: Repository | None = None,
        deep: bool = False,
    ) -> Route:
        """Have that commit of a version here, and hold it as long as what is kept under `keep`.

        `check` is called now and then, and ends it by raising. `repository` is what is fetched from, where
        that is not what the version's name means; `deep`: whether its history is wanted though it is not
        registered. Errors: `BrokenDefinition` where there is no such commit, `Unavailable`.
        """
        named = repository is None
        repository = repository or self.repository(own, wanted.repository)
        route = Route(repository.forge, repository.name, commit)
        with self._told(own, wanted, repository):
            if (named or repository.key is not None) and self._is_taken(repository):
                self.workspaces.resolve(repository, "HEAD", seconds=seconds)
                raise BrokenDefinition(f"{wanted.version}: {repository.url} has no commit {commit}")
            if repository.key is not None:
                # What is here already is for those whom the repository lets in today.
                self.workspaces.default_branch(repository)
            held = f"{keep}-{commit}"
            history = deep if repository.key is not None else repository.forge != OPEN
            self.workspaces.fetch(repository, route, keep=held, history=history, seconds=seconds, check=check)
        return route

    def fetch_large(
        self,
        own: Route,
        shown: Remote,
        repository: Repository,
        route: Route,
        wanted: Wanted,
        check: Callable[[], None],
    ) -> Mapping[str, Large]:
        """As `Workspaces.fetch_large`; `shown` is the version that messages name. Errors as of `fetch`."""
        with self._told(own, shown, repository):
            return self.workspaces.fetch_large(repository, route, wanted, check)

    @contextmanager
    def _told(self, own: Route, wanted: Remote, repository: Repository) -> Iterator[None]:
        try:
            yield
        except Rejected as error:
            raise BrokenDefinition(self._said(own, wanted, repository, error)) from None
        except Unavailable as error:
            reason = self._said(own, wanted, repository, error)
            if repository.key is not None and _REFUSED.search(reason):
                raise BrokenDefinition(
                    f"{reason}; the token or ssh-key that is given is not let in"
                ) from None
            raise (Unavailable(reason) if self.patient else BrokenDefinition(reason)) from error

    def _is_taken(self, repository: Repository) -> bool:
        """Whether one that is open to all has the name of one that is registered here, and is another."""
        if repository.forge != OPEN and repository.key is None:
            return False
        here = _place(repository.url)
        taken = any(_place(one.url) != here for one in self.repositories.alike(repository.name))
        if taken:
            log.warning("registered here and not shared", extra={"repository": repository.name})
        return taken

    def _said(self, own: Route, wanted: Remote, repository: Repository, error: Rejected | Unavailable) -> str:
        """What went wrong; of a neighbour not where it is, which is its administrator's business."""
        if repository.forge == OPEN:
            hint = "; there must be such a repository, open to all (RUNNER_ACTIONS_URL)"
            return f"{wanted.version}: {error}{hint if isinstance(error, Unavailable) else ''}"
        if repository.name == own.repo or repository.key is not None:
            return f"{wanted.version}: {error}"
        log.warning(
            "a shared repository cannot be used", extra={"version": wanted.version, "error": str(error)}
        )
        what = "does not answer" if isinstance(error, Unavailable) else "cannot be fetched so"
        return f"{wanted.version}: {repository.name} {what}; the log of the server says why"


def on_same_server(one: str, other: str) -> bool:
    """Whether two clone URLs lead to one host."""
    return _place(one)[0] == _place(other)[0]


def over_http(url: str) -> str:
    """What a token is for on the server that a clone URL leads to; empty for a folder of this machine."""
    host = _place(url)[0]
    found = _HTTP_SERVER.match(bare_url(url))
    return found[0] if found else f"https://{host}/" if host else ""


def over_ssh(url: str, user: str) -> str:
    """What an ssh key is for on that server; empty for a folder of this machine."""
    host = _place(url)[0]
    found = _SSH_SERVER.match(url)
    port = (found[1] or "") if found else ""
    return f"ssh://{user}@{host}{port}/" if host else ""


def _place(url: str) -> tuple[str, str]:
    """Which repository a clone URL leads to, whichever protocol and login it says."""
    path = url.rstrip("/").removesuffix(".git")
    found = _HOST_AND_PATH.fullmatch(path)
    return (found[1].lower(), found[2]) if found else ("", path)
