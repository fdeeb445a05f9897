"""`runner token`: who may do what."""

import re

import click

from runner.cli.common import Group, JsonCommand, connect, json_option, print_gone, print_json, print_table
from runner.cli.terminal import ago
from runner.model.access import Role, checked_token_name

_SPAN = re.compile(r"([0-9]{1,9})([mhdw])")
_SECONDS = {"m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}


@click.group(cls=Group)
def token() -> None:
    """Make, list and revoke tokens: who may do what."""


@token.command("create", cls=JsonCommand)
@click.argument("name")
@click.option(
    "--role",
    required=True,
    type=click.Choice([role.value for role in Role]),
    help="A viewer reads; a writer starts runs and cancels its own; a maintainer acts on all runs and sets "
    "secrets; an admin also registers repositories and makes tokens.",
)
@click.option(
    "--repo", "-R", "repositories", multiple=True, metavar="NAME", help="Only this one; repeatable."
)
@click.option(
    "--person", metavar="LOGIN", help="Whose it is, as forges call them: what they started counts as its own."
)
@click.option("--expires", metavar="SPAN", help="After how long it ends, such as 12h, 30d or 8w.")
@json_option
def create(
    name: str,
    role: str,
    repositories: tuple[str, ...],
    person: str | None,
    expires: str | None,
    fields: str | None,
) -> None:
    """Make the token NAME and print it: it is not shown again."""
    wanted: dict[str, object] = {"name": name, "role": role}
    if repositories:
        wanted["repositories"] = list(repositories)
    if person is not None:
        wanted["person"] = person
    if expires is not None:
        wanted["expires_in"] = seconds_of(expires)
    with connect() as client:
        made = client.post("/tokens", wanted)
    if fields is not None:
        print_json(made, fields)
        return
    click.echo(made["token"])
    until = f" until {made['expires_at']}" if made["expires_at"] else ""
    of = "an" if role == Role.ADMIN else "a"
    click.echo(f"the token {name} is {of} {role}'s{until}; it is not shown again", err=True)


@token.command("list", cls=JsonCommand)
@json_option
def list_tokens(fields: str | None) -> None:
    """List the tokens; the admin token of the server's home is none of them."""
    with connect() as client:
        found = client.get("/tokens")
    if fields is not None:
        print_json(found, fields)
        return
    rows = [
        (
            one["name"] + (f" ({one['person']})" if one.get("person") else ""),
            one["role"],
            "all" if one["repositories"] is None else ", ".join(one["repositories"]),
            one["created_by"],
            ago(one["created_at"]),
            one["expires_at"] or "never",
            ago(one["last_used_at"]) if one["last_used_at"] else "never",
        )
        for one in found
    ]
    if rows:
        print_table(rows, ("token", "role", "repositories", "made by", "made", "expires", "used"))
    else:
        click.echo("no tokens; `runner token create NAME --role viewer` makes one", err=True)


@token.command("revoke", cls=JsonCommand)
@click.argument("name")
@json_option
def revoke(name: str, fields: str | None) -> None:
    """End the token NAME, and the sessions that were begun with it."""
    with connect() as client:
        client.delete(f"/tokens/{checked_token_name(name)}")
    print_gone(name, fields, f"revoked the token {name}")


def seconds_of(span: str) -> int:
    found = _SPAN.fullmatch(span)
    if found is None or not int(found[1]):
        raise click.UsageError(
            f"--expires {span[:100]!a} is no span of time; give one such as 90m, 12h or 30d"
        )
    return int(found[1]) * _SECONDS[found[2]]
