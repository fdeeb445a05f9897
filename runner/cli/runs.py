"""`runner runs`: what ran, as gh's `run` shows it."""

import json
import time
from collections.abc import Iterator, Sequence

import click

from runner.cli.common import Group, JsonCommand, connect, json_option, print_json, print_pairs, print_table
from runner.cli.lines import annotations_of, titled, tree_of
from runner.cli.repo import path_of
from runner.cli.stops import (
    check_chosen,
    commit_option,
    on_all,
    pause_runs,
    repo_option,
    unpause_runs,
    workflow_option,
)
from runner.cli.terminal import ago, took
from runner.cli.watching import ended, watch_run
from runner.client import Client, Values
from runner.errors import NotFound, Rejected
from runner.web.text import one_line, visible

STATUSES = ("queued", "running", "waiting", "success", "failure", "cancelled", "skipped", "timed_out")
STOPPED = "stopped"
UNFINISHED = ("queued", "running", "waiting")
FAILED = ("failure", "timed_out", "cancelled")
ADMISSION_SECONDS = 30.0
POLL_SECONDS = 0.1
OUR_OWN = ("schedule", "sync", "workflow_run", "pull_request_target")
LOOKED_THROUGH = 100
"""Newest deliveries among which the last one is looked for that somebody brought about."""
MOST_NAMED = 10
"""Signals that are named where another one was sent."""
NO_RUNS = "no runs; `runner trigger NAME` or a push starts one"
attempt_option = click.option("--attempt", "-a", type=click.IntRange(1), help="The newest if not given.")

meant_option = click.option(
    "--attempt",
    "-a",
    type=click.IntRange(1),
    help="Refused once the run is at another; the newest if not given.",
)


@click.group(cls=Group)
def runs() -> None:
    """List, show, watch, rerun, resume, pause and cancel runs."""


@runs.command("list", cls=JsonCommand)
@click.option("--repo", "-R", help="Only of this repository.")
@click.option("--branch", "-b", help="Only of this branch.")
@click.option("--workflow", "-w", help="Only of this workflow: its file or its name.")
@click.option("--event", "-e", help="Only started by this event.")
@click.option("--user", "-u", help="Only started by this person.")
@click.option("--commit", "-c", help="Only of this commit; its first digits are enough.")
@click.option(
    "--status",
    "-s",
    type=click.Choice((*STATUSES, STOPPED)),
    help="waiting: for a time, a signal or a person; stopped: paused or blocked.",
)
@click.option("--limit", "-L", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--before", type=int, help="Only runs older than this one.")
@json_option
def list_runs(fields: str | None, user: str | None, repo: str | None, **filters: object) -> None:
    """List the newest runs."""
    with connect() as client:
        found = client.get("/runs", actor=user, repo=repo, **filters)
        if repo and not found:
            # Runs of a repository that was removed are listed; where there are none, it may be misspelt.
            client.get(path_of(repo))
    if fields is not None:
        print_json(found, fields)
        return
    rows = [
        (
            run["status"] + (", stopped" if run["stopped"] else ""),
            run["id"],
            titled(run),
            run["repo"],
            run["branch"] or run["ref"],
            run["commit"][:12],
            run["event"],
            took(run["started_at"], run["finished_at"]),
            ago(run["created_at"]),
            *([one_line(run["awaits"])] if filters["status"] == "waiting" else []),
        )
        for run in found
    ]
    heads = ("status", "run", "workflow", "repository", "branch", "commit", "event", "took", "created")
    more = ("waits for",) if filters["status"] == "waiting" else ()
    if rows:
        print_table(rows, (*heads, *more))
    else:
        click.echo(NO_RUNS, err=True)


@runs.command("view", cls=JsonCommand)
@click.argument("run", type=int, required=False)
@attempt_option
@click.option("--job", "-j", help="Only this job: its key, path, name or id.")
@click.option("--log", is_flag=True, help="Print the log.")
@click.option("--log-failed", is_flag=True, help="Print the log of the steps that failed.")
@click.option("--exit-status", is_flag=True, help="End as the run did.")
@click.option("--web", is_flag=True, help="Open the run's page in a browser.")
@json_option
def view(
    run: int | None,
    attempt: int | None,
    job: str | None,
    log: bool,
    log_failed: bool,
    exit_status: bool,
    web: bool,
    fields: str | None,
) -> int:
    """Show RUN, or the newest one, with its jobs and steps."""
    with connect() as client:
        run = run or _newest_run(client)
        found = client.get(f"/runs/{run}", attempt=attempt)
        if web:
            click.launch(f"{client.url}/runs/{run}")
        elif fields is not None:
            print_json(found, fields)
        elif log:
            _print_log(client, found, job=job)
        elif log_failed:
            failed = _failed_steps(_chosen(found, job))
            for one, step in failed:
                _print_log(client, found, job=str(one["id"]), step=step["key"])
            if not failed:
                click.echo(f"no step failed; `runner runs view {run}` shows how each job ended", err=True)
        else:
            _print_run(found, job)
    return ended(found) if exit_status else 0


@runs.command("watch")
@click.argument("run", type=int, required=False)
@attempt_option
def watch(run: int | None, attempt: int | None) -> int:
    """Follow RUN to its end, and end as it does. It goes on where it was after the server restarts.

    Without RUN it follows what the newest push or trigger started, as in `git push && runner runs watch`.
    """
    with connect() as client:
        chosen = _newest_started(client) if run is None else [run]
        return max(watch_run(client, one, attempt) for one in chosen)


@runs.command("logs")
@click.argument("run", type=int)
@attempt_option
@click.option("--job", "-j", help="Only of this job: its key, path, name or id.")
@click.option("--step", help="Only of this step: its number, its key, or the name that a program gave it.")
def logs(run: int, attempt: int | None, job: str | None, step: str | None) -> None:
    """Print the log of RUN."""
    with connect() as client:
        found = client.get(f"/runs/{run}", attempt=attempt)
        _print_log(client, found, job=job, step=step)


@runs.command("rerun", cls=JsonCommand)
@click.argument("run", type=int)
@click.option("--failed", is_flag=True, help="Only the jobs that failed, and those that need them.")
@click.option("--job", "-j", help="Only this job, and those that need it: its key, path, name or id.")
@click.option(
    "--from-step",
    metavar="JOB:STEP",
    help="Only this job, from a step on, and those that need it; what was done before is kept.",
)
@json_option
def rerun(run: int, failed: bool, job: str | None, from_step: str | None, fields: str | None) -> None:
    """Run every job of RUN again, at the same commit, as a new attempt."""
    if [failed, job is not None, from_step is not None].count(True) > 1:
        raise click.UsageError(
            "one of --failed, --job and --from-step: all that failed, one job, or a part of it"
        )
    asked = {"failed": failed, "job": job} | ({} if from_step is None else {"from_step": from_step})
    with connect() as client:
        found = client.post(f"/runs/{run}/rerun", asked)
    _print_attempt(run, found, fields)


def _print_attempt(run: int, found: Values, fields: str | None) -> None:
    if fields is not None:
        print_json(found, fields)
    else:
        click.echo(
            f"run {run}: attempt {found['attempt']} at {found['commit'][:12]}; `runner runs watch {run}`"
        )


@runs.command("cancel", cls=JsonCommand)
@click.argument("run", type=int, required=False)
@repo_option
@commit_option
@workflow_option
@click.option("--force", is_flag=True, help="At once, and whatever an `if` says, always() too.")
@json_option
def cancel(
    run: int | None,
    repository: str | None,
    commit: str | None,
    workflow: str | None,
    force: bool,
    fields: str | None,
) -> None:
    """End RUN, or all runs of a repository.

    Jobs and steps whose `if` is met all the same, as with always(), go on.
    """
    check_chosen(run, repository, commit, workflow)
    with connect() as client:
        if run is None:
            wanted = {"commit": commit, "workflow": workflow, "force": force}
            on_all(client, "cancel", "cancelled", repository, wanted, fields)
            return
        found = client.post(f"/runs/{run}/{'force-cancel' if force else 'cancel'}")
    if fields is not None:
        print_json(found, fields)
    elif found["status"] in UNFINISHED:
        click.echo(f"run {run} is being cancelled; `runner runs watch {run}` shows its end")
    else:
        click.echo(f"run {run} has ended: {found['status']}")


@runs.command("signal", cls=JsonCommand)
@click.argument("run", type=int)
@click.argument("name")
@click.option("--payload", "-p", help="JSON, which becomes the outputs of the step that waits for it.")
@click.option("--key", "-k", default="", help="Makes a copy of it known: of one key the first one counts.")
@meant_option
@json_option
def signal(
    run: int, name: str, payload: str | None, key: str, attempt: int | None, fields: str | None
) -> None:
    """Send RUN the signal NAME. It is kept until a step waits for it."""
    try:
        said = None if payload is None else json.loads(payload)
    except ValueError as error:
        raise click.UsageError(f"--payload is no JSON: {error}; a text is written '\"so\"'") from None
    with connect() as client:
        found = client.post(
            f"/runs/{run}/signal", {"name": name, "payload": said, "key": key} | _meant(attempt)
        )
    if fields is not None:
        print_json(found, fields)
    elif found["repeated"]:
        click.echo(f"run {run} was sent {name} with the key {key} before; this copy does nothing")
    elif found.get("taken", True):
        # A former server does not say whether it was.
        click.echo(f"run {run} was sent {name}")
    else:
        click.echo(
            f"run {run} was sent {name} and keeps it: nothing waits for '{name}' yet; "
            f"waited for now: {_listed(found['awaited'])}"
        )


def _listed(names: Sequence[str]) -> str:
    shown = [f"'{one_line(name)}'" for name in names[:MOST_NAMED]]
    more = [f"{len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
    return ", ".join(shown + more) or "no signal"


def _meant(attempt: int | None) -> dict[str, int]:
    """What a server is told of the attempt that is meant; a former version of it knows of none."""
    return {} if attempt is None else {"attempt": attempt}


def _one(step: str | None) -> dict[str, str]:
    """The same for the step that is meant."""
    return {} if step is None else {"step": step}


def _judgement(name: str, done: str, what: str) -> None:
    @runs.command(name, cls=JsonCommand, help=what)
    @click.argument("run", type=int)
    @click.option("--job", "-j", help="The job, where several wait: its key, path, name or id.")
    @click.option("--step", "-s", help="The step, where several of a job wait: its key, number or name.")
    @click.option("--environment", "-e", help="All jobs that wait to deploy there.")
    @click.option("--comment", "-m", default="", help="Why.")
    @meant_option
    @json_option
    def judge(
        run: int,
        job: str | None,
        step: str | None,
        environment: str | None,
        comment: str,
        attempt: int | None,
        fields: str | None,
    ) -> None:
        if job is not None and environment is not None:
            raise click.UsageError("either --job or --environment: one job, or all that deploy there")
        said = {"job": job, "environment": environment, "comment": comment} | _meant(attempt) | _one(step)
        with connect() as client:
            found = client.post(f"/runs/{run}/{name}", said)
        if fields is not None:
            print_json(found, fields)
        else:
            click.echo(f"run {run} is {done}; `runner runs watch {run}` shows how it goes on")


_judgement("approve", "approved", "Let the job of RUN go on that waits for approval.")
_judgement("reject", "rejected", "Have the job of RUN fail that waits for approval.")


@runs.command("resume", cls=JsonCommand)
@click.argument("run", type=int)
@click.option("--job", "-j", help="Only this job: its key, path, name or id.")
@click.option("--step", "-s", help="The step, where several of a job may have run: its key, number or name.")
@click.option(
    "--as",
    "word",
    type=click.Choice(("again", "done", "failed")),
    help="What becomes of a step that may have run: it runs again, counts as done, or as failed.",
)
@click.option("--comment", "-m", default="", help="Why.")
@meant_option
@json_option
def resume(
    run: int,
    job: str | None,
    step: str | None,
    word: str | None,
    comment: str,
    attempt: int | None,
    fields: str | None,
) -> None:
    """Go on with RUN where it stopped.

    Where it has ended, each job that did not succeed goes on at the step where it stopped, in a new attempt:
    files and outputs of the steps before are kept, and jobs that need it run again. Where it waits for a word
    on a step that may have run when its worker was lost, as `on-lost: ask` has it, --as is that word.
    """
    with connect() as client:
        said = {"job": job, "word": word, "comment": comment} | _meant(attempt) | _one(step)
        found = client.post(f"/runs/{run}/resume", said)
    if fields is not None:
        print_json(found, fields)
    else:
        click.echo(f"run {run} goes on; `runner runs watch {run}` shows how")


runs.add_command(pause_runs)
runs.add_command(unpause_runs)


def _newest_run(client: Client) -> int:
    found = client.get("/runs", limit=1)
    if not found:
        raise NotFound(NO_RUNS)
    newest: int = found[0]["id"]
    return newest


def _newest_started(client: Client) -> list[int]:
    """The runs of the newest delivery, as soon as it is judged; raises `Rejected` if it started none."""
    listed = client.get("/deliveries", limit=LOOKED_THROUGH)
    # Whoever has just pushed does not mean what the clock brought meanwhile.
    found = [one for one in listed if one["event"] not in OUR_OWN]
    if not found:
        raise NotFound(NO_RUNS)
    newest: Values = found[0]
    until = time.monotonic() + ADMISSION_SECONDS
    while newest["status"] == "received" and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
        newest = client.get(f"/deliveries/{newest['id']}")
    match newest["status"]:
        case "admitted":
            return sorted(newest["runs"])
        case "received":
            waits = f"delivery {newest['id']} still waits for admission after {ADMISSION_SECONDS:g} s"
            raise Rejected(f"{waits}; `runner doctor` may say why")
        case status:
            became = f"the newest delivery, {newest['id']} of {newest['repo']}, is {status}"
            raise Rejected(f"{became}: {newest['reason']}; `runner runs list` shows earlier runs")


def _chosen(run: Values, job: str | None) -> list[Values]:
    """The jobs that are meant; raises `NotFound`."""
    jobs = [one for one in run["jobs"] if job in (None, one["key"], one["path"], one["name"], str(one["id"]))]
    if job is not None and not jobs:
        there = ", ".join(dict.fromkeys(one["path"] for one in run["jobs"]))
        raise NotFound(f"run {run['id']} has no job {job!r}; it has {there or 'none'}")
    return jobs


def _print_run(run: Values, job: str | None) -> None:
    jobs = _chosen(run, job)
    cancelling = run["cancelled"] and not run["finished_at"]
    print_pairs(
        [
            ("run", f"{run['id']}  {titled(run)}"),
            ("status", run["status"] + (", being cancelled" if cancelling else "")),
            *([("reason", run["reason"])] if run["reason"] else []),
            ("repository", run["repo"]),
            ("ref", run["ref"]),
            ("commit", run["commit"]),
            ("workflow", run["workflow"]),
            ("event", f"{run['event']} by {run['actor']}" if run["actor"] else run["event"]),
            *([("started by", _started_by(run["parent"]))] if run.get("parent") else []),
            ("attempt", f"{run['attempt']} of {run['attempts']}"),
            ("created", run["created_at"]),
            ("took", took(run["started_at"], run["finished_at"])),
            *(("uses", f"{one_line(name)} at {commit}") for name, commit in run["pins"].items()),
        ]
    )
    for problem in run["problems"]:
        click.echo(f"  {one_line(problem)}")
    for line in (*tree_of(jobs), *annotations_of(jobs)):
        click.echo(line)
    for hint in _hints(run, jobs):
        click.echo(hint, err=True)


def _started_by(parent: Values) -> str:
    return f"run {parent['run']}, step {one_line(parent['step'])}"


def _hints(run: Values, jobs: Sequence[Values]) -> Iterator[str]:
    """The commands that come next."""
    if _failed_steps(jobs):
        which = "" if run["attempt"] == run["attempts"] else f" --attempt {run['attempt']}"
        yield f"`runner runs view {run['id']}{which} --log-failed` shows the logs of what did not succeed"
    if run["cancelled"] or run["stopped"]:
        return
    waits = [wait for one in jobs if not one["finished_at"] for wait in one["waits"]]
    for awaited in dict.fromkeys(wait["awaited"] for wait in waits if wait["answer"] is None):
        match awaited:
            case "approval":
                yield f"`runner runs approve {run['id']}` has it go on, `runner runs reject {run['id']}` fail"
            case "signal":
                yield f"`runner runs signal {run['id']} NAME` sends a signal"
            case "resumption":
                yield f"`runner runs resume {run['id']} --as again|done|failed` says what became of the step"


def _failed_steps(jobs: Sequence[Values]) -> list[tuple[Values, Values]]:
    return [(job, step) for job in jobs for step in job["steps"] if step["status"] in FAILED]


def _print_log(client: Client, run: Values, job: str | None = None, step: str | None = None) -> None:
    rest = ""
    for text in client.text(f"/runs/{run['id']}/log", attempt=run["attempt"], job=job, step=step):
        # An escape sequence is only recognized whole, and a line is whole.
        lines, newline, rest = (rest + text).rpartition("\n")
        click.echo(visible(lines + newline, colours=True), nl=False)
    if rest:
        click.echo(visible(rest, colours=True))
