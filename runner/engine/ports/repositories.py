"""Ports to what is known of a repository, and to the forge that it is on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from runner.model.environment import Environment
from runner.model.source import Event, Repository, Route
from runner.model.step import Result


class Repositories(Protocol):
    """The administrator's list of repositories."""

    def get(self, forge: str, name: str) -> Repository:
        """Raises `NotFound`."""

    def alike(self, name: str) -> Sequence[Repository]:
        """All that have the name, on whichever forge and in whichever case."""

    def shared(self, forge: str) -> Sequence[Repository]:
        """All of a forge that the workflows of others may use."""


class Environments(Protocol):
    """The protection rules of the environments that repositories deploy to."""

    def rules(self, repository: Repository, name: str) -> Environment | None:
        """Those of one environment, whatever the case of its name; None where there are none."""


class Vault(Protocol):
    """What workflows are given that no file of theirs says. Secrets leave it for processes only.

    Each time it is asked it gives what there is now. Errors: `Unavailable` where secrets cannot be opened.
    """

    def secrets(self, repository: Repository) -> Mapping[str, str]: ...

    def variables(self, repository: Repository) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Status:
    """What a forge shows beside a commit; `result` is None while the run goes on."""

    route: Route
    workflow: str
    result: Result | None
    url: str


class Forge(Protocol):
    """One kind of forge: how its webhooks are signed and shaped, how it is told of results."""

    def parse(
        self, headers: Mapping[str, str], body: bytes, secret: Callable[[str], str | None]
    ) -> tuple[Event, str]:
        """The event of a delivery and the forge's own id of it.

        `headers` by lower-case name; `secret` gives a repository's webhook secret by its name.
        Errors: `Unauthorized` alike for a bad signature and an unknown repository; `Rejected` for
        what is no delivery at all.
        """

    @property
    def reports(self) -> bool:
        """Whether it has a place to show how a run stands; one that has none is not told."""

    def report(self, status: Status) -> None:
        """Raises `Unavailable` where it should be tried again."""
