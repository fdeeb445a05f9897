"""The tables. A column's meaning is said here; how it changes is said by the statements."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    ScalarSelect,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    and_,
    exists,
    false,
    or_,
    select,
    text,
    true,
)

from runner.model.access import Scope

metadata = MetaData()
LARGEST_ID = 2**63 - 1


STEP_KEY = Text().with_variant(String(255), "sqlite")
"""SQLite keeps to no length, and another type of a column is a table written anew there."""


class Id(TypeDecorator[int]):
    """An id, as callers may ask for it: of any size.

    No row has the largest, so it stands for all that a database cannot be asked for.
    """

    # SQLite only makes a rowid of a column declared INTEGER.
    impl = BigInteger().with_variant(Integer, "sqlite")
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        return None if value is None else max(-LARGEST_ID, min(value, LARGEST_ID))


repositories = Table(
    "repositories",
    metadata,
    Column("id", Id, primary_key=True),
    Column("forge", String(32), nullable=False),
    Column("name", String(255), nullable=False),
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("executor", String(32)),
    Column("image", Text),
    # Workflows of other repositories may use what is in it.
    Column("shared", Boolean, nullable=False, server_default=false()),
    Column("default_branch", Text),
    Column("created_at", BigInteger, nullable=False),
    # What it may use: 0 is no limit, NULL what the server's settings say.
    Column("max_jobs", Integer),
    Column("max_queued", Integer),
    # In seconds.
    Column("queue_timeout", BigInteger),
    Column("run_timeout", BigInteger),
    Column("keep_logs", BigInteger),
    Column("keep_runs", BigInteger),
    Column("keep_artifacts", BigInteger),
    Column("keep_snapshots", BigInteger),
    Column("cache_bytes", BigInteger),
    # What becomes of a schedule's due times that passed while no clock ran: `once` or `skip`.
    Column("missed", String(8), nullable=False, server_default="once"),
    # What becomes of the files that steps leave: `local`, `durable` or `off`; NULL as above.
    Column("snapshot", String(8)),
    UniqueConstraint("forge", "name"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("forge", String(32), nullable=False),
    Column("repo", String(255), nullable=False),
    # The forge's own id, and the digest of the signed bytes: either one makes a copy known.
    Column("guid", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("ref", Text, nullable=False),
    Column("commit", String(40)),
    Column("before", String(40)),
    Column("actor", Text, nullable=False),
    Column("default_branch", Text),
    Column("payload", JSON, nullable=False),
    Column("status", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    # Somebody let its code run, though it comes from a fork.
    Column("approved", Boolean, nullable=False, server_default=false()),
    # When the clock rings for it next; NULL once it is settled.
    Column("ring_at", BigInteger),
    UniqueConstraint("forge", "repo", "guid"),
    UniqueConstraint("forge", "repo", "digest"),
    Index("deliveries_due", "ring_at"),
    Index("deliveries_newest", "received_at"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("delivery", String(36), ForeignKey("deliveries.id"), nullable=False),
    Column("forge", String(32), nullable=False),
    Column("repo", String(255), nullable=False),
    Column("commit", String(40), nullable=False),
    Column("ref", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("workflow", Text, nullable=False),
    Column("name", Text, nullable=False),
    # What its workflow's run-name says; empty where there is none.
    Column("title", Text, nullable=False, server_default=""),
    Column("number", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("problems", JSON, nullable=False),
    # Which commit each `owner/name@ref` stands for that it uses; what is there never changes.
    Column("pins", JSON, nullable=False, server_default="{}"),
    # Its own in a concurrency group; NULL where its workflow names none.
    Column("turn", JSON(none_as_null=True)),
    Column("created_at", BigInteger, nullable=False),
    # When its newest attempt began, where that is not the first.
    Column("attempt_at", BigInteger),
    # When the logs of its jobs were removed, all of them.
    Column("logs_removed_at", BigInteger),
    # Since when its repository is registered no more: nobody sees it, and what is left of it is removed.
    Column("gone_at", BigInteger),
    UniqueConstraint("forge", "repo", "workflow", "number"),
    UniqueConstraint("delivery", "workflow"),
    Index("runs_of_repository", "forge", "repo", "id"),
    Index("runs_by_age", "created_at"),
    Index(
        "runs_gone",
        "gone_at",
        sqlite_where=text("gone_at IS NOT NULL"),
        postgresql_where=text("gone_at IS NOT NULL"),
    ),
    Index(
        "runs_with_logs",
        "created_at",
        sqlite_where=text("logs_removed_at IS NULL"),
        postgresql_where=text("logs_removed_at IS NULL"),
    ),
)

# The attempts of runs that somebody wanted to end.
cancels = Table(
    "cancels",
    metadata,
    Column("run", Id, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    # Why, where no person did.
    Column("reason", Text),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("run", Id, ForeignKey("runs.id"), nullable=False),
    Column("run_attempt", Integer, nullable=False),
    # The attempt of the run in which other jobs took its place; NULL where it is part of the newest.
    Column("superseded", Integer),
    Column("position", Integer, nullable=False),
    Column("key", String(255), nullable=False),
    Column("name", Text, nullable=False),
    Column("needs", JSON, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("steps", JSON, nullable=False),
    # The fencing token: how often the job was claimed.
    Column("attempt", Integer, nullable=False),
    Column("base", Integer, nullable=False),
    # How many of the checkpoints of the base before count too, as copies of them: the first ones.
    Column("carried", Integer, nullable=False, server_default="0"),
    Column("tries", Integer, nullable=False, server_default="0"),
    # waiting, ready, pending, queued, running, suspended or finished; the columns below belong to the phase.
    Column("phase", String(16), nullable=False),
    Column("queued_at", BigInteger),
    # Before it nobody may claim a queued job, where anybody may at once if it is NULL; and when a suspended
    # one goes on by itself, which it does not if it is NULL.
    Column("due_at", BigInteger),
    Column("worker", Text),
    Column("lease_until", BigInteger),
    Column("started_at", BigInteger),
    Column("claimed_at", BigInteger),
    # Microseconds of earlier attempts.
    Column("worked", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("result", String(16)),
    Column("reason", Text, nullable=False),
    # When the clock rings for it next; NULL while there is nothing to ring for.
    Column("ring_at", BigInteger),
    # A continue-on-error job that failed counts as one that succeeded.
    Column("tolerated", Boolean, nullable=False),
    Column("dynamic", Boolean, nullable=False),
    Column("planned", Boolean, nullable=False),
    Column("conditional", Boolean, nullable=False),
    Column("cancelled", Boolean, nullable=False),
    # Since when its `if` is to be evaluated again, as its workflow was cancelled; NULL where it is not.
    Column("asked_at", BigInteger),
    # One combination of its matrix, with the rest of its strategy.
    Column("leg", JSON, nullable=False),
    # The file of the workflow that it consists of, and the job that called the workflow it belongs to.
    Column("calls", Text),
    Column("caller", Id),
    Column("inputs", JSON, nullable=False),
    Column("outputs", JSON, nullable=False),
    # Attempts whose worker fell silent, and how the job ended each time it was then tried again.
    Column("lost", JSON, nullable=False, server_default="[]"),
    Column("tried", JSON, nullable=False, server_default="[]"),
    # Its own in a concurrency group and that of the workflow that it calls; NULL where there are none.
    Column("turns", JSON(none_as_null=True)),
    # What it waits for or has waited for, with the answers; NULL where there is nothing.
    Column("waits", JSON(none_as_null=True)),
    # Who is served next is looked up in these: FORGE:NAME of its repository, and its labels in their order.
    Column("repository", Text),
    Column("queue", Text),
    # When the clock last saw that its repository's limit keeps it waiting: no worker is to blame until then.
    Column("held_at", BigInteger),
    # Of which jobs it goes on, from which step and with how many checkpoints; NULL where it began anew.
    Column("forked", JSON(none_as_null=True)),
    # The keys of its steps by their ids; NULL where there are none.
    Column("step_ids", JSON(none_as_null=True)),
    # The job that called the workflow whose jobs have it as their caller; NULL where that is itself.
    Column("stands_for", Id),
    # Whether it may fail, as far as its definition has been evaluated.
    Column("tolerant", Boolean, nullable=False, server_default=false()),
    # Its environment and the address there; NULL before its steps are over, and where it has none.
    Column("deployed", JSON(none_as_null=True)),
    # Tries of steps that are not simply to run twice: in which attempt each began, and its `on-lost`.
    Column("begun", JSON(none_as_null=True)),
    # Up to which attempt its logs are no chunks any more, or need not become anything else.
    Column("logs_settled", Integer, nullable=False, server_default="0"),
    Index("jobs_of_run", "run", "run_attempt", "position"),
    Index("jobs_due", "ring_at"),
    Index(
        "jobs_with_chunks",
        "finished_at",
        sqlite_where=text("finished_at IS NOT NULL AND logs_settled < attempt"),
        postgresql_where=text("finished_at IS NOT NULL AND logs_settled < attempt"),
    ),
)
QUEUED = text("phase = 'queued' AND asked_at IS NULL")
RUNNING = text("phase = 'running'")
UNFINISHED = text("phase <> 'finished'")
# Databases only take a partial index for what is written out: no parameter may stand for the phase.
for _index, _columns, _which in (
    ("jobs_queued", (jobs.c.queue, jobs.c.repository, jobs.c.queued_at, jobs.c.id), QUEUED),
    ("jobs_running", (jobs.c.repository,), RUNNING),
    ("jobs_unfinished", (jobs.c.repository, jobs.c.run), UNFINISHED),
):
    Index(_index, *_columns, sqlite_where=_which, postgresql_where=_which)

# The lines before the concurrency groups of each repository. Runs and jobs keep what they heard of theirs.
places = Table(
    "places",
    metadata,
    Column("forge", String(32), primary_key=True),
    Column("repo", String(255), primary_key=True),
    # Their order; whoever leaves takes its row along.
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("run", Id, ForeignKey("runs.id"), nullable=False),
    # NULL for a run's own.
    Column("job", Id),
    Column("name", Text, nullable=False),
    Column("turn", JSON, nullable=False),
    Column("within", JSON, nullable=False),
    # When the clock rings for its run next, which has not heard yet what became of it; NULL once it has.
    Column("ring_at", BigInteger),
    Index("places_of_run", "run"),
    Index("places_due", "ring_at"),
)

# What was said to runs from outside, each kept until a job takes it and then for as long as the run.
signals = Table(
    "signals",
    metadata,
    Column("id", Id, primary_key=True),
    Column("run", Id, ForeignKey("runs.id"), nullable=False),
    Column("run_attempt", Integer, nullable=False),
    Column("name", String(255), nullable=False),
    # A signal of the same name and key is a copy.
    Column("key", String(255), nullable=False),
    Column("payload", JSON, nullable=False),
    Column("sender", Text, nullable=False),
    Column("sent_at", BigInteger, nullable=False),
    # Whom it was given to, once: the job, and the key of its wait; NULL while nobody was.
    Column("job", Id),
    Column("wait", String(255)),
    UniqueConstraint("run", "run_attempt", "name", "key"),
)

# Deliveries that steps have made of runs of their own, which they wait for.
children = Table(
    "children",
    metadata,
    Column("delivery", String(36), ForeignKey("deliveries.id"), primary_key=True),
    # Who has started it.
    Column("run", Id, nullable=False),
    Column("job", Id, nullable=False),
    Column("step", Text, nullable=False),
    # Nobody waits for it any more: it is to end.
    Column("left", Boolean, nullable=False, server_default=false()),
    # It has ended for the first time, or will never begin.
    Column("ended", Boolean, nullable=False, server_default=false()),
    # When the clock rings next for the run that has to hear of it; NULL while none has to.
    Column("ring_at", BigInteger),
    # When the pause began of the run that has started it, of which somebody had this one go on all the same.
    Column("free", BigInteger),
    Index("children_of_run", "run"),
    Index("children_of_job", "job"),
    Index("children_due", "ring_at"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("job", Id, ForeignKey("jobs.id"), primary_key=True),
    Column("base", Integer, primary_key=True),
    Column("key", STEP_KEY, primary_key=True),
    Column("attempt", Integer, nullable=False),
    # Their order within the job. Workers' clocks differ, and may be set back.
    Column("sequence", Integer, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("outcome", JSON, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger, nullable=False),
    Column("snapshot", Text, nullable=False),
    # Whether the snapshot has the files as the step left them.
    Column("kept", Boolean, nullable=False, server_default=true()),
    # What the step gave to its program: apart from its outcome, which is read whenever a run is shown.
    Column("value", Text),
    Index("checkpoints_in_order", "job", "sequence"),
    # The key of the object that it is in, where it is longer than a row can be.
    Column("object", String(255)),
    Index(
        "checkpoints_with_objects",
        "object",
        sqlite_where=text("object IS NOT NULL"),
        postgresql_where=text("object IS NOT NULL"),
    ),
)

# Layers of jobs' snapshots that are to be objects too.
snapshots = Table(
    "snapshots",
    metadata,
    Column("job", Id, ForeignKey("jobs.id"), primary_key=True),
    Column("name", String(64), primary_key=True),
    # The layer under it, or `base`.
    Column("parent", String(64), nullable=False),
    # Where its objects are: a tenant's own place.
    Column("place", String(128), nullable=False),
    # The SHA-256 of what it holds, however it is packed; NULL until it is an object.
    Column("content", String(64)),
    # The object: several layers of the same content share one.
    Column("key", String(255)),
    Column("size", BigInteger),
    Column("digest", String(64)),
    Column("noted_at", BigInteger, nullable=False),
    Index("snapshots_by_content", "place", "content"),
    Index("snapshots_by_key", "key"),
)

log_chunks = Table(
    "log_chunks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("job", Id, ForeignKey("jobs.id"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("step", STEP_KEY, nullable=False),
    Column("data", LargeBinary, nullable=False),
    # How many bytes the step has printed with this chunk, which is where the next one begins.
    Column("end_at", BigInteger, nullable=False, server_default="0"),
    Index("log_chunks_by_end", "job", "attempt", "step", "end_at"),
)

# What attempts of jobs that have ended printed.
stored_logs = Table(
    "stored_logs",
    metadata,
    Column("job", Id, ForeignKey("jobs.id"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    # Of each log its step and its size; of each frame its size, its size where it is packed, and its SHA-256.
    Column("sections", JSON, nullable=False),
    Column("frames", JSON, nullable=False),
    # The object that it is in; NULL where it is so short that it is here.
    Column("key", String(255)),
    Column("size", BigInteger),
    Column("digest", String(64)),
    Column("content", LargeBinary),
    UniqueConstraint("key"),
)

# What this database is called where something belongs to it that is kept elsewhere; one row, once asked for.
deployment = Table(
    "deployment",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("id", String(32), nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("labels", JSON, nullable=False),
    # Until when it is taken to be there, unless it says so again.
    Column("until", BigInteger, nullable=False),
)

standings = Table(
    "standings",
    metadata,
    Column("forge", String(32), primary_key=True),
    Column("repo", String(255), primary_key=True),
    # Rises with every change: what was read before another change is not written after it.
    Column("revision", Integer, nullable=False),
    Column("commit", String(40), nullable=False),
    # Which stages of which runs some workflow waits for.
    Column("events", JSON, nullable=False),
)

schedules = Table(
    "schedules",
    metadata,
    Column("id", Id, primary_key=True),
    Column("forge", String(32), nullable=False),
    Column("repo", String(255), nullable=False),
    Column("workflow", Text, nullable=False),
    Column("cron", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    # NULL for a day that never comes.
    Column("due_at", BigInteger),
    # The newest due time that was left out as it had been missed.
    Column("skipped_at", BigInteger),
    UniqueConstraint("forge", "repo", "workflow", "cron", "timezone"),
    Index("schedules_due", "due_at"),
)

secrets = Table(
    "secrets",
    metadata,
    Column("repository", Id, ForeignKey("repositories.id"), primary_key=True),
    Column("name", String(255), primary_key=True),
    # Which key it is sealed with; all of them are with the same.
    Column("key", String(16), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

variables = Table(
    "variables",
    metadata,
    Column("repository", Id, ForeignKey("repositories.id"), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("value", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

# What jobs keep for later runs; what is in it is an object.
caches = Table(
    "caches",
    metadata,
    Column("id", Id, primary_key=True),
    Column("repository", Id, ForeignKey("repositories.id"), nullable=False),
    # Whose it is: a ref's, of code that is trusted or of a fork's.
    Column("ref", Text, nullable=False),
    Column("trusted", Boolean, nullable=False),
    Column("key", String(512), nullable=False),
    Column("version", String(64), nullable=False),
    # A digest of those four, of which there is one: an index takes no text of any length.
    Column("identity", String(64), nullable=False),
    Column("blob", String(255), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger, nullable=False),
    UniqueConstraint("repository", "identity"),
    UniqueConstraint("blob"),
    Index("caches_by_use", "used_at"),
)


# What jobs wait for that deploy there.
environments = Table(
    "environments",
    metadata,
    Column("repository", Id, ForeignKey("repositories.id"), primary_key=True),
    # Its name, which is the same whatever its case.
    Column("key", String(255), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("reviewers", JSON, nullable=False),
    # Minutes.
    Column("wait_timer", Integer, nullable=False),
    Column("branches", JSON, nullable=False),
    Column("prevent_self_review", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)


tokens = Table(
    "tokens",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("role", String(16), nullable=False),
    # Each as `forge:name`; NULL for all there are.
    Column("repositories", JSON(none_as_null=True)),
    # The SHA-256 of the token, which itself is nowhere.
    Column("digest", String(64), nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    # To the hour.
    Column("last_used_at", BigInteger),
    # What forges call whoever holds it.
    Column("person", String(255)),
    UniqueConstraint("digest"),
)

# What people did. Rows are added and never changed, and outlive what they are about.
audit = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("act", String(64), nullable=False),
    # Empty for what is about no repository.
    Column("forge", String(32), nullable=False),
    Column("repo", String(255), nullable=False),
    Column("run", Id),
    Column("job", Id),
    Column("details", JSON, nullable=False),
    Index("audit_of_repository", "forge", "repo", "id"),
    Index("audit_of_run", "run"),
)


# What keeps runs from going on until somebody takes it back: of those it names, all that are not NULL count.
stops = Table(
    "stops",
    metadata,
    Column("id", Id, primary_key=True),
    Column("forge", String(32), nullable=False),
    Column("repo", String(255), nullable=False),
    Column("run", Id, ForeignKey("runs.id", ondelete="CASCADE")),
    Column("commit", String(40)),
    Column("workflow", Text),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    # The run that was paused, where this one is only with it; NULL where it was itself.
    Column("above", Id),
    Column("at", BigInteger, nullable=False),
    Index("stops_of_run", "run"),
    Index("stops_of_repository", "forge", "repo", "run"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("forge", String(32), nullable=False),
    Column("repo", String(255), nullable=False),
    Column("run", Id, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("run_attempt", Integer, nullable=False),
    # Which step made it: in which attempt of its job, and by which key.
    Column("job", Id, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("step", STEP_KEY, nullable=False),
    Column("name", String(255), nullable=False),
    # The object that it is in, and the SHA-256 of that.
    Column("key", String(255), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("files", Integer, nullable=False),
    # Whether the code that made it is of those who may push.
    Column("trusted", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # NULL for as long as its run is kept.
    Column("expires_at", BigInteger),
    UniqueConstraint("run", "run_attempt", "name"),
    UniqueConstraint("key"),
    Index("artifacts_of_repository", "forge", "repo", "id"),
    Index("artifacts_of_job", "job"),
    Index("artifacts_by_end", "expires_at"),
    # People keep the ids: that of one which is gone is never another's.
    sqlite_autoincrement=True,
)


def was_cancelled(attempt: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether somebody wanted that attempt of the run of the enclosing query to end."""
    return exists().where(cancels.c.run == runs.c.id, cancels.c.attempt == attempt).correlate(runs)


def part_of(attempt: ColumnElement[int] | int) -> ColumnElement[bool]:
    """Whether a job is one of an attempt's, be it that it ran in an earlier one and was left as it ended."""
    return and_(jobs.c.run_attempt <= attempt, or_(jobs.c.superseded.is_(None), jobs.c.superseded > attempt))


def within(scope: Scope, forge: ColumnElement[str], repo: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether somebody who sees `scope` sees a row of that repository."""
    if scope is None:
        return true()
    return or_(false(), *(and_(forge == its, repo == name) for its, name in sorted(scope)))


def why_cancelled(attempt: ColumnElement[int]) -> ScalarSelect[str | None]:
    """Why that attempt of the run of the enclosing query was cancelled, where no person did."""
    mine = (cancels.c.run == runs.c.id) & (cancels.c.attempt == attempt)
    return select(cancels.c.reason).where(mine).correlate(runs).scalar_subquery()
