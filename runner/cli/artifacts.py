"""`runner artifacts`: what runs keep under a name, as gh's `run download` has it."""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

import click

from runner.cli.common import Group, JsonCommand, connect, json_option, print_json, print_table
from runner.cli.repo import path_of
from runner.cli.secret import repository_option
from runner.cli.terminal import ago
from runner.client import Client, Values
from runner.engine.errands.zips import unpack
from runner.errors import Damaged, NotFound, Rejected
from runner.model.artifact import checked_name
from runner.web.text import in_units, one_line
from runner.workspaces.reach import Reach


@click.group(cls=Group)
def artifacts() -> None:
    """List, download and delete what runs keep."""


@artifacts.command("list", cls=JsonCommand)
@click.argument("run_id", metavar="[RUN]", type=int, required=False)
@click.option("--repo", "-R", "repository", metavar="NAME", help="Those of a whole repository, newest first.")
@click.option("--name", "-n", help="Only those of this name.")
@click.option("--limit", "-L", type=click.IntRange(1, 1000), default=30, show_default=True)
@json_option
def list_artifacts(
    run_id: int | None, repository: str | None, name: str | None, limit: int, fields: str | None
) -> None:
    """List the artifacts of RUN, or of a repository, that have not expired."""
    if (run_id is None) is (repository is None):
        raise click.UsageError("give either a run or a repository, as -R octo/hello")
    with connect() as client:
        if repository is not None:
            path = f"{path_of(repository)}/actions/artifacts"
            found = client.get(path, name=name, limit=limit)["artifacts"]
        else:
            found = client.get(f"/runs/{run_id}/artifacts", name=name)["artifacts"][:limit]
    if fields is not None:
        print_json(found, fields)
        return
    rows = [
        (
            one["id"],
            one["name"],
            in_units(one["size_in_bytes"]),
            one["run"],
            one["run_attempt"],
            ago(one["created_at"]),
            one["expires_at"] or "with its run",
        )
        for one in found
    ]
    if rows:
        print_table(rows, ("id", "name", "size", "run", "attempt", "created", "expires"))
    else:
        click.echo("no artifacts; a step with actions/upload-artifact makes one", err=True)


@artifacts.command("download")
@click.argument("run_id", metavar="RUN", type=int)
@click.option("--name", "-n", "names", multiple=True, help="Only this one; one alone goes straight into DIR.")
@click.option("--pattern", "-p", "patterns", multiple=True, help="Only those whose names match, as 'log-*'.")
@click.option("--dir", "-D", "folder", type=click.Path(path_type=Path), default=".", help="Where to; here.")
def download(run_id: int, names: tuple[str, ...], patterns: tuple[str, ...], folder: Path) -> None:
    """Unpack the artifacts of RUN, each in a folder of its name; of a name the newest attempt's."""
    with connect() as client:
        found = client.get(f"/runs/{run_id}/artifacts")["artifacts"]
        chosen = _chosen(run_id, found, names, patterns)
        with _room(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for one in chosen:
            straight = len(names) == 1 and not patterns
            count = _unpack(client, one, folder, "" if straight else checked_name(one["name"]))
            click.echo(f"{one_line(one['name'])}: {count} file{'' if count == 1 else 's'}")


@artifacts.command("delete")
@click.argument("artifact_id", metavar="ID", type=int)
@repository_option
def delete(artifact_id: int, repository: str) -> None:
    """Delete the artifact ID of a repository: nobody can download it any more."""
    with connect() as client:
        client.delete(f"{path_of(repository)}/actions/artifacts/{artifact_id}")
    click.echo(f"deleted artifact {artifact_id} of {repository}")


def _chosen(run: int, found: Sequence[Values], names: Sequence[str], patterns: Sequence[str]) -> list[Values]:
    newest = {one["name"]: one for one in sorted(found, key=lambda one: (one["run_attempt"], one["id"]))}
    missing = [name for name in names if name not in newest]
    there = ", ".join(sorted(newest)) or "none"
    if missing:
        raise NotFound(f"run {run} has no artifact {missing[0]!r}; it has {there}")
    chosen = [
        newest[name]
        for name in sorted(newest)
        if not (names or patterns) or name in names or any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
    if not chosen:
        raise NotFound(f"run {run} has no artifact that is meant; it has {there}")
    return chosen


def _unpack(client: Client, one: Values, folder: Path, below: str) -> int:
    with _room(folder / below), tempfile.TemporaryFile() as file:
        client.save(f"/runs/{one['run']}/artifacts/{one['id']}/zip", file)
        file.seek(0)
        if f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" != one["digest"]:
            raise Damaged(f"artifact {one['name']} did not arrive as it was sent; download it again")
        reach = Reach(folder, None)
        if below:
            reach.make(below)
        return unpack(file, reach, below, lambda: None)


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Rejected(f"{error.filename or folder} cannot be written to: {error.strerror}") from None
