"""`runner secret`: what a repository's workflows are given as `secrets`, and nobody is shown again."""

from contextlib import closing
from pathlib import Path
from pkgutil import resolve_name

import click

from runner.cli.common import Group, JsonCommand, connect, json_option, print_gone, print_json, print_table
from runner.cli.giving import given_values
from runner.cli.repo import path_of
from runner.cli.terminal import ago
from runner.model.secret import SECRET, checked_name
from runner.settings import Settings

repository_option = click.option(
    "--repo", "-R", "repository", required=True, metavar="NAME", help="The repository."
)


@click.group(cls=Group)
def secret() -> None:
    """Set, list and remove the secrets of a repository's workflows."""


@secret.command("set", cls=JsonCommand)
@click.argument("name", required=False)
@repository_option
@click.option("--body", "-b", help="The value. Others on the machine may see it; standard input is better.")
@click.option(
    "--env-file", "-f", type=click.Path(path_type=Path), help="Many, a NAME=value to a line; - is stdin."
)
@json_option
def set_secret(
    name: str | None, repository: str, body: str | None, env_file: Path | None, fields: str | None
) -> None:
    """Set the secret NAME: to what is on standard input, or asked for on a terminal."""
    values = given_values(SECRET, name, body, env_file, hidden=True)
    with connect() as client:
        if client.exposed:
            click.echo(
                f"warning: {client.url} is no https: whoever is on the way there can read this secret, and "
                "your token; set RUNNER_URL to an address with https",
                err=True,
            )
        found = []
        for one, value in values.items():
            client.put(f"{secrets_of(repository)}/{one}", {"value": value})
            if fields is None:
                click.echo(f"set secret {one} of {repository}")
            else:
                found.append(client.get(f"{secrets_of(repository)}/{one}"))
    if fields is not None:
        print_json(found, fields)


@secret.command("list", cls=JsonCommand)
@repository_option
@json_option
def list_secrets(repository: str, fields: str | None) -> None:
    """List the secrets of a repository, by their names and times."""
    with connect() as client:
        found = client.get(secrets_of(repository))["secrets"]
    if fields is not None:
        print_json(found, fields)
    elif found:
        print_table([(one["name"], ago(one["updated_at"])) for one in found], ("name", "updated"))
    else:
        click.echo(f"no secrets; `runner secret set NAME -R {repository}` sets one", err=True)


@secret.command("remove", cls=JsonCommand)
@click.argument("name")
@repository_option
@json_option
def remove(name: str, repository: str, fields: str | None) -> None:
    """Remove the secret NAME."""
    with connect() as client:
        client.delete(f"{secrets_of(repository)}/{checked_name(SECRET, name)}")
    print_gone(name.upper(), fields, f"removed secret {name.upper()} of {repository}")


@secret.command("rotate-key")
@click.option("--home", type=click.Path(path_type=Path), help="The server's folder; RUNNER_HOME.")
def rotate_key(home: Path | None) -> None:
    """Seal all secrets with another key, on this machine and in the database itself.

    It is the last key of the key's file where that is not in use yet, else a new one.
    """
    settings = Settings.from_env(home=home)
    # The parts of a server take a second to import, which setting a secret does not need.
    with closing(resolve_name("runner.wiring:services")(settings)) as services:
        services.database.check()
        done = services.vault.rotate()
    file = settings.key_file
    click.echo(f"sealed with the key {done.key} in {file}: all secrets, {done.count} of them")
    if settings.secret_key_file is not None:
        click.echo("copy the file to every other machine: until then jobs there wait for it")
    if not done.tidy:
        click.echo(f"{file} cannot be written to; take the former key out of it yourself", err=True)


def secrets_of(repository: str) -> str:
    return f"{path_of(repository)}/actions/secrets"
