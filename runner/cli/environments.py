"""`runner environment`: what jobs with an `environment:` wait for before they begin."""

from urllib.parse import quote

import click

from runner.cli.common import (
    Group,
    JsonCommand,
    connect,
    json_option,
    print_gone,
    print_json,
    print_pairs,
    print_table,
)
from runner.cli.repo import path_of
from runner.cli.secret import repository_option
from runner.client import Values
from runner.model.environment import LONGEST_TIMER, checked_name


@click.group(cls=Group)
def environment() -> None:
    """Set, list, show and remove the protection rules of a repository's environments."""


@environment.command("set", cls=JsonCommand)
@click.argument("name")
@repository_option
@click.option("--reviewer", "reviewers", multiple=True, metavar="WHO", help="Somebody of whom one approves.")
@click.option("--wait-timer", type=click.IntRange(0, LONGEST_TIMER), default=0, metavar="MINUTES")
@click.option(
    "--branch", "branches", multiple=True, metavar="PATTERN", help="What may deploy; a tag as 'refs/tags/v*'."
)
@click.option("--prevent-self-review", is_flag=True, help="Whoever started the run may not approve.")
@json_option
def set_environment(
    name: str,
    repository: str,
    reviewers: tuple[str, ...],
    wait_timer: int,
    branches: tuple[str, ...],
    prevent_self_review: bool,
    fields: str | None,
) -> None:
    """Have jobs with `environment: NAME` wait; these rules take the place of all former ones."""
    with connect() as client:
        client.put(
            _the(name, repository),
            {
                "reviewers": list(reviewers),
                "wait_timer": wait_timer,
                "branches": list(branches),
                "prevent_self_review": prevent_self_review,
            },
        )
        found = client.get(_the(name, repository)) if fields is not None else {}
    if fields is not None:
        print_json(found, fields)
    else:
        click.echo(f"set environment {name} of {repository}")


@environment.command("list", cls=JsonCommand)
@repository_option
@json_option
def list_environments(repository: str, fields: str | None) -> None:
    """List the environments of a repository that have rules."""
    with connect() as client:
        found = client.get(f"{path_of(repository)}/environments")["environments"]
    if fields is not None:
        print_json(found, fields)
    elif found:
        rows = [
            (
                one["name"],
                ", ".join(one["reviewers"]) + (", not their own" if one["prevent_self_review"] else ""),
                _timer(one),
                ", ".join(one["branches"]) or "all",
            )
            for one in found
        ]
        print_table(rows, ("name", "reviewers", "timer", "branches"))
    else:
        click.echo(f"no rules; `runner environment set NAME -R {repository}` sets some", err=True)


@environment.command("show", cls=JsonCommand)
@click.argument("name")
@repository_option
@json_option
def show(name: str, repository: str, fields: str | None) -> None:
    """Show the rules of the environment NAME."""
    with connect() as client:
        found = client.get(_the(name, repository))
    if fields is not None:
        print_json(found, fields)
    else:
        lists = {key: ", ".join(found[key]) for key in ("reviewers", "branches")}
        print_pairs((found | lists | {"wait_timer": _timer(found)}).items())


@environment.command("remove", cls=JsonCommand)
@click.argument("name")
@repository_option
@json_option
def remove(name: str, repository: str, fields: str | None) -> None:
    """Remove the rules of the environment NAME: its jobs begin in their turn."""
    with connect() as client:
        client.delete(_the(name, repository))
    print_gone(name, fields, f"removed environment {name} of {repository}")


def _timer(one: Values) -> str:
    return f"{one['wait_timer']} min" if one["wait_timer"] else ""


def _the(name: str, repository: str) -> str:
    return f"{path_of(repository)}/environments/{quote(checked_name(name), safe='')}"
