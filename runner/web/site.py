"""What every route needs, handed to it once."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from runner.engine.ports import Dispatcher, Forge, Objects
from runner.logs import LogReader
from runner.model.blob import Blob
from runner.model.source import Repository
from runner.settings import Settings
from runner.store import (
    Database,
    SqlArtifacts,
    SqlAudit,
    SqlCaches,
    SqlEnvironments,
    SqlRepositories,
    SqlSecrets,
    SqlStandings,
    SqlStops,
    SqlStore,
    SqlTokens,
    SqlVariables,
)
from runner.store.views import Views
from runner.vault import SealedVault
from runner.web.auth import Guard


@dataclass(frozen=True, slots=True)
class Site:
    """`check_broker` raises `Unavailable`, `check_address` `Rejected` for a URL that may not be fetched from;
    `default_branch` asks the repository itself; `discard` removes what was in caches that are gone.

    `ending` is set when the server goes down.
    """

    settings: Settings
    database: Database
    store: SqlStore
    repositories: SqlRepositories
    views: Views
    standings: SqlStandings
    secrets: SqlSecrets
    variables: SqlVariables
    stops: SqlStops
    tokens: SqlTokens
    audit: SqlAudit
    environments: SqlEnvironments
    artifacts: SqlArtifacts
    objects: Objects
    caches: SqlCaches
    discard: Callable[[Sequence[Blob]], None]
    vault: SealedVault
    logs: LogReader
    forges: Mapping[str, Forge]
    executors: tuple[str, ...]
    dispatcher: Dispatcher
    check_broker: Callable[[], None]
    check_address: Callable[[Repository], None]
    default_branch: Callable[[Repository], str | None]
    guard: Guard
    ending: threading.Event = field(default_factory=threading.Event)
