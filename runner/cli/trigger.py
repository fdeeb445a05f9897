"""`runner trigger`: start what a push would start, or one workflow with inputs."""

import time
from urllib.parse import quote

import click

from runner.cli.common import JsonCommand, connect, json_option, print_json
from runner.cli.repo import path_of
from runner.cli.watching import watch_run
from runner.client import Client, Values
from runner.errors import Rejected

ADMISSION_SECONDS = 60.0
POLL_SECONDS = 0.1


@click.command(cls=JsonCommand)
@click.argument("name")
@click.option("--ref", help="A branch, refs/tags/NAME or a full ref; the default branch if not given.")
@click.option("--commit", help="A full commit id of that ref; its newest if not given.")
@click.option("--workflow", metavar="FILE", help="Start this workflow by its workflow_dispatch.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE", help="An input of that workflow.")
@click.option("--watch", is_flag=True, help="Follow the run to its end, and end as it does.")
@json_option
def trigger(
    name: str,
    ref: str | None,
    commit: str | None,
    workflow: str | None,
    inputs: tuple[str, ...],
    watch: bool,
    fields: str | None,
) -> int:
    """Start what a push to the repository NAME would start, or one workflow of it with inputs."""
    given = _inputs(inputs)
    if workflow is None and given:
        raise click.UsageError("--input needs --workflow: only a workflow_dispatch has inputs")
    if workflow is not None and commit is not None:
        raise click.UsageError("--workflow takes the newest commit of --ref, and no --commit")
    with connect() as client:
        if workflow is not None:
            made = _dispatched(client, name, workflow, {"ref": ref, "inputs": given})
        else:
            made = client.post(f"{path_of(name)}/trigger", {"ref": ref, "commit": commit})
        if watch:
            return max(watch_run(client, run) for run in _admitted(client, made["delivery"]))
    if fields is not None:
        print_json(made, fields)
    elif made.get("runs"):
        click.echo(f"run {made['workflow_run_id']} started; `runner runs watch` follows it")
    else:
        click.echo(f"delivery {made['delivery']}; `runner runs list` shows what it started")
    return 0


def _inputs(given: tuple[str, ...]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    if wrong := [name for name, equals, _ in pairs if not (equals and name)]:
        raise click.BadParameter(f"{wrong[0]!r} is no NAME=VALUE", param_hint="--input")
    return {name: value for name, _, value in pairs}


def _dispatched(client: Client, name: str, workflow: str, wanted: Values) -> Values:
    # Only the file's name fits into the address; its folder says nothing more.
    file = workflow.rpartition("/")[2]
    if file in ("", ".", ".."):
        raise Rejected(f"{workflow!r} is no file of a workflow; give one such as ci.yml")
    made = client.post(f"{path_of(name)}/actions/workflows/{quote(file, safe='')}/dispatches", wanted)
    if not made["runs"]:
        run, *_ = made["runs"] = _admitted(client, made["delivery"])
        made |= {"status": "admitted", "workflow_run_id": run}
    return made


def _admitted(client: Client, delivery: str) -> list[int]:
    """The runs that the delivery started, as soon as it is judged; raises `Rejected` if there are none."""
    until = time.monotonic() + ADMISSION_SECONDS
    while time.monotonic() < until:
        found: Values = client.get(f"/deliveries/{delivery}")
        if found["runs"]:
            return list(found["runs"])
        if found["status"] != "received":
            raise Rejected(f"delivery {delivery} {found['status']}: {found['reason']}")
        time.sleep(POLL_SECONDS)
    raise Rejected(f"delivery {delivery} still waits for admission; `runner doctor` may say why")
