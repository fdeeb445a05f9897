"""All SQL. The database is the queue of record: what is committed here has happened.

SQLAlchemy Core, synchronous, on SQLite (WAL) and PostgreSQL. Deliveries and results survive a loss of
power, checkpoints of running jobs the death of every process. One process writes SQLite through one lock,
because its busy handler sleeps in growing steps and is unfair; between processes the busy timeout decides.
Times are microseconds since the epoch, read from the database's clock, which is the only clock for leases.
"""

from runner.store.artifacts import SqlArtifacts
from runner.store.audit import SqlAudit
from runner.store.caches import SqlCaches
from runner.store.database import Database
from runner.store.deployment import SqlDeployment
from runner.store.environments import SqlEnvironments
from runner.store.logs import SqlLogs
from runner.store.repositories import SqlRepositories
from runner.store.retention import SqlRetention
from runner.store.runs import SqlStore
from runner.store.secrets import SqlSecrets, SqlVariables
from runner.store.snapshots import SqlArchived
from runner.store.standings import SqlStandings
from runner.store.stops import SqlStops
from runner.store.stored_logs import SqlArchivedLogs
from runner.store.tokens import SqlTokens
from runner.store.user_caches import UserCaches
from runner.store.workers import SqlWorkers

__all__ = [
    "Database",
    "SqlArchived",
    "SqlArchivedLogs",
    "SqlArtifacts",
    "SqlAudit",
    "SqlCaches",
    "SqlDeployment",
    "SqlEnvironments",
    "SqlLogs",
    "SqlRepositories",
    "SqlRetention",
    "SqlSecrets",
    "SqlStandings",
    "SqlStops",
    "SqlStore",
    "SqlTokens",
    "SqlVariables",
    "SqlWorkers",
    "UserCaches",
]
