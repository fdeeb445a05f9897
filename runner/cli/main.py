"""The entry point: finds the command, and turns its end into an exit status."""

import gc
import signal
import sys
from collections.abc import Mapping
from pkgutil import resolve_name
from types import FrameType
from typing import Any

import click

from runner.errors import BrokenDefinition, Forbidden, RunnerError, Unauthorized

COMMANDS = {
    "serve": "runner.cli.serving:serve",
    "worker": "runner.cli.serving:worker",
    "clock": "runner.cli.serving:clock",
    "migrate": "runner.cli.serving:migrate",
    "doctor": "runner.cli.doctor:doctor",
    "run": "runner.cli.running:run",
    "check": "runner.cli.checking:check",
    "plan": "runner.cli.planning:plan",
    "triggers": "runner.cli.planning:triggers",
    "eval": "runner.cli.evaluating:evaluate_expression",
    "probe": "runner.cli.probing:probe",
    "schema": "runner.cli.describing:schema",
    "graph": "runner.cli.describing:graph",
    "repo": "runner.cli.stops:repo",
    "trigger": "runner.cli.trigger:trigger",
    "runs": "runner.cli.runs:runs",
    "artifacts": "runner.cli.artifacts:artifacts",
    "secret": "runner.cli.secret:secret",
    "variable": "runner.cli.variable:variable",
    "environment": "runner.cli.environments:environment",
    "cache": "runner.cli.cache:cache",
    "deliveries": "runner.cli.deliveries:deliveries",
    "token": "runner.cli.token:token",
    "audit": "runner.cli.audit:audit",
}
PROCESSES = ("serve", "worker", "clock")
"""The commands that stay until they are told to go, and whose end by SIGTERM is no failure."""
SUMMARIES: Mapping[str, str] = {
    "serve": "Start the server: webhooks, API and pages, and the worker where it is embedded.",
    "worker": "Work on jobs for a server that uses a broker of its own.",
    "clock": "Ring again for due work, for a server that uses a broker of its own.",
    "migrate": "Bring the database to this version's shape; safe to run twice, and while others do.",
    "doctor": "Say what works here; ends with 0 where a job could run.",
    "run": "Run the workflows of this checkout here, as it is now.",
    "check": "Say all that is wrong with workflow files and actions.",
    "plan": "Print the jobs of a workflow file that an event would start, in stages and combinations.",
    "triggers": "Say whether an event starts a workflow file, and why not.",
    "eval": "Print the value of an expression as JSON; a text with ${{ }} in it becomes text.",
    "probe": "Answer questions about single rules of the language: commands, masks, shells, schedules, refs.",
    "schema": "Print the JSON Schema (Draft-07) of workflow files, ours included.",
    "graph": "Print the jobs of a workflow file and what each waits for.",
    "repo": "Register repositories, print their hooks, and block what is bad in them.",
    "trigger": "Start what a push to the repository NAME would start, or one workflow of it with inputs.",
    "runs": "List, show, watch, rerun, resume, pause and cancel runs.",
    "artifacts": "List, download and delete what runs keep.",
    "secret": "Set, list and remove the secrets of a repository's workflows.",
    "variable": "Set, show, list and remove the variables of a repository's workflows.",
    "environment": "Set, list, show and remove the protection rules of a repository's environments.",
    "cache": "List and delete the caches of a repository.",
    "deliveries": "Show what forges sent and what became of it.",
    "token": "Make, list and revoke tokens: who may do what.",
    "audit": "List what people did, newest first: to which run or repository, and when.",
}


class Lazy(click.Group):
    """A group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = resolve_name(COMMANDS[cmd_name])
        if not gc.isenabled():
            # What is there by now stays: nobody has to look through it again.
            gc.freeze()
            gc.enable()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))


def _print_version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"runner {resolve_name('importlib.metadata:version')('runner')}")
        ctx.exit()


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print it."
)
@click.option("--verbose", "-v", count=True, help="Log more; twice for everything.")
@click.pass_context
def runner(ctx: click.Context, verbose: int) -> None:
    """A self-hosted CI/CD runner: each repository brings its own workflow, every run is durable."""
    ctx.obj = verbose


def main() -> None:
    """Errors: what `runner` says is its message and a status; a bug of ours keeps its traceback."""
    # Before the second that the imports of a server take. What has begun by then is undone in order.
    if next((word for word in sys.argv[1:] if not word.startswith("-")), "") in PROCESSES:
        signal.signal(signal.SIGTERM, _leave)
    # Hardly anything is garbage of what imports make, and looking for it takes as long as a tenth of them.
    gc.disable()
    sys.exit(status_of(runner, sys.argv[1:]))


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def status_of(command: click.Command, args: list[str]) -> int:
    try:
        ended: Any = command.main(args, prog_name="runner", standalone_mode=False)
        return ended if isinstance(ended, int) else 0
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has seen enough. What is buffered must not be tried again at exit.
        sys.stdout = None
        return 0
    except KeyboardInterrupt:
        return 130
    except RunnerError as error:
        click.echo(f"runner: {error}", err=True)
        not_allowed = isinstance(error, Unauthorized | Forbidden)
        return 4 if not_allowed else 5 if isinstance(error, BrokenDefinition) else 1
