"""Following a run: a live tree on a terminal, prefixed lines elsewhere, and how to end as it did."""

import click

from runner.cli.lines import EXITS, WAITING, a_show
from runner.cli.terminal import took
from runner.client import Client, Values
from runner.web.text import one_line

INVALID = 5


def ended(run: Values) -> int:
    """The exit status that says how a run ended; 0 while it goes on, but for one that waits."""
    if run["status"] == "waiting":
        return WAITING
    return INVALID if run["problems"] else EXITS.get(run["status"], 0)


def watch_run(client: Client, run_id: int, attempt: int | None = None) -> int:
    """Show a run until it has ended, and give the status to exit with."""
    run: Values = {}
    with a_show() as show:
        for kind, said in client.watch(run_id, attempt):
            match kind:
                case "run":
                    run = said
                    show.run(said)
                case "job":
                    show.job(said)
                case "log":
                    show.log(said)
    click.echo(f"run {run_id} {run['status']} in {took(run['started_at'], run['finished_at']) or '0s'}")
    for problem in run["problems"]:
        click.echo(f"  {one_line(problem)}")
    if ended(run) not in (0, INVALID):
        click.echo(f"`runner runs view {run_id} --log-failed` shows the log of what failed", err=True)
    return ended(run)
