"""Turn a stored delivery into runs, from the workflow files at exactly its commit."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache

from runner.engine.advance import ring, tell
from runner.engine.changes import changed
from runner.engine.concurrency import turn_of_run
from runner.engine.definitions import (
    FOLDERS,
    BrokenFolder,
    definitions,
    parsed,
    unsaved_jobs,
    workflow_text,
)
from runner.engine.dispatch import DISPATCH, dispatched
from runner.engine.pins import FirstWalk
from runner.engine.ports import (
    Dispatcher,
    NewRun,
    Store,
    Verdict,
    Workspaces,
)
from runner.engine.pulls import PULL, TARGET, held_back, merge_of, target_of
from runner.engine.receive import receive
from runner.engine.refs import MERGED
from runner.engine.sources import Sources
from runner.engine.standings import SYNC, Standings, keep_up
from runner.engine.subject import HEAD, check_on_ref, concerned, named, skipped, waits
from runner.engine.titles import Titles
from runner.errors import DatabaseUnavailable, NotFound, RunnerError, Unavailable
from runner.model.refs import checked_ref
from runner.model.run import Run
from runner.model.source import Delivery, Event, Repository, Route
from runner.workflow.document import InvalidWorkflow, Workflow
from runner.workflow.triggers import refusal

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a person asks for by name, instead of all that an event starts; whoever does, means it.

    `files` may be anywhere in the repository. Of `jobs`, those that they need are run too. Empty is no
    restriction.
    """

    files: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()


def admit(
    delivery_id: str,
    *,
    store: Store,
    sources: Sources,
    standings: Standings,
    dispatcher: Dispatcher,
    titles: Titles,
    selection: Selection | None = None,
) -> tuple[Run, ...]:
    """Decide which workflows a delivery starts and create their runs; a settled delivery stays so.

    What keeps a delivery from being judged (no such commit, no name of a ref, an unreachable repository)
    ends it as `failed` with the reason, and it can be replayed. What nobody looks at is tried again first.
    """
    delivery = store.delivery(delivery_id)
    if delivery.status != "received":
        return ()
    try:
        if delivery.event.kind == PULL and selection is None:
            # A delivery of its own, as it is of another commit. A second try finds it there.
            guid = f"{TARGET} {delivery_id}"
            digest = hashlib.sha256(guid.encode()).hexdigest()
            receive(target_of(delivery.event), guid, digest, store=store, dispatcher=dispatcher)
        verdict = _judge(delivery, sources, standings, titles, selection)
    except DatabaseUnavailable:
        raise
    except Unavailable as error:
        if waits(delivery, error, datetime.now(UTC)):
            log.info("a delivery waits", extra={"delivery": delivery_id, "error": str(error)})
            return ()
        verdict = Verdict("failed", str(error))
    except RunnerError as error:
        verdict = Verdict("failed", str(error))
    except Exception as error:
        log.exception("delivery failed by a bug", extra={"delivery": delivery_id})
        verdict = Verdict("failed", f"internal error: {type(error).__name__}")
    runs = store.settle(delivery_id, verdict)
    for run in runs:
        ring(run, dispatcher)
    # Whoever paused the run just then whose step has started one, or had it go on, has not seen that one yet.
    new = [run.id for run in runs if run.turn is not None or run.parent is not None]
    tell(new, store=store, dispatcher=dispatcher)
    ended = [run.parent.run for run in runs if run.parent is not None and run.result is not None]
    tell(ended, store=store, dispatcher=dispatcher)
    return runs


def _judge(
    delivery: Delivery,
    sources: Sources,
    standings: Standings,
    titles: Titles,
    selection: Selection | None,
) -> Verdict:
    event = delivery.event
    repository = sources.repositories.get(event.forge, event.repo)
    event = named(event, repository, sources.workspaces)
    if event.kind == SYNC and event.ref == HEAD:
        return Verdict("ignored", f"{repository.name} has no default branch yet; nothing was pushed to it")
    verdict = _judge_event(delivery, event, repository, sources, standings, titles, selection)
    return replace(verdict, ref=event.ref)


def _judge_event(
    delivery: Delivery,
    event: Event,
    repository: Repository,
    sources: Sources,
    standings: Standings,
    titles: Titles,
    selection: Selection | None,
) -> Verdict:
    # A payload that names a commit is not asked for its ref again, yet steps and pages are told of it.
    checked_ref(event.ref)
    keep, workspaces = delivery.id, sources.workspaces
    if event.commit is None and event.kind in MERGED:
        commit = merge_of(event, keep, repository, workspaces)
    else:
        commit = event.commit or workspaces.resolve(repository, event.ref)
    route = Route(event.forge, event.repo, commit)
    workspaces.fetch(repository, route, keep=keep)
    if selection is None:
        check_on_ref(event, route, repository, workspaces)
        keep_up(event, route, keep, repository, workspaces, standings)
        if said := _nothing_for(delivery, event, route, workspaces):
            return Verdict("ignored", said, route)
    try:
        files = _files(route, workspaces, selection)
    except BrokenFolder as error:
        broken = NewRun(error.folder, error.folder, problems=(str(error),))
        return Verdict("admitted", route=route, runs=(broken,))
    if not files:
        return Verdict("ignored", f"no workflow files in {' or '.join(FOLDERS)} at {commit[:12]}", route)

    walk = FirstWalk(sources, route, keep, event.trusted)
    if event.kind == DISPATCH:
        chosen = dispatched(event, files)
        new = new_run(chosen, event, repository, titles, walk.pinned(chosen))
        return Verdict("admitted", route=route, runs=_with_jobs([new], selection))

    @cache
    def paths() -> Sequence[str] | None:
        return changed(event, route, keep, repository, workspaces)

    runs, refusals = [], []
    concerns = concerned(event, files)
    if not concerns:
        return Verdict("ignored", f"{event.payload['workflow']} is not there at {commit[:12]}", route)
    for path, text in concerns:
        try:
            workflow = parsed(path, text)
        except InvalidWorkflow as error:
            runs.append(NewRun(path, path, problems=tuple(str(problem) for problem in error.problems)))
            continue
        reason = refusal(workflow, event, paths)
        if reason is None:
            runs.append(new_run(workflow, event, repository, titles, walk.pinned(workflow)))
        else:
            refusals.append(f"{path}: {reason}")
    if not runs:
        return Verdict("ignored", "no workflow matches: " + "; ".join(refusals), route)
    return Verdict("admitted", route=route, runs=_with_jobs(runs, selection))


def _files(route: Route, workspaces: Workspaces, selection: Selection | None) -> Mapping[str, bytes]:
    if selection is None or not selection.files:
        return definitions(route, workspaces)
    return {path: workflow_text(path, route, workspaces) for path in selection.files}


def _nothing_for(delivery: Delivery, event: Event, route: Route, workspaces: Workspaces) -> str | None:
    """Why nothing runs for an event whatever the workflows say."""
    if event.kind == SYNC:
        return f"the default branch was read at {route.commit[:12]}"
    return skipped(event, route, workspaces) or held_back(delivery, event, route, workspaces)


def _with_jobs(runs: Sequence[NewRun], selection: Selection | None) -> tuple[NewRun, ...]:
    """Of each run the named jobs and all that they need; a run that has none of them is none."""
    keys = selection.jobs if selection else ()
    if not keys:
        return tuple(runs)
    known = list(dict.fromkeys(job.key for run in runs for job in run.jobs))
    for key in keys:
        if key not in known:
            raise NotFound(f"no job {key!r}; there are {', '.join(known)}")
    kept = []
    for run in runs:
        needs = {job.key: job.needs for job in run.jobs}
        wanted, seen = [key for key in keys if key in needs], set[str]()
        while wanted:
            key = wanted.pop()
            seen.add(key)
            wanted += [one for one in needs[key] if one not in seen]
        if seen or run.problems:
            kept.append(replace(run, jobs=tuple(job for job in run.jobs if job.key in seen)))
    return tuple(kept)


def new_run(
    workflow: Workflow, event: Event, repository: Repository, titles: Titles, pins: Mapping[str, str]
) -> NewRun:
    return NewRun(
        workflow.path,
        workflow.name,
        unsaved_jobs(workflow),
        pins=pins,
        title=titles.of(workflow, event, repository),
        turn=turn_of_run(workflow, event, repository, titles),
    )
