"""`runner audit`: what people did."""

from typing import Any

import click

from runner.cli.common import JsonCommand, connect, json_option, print_json, print_table
from runner.cli.repo import path_of

HIDDEN = ("commit", "workflow", "attempt", "started_by", "changed")


@click.command(cls=JsonCommand)
@click.option("--repo", "-R", help="Only what was done to this repository.")
@click.option("--run", "-r", type=int, help="Only what was done to this run.")
@click.option("--actor", "-u", help="Only what this token did.")
@click.option("--limit", "-L", type=click.IntRange(1, 1000), default=30, show_default=True)
@json_option
def audit(repo: str | None, run: int | None, actor: str | None, limit: int, fields: str | None) -> None:
    """List what people did, newest first: to which run or repository, and when."""
    with connect() as client:
        found = client.get("/audit", repo=repo, run=run, actor=actor, limit=limit)
        if repo and not found:
            # What was done to one that was removed is listed; where there is nothing, it may be misspelt.
            client.get(path_of(repo))
    if fields is not None:
        print_json(found, fields)
        return
    rows = [
        (
            one["at"],
            one["actor"],
            one["act"],
            one["repo"],
            f"run {one['run']}" if one["run"] is not None else "",
            _said(one["details"]),
        )
        for one in found
    ]
    if rows:
        print_table(rows, ("at", "actor", "act", "repository", "run", "details"))
    else:
        narrowed = repo is not None or run is not None or actor is not None
        click.echo("nobody did anything of that" if narrowed else "nobody did anything yet", err=True)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {one}" for name, one in value.items() if one) or "all"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _said(details: dict[str, Any]) -> str:
    """What was chosen; the rest is for `--json`."""
    chosen = [f"{name}={_value(value)}" for name, value in details.items() if value and name not in HIDDEN]
    if started_by := details.get("started_by"):
        chosen.append(f"started by {started_by}")
    if details.get("commit"):
        chosen.append(f"at {details['commit'][:12]}")
    return ", ".join(chosen + (["changed nothing"] if details.get("changed") is False else []))
