"""`runner run`: the workflows of a checkout, here and now, without a server."""

import json
import logging
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import click

from runner import environment
from runner.cli import givens
from runner.cli.asking import (
    DERIVED,
    OVERRIDES,
    Asked,
    actor_of,
    asked_for,
    both,
    combinations,
    definitions_of,
    event_of,
    workflow_files,
)
from runner.cli.attending import Attendant, given_of
from runner.cli.checking import print_problem
from runner.cli.following import Follower, conclusion, failed_steps, jobs_of, log_of
from runner.cli.interrupts import Interrupts, interrupts
from runner.cli.lines import EXITS, WAITING, Show, Values, a_show
from runner.cli.terminal import coloured, took
from runner.engine.admit import Selection
from runner.engine.sources import checked_base
from runner.errors import Rejected
from runner.executors import EXECUTORS
from runner.expr.values import known, to_string
from runner.local import FORGE, Local, Terms, throwaway_home, usable_executor
from runner.model.run import Finished, combined
from runner.model.source import Delivery, Repository
from runner.vault import MemoryVault
from runner.web.text import one_line, visible
from runner.workflow.document import Workflow
from runner.workspaces.checkouts import Checkout, look

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
INVALID = 2
NOTHING = 1
LOOK_SECONDS = 0.1
LAST_LINES = 200
PASSABLE = 0o022
SETTINGS = (
    *("executor", "job_network", "docker", "git_protocols", "git_networks", "concurrency"),
    "actions_url",
)
SHOWN = 5
LOCALLY = {"ACT": "true"}
"""As the older tool for local runs has it: workflows ask `env.ACT` for what only a server can do."""


@click.command()
@click.argument("workflow", required=False)
@click.option("--repo", "-C", "folder", default=".", type=click.Path(path_type=Path), help="The checkout.")
@click.option("--event", "-e", "kind", default="push", show_default=True)
@click.option("--event-payload", type=FILE, help="The event as a forge would send it, in JSON.")
@click.option("--ref", help="The branch or tag it is about, as a full ref; what is checked out if not given.")
@click.option("--github", type=FILE, help="What the github context says else, in JSON.")
@click.option("--input", "-i", "inputs", multiple=True, metavar="NAME=VALUE")
@click.option("--input-file", "input_files", multiple=True, type=FILE)
@click.option(
    "--secret", "-s", "secrets", multiple=True, metavar="NAME[=VALUE]", help="NAME alone: from this variable."
)
@click.option("--secret-file", "secret_files", multiple=True, type=FILE)
@click.option("--var", "variables", multiple=True, metavar="NAME=VALUE")
@click.option("--var-file", "variable_files", multiple=True, type=FILE)
@click.option("--env", "env", multiple=True, metavar="NAME=VALUE", help="What the env context begins with.")
@click.option("--env-file", "env_files", multiple=True, type=FILE)
@click.option("--job", "-j", "jobs", multiple=True, help="Only this job, and what it needs.")
@click.option("--matrix", multiple=True, metavar="KEY=VALUE", help="Only the combinations that have it.")
@click.option("--label", "labels", multiple=True, help="What this machine offers.")
@click.option("--executor", type=click.Choice(list(EXECUTORS)), help="The sandbox where it works, else host.")
@click.option(
    "--signal", "signals", multiple=True, metavar="NAME[=JSON]", help="Given to whatever waits for it."
)
@click.option("--approve", is_flag=True, help="Approve whatever waits for approval.")
@click.option(
    "--artifacts", type=click.Path(file_okay=False, path_type=Path), help="Unpack what the runs keep there."
)
@click.option("--json", "as_json", is_flag=True, help="Print how it ended as JSON, and nothing else.")
@click.pass_obj
def run(
    verbose: int, /, workflow: str | None, folder: Path, artifacts: Path | None, as_json: bool, **given: Any
) -> int:
    """Run the workflows of this checkout here, as it is now.

    WORKFLOW is a file, or its name in .runner/workflows or .github/workflows; all that the event starts if
    not given. Changed and new files are part of it, ignored ones are not. Nothing is written to the
    checkout, and nothing is left behind. Ends with 0 on success, 1 on failure, 2 where a workflow is invalid,
    8 where it waits for what nobody gives.
    """
    _journal(verbose)
    os.umask(PASSABLE)
    asked = asked_for(given)
    vault = MemoryVault(
        givens.from_files("--secret-file", given["secret_files"]) | givens.secrets(given["secrets"]),
        both("var", given["variable_files"], given["variables"]),
    )
    person = actor_of(asked)
    given_before = given_of(given["signals"], given["approve"], person)
    checkout = look(folder, environment.inherited())
    files = workflow_files(checkout.folder, workflow)
    definitions, problems = definitions_of(checkout.folder, files)
    if problems:
        for problem, lines in problems:
            print_problem(problem, lines, err=as_json)
        if as_json:
            _print(_empty("failure", [str(problem) for problem, _ in problems]))
        return INVALID
    selection = Selection(files, given["jobs"])
    with interrupts() as stops, throwaway_home() as home:
        terms, note = _terms(given, asked)
        name = str(asked.github.get("repository") or checkout.name)
        local = Local(
            home, Repository(FORGE, name, str(checkout.folder)), terms, vault, environment.cache_folder()
        )
        try:
            commit, unread = local.adopt(checkout)
            _tell(checkout, commit, [unread and f"not part of it: {unread}", note, *_not_taken(asked.github)])
            delivery = local.start(event_of(asked, name, checkout, commit, files), selection)
            if not delivery.runs:
                return _nothing(delivery, as_json)
            show = _Silence() if as_json else a_show()
            attendant = Attendant(local, delivery.runs, given_before, person)
            follower = _follow(local, delivery.runs, show, stops, attendant)
            report = _report_json if as_json else _report
            status = report(local, follower, definitions) or _unmet(terms.matrix, follower)
            for missing in attendant.missing():
                status = status or WAITING
                click.echo(f"runner: {one_line(missing)}", err=True)
            if artifacts is not None:
                _unpack(local, delivery.runs, artifacts)
        finally:
            stops.tidy()
            local.close()
    return stops.status or status


def _terms(given: Mapping[str, Any], asked: Asked) -> tuple[Terms, str]:
    """How to work, and a note about an executor that was not asked for."""
    options: dict[str, Any] = {
        "env": LOCALLY | both("env", given["env_files"], given["env"]),
        "matrix": combinations(given["matrix"]),
    }
    if asked.github.get("server_url"):
        options["server"] = str(asked.github["server_url"])
    if given["labels"]:
        said = {label.strip().lower() for one in given["labels"] for label in one.split(",")}
        options["labels"] = frozenset(said)
    chosen = given["executor"]
    if environment.has_settings(*SETTINGS):
        settings = resolve_name("runner.settings:Settings").from_env()
        options |= {
            "network": settings.job_network,
            "docker": settings.docker_url,
            "protocols": ":".join(dict.fromkeys([*settings.git_protocols.split(":"), "file"])),
            "networks": settings.git_network_list,
            "threads": settings.concurrency,
            "actions": _actions_url(settings.actions_url),
        }
        if environment.has_settings("executor"):
            chosen = chosen or settings.executor
    if chosen:
        return Terms(chosen, **options), ""
    name, why = usable_executor()
    note = f"steps run without isolation, as you: the sandbox does not work here: {why}" if why else ""
    return Terms(name, **options), note


def _actions_url(url: str) -> str:
    try:
        return checked_base(url)
    except Rejected as error:
        raise Rejected(f"RUNNER_ACTIONS_URL: {error}") from None


# --- what is shown ---------------------------------------------------------------------------------


def _tell(checkout: Checkout, commit: str, notes: Sequence[str]) -> None:
    """Which state it is that is run, where it is none that can be looked up."""
    if not checkout.git:
        click.echo(f"runner: {checkout.folder} is no git repository; all its files are run", err=True)
    elif commit != checkout.commit:
        paths = [one_line(path) for path in checkout.changed]
        more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
        files = f"{len(paths)} file{'' if len(paths) == 1 else 's'}"
        click.echo(f"runner: with {files} not committed: {', '.join(paths[:SHOWN])}{more}", err=True)
    for note in filter(None, notes):
        click.echo(f"runner: {one_line(note)}", err=True)


def _not_taken(github: Mapping[str, Any]) -> Iterator[str]:
    others = [name for name in github if name not in (*OVERRIDES, *DERIVED)]
    if others:
        yield f"--github says {', '.join(others)}, of which nothing is taken; {', '.join(OVERRIDES)} are"


def _nothing(delivery: Delivery, as_json: bool) -> int:
    if as_json:
        _print(_empty("failure" if delivery.status == "failed" else "skipped", [delivery.reason]))
    # What triggers say of an event that a workflow does not name.
    hint = "; --event NAME gives another event" if "it does not start on " in delivery.reason else ""
    click.echo(f"runner: nothing was run: {one_line(delivery.reason)}{hint}", err=True)
    return NOTHING


def _empty(conclusion: str, errors: list[str]) -> Values:
    return {"triggered": False, "conclusion": conclusion, "log": "", "jobs": {}, "error": errors}


class _Silence:
    """Shows nothing while it happens."""

    def __enter__(self) -> Show:
        return self

    def __exit__(self, *_: object) -> None: ...

    def run(self, said: Values) -> None: ...

    def job(self, said: Values) -> None: ...

    def log(self, said: Values) -> None: ...


def _follow(
    local: Local, runs: Sequence[int], show: Show, stops: Interrupts, attendant: Attendant
) -> Follower:
    follower = Follower(local, runs, show)

    def cancel() -> None:
        for run in runs:
            local.cancel(run)

    attendant.begin()
    while True:
        with show, stops.during():
            while not (ended := follower.look()) and not attendant.look():
                local.wait(LOOK_SECONDS)
                stops.carry_out(cancel)
            # It may have come to wait after it was looked at.
            ended = ended or follower.look()
        if ended or not attendant.ask(stops):
            return follower


def _unpack(local: Local, runs: Sequence[int], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = [name for run in runs for name in local.unpack_artifacts(run, folder)]
    except OSError as error:
        raise Rejected(f"--artifacts: {folder} cannot be written to: {error.strerror}") from None
    click.echo(f"runner: artifacts in {folder}: {', '.join(names) or 'none'}", err=True)


def _unmet(wanted: Mapping[str, Collection[str]], follower: Follower) -> int:
    """Name the values of matrices that were asked for and that no job has; the exit status."""
    legs = [job.matrix for view in follower.views.values() for job in view.jobs]
    had = {(key, to_string(known(value))) for leg in legs for key, value in leg.items()}
    asked = [(key, value) for key, values in wanted.items() for value in values]
    missing = [f"{key}={value}" for key, value in asked if (key, value) not in had]
    if missing:
        has = ", ".join(sorted(f"{key}={value}" for key, value in had))
        click.echo(f"runner: no job was run with {', '.join(missing)}; there was {has or 'none'}", err=True)
    return NOTHING if missing else 0


def _report(local: Local, follower: Follower, definitions: Mapping[str, Workflow]) -> int:
    # Lines were printed as they came; of a tree only the marks are left.
    if sys.stdout.isatty():
        for view in follower.views.values():
            for job, name, text in failed_steps(view, local):
                title = f"{one_line(job.name)} / {one_line(name)}"
                click.echo(click.style(f"\n{title}", bold=True), color=coloured())
                lines = visible(text.removesuffix("\n"), colours=True).split("\n")
                if len(lines) > LAST_LINES:
                    click.echo(f"  ... {len(lines) - LAST_LINES} lines before these")
                for line in lines[-LAST_LINES:]:
                    click.echo(f"  {line}", color=coloured())
        click.echo()
    statuses = []
    for view in follower.views.values():
        statuses.append(WAITING if view.status == "waiting" else EXITS.get(view.status, 1))
        begun, ended = (at.isoformat() if at else None for at in (view.started_at, view.finished_at))
        click.echo(f"{one_line(view.title)} {view.status} in {took(begun, ended) or '0s'}")
    return next((status for status in statuses if status), 0)


def _report_json(local: Local, follower: Follower, definitions: Mapping[str, Workflow]) -> int:
    runs = [local.store.load(run) for run in follower.views]
    many = len(runs) > 1
    jobs = {
        f"{run.workflow.rpartition('/')[2]}/{key}" if many else key: said
        for run in runs
        for key, said in jobs_of(run, follower.views[run.id], definitions[run.workflow]).items()
    }
    results = [run.result for run in runs]
    ended = [Finished(result, run.created_at) for run, result in zip(runs, results, strict=True) if result]
    # One that waits has no result, and so neither has all of it.
    worst = combined(ended) if len(ended) == len(runs) else None
    log = "".join(log_of(view, local) for view in follower.views.values())
    _print({"triggered": True, "conclusion": conclusion(worst), "log": log, "jobs": jobs})
    statuses = [EXITS[str(result)] if result else WAITING for result in results]
    return next(filter(None, statuses), 0)


def _print(value: Values) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))


def _journal(verbose: int) -> None:
    if verbose:
        resolve_name("runner.cli.journal:keep_journal")(verbose)
    else:
        # What goes wrong in a job is its reason, which is shown.
        logging.getLogger().addHandler(logging.NullHandler())
