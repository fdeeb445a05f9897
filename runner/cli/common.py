"""What commands share: the connection to the server, and printing values as tables or as JSON."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click

from runner.cli.terminal import coloured
from runner.client import Client
from runner.errors import Rejected
from runner.settings import Settings
from runner.web.text import one_line

Command = TypeVar("Command", bound=Callable[..., Any])
Values = Mapping[str, Any]
LONGEST_SUMMARY = 200
_FIELDS = re.compile(r"[a-z_]+(,[a-z_]+)*")


def connect() -> Client:
    return Client(Settings.from_env())


class JsonCommand(click.Command):
    """A command whose `--json` may be followed by field names, or by none.

    A word after `--json` names fields unless the command then lacks an argument that it needs.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        needed = sum(1 for one in self.params if isinstance(one, click.Argument) and one.required)
        words = sum(1 for arg in args if not arg.startswith("-"))
        for at, arg in enumerate(args):
            if arg != "--json":
                continue
            following = args[at + 1] if at + 1 < len(args) else ""
            if _FIELDS.fullmatch(following) and words > needed:
                args[at : at + 2] = [f"--json={following}"]
            else:
                args[at] = "--json="
            break
        return super().parse_args(ctx, args)


class Group(click.Group):
    """A group whose help has the whole first sentence of each command, however long."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, self.commands[name].get_short_help_str(LONGEST_SUMMARY))
                    for name in self.list_commands(ctx)
                ]
            )


def json_option(command: Command) -> Command:
    made: Command = click.option(
        "--json",
        "fields",
        metavar="[FIELDS]",
        help="Print JSON: the whole object, or only these fields, separated by commas.",
    )(command)
    return made


def print_json(value: Any, fields: str) -> None:
    click.echo(json.dumps(_chosen(value, fields), indent=2, ensure_ascii=False))


def print_gone(name: str, fields: str | None, said: str) -> None:
    """Tell that something was removed which cannot be shown any more."""
    if fields is not None:
        print_json({"name": name, "removed": True}, fields)
    else:
        click.echo(said)


def _chosen(value: Any, fields: str) -> Any:
    if not fields:
        return value
    if isinstance(value, list):
        return [_chosen(one, fields) for one in value]
    names = fields.split(",")
    unknown = [name for name in names if name not in value]
    if unknown:
        raise Rejected(f"no field {', '.join(unknown)}; there are {', '.join(value)}")
    return {name: value[name] for name in names}


def print_table(rows: Iterable[Sequence[object]], heads: Sequence[str]) -> None:
    """Columns as wide as they need on a terminal; else tab-separated and without heads, for programs."""
    lines = [[one_line(str(cell)) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in lines:
            click.echo("\t".join(line))
        return
    lines.insert(0, [head.upper() for head in heads])
    widths = [max(len(line[at]) for line in lines) for at in range(len(heads))]
    for number, line in enumerate(lines):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        click.echo(click.style(text, dim=True) if number == 0 else text, color=coloured())


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    for name, value in pairs:
        if value not in (None, "", []):
            click.echo(f"{name + ':':<12} {one_line(str(value))}")
