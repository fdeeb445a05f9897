"""SqlArtifacts: which artifacts runs have, for how long, and in which objects they are."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, or_, select
from sqlalchemy.exc import IntegrityError

from runner.errors import BrokenDefinition, LeaseLost, NotFound
from runner.model.access import Scope
from runner.model.artifact import MOST_OF_A_JOB, Artifact, Maker, NameTaken, NewArtifact
from runner.model.audit import Act
from runner.model.blob import Blob
from runner.model.limits import NONE, Limits
from runner.model.source import Repository, Route
from runner.store.audit import note
from runner.store.database import Database, micros, moment, one_at_a_time
from runner.store.read_models import ArtifactView
from runner.store.tables import artifacts, checkpoints, jobs, repositories, runs, within

DAY = 86400 * 10**6
AT_ONCE = 500
"""Keys that are looked up with one query."""
_of_runs = (
    select(artifacts, runs.c.commit, runs.c.ref)
    .join(runs, runs.c.id == artifacts.c.run)
    .where(runs.c.gone_at.is_(None))
)


class SqlArtifacts:
    """Every method is one transaction, or one query.

    `most` is how many bytes the artifacts of one repository may have together; 0 is no limit. `limits` are
    the server's, for repositories that have none of their own.
    """

    def __init__(self, database: Database, limits: Limits = NONE, most: int = 0) -> None:
        self._database = database
        self._limits = limits
        self._most = most

    # --- for runs --------------------------------------------------------------------------------

    def add(
        self, new: NewArtifact, instead_of: Collection[int] | None = ()
    ) -> tuple[Artifact, Sequence[str]]:
        def work(connection: Connection) -> tuple[Artifact, Sequence[str]]:
            maker, now = new.maker, micros(self._database.now(connection))
            if self._most:
                # Taken before the run's lock: who waits for it holds nothing.
                one_at_a_time(connection, f"artifacts of {maker.route.forge}:{maker.route.repo}")
            self._check_held(connection, maker)
            gone = _given_up(connection, new, instead_of)
            self._check_room(connection, new)
            days = self._days(connection, maker.route, new.days)
            row = _columns(new) | {"created_at": now, "expires_at": days and now + days * DAY}
            made = connection.execute(insert(artifacts).values(row).returning(artifacts)).one()
            return _from(made), gone

        try:
            # Forgotten at a loss of power, it is with the checkpoint of its step that comes after it. But
            # what it is made of is nowhere else once the objects are gone whose place it takes.
            return self._database.writing(work, durable=bool(instead_of))
        except IntegrityError:
            raise _taken(new.name) from None

    def of_run(self, route: Route, run: int) -> Sequence[Artifact]:
        here = and_(
            runs.c.id == run, runs.c.gone_at.is_(None), runs.c.forge == route.forge, runs.c.repo == route.repo
        )
        with self._database.reading() as connection:
            if connection.execute(select(runs.c.id).where(here)).first() is None:
                raise NotFound(f"{route.repo} has no run {run}")
            now = micros(self._database.now(connection))
            query = select(artifacts).where(artifacts.c.run == run, _there(now)).order_by(artifacts.c.id)
            return [_from(row) for row in connection.execute(query)]

    def _check_held(self, connection: Connection, maker: Maker) -> None:
        # Whoever changes a run locks it before its jobs.
        connection.execute(select(runs.c.id).where(runs.c.id == maker.run).with_for_update())
        held = select(jobs.c.id).where(
            jobs.c.id == maker.job, jobs.c.attempt == maker.attempt, jobs.c.phase == "running"
        )
        if connection.execute(held.with_for_update()).first() is None:
            raise LeaseLost(f"attempt {maker.attempt} no longer holds job {maker.job}")

    def _check_room(self, connection: Connection, new: NewArtifact) -> None:
        maker = new.maker
        its = select(func.count()).where(artifacts.c.job == maker.job)
        if connection.execute(its).scalar_one() >= MOST_OF_A_JOB:
            raise BrokenDefinition(f"a job has at most {MOST_OF_A_JOB} artifacts")
        if not self._most:
            return
        mine = (artifacts.c.forge == maker.route.forge) & (artifacts.c.repo == maker.route.repo)
        held = int(connection.execute(select(func.sum(artifacts.c.size)).where(mine)).scalar_one() or 0)
        if held + new.blob.size > self._most:
            raise BrokenDefinition(
                f"the artifacts of {maker.route.repo} have {held} bytes together, and with {new.blob.size} "
                f"more they would have more than {self._most} (RUNNER_REPO_ARTIFACT_BYTES); "
                "`runner artifacts delete` takes some away"
            )

    def _days(self, connection: Connection, route: Route, wanted: int | None) -> int | None:
        """How long it is kept; None for as long as its run."""
        mine = (repositories.c.forge == route.forge) & (repositories.c.name == route.repo)
        own = connection.execute(select(repositories.c.keep_artifacts).where(mine)).scalar_one_or_none()
        seconds = self._limits.keep_artifacts if own is None else own
        # What is kept for a part of a day is kept for all of it.
        most = -(-seconds // 86400) if seconds else None
        return min((days for days in (wanted, most) if days is not None), default=None)

    # --- for the clock ---------------------------------------------------------------------------

    def expired(self, most: int) -> Sequence[str]:
        def work(connection: Connection) -> Sequence[str]:
            now = micros(self._database.now(connection))
            over = select(artifacts.c.id).where(artifacts.c.expires_at <= now)
            old = connection.execute(over.order_by(artifacts.c.expires_at).limit(most)).scalars().all()
            return _removed(connection, old)

        return self._database.writing(work, durable=False)

    def known(self, keys: Collection[str]) -> Collection[str]:
        found, asked = set[str](), list(keys)
        with self._database.reading() as connection:
            for start in range(0, len(asked), AT_ONCE):
                query = select(artifacts.c.key).where(artifacts.c.key.in_(asked[start : start + AT_ONCE]))
                found.update(connection.execute(query).scalars())
        return found

    # --- for people ------------------------------------------------------------------------------

    def shown(
        self, repository: Repository, name: str | None = None, limit: int = 30, before: int | None = None
    ) -> list[ArtifactView]:
        """Those of a repository, newest first."""
        older = [artifacts.c.id < before] if before is not None else []
        return self._views(*_of(repository, name), *older, limit=limit)

    def count(self, repository: Repository, name: str | None = None) -> int:
        """How many of a repository have not expired."""
        with self._database.reading() as connection:
            there = _there(micros(self._database.now(connection)))
            query = _of_runs.where(there, *_of(repository, name)).subquery()
            return int(connection.execute(select(func.count()).select_from(query)).scalar_one())

    def shown_of(self, run: int, name: str | None = None) -> list[ArtifactView]:
        """Those of a run, newest first."""
        mine = [artifacts.c.run == run] + ([artifacts.c.name == name] if name is not None else [])
        return self._views(*mine)

    def one(self, id: int, scope: Scope) -> tuple[ArtifactView, Blob]:
        """One, and what it is in. Raises `NotFound`, also for what `scope` does not see."""
        mine = [artifacts.c.id == id, within(scope, artifacts.c.forge, artifacts.c.repo)]
        with self._database.reading() as connection:
            there = _there(micros(self._database.now(connection)))
            row = connection.execute(_of_runs.where(there, *mine)).one_or_none()
        if row is None:
            raise _none(id)
        return _view(row), Blob(row.key, row.size, row.digest)

    def remove(self, repository: Repository, id: int, act: Act | None = None) -> str:
        """Gives the key of its object. Raises `NotFound`."""

        def work(connection: Connection) -> str:
            mine = and_(
                artifacts.c.id == id,
                artifacts.c.forge == repository.forge,
                artifacts.c.repo == repository.name,
            )
            found = connection.execute(_of_runs.where(mine).with_only_columns(artifacts.c.id)).scalars().all()
            gone = _removed(connection, found)
            if not gone:
                raise _none(id)
            note(connection, act, micros(self._database.now(connection)))
            return gone[0]

        return self._database.writing(work)

    def _views(self, *conditions: ColumnElement[bool], limit: int | None = None) -> list[ArtifactView]:
        with self._database.reading() as connection:
            there = _there(micros(self._database.now(connection)))
            query = _of_runs.where(there, *conditions).order_by(artifacts.c.id.desc()).limit(limit)
            return [_view(row) for row in connection.execute(query)]


def _given_up(connection: Connection, new: NewArtifact, instead_of: Collection[int] | None) -> Sequence[str]:
    """Remove what an artifact takes the place of. Raises `NameTaken` where that is another one's."""
    maker = new.maker
    named = and_(artifacts.c.run_attempt == maker.run_attempt, artifacts.c.name == new.name)
    also = artifacts.c.id.in_(list(instead_of or ()))
    query = select(artifacts).where(artifacts.c.run == maker.run, or_(named, also))
    found = connection.execute(query.with_for_update()).all()
    for row in found:
        own = row.job == maker.job and (row.step == maker.step or row.attempt < maker.base)
        if own and row.step != maker.step and _counts(connection, maker, row.step):
            own = False
        if not own and instead_of is not None and row.id not in instead_of:
            raise _taken(new.name)
    return _removed(connection, [row.id for row in found])


def _counts(connection: Connection, maker: Maker, step: str) -> bool:
    """Whether a step of the maker's job still counts as done, though the job went back since."""
    whole = step.partition(".")[0]
    query = select(checkpoints.c.key).where(
        checkpoints.c.job == maker.job, checkpoints.c.base == maker.base, checkpoints.c.key == whole
    )
    return connection.execute(query).first() is not None


def _of(repository: Repository, name: str | None) -> list[ColumnElement[bool]]:
    mine = [artifacts.c.forge == repository.forge, artifacts.c.repo == repository.name]
    return [*mine, artifacts.c.name == name] if name is not None else mine


def _removed(connection: Connection, ids: Sequence[int]) -> Sequence[str]:
    if not ids:
        return []
    gone = delete(artifacts).where(artifacts.c.id.in_(list(ids))).returning(artifacts.c.key)
    return connection.execute(gone).scalars().all()


def _there(now: int) -> ColumnElement[bool]:
    return or_(artifacts.c.expires_at.is_(None), artifacts.c.expires_at > now)


def _taken(name: str) -> NameTaken:
    return NameTaken(
        f"Conflict: an artifact with this name already exists on the workflow run: {name}; "
        "`overwrite: true` takes its place"
    )


def _none(id: int) -> NotFound:
    return NotFound(f"no artifact {id}; `runner artifacts list -R NAME` shows those that are there")


def _columns(new: NewArtifact) -> dict[str, Any]:
    maker, blob = new.maker, new.blob
    return {
        "forge": maker.route.forge,
        "repo": maker.route.repo,
        "run": maker.run,
        "run_attempt": maker.run_attempt,
        "job": maker.job,
        "attempt": maker.attempt,
        "step": maker.step,
        "name": new.name,
        "key": blob.key,
        "size": blob.size,
        "digest": blob.digest,
        "files": new.files,
        "trusted": maker.trusted,
    }


def _from(row: Row[Any]) -> Artifact:
    return Artifact(
        row.id,
        row.run,
        row.run_attempt,
        row.job,
        row.step,
        row.name,
        Blob(row.key, row.size, row.digest),
        row.files,
        row.trusted,
        moment(row.created_at),
        None if row.expires_at is None else moment(row.expires_at),
    )


def _view(row: Row[Any]) -> ArtifactView:
    return ArtifactView(
        row.id,
        row.name,
        row.size,
        f"sha256:{row.digest}",
        row.files,
        row.repo,
        row.forge,
        row.run,
        row.run_attempt,
        row.job,
        row.trusted,
        row.commit,
        row.ref,
        moment(row.created_at),
        None if row.expires_at is None else moment(row.expires_at),
    )
