"""Settings to services: the only place that names concrete classes."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path

from runner import environment
from runner.broker import CeleryDispatcher, checked_broker, queues_for
from runner.engine import archive, expire
from runner.engine.caches import CacheStore
from runner.engine.heart import Heart
from runner.engine.log_archive import StoredLogs
from runner.engine.ports import Containers, Executor, Objects
from runner.engine.remove import remove
from runner.engine.reopening import JOB
from runner.engine.retire import sweep_values
from runner.engine.sources import Sources, checked_base
from runner.engine.station import Station
from runner.errors import Rejected
from runner.executors import EXECUTORS, containers, executor
from runner.executors.ownership import owner
from runner.executors.sight import blindness
from runner.forges import FORGES
from runner.logs import FileLogs
from runner.model.limits import Limits
from runner.model.snapshot import Keep
from runner.model.source import shown_url
from runner.objects import checked_url, objects_at
from runner.settings import Settings
from runner.store import (
    Database,
    SqlArchived,
    SqlArchivedLogs,
    SqlArtifacts,
    SqlAudit,
    SqlCaches,
    SqlDeployment,
    SqlEnvironments,
    SqlLogs,
    SqlRepositories,
    SqlRetention,
    SqlSecrets,
    SqlStandings,
    SqlStops,
    SqlStore,
    SqlTokens,
    SqlVariables,
    SqlWorkers,
)
from runner.store.read_models import JobEnd
from runner.store.views import Views
from runner.vault import KeyFile, SealedVault
from runner.workspaces import GitWorkspaces
from runner.workspaces.archives import GitLayers
from runner.workspaces.keeping import Ended, too_much

_ITS_COMMIT = re.compile("-[0-9a-f]{40}$")
"""How the name of a keep-ref ends that holds for a run what it uses of others."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a process needs to serve, to work or to keep the clock."""

    settings: Settings
    database: Database
    store: SqlStore
    repositories: SqlRepositories
    retention: SqlRetention
    views: Views
    workers: SqlWorkers
    standings: SqlStandings
    secrets: SqlSecrets
    variables: SqlVariables
    stops: SqlStops
    tokens: SqlTokens
    audit: SqlAudit
    environments: SqlEnvironments
    vault: SealedVault
    logs: StoredLogs
    dispatcher: CeleryDispatcher
    workspaces: GitWorkspaces
    executors: Mapping[str, Callable[[], Executor]]
    containers: Callable[[], Containers]
    objects: Objects
    archived: SqlArchived
    artifacts: SqlArtifacts
    caches: CacheStore
    cache_rows: SqlCaches

    def close(self) -> None:
        self.workspaces.close()
        self.database.close()


def services(settings: Settings) -> Services:
    """Connects to nothing yet; makes the home folder. Raises `Rejected` naming a setting that cannot be."""
    home = settings.home
    with _setting("executor", settings.executor):
        if settings.executor not in EXECUTORS:
            raise Rejected(f"there are {', '.join(EXECUTORS)}")
    with _setting("labels", settings.labels):
        queues_for(settings.label_set)
    with _setting("broker", shown_url(settings.broker)):
        checked_broker(settings.broker)
    with _setting("actions_url", shown_url(settings.actions_url)):
        checked_base(settings.actions_url)
    # Sandboxes run as another user, who must be able to pass through, though not to look around.
    with making(home):
        home.mkdir(mode=0o711, parents=True, exist_ok=True)
        for private in ("logs", "mirrors", "objects", "snapshots"):
            (home / private).mkdir(mode=0o700, exist_ok=True)
    with _setting("database", shown_url(settings.database)):
        database = Database(settings.database_url)
    with _setting("objects", shown_url(settings.objects)):
        checked_url(settings.objects)
    secrets, variables = SqlSecrets(database), SqlVariables(database)
    limits = Limits(
        settings.repo_max_jobs,
        settings.repo_max_queued,
        settings.queue_timeout,
        settings.run_timeout,
        settings.keep_logs,
        settings.keep_runs,
        settings.keep_artifacts,
        cache_bytes=settings.cache_bytes,
    )
    objects = objects_at(settings.objects, home / "objects", environment.for_s3())
    cache_rows = SqlCaches(database, limits)
    key = KeyFile(settings.key_file, ours=settings.secret_key_file is None)
    living = FileLogs(home / "logs") if database.lite else SqlLogs(database)
    # What is in the home of one machine is not shown by servers on others.
    reached = database.lite or bool(settings.objects)
    logs = StoredLogs(living, SqlArchivedLogs(database), objects, reached)
    return Services(
        settings=settings,
        database=database,
        store=SqlStore(database, settings.lease_length, limits),
        repositories=SqlRepositories(database),
        retention=SqlRetention(database, limits),
        views=Views(database, limits, logs.read),
        workers=SqlWorkers(database),
        standings=SqlStandings(database),
        secrets=secrets,
        variables=variables,
        stops=SqlStops(database),
        tokens=SqlTokens(database),
        audit=SqlAudit(database),
        environments=SqlEnvironments(database),
        vault=SealedVault(secrets, variables, key),
        logs=logs,
        dispatcher=CeleryDispatcher(
            settings.broker, [name for name, forge in FORGES.items() if forge.reports]
        ),
        workspaces=GitWorkspaces(
            home,
            settings.git_protocols,
            owner(),
            environment=environment.for_git(),
            networks=settings.git_network_list,
            hindrance=partial(blindness, settings.docker_url),
            fetch_bytes=settings.fetch_bytes,
        ),
        executors={name: cache(partial(_executor, name, settings)) for name in EXECUTORS},
        containers=cache(partial(containers, **_docker(settings))),
        archived=SqlArchived(database),
        artifacts=SqlArtifacts(database, limits, settings.repo_artifact_bytes),
        objects=objects,
        caches=CacheStore(cache_rows, objects),
        cache_rows=cache_rows,
    )


@contextmanager
def making(home: Path) -> Iterator[None]:
    """Names the variable where nothing can be put into the home folder."""
    try:
        yield
    except OSError as error:
        raise Rejected(
            f"RUNNER_HOME: cannot make {error.filename or home}: {error.strerror}; give a folder that "
            f"you may write to, not {str(home)!r}"
        ) from None


@contextmanager
def _setting(name: str, value: str) -> Iterator[None]:
    """Names the variable and what it was where the block refuses it."""
    try:
        yield
    except Rejected as error:
        raise Rejected(f"RUNNER_{name.upper()}: {error}, not {value!r}") from None


def _executor(name: str, settings: Settings) -> Executor:
    options: dict[str, dict[str, object]] = {
        "sandbox": {"network": settings.job_network},
        "docker": _docker(settings),
    }
    return executor(name)(**options.get(name, {}))


def _docker(settings: Settings) -> dict[str, object]:
    return {"url": settings.docker_url, "network": settings.job_network}


def station(services: Services, worker: str) -> Station:
    """A worker's place in this process; `worker` is its name in leases and in what people see."""
    settings = services.settings
    return Station(
        worker=worker,
        site=hashlib.sha256(f"{settings.home}\n{settings.database_url}".encode()).hexdigest()[:8],
        server=settings.address,
        temp=settings.home / "temp",
        lease=settings.lease_length,
        store=services.store,
        repositories=services.repositories,
        workspaces=services.workspaces,
        sources=Sources(settings.actions_url, services.repositories, services.workspaces),
        executors=services.executors,
        containers=services.containers,
        executor=settings.executor,
        logs=services.logs,
        heart=Heart(services.store, settings.lease_length),
        dispatcher=services.dispatcher,
        vault=services.vault,
        environments=services.environments,
        objects=services.objects,
        archive=archive.Archive(
            GitLayers(settings.home, services.workspaces.overlay_problem),
            services.objects,
            services.archived,
            _workspace_of,
        ),
        snapshot=Keep(settings.snapshot),
        artifacts=services.artifacts,
        caches=services.caches,
    )


def _workspace_of(job: int) -> str:
    return f"{JOB}{job}"


def own_objects(services: Services) -> None:
    """Raises `Rejected` where the objects are another deployment's: each sweeps what it does not know."""
    settings, ours = services.settings, SqlDeployment(services.database).id()
    found = services.objects.mark(ours)
    if found != ours:
        where = settings.objects or str(settings.home / "objects")
        raise Rejected(
            f"RUNNER_OBJECTS: what is kept in {where} is that of another server's database "
            f"({found!r}, and this one is {ours}); give each a prefix of its own. Where that one is "
            f"no more, as after a database was lost, remove {where}/owner"
        )


def sweeping(services: Services, sweep: Callable[[], None]) -> None:
    """Remove nothing of another deployment."""
    own_objects(services)
    sweep()


def expire_stored(services: Services) -> None:
    """Remove the snapshots of jobs that ended long enough ago from the store. Raises `Unavailable`."""
    kept = timedelta(seconds=services.settings.keep_snapshots)
    archive.expire(archived=services.archived, objects=services.objects, kept=kept)


def sweep_stored(services: Services) -> None:
    """Remove what nothing needs from the store. Raises `Unavailable`."""
    archive.sweep_store(archived=services.archived, objects=services.objects)


def sweep(services: Services, station: Station) -> None:
    """Remove what jobs left here when their worker died, or went on elsewhere. Raises `Unavailable`."""
    _sweep_folders(services, station)
    _sweep_containers(services, station)


def _sweep_folders(services: Services, station: Station) -> None:
    # Who lives is asked last: a folder that was there before belongs to one of them, or to the dead.
    left = [(folder, _job_and_attempt(folder.name)) for folder in _entries(station.temp)]
    names = services.workspaces.names()
    held = _held(services, station)
    for folder, whose in left:
        if whose is not None and whose not in held:
            remove(folder)
    jobs = {_job(name): name for name in names if name.removeprefix(JOB).isdecimal()}
    for job in services.views.finished(jobs):
        services.workspaces.retire(jobs[job])


def collect(services: Services) -> None:
    """Remove what is kept here of jobs that have ended, as the settings say, but of no run that goes on.

    Mirrors are put in order, and removed where they are too many.
    """
    kept = [one for one in services.workspaces.kept() if one.name.removeprefix(JOB).isdecimal()]
    ends = services.views.ends(_job(one.name) for one in kept)
    ended = {}
    for one in kept:
        # A job that there is no more may be one of another database, which this one was changed for.
        end = ends.get(_job(one.name), JobEnd(one.since, succeeded=False))
        if end is not None:
            ended[one.name] = Ended(end.at, end.succeeded, _kept_for(end))
    settings = services.settings
    keep = timedelta(seconds=settings.keep_snapshots)
    for name in too_much(kept, ended, datetime.now(UTC), keep, settings.snapshot_bytes):
        services.workspaces.forget(name)
    services.workspaces.tidy(settings.base_bytes)
    services.workspaces.tend(settings.mirror_bytes, partial(_needed, services))


def _needed(services: Services, keeps: Collection[str]) -> bool:
    """Whether one of these keep-refs is one of a run that goes on: it may sleep for months."""
    return bool(services.views.going_on({_ITS_COMMIT.sub("", keep) for keep in keeps}))


def sweep_objects(services: Services) -> None:
    """Remove objects that are no artifact's, and no step's value. Raises `Unavailable`."""
    now = datetime.now(UTC)
    expire.sweep_objects(artifacts=services.artifacts, objects=services.objects, now=now)
    sweep_values(retention=services.retention, objects=services.objects, now=now)


def _kept_for(end: JobEnd) -> timedelta | None:
    """What the job's repository says of that: 0 is no limit there, as of all that it says."""
    own = end.keep_snapshots
    return None if own is None else timedelta(seconds=own) if own else timedelta.max


def _job(name: str) -> int:
    return int(name.removeprefix(JOB))


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _job_and_attempt(name: str) -> tuple[int, int] | None:
    job, _, attempt = name.partition("-")
    return (int(job), int(attempt)) if job.isdecimal() and attempt.isdecimal() else None


def _sweep_containers(services: Services, station: Station) -> None:
    url = services.settings.docker_url
    # Docker's client takes a tenth of a second to import, for nothing where there is no docker.
    if url.startswith("unix://") and not Path(url.removeprefix("unix://")).is_socket():
        return
    held = partial(_held, services, station)
    services.executors["docker"]().sweep(station.site, lambda: {station.label(*one) for one in held()})


def _held(services: Services, station: Station) -> set[tuple[int, int]]:
    # A clock that jumps ahead ends no job that is performed here, though its lease seems to be over.
    return services.views.held() | station.heart.holding()
