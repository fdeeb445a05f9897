"""`runner trigger`: start what a push would start."""

import time

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
@click.option("--watch", is_flag=True, help="Follow the run to its end, and end as it does.")
@json_option
def trigger(name: str, ref: str | None, commit: str | None, watch: bool, fields: str | None) -> int:
    """Start what a push to the repository NAME would start."""
    with connect() as client:
        made = client.post(f"{path_of(name)}/trigger", {"ref": ref, "commit": commit})
        if watch:
            return max(watch_run(client, run) for run in _admitted(client, made["delivery"]))
    if fields is not None:
        print_json(made, fields)
    else:
        click.echo(f"delivery {made['delivery']}; `runner runs list` shows what it started")
    return 0


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
