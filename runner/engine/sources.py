"""Which repository `owner/name` is where a workflow uses it, and what it has at a version.

It is the run's own one where it has that name, else one of the same forge that the administrator shares with
all others. Everything else is cloned from below one address that is open to all: also what is registered
here and not shared, of which nobody can learn in this way that it is.
"""

import re
from dataclasses import dataclass

from runner.engine.ports import Repositories, Workspaces
from runner.errors import BrokenDefinition, NotFound, RefNotFound, Rejected, Unavailable
from runner.model.source import FULL_COMMIT_ID, Repository, Route, shown_url
from runner.workflow.references import SHORT_COMMIT_ID, Remote

OPEN = "actions"
"""Stands for the forge of what nobody registered; no forge has this name."""


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
        try:
            found = self.repositories.get(own.forge, name)
        except NotFound:
            found = None
        if found is not None and found.shared:
            return found
        return Repository(OPEN, name, f"{self.url}/{name}", registration=self.url)

    def resolve(self, own: Route, wanted: Remote) -> str:
        """The commit that a version is right now; a tag comes before a branch of that name, as on GitHub.

        Errors: `BrokenDefinition` where there is none, `Unavailable`.
        """
        ref = wanted.ref.lower()
        if FULL_COMMIT_ID.fullmatch(ref):
            return ref
        repository = self.repository(own, wanted.repository)
        try:
            return self.workspaces.resolve(repository, wanted.ref, tag_first=True)
        except RefNotFound as error:
            others = error.others
            if SHORT_COMMIT_ID.fullmatch(ref):
                others = f"; a commit is named by all of its 40 digits{others}"
            where = repository.url if repository.forge == OPEN else repository.name
            what = f'{wanted.version}: {where} has no branch, tag or commit "{wanted.ref}"{others}'
            raise BrokenDefinition(what) from None
        except Rejected as error:
            raise BrokenDefinition(f"{wanted.version}: {error}") from None
        except Unavailable as error:
            raise self._silent(wanted, repository, error) from error

    def fetch(self, own: Route, wanted: Remote, commit: str, keep: str) -> Route:
        """Have that commit of a version here, and hold it as long as what is kept under `keep`.

        Errors: `BrokenDefinition` where there is no such commit, `Unavailable`.
        """
        repository = self.repository(own, wanted.repository)
        route = Route(repository.forge, repository.name, commit)
        try:
            held, history = f"{keep}-{commit}", repository.forge != OPEN
            self.workspaces.fetch(repository, route, keep=held, history=history)
        except Rejected as error:
            raise BrokenDefinition(f"{wanted.version}: {error}") from None
        except Unavailable as error:
            raise self._silent(wanted, repository, error) from error
        return route

    def _silent(
        self, wanted: Remote, repository: Repository, error: Unavailable
    ) -> Unavailable | BrokenDefinition:
        reason = f"{wanted.version}: {error}"
        if repository.forge == OPEN:
            reason += "; there must be such a repository, open to all (RUNNER_ACTIONS_URL)"
        return Unavailable(reason) if self.patient else BrokenDefinition(reason)
