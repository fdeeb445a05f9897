"""`runner variable`: what a repository's workflows are given as `vars`."""

from pathlib import Path

import click

from runner.cli.common import Group, JsonCommand, connect, json_option, print_gone, print_json, print_table
from runner.cli.giving import given_values
from runner.cli.repo import path_of
from runner.cli.secret import repository_option
from runner.cli.terminal import ago
from runner.model.secret import VARIABLE, checked_name


@click.group(cls=Group)
def variable() -> None:
    """Set, show, list and remove the variables of a repository's workflows."""


@variable.command("set", cls=JsonCommand)
@click.argument("name", required=False)
@repository_option
@click.option("--body", "-b", help="The value; read from standard input if not given.")
@click.option(
    "--env-file", "-f", type=click.Path(path_type=Path), help="Many, a NAME=value to a line; - is stdin."
)
@json_option
def set_variable(
    name: str | None, repository: str, body: str | None, env_file: Path | None, fields: str | None
) -> None:
    """Set the variable NAME: to what is on standard input, or asked for on a terminal."""
    values = given_values(VARIABLE, name, body, env_file, hidden=False)
    with connect() as client:
        found = []
        for one, value in values.items():
            client.put(_the(one, repository), {"value": value})
            if fields is None:
                click.echo(f"set variable {one} of {repository}")
            else:
                found.append(client.get(_the(one, repository)))
    if fields is not None:
        print_json(found, fields)


@variable.command("get", cls=JsonCommand)
@click.argument("name")
@repository_option
@json_option
def get(name: str, repository: str, fields: str | None) -> None:
    """Print the value of the variable NAME."""
    with connect() as client:
        found = client.get(_the(name, repository))
    if fields is not None:
        print_json(found, fields)
    else:
        click.echo(found["value"])


@variable.command("list", cls=JsonCommand)
@repository_option
@json_option
def list_variables(repository: str, fields: str | None) -> None:
    """List the variables of a repository."""
    with connect() as client:
        found = client.get(f"{path_of(repository)}/actions/variables")["variables"]
    if fields is not None:
        print_json(found, fields)
    elif found:
        rows = [(one["name"], one["value"], ago(one["updated_at"])) for one in found]
        print_table(rows, ("name", "value", "updated"))
    else:
        click.echo(f"no variables; `runner variable set NAME -R {repository}` sets one", err=True)


@variable.command("remove", cls=JsonCommand)
@click.argument("name")
@repository_option
@json_option
def remove(name: str, repository: str, fields: str | None) -> None:
    """Remove the variable NAME."""
    with connect() as client:
        client.delete(_the(name, repository))
    print_gone(name.upper(), fields, f"removed variable {name.upper()} of {repository}")


def _the(name: str, repository: str) -> str:
    return f"{path_of(repository)}/actions/variables/{checked_name(VARIABLE, name)}"
