"""Turn a stored delivery into runs, from the workflow files at exactly its commit."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from runner.engine.advance import ring
from runner.engine.definitions import unsaved_job
from runner.engine.dispatch import DISPATCH, dispatched
from runner.engine.ports import (
    Dispatcher,
    NewRun,
    Repositories,
    Store,
    Verdict,
    Workspaces,
)
from runner.engine.subject import named
from runner.errors import BrokenDefinition, DatabaseUnavailable, NotFound, RunnerError
from runner.model.refs import checked_ref
from runner.model.run import Run
from runner.model.source import Delivery, Event, Repository, Route
from runner.workflow.document import InvalidWorkflow, Workflow
from runner.workflow.supported import load
from runner.workflow.triggers import refusal, skip_word

log = logging.getLogger(__name__)
FOLDERS = (".runner/workflows", ".github/workflows")
"""Where definitions are looked for; the first folder that has any is the one."""


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
    repositories: Repositories,
    workspaces: Workspaces,
    dispatcher: Dispatcher,
    selection: Selection | None = None,
) -> tuple[Run, ...]:
    """Decide which workflows a delivery starts and create their runs; a settled delivery stays so.

    What keeps a delivery from being judged (no such commit, no name of a ref, an unreachable repository)
    ends it as `failed` with the reason, and it can be replayed.
    """
    delivery = store.delivery(delivery_id)
    if delivery.status != "received":
        return ()
    try:
        verdict = _judge(delivery, repositories, workspaces, selection)
    except DatabaseUnavailable:
        raise
    except RunnerError as error:
        verdict = Verdict("failed", str(error))
    except Exception as error:
        log.exception("delivery failed by a bug", extra={"delivery": delivery_id})
        verdict = Verdict("failed", f"internal error: {type(error).__name__}: {error}")
    runs = store.settle(delivery_id, verdict)
    for run in runs:
        ring(run, dispatcher)
    return runs


def _judge(
    delivery: Delivery, repositories: Repositories, workspaces: Workspaces, selection: Selection | None
) -> Verdict:
    event = delivery.event
    repository = repositories.get(event.forge, event.repo)
    event = named(event, repository, workspaces)
    return replace(_judge_event(event, delivery.id, repository, workspaces, selection), ref=event.ref)


def _judge_event(
    event: Event, keep: str, repository: Repository, workspaces: Workspaces, selection: Selection | None
) -> Verdict:
    # A payload that names a commit is not asked for its ref again, yet steps and pages are told of it.
    checked_ref(event.ref)
    commit = event.commit or workspaces.resolve(repository, event.ref)
    route = Route(event.forge, event.repo, commit)
    workspaces.fetch(repository, route, keep=keep)
    # Who starts it by hand means it, whatever the commit says.
    pushed = event.kind == "push" and not event.payload.get("by_hand") and selection is None
    if pushed and (word := skip_word(workspaces.message(route))):
        return Verdict("ignored", f"the message of {commit[:12]} says {word}", route)
    files: Mapping[str, bytes] = _named(route, selection.files, workspaces) if selection else {}
    for folder in () if files else FOLDERS:
        try:
            files = _definitions(route, folder, workspaces)
        except BrokenDefinition as error:
            return Verdict("admitted", route=route, runs=(NewRun(folder, folder, problems=(str(error),)),))
        if files:
            break
    if not files:
        return Verdict("ignored", f"no workflow files in {' or '.join(FOLDERS)} at {commit[:12]}", route)

    if event.kind == DISPATCH:
        chosen = dispatched(event, files, alone=selection is not None)
        return Verdict("admitted", route=route, runs=(new_run(chosen),))

    @cache
    def changed() -> tuple[str, ...]:
        return tuple(workspaces.changed(route, event.before))

    runs, refusals = [], []
    for path, text in sorted(files.items()):
        try:
            workflow = load(path, text, alone=selection is not None)
        except InvalidWorkflow as error:
            runs.append(NewRun(path, path, problems=tuple(str(problem) for problem in error.problems)))
            continue
        reason = refusal(workflow, event, changed)
        if reason is None:
            runs.append(new_run(workflow))
        else:
            refusals.append(f"{path}: {reason}")
    if not runs:
        return Verdict("ignored", "no workflow matches: " + "; ".join(refusals), route)
    if selection and selection.jobs:
        runs = _with_jobs(runs, selection.jobs)
    return Verdict("admitted", route=route, runs=tuple(runs))


def _definitions(route: Route, folder: str, workspaces: Workspaces) -> Mapping[str, bytes]:
    found = workspaces.read(route, folder)
    return {path: text for path, text in found.items() if path.endswith((".yml", ".yaml"))}


def _named(route: Route, paths: Sequence[str], workspaces: Workspaces) -> Mapping[str, bytes]:
    found: dict[str, bytes] = {}
    for path in paths:
        files = workspaces.read(route, path.rpartition("/")[0])
        if path not in files:
            raise NotFound(f"{path} is not in {route.repo} at {route.commit[:12]}")
        found[path] = files[path]
    return found


def _with_jobs(runs: Sequence[NewRun], keys: Sequence[str]) -> list[NewRun]:
    """Of each run the named jobs and all that they need; a run that has none of them is none."""
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
    return kept


def new_run(workflow: Workflow) -> NewRun:
    return NewRun(workflow.path, workflow.name, tuple(map(unsaved_job, workflow.jobs)))
