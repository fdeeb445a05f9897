"""What defines a job: a workflow file at the run's commit, and the workflow that called it."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from runner.engine.contexts import Asked
from runner.engine.dispatch import told
from runner.engine.masks import Masks
from runner.engine.ports import Workspaces
from runner.engine.station import Station
from runner.errors import BrokenDefinition, NotFound
from runner.expr.values import fold, shown, to_string
from runner.model.run import UNSAVED, Job, Run, StepName
from runner.model.source import Repository, Route
from runner.workflow.document import InvalidWorkflow, JobDef, Reusable, Steps, Workflow
from runner.workflow.load import is_workflow
from runner.workflow.python import is_python
from runner.workflow.references import Remote, called_from, remote_call
from runner.workflow.supported import load
from runner.workflow.trees import settled, texts

OWN = ".runner/workflows"
FOLDERS = (OWN, ".github/workflows")
"""Where definitions are looked for; the first folder that has any is the one."""


class BrokenFolder(BrokenDefinition):
    """What is in a folder of definitions cannot be read."""

    def __init__(self, folder: str, why: BrokenDefinition) -> None:
        super().__init__(str(why))
        self.folder = folder


def definitions(route: Route, workspaces: Workspaces) -> Mapping[str, bytes]:
    """The files by path, of the first folder that has any. Raises `BrokenFolder`."""
    for folder in FOLDERS:
        try:
            found = workspaces.read(route, folder)
        except BrokenDefinition as error:
            raise BrokenFolder(folder, error) from error
        if files := {path: text for path, text in found.items() if is_workflow(path, text)}:
            return files
    return {}


def workflow_at(path: str, route: Route, workspaces: Workspaces) -> Workflow:
    """A workflow file at a commit. Errors: `NotFound`, `InvalidWorkflow`."""
    return parsed(path, workflow_text(path, route, workspaces))


def workflow_text(path: str, route: Route, workspaces: Workspaces) -> bytes:
    """Raises `NotFound`."""
    files = workspaces.read(route, path.rpartition("/")[0])
    if path not in files:
        raise NotFound(f"{path} is not in {route.repo} at {route.commit[:12]}")
    return files[path]


# A commit's files never change: the text is the whole key.
parsed = lru_cache(maxsize=256)(load)


def definition_of(run: Run, job: Job, station: Station) -> tuple[Workflow, JobDef]:
    """The workflow that a job belongs to, and what it says of the job."""
    if job.caller is None:
        workflow = workflow_at(run.workflow, run.route, station.workspaces)
    else:
        workflow = called_by(run, run.job(job.caller), station)
    return workflow, workflow.job(job.key)


def called_by(run: Run, caller: Job, station: Station) -> Workflow:
    """The workflow that a job calls, at the commit that the run is bound to.

    Errors: `NotFound`, `BrokenDefinition`, `Unavailable`.
    """
    called = caller.calls or ""
    wanted = remote_call(called)
    if wanted is None:
        return workflow_at(called, run.route, station.workspaces)
    if is_python(wanted.path):
        raise BrokenDefinition(f"{called}: a workflow in Python is called from its own repository only")
    commit = run.pins.get(wanted.version)
    if commit is None:
        raise BrokenDefinition(f"{called}: the run is bound to no commit of it")
    route = station.sources.fetch(run.route, wanted, commit, run.delivery)
    try:
        return workflow_at(wanted.path, route, station.workspaces)
    except InvalidWorkflow as error:
        raise BrokenDefinition(f"{wanted.version}: {error}") from None


def tolerance_of(definition: JobDef, seen: Mapping[str, Any]) -> bool:
    """Whether a job may fail, as its `continue-on-error` says. Raises `BrokenDefinition`."""
    value = settled(definition.continue_on_error, seen)
    if not isinstance(value, bool):
        raise BrokenDefinition(f'"continue-on-error" is true or false, not {shown(to_string(value))}')
    return value


def home_of(run: Run, job: Job) -> Remote | None:
    """The repository that a job's file belongs to, where that is another one than the run's own."""
    return None if job.caller is None else remote_call(run.job(job.caller).calls or "")


def unsaved_jobs(workflow: Workflow, prefix: str = "", home: Remote | None = None) -> tuple[Job, ...]:
    """The jobs of a workflow before anything of them is evaluated; `prefix` stands before their names.

    `home`: the repository of its file, where that is another one than the run's own.
    """
    made = (_unsaved(job, prefix, home) for job in workflow.jobs)
    return tuple(replace(job, position=at) for at, job in enumerate(made))


def _unsaved(job: JobDef, prefix: str, home: Remote | None) -> Job:
    """Where nothing has to be evaluated, it is what runs."""
    body = job.body
    names = [job.name] if job.name is not None else []
    said = [*names, *(body.labels if isinstance(body, Steps) else ())]
    deploys = isinstance(body, Steps) and body.environment is not None
    asks = deploys or job.condition is not None or job.strategy is not None or job.concurrency is not None
    may_fail = job.continue_on_error
    dynamic = asks or not isinstance(may_fail, bool) or any(one.expressions for one in said)
    return Job(
        UNSAVED,
        job.key,
        prefix + (job.key if names and names[0].expressions else job.title),
        job.needs,
        # Labels are compared regardless of case.
        tuple(dict.fromkeys(label.text.lower() for label in said[len(names) :])) if not dynamic else (),
        tuple(
            StepName(step.key, step.title, step.condition is not None)
            for step in (body.steps if isinstance(body, Steps) else ())
        ),
        dynamic=dynamic,
        planned=not dynamic,
        conditional=job.condition is not None,
        step_ids={
            step.id: step.key
            for step in (body.steps if isinstance(body, Steps) else ())
            if step.id is not None
        },
        calls=called_from(body.workflow, home) if isinstance(body, Reusable) else None,
        tolerant=may_fail is True,
    )


def asked_of(run: Run, station: Station, repository: Repository | None = None) -> Asked:
    """What the expressions of a run can ask about; its `repository` is looked up where nobody has it yet."""
    if repository is None:
        repository = station.repositories.get(run.route.forge, run.route.repo)
    workflow = workflow_at(run.workflow, run.route, station.workspaces)
    event, inputs = told(workflow, station.store.event(run.delivery))
    # As on GitHub, a fork is told of variables no more than of secrets.
    variables = station.vault.variables(repository) if event.trusted else {}
    return Asked(run, event, station.server, inputs, variables)


def secrets_of(asked: Asked, job: Job, repository: Repository, station: Station) -> Mapping[str, str]:
    """The secrets that a job may see: in a called workflow those that it is handed, for a fork none.

    Raises `BrokenDefinition` where one that it needs is not among them.
    """
    if not asked.event.trusted:
        return {}
    if job.caller is None:
        return station.vault.secrets(repository)
    caller = asked.run.job(job.caller)
    known = secrets_of(asked, caller, repository, station)
    _, definition = definition_of(asked.run, caller, station)
    body = definition.body
    if not isinstance(body, Reusable) or caller.calls is None:
        raise BrokenDefinition(f"the job {caller.key} calls nothing")
    seen = {**asked.of_job(caller), "secrets": dict(known)}
    try:
        handed = known if body.secrets is None else texts(body.secrets, seen)
    except BrokenDefinition as error:
        raise BrokenDefinition(Masks(known.values()).hide_text(str(error))) from None
    if body.secrets is None:
        return handed
    call = called_by(asked.run, caller, station).on.call
    # As on GitHub it is enough that one is passed: nobody can know there whether it is empty.
    passed = {fold(one) for one in handed}
    for name in [name for name, required in (call.secrets if call else {}).items() if required]:
        if fold(name) not in passed:
            raise BrokenDefinition(f"{caller.calls} needs the secret {name}")
    return handed
