"""`runner cache`: what a repository's jobs keep for later runs."""

import click

from runner.cli.common import Group, JsonCommand, connect, json_option, print_json, print_table
from runner.cli.repo import path_of
from runner.cli.secret import repository_option
from runner.cli.terminal import ago

SORTS = {"created": "created_at", "used": "last_accessed_at", "size": "size_in_bytes"}


@click.group(cls=Group)
def cache() -> None:
    """List and delete the caches of a repository."""


@cache.command("list", cls=JsonCommand)
@repository_option
@click.option("--key", "-k", metavar="START", help="Only those whose keys begin so.")
@click.option("--ref", "-r", help="Only those of a ref, such as refs/heads/main.")
@click.option("--sort", "-S", type=click.Choice(tuple(SORTS)), default="used", show_default=True)
@click.option("--order", "-O", type=click.Choice(("asc", "desc")), default="desc", show_default=True)
@click.option("--limit", "-L", type=click.IntRange(1, 100), default=30, show_default=True)
@json_option
def list_caches(
    repository: str, key: str | None, ref: str | None, sort: str, order: str, limit: int, fields: str | None
) -> None:
    """List the caches of a repository, those that were used last before all others."""
    query = {"key": key, "ref": ref, "sort": SORTS[sort], "direction": order, "per_page": limit}
    with connect() as client:
        answer = client.get(
            f"{path_of(repository)}/actions/caches",
            **{name: value for name, value in query.items() if value is not None},
        )
    found = answer["actions_caches"]
    if fields is not None:
        print_json(found, fields)
    elif found:
        rows = [
            (one["id"], one["key"], one["ref"], _size(one["size_in_bytes"]), ago(one["last_accessed_at"]))
            for one in found
        ]
        print_table(rows, ("id", "key", "ref", "size", "used"))
    else:
        click.echo("no caches; a job keeps one with actions/cache", err=True)


@cache.command("delete")
@click.argument("cache")
@repository_option
@click.option("--ref", "-r", help="Only the one of a ref, such as refs/heads/main.")
def delete(cache: str, repository: str, ref: str | None) -> None:
    """Delete the cache with an id, or all with a key: CACHE is either."""
    where = f"{path_of(repository)}/actions/caches"
    with connect() as client:
        if cache.isascii() and cache.isdecimal() and ref is None:
            client.delete(f"{where}/{cache}")
        else:
            client.delete(where, key=cache, **({} if ref is None else {"ref": ref}))
    click.echo(f"deleted cache {cache} of {repository}")


def _size(count: int) -> str:
    return f"{count / 1024**2:.1f} MiB"
