"""`runner plan` and `runner triggers`: what an event would start, and how."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from runner.cli.evaluating import plain
from runner.model.source import Event
from runner.workflow.document import Workflow
from runner.workflow.load import load
from runner.workflow.plan import Planned, planned, stages
from runner.workflow.triggers import refusal

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _event(kind: str, ref: str | None, payload: Path | None) -> Event:
    content: dict[str, Any] = json.loads(payload.read_text()) if payload is not None else {}
    return Event(kind, "", "", ref or content.get("ref") or "refs/heads/main", payload=content)


def _read(workflow: Path) -> Workflow:
    return load(str(workflow), workflow.read_bytes())


@click.command()
@click.argument("workflow", type=FILE)
@click.option("--event", "-e", "kind", default="push", show_default=True)
@click.option("--ref", help="The branch or tag as a full ref.")
@click.option("--event-payload", type=FILE, help="The event as a forge would send it, in JSON.")
@click.option("--changed-file", "changed", multiple=True, help="A path that the event changed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def triggers(
    workflow: Path,
    kind: str,
    ref: str | None,
    event_payload: Path | None,
    changed: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say whether an event starts a workflow file, and why not."""
    reason = refusal(_read(workflow), _event(kind, ref, event_payload), lambda: changed or None)
    if as_json:
        click.echo(json.dumps({"triggered": reason is None, "reason": reason}))
    else:
        click.echo("it starts" if reason is None else f"it does not start: {reason}")


@click.command()
@click.argument("workflow", type=FILE)
@click.option("--event", "-e", "kind", default="push", show_default=True)
@click.option("--ref", help="The branch or tag as a full ref.")
@click.option("--event-payload", type=FILE, help="The event as a forge would send it, in JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(workflow: Path, kind: str, ref: str | None, event_payload: Path | None, as_json: bool) -> None:
    """Print the jobs of a workflow file that an event would start, in stages and combinations."""
    definition, event = _read(workflow), _event(kind, ref, event_payload)
    reason = refusal(definition, event, lambda: None)
    contexts = _contexts(event)
    jobs = {job.key: planned(job, contexts) for job in definition.jobs} if reason is None else {}
    order = stages(definition) if reason is None else ()
    if as_json:
        rows = {key: _row(job) for key, job in jobs.items()}
        click.echo(json.dumps({"triggered": reason is None, "stages": order, "jobs": rows}))
        return
    if reason is not None:
        click.echo(f"nothing starts: {reason}")
    for number, stage in enumerate(order, start=1):
        click.echo(f"stage {number}")
        for key in stage:
            _print_job(jobs[key])


def _contexts(event: Event) -> Mapping[str, object]:
    """What is known without a run."""
    github = {
        "event": event.payload,
        "event_name": event.kind,
        "ref": event.ref,
        "ref_name": event.branch or event.tag or event.ref,
    }
    given = event.payload.get("inputs")
    return {"github": github, "inputs": given or {}, "vars": {}, "strategy": {}, "matrix": {}}


def _row(job: Planned) -> dict[str, Any]:
    return {
        "legs": [plain(leg) for leg in job.legs] if job.legs is not None else None,
        "runs_on": job.labels,
        "needs": job.needs,
        "fail_fast": job.fail_fast,
        "max_parallel": plain(job.max_parallel),
    }


def _print_job(job: Planned) -> None:
    where = f" on {', '.join(job.labels)}" if job.labels else ""
    after = f", after {', '.join(job.needs)}" if job.needs else ""
    if job.legs is None:
        click.echo(f"  {job.key}: combinations that only a run can tell{after}")
        return
    click.echo(f"  {job.key}{where}{after}")
    for leg in job.legs:
        if leg:
            click.echo(f"    {json.dumps(plain(leg), ensure_ascii=False)}")
