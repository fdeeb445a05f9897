"""`runner deliveries`: what forges sent and what became of it."""

import json

import click

from runner.cli.common import Group, JsonCommand, connect, json_option, print_json, print_pairs, print_table
from runner.cli.terminal import ago
from runner.web.names import checked_delivery


@click.group(cls=Group)
def deliveries() -> None:
    """Show what forges sent and what became of it."""


@deliveries.command("list", cls=JsonCommand)
@click.option("--repo", "-R", help="Only of this repository.")
@click.option("--status", "-s", type=click.Choice(["received", "admitted", "ignored", "failed"]))
@click.option("--limit", "-L", type=click.IntRange(1, 1000), default=30, show_default=True)
@json_option
def list_deliveries(repo: str | None, status: str | None, limit: int, fields: str | None) -> None:
    """List the newest deliveries."""
    with connect() as client:
        found = client.get("/deliveries", repo=repo, status=status, limit=limit)
    if fields is not None:
        print_json(found, fields)
        return
    rows = [
        (
            one["status"],
            one["id"],
            one["event"],
            one["repo"],
            one["ref"],
            ", ".join(f"run {run}" for run in one["runs"]) or one["reason"],
            ago(one["received_at"]),
        )
        for one in found
    ]
    if rows:
        print_table(rows, ("status", "delivery", "event", "repository", "ref", "became", "received"))
    else:
        click.echo("no deliveries; `runner repo hook NAME` prints a hook that sends some", err=True)


@deliveries.command("show", cls=JsonCommand)
@click.argument("delivery")
@json_option
def show(delivery: str, fields: str | None) -> None:
    """Show DELIVERY with its payload."""
    with connect() as client:
        found = client.get(f"/deliveries/{checked_delivery(delivery)}")
    if fields is not None:
        print_json(found, fields)
        return
    payload = found.pop("payload")
    runs = ", ".join(str(run) for run in found.pop("runs"))
    print_pairs([*found.items(), ("runs", runs)])
    click.echo(json.dumps(payload, indent=2))
    if found["status"] in ("failed", "ignored"):
        click.echo(f"`runner deliveries replay {delivery}` tries it again", err=True)


@deliveries.command("replay", cls=JsonCommand)
@click.argument("delivery")
@json_option
def replay(delivery: str, fields: str | None) -> None:
    """Judge DELIVERY again, after what kept it from starting runs was mended."""
    with connect() as client:
        found = client.post(f"/deliveries/{checked_delivery(delivery)}/replay")
    if fields is not None:
        print_json(found, fields)
    else:
        click.echo(f"delivery {delivery} waits for admission; `runner deliveries show {delivery}` follows it")


@deliveries.command("approve", cls=JsonCommand)
@click.argument("delivery")
@json_option
def approve(delivery: str, fields: str | None) -> None:
    """Let the code of a fork run that DELIVERY brought, at exactly its commit."""
    with connect() as client:
        found = client.post(f"/deliveries/{checked_delivery(delivery)}/approve")
    if fields is not None:
        print_json(found, fields)
    else:
        click.echo(f"delivery {delivery} is approved; `runner deliveries show {delivery}` follows it")
