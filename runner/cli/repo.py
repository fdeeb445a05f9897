"""`runner repo`: which repositories there are, and how they tell of pushes."""

from collections.abc import Mapping
from typing import Any
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
from runner.cli.limiting import limit_options, limit_pairs, limits_said
from runner.model.snapshot import Keep
from runner.web.names import checked_name


def path_of(name: str) -> str:
    """A repository's place in the API; its slashes stay. Raises `Rejected` for another's place."""
    forge, _, own = name.partition(":")
    checked_name(own if forge.isalpha() and own else name)
    return f"/repos/{quote(name, safe='/')}"


@click.group(cls=Group)
def repo() -> None:
    """Register repositories, print their hooks, and block what is bad in them."""


@repo.command("add", cls=JsonCommand)
@click.argument("name")
@click.option("--url", required=True, help="Where git clones it from, as seen by the server.")
@click.option("--forge", default="git", show_default=True, help="Who sends its webhooks: git or github.")
@click.option("--secret", help="What signs its webhooks; made up if not given.")
@click.option("--executor", help="host, sandbox or docker; the server's default if not given.")
@click.option("--image", help="The image of its jobs on docker that name none.")
@click.option(
    "--shared",
    is_flag=True,
    help="Let workflows of all other repositories here use what it has; their forks too where those name it.",
)
@limit_options
@json_option
def add(
    name: str,
    url: str,
    forge: str,
    secret: str | None,
    executor: str | None,
    image: str | None,
    shared: bool,
    fields: str | None,
    **limits: Any,
) -> None:
    """Register a repository under NAME, such as octo/hello."""
    given: dict[str, Any] = {"secret": secret, "executor": executor, "image": image, "shared": shared or None}
    wanted: dict[str, Any] = {"name": name, "url": url, "forge": forge} | {
        k: v for k, v in given.items() if v is not None
    }
    if said := limits_said(limits):
        wanted["limits"] = said
    with connect() as client:
        made = client.post("/repos", wanted)
    if fields is not None:
        print_json(made, fields)
        return
    click.echo(f"registered {made['name']}, cloned from {made['url']}")
    if secret is None:
        click.echo(f"webhook secret (not shown again): {made['secret']}")
    if forge == "git":
        click.echo(f"next: runner repo hook {name} > REPOSITORY.git/hooks/post-receive, then chmod 700 it")
    else:
        click.echo(f"next: let {forge} post JSON of pushes to {made['hook']} with that secret")


@repo.command("list", cls=JsonCommand)
@json_option
def list_repositories(fields: str | None) -> None:
    """List the registered repositories."""
    with connect() as client:
        found = client.get("/repos")
    if fields is not None:
        print_json(found, fields)
        return
    rows = [
        (
            one["name"],
            one["forge"],
            one["url"],
            one["default_branch"] or "",
            "shared" if one["shared"] else "",
            ", ".join(dict.fromkeys(_stopped(stop) for stop in one["stops"])),
        )
        for one in found
    ]
    if rows:
        print_table(rows, ("name", "forge", "url", "branch", "use", "stopped"))
    else:
        click.echo("no repositories; `runner repo add NAME --url URL` registers one", err=True)


@repo.command("show", cls=JsonCommand)
@click.argument("name")
@json_option
def show(name: str, fields: str | None) -> None:
    """Show the repository NAME."""
    with connect() as client:
        found = client.get(path_of(name))
    if fields is not None:
        print_json(found, fields)
    else:
        _print(found)


def _print(found: Mapping[str, Any]) -> None:
    own = [(name, value) for name, value in found.items() if name not in ("limits", "stops")]
    stops = [(_stopped(stop), stop["words"]) for stop in found["stops"]]
    print_pairs([*own, *stops, *limit_pairs(found["limits"])])


def _stopped(stop: Mapping[str, Any]) -> str:
    return "blocked" if stop["commit"] or stop["workflow"] else "paused"


@repo.command("set", cls=JsonCommand)
@click.argument("name")
@limit_options
@click.option(
    "--missed",
    type=click.Choice(("once", "skip")),
    help="What becomes of schedules that were due while no clock ran: one run for all of them, or none.",
)
@click.option(
    "--snapshot",
    type=click.Choice([*(one.value for one in Keep), "default"]),
    help="Where the files are kept that steps leave: on the worker's machine, in the store too, or not.",
)
@json_option
def change(name: str, fields: str | None, missed: str | None, snapshot: str | None, **limits: Any) -> None:
    """Change what the repository NAME may use: 0 is no limit, `default` what the server's settings say."""
    said = limits_said(limits)
    wanted: dict[str, Any] = {"limits": said} if said else {}
    wanted |= {"missed": missed} if missed else {}
    wanted |= {"snapshot": snapshot} if snapshot else {}
    if not wanted:
        raise click.UsageError(
            "nothing is to be changed; give an option, such as --max-jobs 4 or --missed skip"
        )
    with connect() as client:
        found = client.patch(path_of(name), wanted)
    if fields is not None:
        print_json(found, fields)
    else:
        _print(found)


@repo.command("remove", cls=JsonCommand)
@click.argument("name")
@json_option
def remove(name: str, fields: str | None) -> None:
    """Forget the repository NAME with its runs, their logs and artifacts, its caches and its secrets."""
    with connect() as client:
        client.delete(path_of(name))
    print_gone(name, fields, f"removed {name}")


@repo.command("hook")
@click.argument("name")
def hook(name: str) -> None:
    """Print the post-receive hook of the plain git repository NAME; it holds the secret."""
    with connect() as client:
        for text in client.text(f"{path_of(name)}/hook"):
            click.echo(text, nl=False)


@repo.command("sync", cls=JsonCommand)
@click.argument("name")
@json_option
def sync(name: str, fields: str | None) -> None:
    """Read the default branch of NAME again: its schedules follow each push that the server hears of."""
    with connect() as client:
        made = client.post(f"{path_of(name)}/sync")
    if fields is not None:
        print_json(made, fields)
    else:
        click.echo(f"delivery {made['delivery']}; `runner repo schedules {name}` shows what it found")


@repo.command("schedules", cls=JsonCommand)
@click.argument("name")
@json_option
def schedules(name: str, fields: str | None) -> None:
    """Show when the schedules of the repository NAME are due next."""
    with connect() as client:
        found = client.get(f"{path_of(name)}/schedules")
    if fields is not None:
        print_json(found, fields)
        return
    rows = [
        (one["workflow"], one["cron"], one["timezone"], one["due_at"] or "never", one["skipped_at"] or "")
        for one in found
    ]
    if rows:
        print_table(rows, ("workflow", "cron", "time zone", "due", "missed and skipped"))
    else:
        click.echo("no schedules; they are read from the workflows on the default branch", err=True)
