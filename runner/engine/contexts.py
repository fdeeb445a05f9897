"""What a definition's expressions can see, and the environment a step begins with."""

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runner.engine.commands import FOLDER
from runner.engine.ports import Sandbox
from runner.engine.refs import short_ref, within
from runner.expr.evaluate import render
from runner.expr.values import to_string
from runner.model.run import Job, Run, in_order_of_end
from runner.model.source import Event
from runner.model.step import Result
from runner.workflow.document import Call
from runner.workflow.references import remote_call

ARCHITECTURES = {"x86_64": "X64", "aarch64": "ARM64", "armv7l": "ARM", "i686": "X86"}
INHERITED = (
    *(
        "actor",
        "api_url",
        "base_ref",
        "event_name",
        "event_path",
        "head_ref",
        "job",
        "ref",
        "ref_name",
        "ref_type",
    ),
    *("repository", "repository_owner", "run_attempt", "run_id", "run_number", "server_url", "sha"),
    *("triggering_actor", "workflow", "workflow_ref", "workflow_sha", "workspace"),
)
"""What of `github` is a variable of every step too."""
RUNNERS = ("arch", "environment", "name", "os", "temp", "tool_cache", "workspace")
"""What of `runner` is one."""
Contexts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the definitions of a run may ask about, wherever they are evaluated."""

    run: Run
    event: Event
    server: str
    """The public address of this server."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """What the run was given by whoever started it, each of its type."""
    variables: Mapping[str, str] = field(default_factory=dict)

    def of_job(self, job: Job) -> Contexts:
        """The contexts of a job before anything of it runs."""
        return {
            "github": self.github(job),
            "inputs": self.inputs_of(job.caller),
            "needs": self.needs(job),
            "vars": dict(self.variables),
            "strategy": strategy_of(job),
            "matrix": dict(job.leg.matrix) or None,
        }

    def inputs_of(self, caller: int | None) -> Mapping[str, Any]:
        """What the workflow that a job belongs to was given."""
        return dict(self.inputs) if caller is None else dict(self.run.job(caller).inputs)

    def github(self, job: Job | None = None) -> Contexts:
        """https://docs.github.com/actions/reference/contexts-reference#github-context"""
        event, run = self.event, self.run
        ref_type = "tag" if event.tag is not None else "branch"
        pulled = event.kind.startswith("pull_request")
        head, base = (
            str(within(event.payload, "pull_request", side, "ref") or "") if pulled else ""
            for side in ("head", "base")
        )
        return {
            "action": "",
            "action_ref": "",
            "action_repository": "",
            "actor": event.actor,
            "api_url": f"{self.server}/api/v1",
            "base_ref": base,
            "event": dict(event.payload),
            "event_name": event.kind,
            "head_ref": head,
            "job": job.key if job else "",
            "job_workflow_sha": self._called_sha(job),
            "ref": event.ref,
            "ref_name": short_ref(event.ref),
            "ref_type": ref_type,
            "repository": run.route.repo,
            "repository_owner": run.route.repo.split("/")[0],
            "run_attempt": str(run.attempt),
            "run_id": str(run.id),
            "run_number": str(run.number),
            "server_url": self.server,
            "sha": run.route.commit,
            "triggering_actor": event.actor,
            "workflow": run.name,
            "workflow_ref": f"{run.route.repo}/{run.workflow}@{event.ref}",
            "workflow_sha": run.route.commit,
        }

    def _called_sha(self, job: Job | None) -> str:
        """The commit of the workflow that a job is in, where that is another repository's."""
        called = self.run.job(job.caller).calls if job and job.caller is not None else None
        wanted = remote_call(called or "")
        return self.run.pins.get(wanted.version, "") if wanted else ""

    def definition(self, job: Job) -> dict[str, str]:
        """What the `job` context says about the file that a job is in.

        https://docs.github.com/actions/reference/contexts-reference#job-context
        """
        route, called = self.run.route, None if job.caller is None else self.run.job(job.caller).calls
        if called is None or (wanted := remote_call(called)) is None:
            path = called or self.run.workflow
            repository, ref, commit = route.repo, self.event.ref, route.commit
        else:
            path, repository, ref = wanted.path, wanted.repository, wanted.ref
            commit = self.run.pins.get(wanted.version, "")
        return {
            "workflow_file_path": path,
            "workflow_ref": f"{repository}/{path}@{ref}",
            "workflow_repository": repository,
            "workflow_sha": commit,
        }

    def needs(self, job: Job, keys: Iterable[str] | None = None) -> Contexts:
        """The jobs that one needs, or those with these keys beside it."""
        return {key: self._needed(job.caller, key) for key in (job.needs if keys is None else keys)}

    def returned(self, call: Call, by: Job | None = None) -> Mapping[str, str]:
        """What a workflow gives, as `call` says, once it has ended: one that a job called, or the run's."""
        caller = None if by is None else by.id
        keys = dict.fromkeys(one.key for one in self.run.jobs if one.caller == caller)
        inside = {
            "github": self.github(by),
            "vars": dict(self.variables),
            "inputs": self.inputs_of(caller),
            "jobs": {key: self._needed(caller, key) for key in keys},
        }
        return {name: render(value, inside) for name, value in call.outputs.items()}

    def _needed(self, caller: int | None, key: str) -> Contexts:
        result = self.run.ended((caller, key))
        # Of several legs the one that ended last has the word.
        legs = in_order_of_end(self.run.legs((caller, key)))
        outputs = {name: value for leg in legs for name, value in leg.outputs.items() if value}
        return {"result": "" if result is None else plain(result), "outputs": outputs}


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a job runs: everything its contexts and its environment are made from."""

    asked: Asked
    job: Job
    sandbox: Sandbox
    worker: str
    # What a traceback shows of a scene must not show them.
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables that are there before those of the definition."""
    container_env: Mapping[str, str] = field(default_factory=dict)
    """Those that the options of the job's container give."""

    @property
    def event_path(self) -> str:
        return f"{self.sandbox.temp}/{FOLDER}event.json"


def contexts(scene: Scene) -> Contexts:
    """The contexts that do not change while a job runs."""
    known = scene.asked.of_job(scene.job)
    known["github"] |= {
        "event_path": scene.event_path,
        "token": scene.secrets.get("GITHUB_TOKEN", ""),
        "workspace": scene.sandbox.workspace,
    }
    return known | {
        "job": scene.asked.definition(scene.job),
        "runner": runner(scene),
        "secrets": dict(scene.secrets),
    }


def machine(worker: str) -> Contexts:
    """What of `runner` is known before there is a sandbox."""
    return {
        "arch": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "debug": "",
        "environment": "self-hosted",
        "name": worker,
        "os": "Linux",
    }


def runner(scene: Scene) -> Contexts:
    return machine(scene.worker) | {
        "tool_cache": f"{scene.sandbox.temp}/{FOLDER}tools",
        "temp": scene.sandbox.temp,
        "workspace": scene.sandbox.workspace,
    }


def environment(scene: Scene, seen: Mapping[str, Any]) -> dict[str, str]:
    """What every step of the job is given, whatever the definition says; `seen` are its contexts.

    `RUNNER_RUN_ID`, `RUNNER_STEP` and `RUNNER_ATTEMPT` together are a key for idempotency: a step that
    may have run before, because its worker was lost, sees the same first two and a higher third.
    """
    github, place = seen["github"], seen["runner"]
    variables = {f"GITHUB_{name.upper()}": to_string(github[name]) for name in INHERITED}
    variables |= {f"RUNNER_{name.upper()}": str(place[name]) for name in RUNNERS}
    return variables | {
        "GITHUB_ACTIONS": "true",
        "RUNNER_RUN_ID": str(scene.asked.run.id),
        "RUNNER_ATTEMPT": str(scene.job.attempt),
    }


def layered(base: Mapping[str, str], *layers: Mapping[str, str]) -> dict[str, str]:
    """Later layers win, but for what the engine itself says: its names cannot be taken over."""
    merged: dict[str, str] = {}
    for layer in layers:
        merged |= layer
    return merged | dict(base)


def plain(result: Result) -> str:
    """GitHub's contexts know no `timed_out`: what ran out of time has failed."""
    return "failure" if result is Result.TIMED_OUT else str(result)


def strategy_of(job: Job) -> Contexts:
    leg = job.leg
    return {
        "fail-fast": leg.fail_fast,
        "job-index": leg.index,
        "job-total": leg.total,
        "max-parallel": leg.max_parallel if leg.max_parallel is not None else leg.total,
    }
