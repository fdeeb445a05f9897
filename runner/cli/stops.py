"""Pausing and blocking: of `runner runs` and of `runner repo`, and acts on many runs at once."""

import click

from runner.cli.common import JsonCommand, connect, json_option, print_json, print_table
from runner.cli.repo import path_of, repo
from runner.cli.terminal import ago
from runner.client import Client, Values
from runner.errors import Unavailable
from runner.web.text import one_line

reason_option = click.option("--reason", default="", help="Shown wherever something waits for it.")
repo_option = click.option("--repo", "-R", "repository", help="All runs of this repository that go on.")
commit_option = click.option("--commit", "-c", help="Only of this commit; its first digits are enough.")
workflow_option = click.option("--workflow", "-w", help="Only of this workflow: its file.")


@click.command("pause", cls=JsonCommand)
@click.argument("run", type=int, required=False)
@repo_option
@commit_option
@workflow_option
@reason_option
@json_option
def pause_runs(
    run: int | None,
    repository: str | None,
    commit: str | None,
    workflow: str | None,
    reason: str,
    fields: str | None,
) -> None:
    """Have RUN, or all of a repository, stand still.

    Steps that run come to their end, and no other begins.
    """
    check_chosen(run, repository, commit, workflow)
    said = {"reason": reason}
    with connect() as client:
        if run is None:
            wanted = {"commit": commit, "workflow": workflow, **said}
            on_all(client, "pause", "paused", repository, wanted, fields)
            return
        found = client.post(f"/runs/{run}/pause", said)
    if fields is not None:
        print_json(found, fields)
    else:
        click.echo(f"run {run} is paused; `runner runs unpause {run}` has it go on")
        if reason not in found["reason"]:
            click.echo(f"it was stopped before: {one_line(found['reason'])}", err=True)


@click.command("unpause", cls=JsonCommand)
@click.argument("run", type=int, required=False)
@repo_option
@commit_option
@workflow_option
@json_option
def unpause_runs(
    run: int | None, repository: str | None, commit: str | None, workflow: str | None, fields: str | None
) -> None:
    """Have RUN, or all of a repository, go on.

    Of a repository all that were paused, one by one or together.
    """
    check_chosen(run, repository, commit, workflow)
    with connect() as client:
        if run is None:
            wanted = {"commit": commit, "workflow": workflow}
            on_all(client, "unpause", "unpaused", repository, wanted, fields)
            return
        found = client.post(f"/runs/{run}/unpause")
    if fields is not None:
        print_json(found, fields)
    elif found["stopped"]:
        click.echo(f"run {run} is not paused any more, and stands still: {one_line(found['reason'])}")
    elif found["finished_at"]:
        click.echo(f"run {run} has ended: {found['status']}")
    else:
        click.echo(f"run {run} goes on")


@repo.command("pause", cls=JsonCommand)
@click.argument("name")
@reason_option
@json_option
def pause_repository(name: str, reason: str, fields: str | None) -> None:
    """Have all of NAME stand still.

    Pushes are taken, and their runs wait.
    """
    with connect() as client:
        found = client.post(f"{path_of(name)}/pause", {"reason": reason})["stops"]
    if fields is not None:
        print_json(found, fields)
        return
    click.echo(f"{name} is paused; `runner repo unpause {name}` has it go on")


@repo.command("unpause", cls=JsonCommand)
@click.argument("name")
@json_option
def unpause_repository(name: str, fields: str | None) -> None:
    """Have the repository NAME go on."""
    with connect() as client:
        left = client.post(f"{path_of(name)}/unpause")["stops"]
    if fields is not None:
        print_json(left, fields)
        return
    click.echo(f"{name} goes on{f'; `runner repo stops {name}` shows what is blocked of it' if left else ''}")


@repo.command("block", cls=JsonCommand)
@click.argument("name")
@click.option("--commit", "-c", help="The commit; its first digits are enough.")
@click.option("--workflow", "-w", help="The workflow: its file.")
@reason_option
@json_option
def block(name: str, commit: str | None, workflow: str | None, reason: str, fields: str | None) -> None:
    """Stop a commit or a workflow of NAME.

    Its runs stand still, and new ones are refused.
    """
    wanted = _one_of(commit, workflow)
    with connect() as client:
        found = client.post(f"{path_of(name)}/block", {**wanted, "reason": reason})
    if fields is not None:
        print_json(found["stops"], fields)
        return
    for one in found["stops"]:
        click.echo(one["words"])
    _, said = next(iter(wanted.items()))
    click.echo(f"`runner runs cancel -R {name} {_option(wanted)}` ends the runs of {said}", err=True)


@repo.command("unblock", cls=JsonCommand)
@click.argument("name")
@click.option("--commit", "-c", help="The commit; its first digits are enough.")
@click.option("--workflow", "-w", help="The workflow: its file.")
@json_option
def unblock(name: str, commit: str | None, workflow: str | None, fields: str | None) -> None:
    """Have a commit or a workflow of NAME go on."""
    wanted = _one_of(commit, workflow)
    with connect() as client:
        found = client.post(f"{path_of(name)}/unblock", wanted)
    if fields is not None:
        print_json(found["stops"], fields)
        return
    _, said = next(iter(wanted.items()))
    click.echo(f"{said} of {name} is not blocked any more")
    click.echo("`runner deliveries replay` starts what was refused meanwhile", err=True)


@repo.command("stops", cls=JsonCommand)
@click.argument("name")
@json_option
def stops(name: str, fields: str | None) -> None:
    """Show what is blocked of the repository NAME, and whether it is paused."""
    with connect() as client:
        found = client.get(f"{path_of(name)}/stops")
    if fields is not None:
        print_json(found, fields)
    elif found:
        rows = [
            (one["commit"] or one["workflow"] or "all of it", one["actor"], ago(one["at"]), one["reason"])
            for one in found
        ]
        print_table(rows, ("stopped", "by", "since", "reason"))
    else:
        click.echo(f"nothing is stopped of {name}", err=True)


def check_chosen(run: int | None, repository: str | None, *narrower: str | None) -> None:
    if (run is None) == (repository is None):
        raise click.UsageError("give one run, or --repo for all of a repository's")
    if run is not None and any(narrower):
        raise click.UsageError("--commit and --workflow need --repo")


def on_all(
    client: Client, verb: str, past: str, repository: str | None, wanted: Values, fields: str | None
) -> None:
    """Act on all runs that match, some with each request. Broken off, it is simply done again."""
    done, left = 0, 1
    while left:
        answer = client.post(f"{path_of(repository or '')}/actions/runs/{verb}", wanted)
        done, left = done + answer["done"], answer["left"]
        if left and not answer["done"]:
            raise Unavailable(f"{past} {done} runs of {repository}; {left} do not change, try again")
        if left:
            click.echo(f"{past} {done} runs, {left} to go", err=True)
    if fields is not None:
        print_json({"done": done, "left": left}, fields)
    else:
        click.echo(f"{past} {done} run{'s' * (done != 1)} of {repository}")


def _one_of(commit: str | None, workflow: str | None) -> dict[str, str]:
    if commit is not None and workflow is None:
        return {"commit": commit}
    if workflow is not None and commit is None:
        return {"workflow": workflow}
    raise click.UsageError("give --commit or --workflow; `runner repo pause` stops all of a repository")


def _option(wanted: dict[str, str]) -> str:
    return " ".join(f"--{name} {value}" for name, value in wanted.items())
