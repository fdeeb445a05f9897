"""What a definition's expressions can see, and the environment a step begins with."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runner.engine.commands import FOLDER
from runner.engine.ports import Sandbox
from runner.engine.refs import short_ref, within
from runner.model.run import Finished, Job, Run
from runner.model.source import Event

ARCHITECTURES = {"x86_64": "X64", "aarch64": "ARM64", "armv7l": "ARM", "i686": "X86"}


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a job runs: everything its contexts and its environment are made from."""

    run: Run
    job: Job
    event: Event
    sandbox: Sandbox
    server: str
    """The public address of this server."""
    worker: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """What the run was given by whoever started it, each of its type."""

    @property
    def event_path(self) -> str:
        return f"{self.sandbox.temp}/{FOLDER}event.json"


def github(scene: Scene) -> dict[str, Any]:
    """https://docs.github.com/actions/reference/contexts-reference#github-context"""
    event, run = scene.event, scene.run
    pulled = event.kind.startswith("pull_request")
    head, base = (
        str(within(event.payload, "pull_request", side, "ref") or "") if pulled else ""
        for side in ("head", "base")
    )
    ref_type = "tag" if event.tag is not None else "branch"
    return {
        "action": "",
        "actor": event.actor,
        "base_ref": base,
        "event": dict(event.payload),
        "event_name": event.kind,
        "event_path": scene.event_path,
        "head_ref": head,
        "job": scene.job.key,
        "ref": event.ref,
        "ref_name": short_ref(event.ref),
        "ref_type": ref_type,
        "repository": run.route.repo,
        "repository_owner": run.route.repo.split("/")[0],
        "run_attempt": str(run.attempt),
        "run_id": str(run.id),
        "run_number": str(run.number),
        "server_url": scene.server,
        "sha": run.route.commit,
        "triggering_actor": event.actor,
        "workflow": run.name,
        "workflow_ref": f"{run.route.repo}/{run.workflow}@{event.ref}",
        "workflow_sha": run.route.commit,
        "workspace": scene.sandbox.workspace,
    }


def runner(scene: Scene) -> dict[str, Any]:
    return {
        "arch": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "debug": "",
        "environment": "self-hosted",
        "name": scene.worker,
        "os": "Linux",
        "temp": scene.sandbox.temp,
        "workspace": scene.sandbox.workspace,
    }


def needs(scene: Scene) -> dict[str, Any]:
    jobs = {job.key: job.phase for job in scene.run.jobs}
    return {
        key: {"result": str(phase.result), "outputs": {}}
        for key in scene.job.needs
        if isinstance(phase := jobs[key], Finished)
    }


def contexts(scene: Scene) -> dict[str, Any]:
    """The contexts that do not change while a job runs."""
    known = {"github": github(scene), "runner": runner(scene), "needs": needs(scene)}
    return known | {"inputs": dict(scene.inputs)}


def environment(scene: Scene) -> dict[str, str]:
    """What every step of the job is given, whatever the definition says.

    `RUNNER_RUN_ID`, `RUNNER_STEP` and `RUNNER_ATTEMPT` together are a key for idempotency: a step that
    may have run before, because its worker was lost, sees the same first two and a higher third.
    """
    seen, place = github(scene), runner(scene)
    names = (
        "actor base_ref event_name event_path head_ref job ref ref_name ref_type repository repository_owner "
        "run_attempt run_id run_number server_url sha triggering_actor workflow workflow_ref workflow_sha "
        "workspace"
    )
    variables = {f"GITHUB_{name.upper()}": str(seen[name]) for name in names.split()}
    variables |= {
        f"RUNNER_{name.upper()}": str(place[name]) for name in ("arch", "name", "os", "temp", "workspace")
    }
    return variables | {
        "GITHUB_ACTIONS": "true",
        "RUNNER_RUN_ID": str(scene.run.id),
        "RUNNER_ATTEMPT": str(scene.job.attempt),
    }


def layered(base: Mapping[str, str], *layers: Mapping[str, str]) -> dict[str, str]:
    """Later layers win, but for what the engine itself says: its names cannot be taken over."""
    merged: dict[str, str] = {}
    for layer in layers:
        merged |= layer
    return merged | dict(base)
