"""How the value of a secret or a variable is given: with an option, on standard input, or by being asked for.

As with gh: what is piped in loses the ends of lines at its end, for `echo` and editors write them.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from runner.cli.givens import dotenv, from_files
from runner.errors import Rejected
from runner.model.secret import Kind, checked_name, checked_value

STANDARD_INPUT = Path("-")


def given_values(
    kind: Kind, name: str | None, body: str | None, file: Path | None, hidden: bool
) -> Mapping[str, str]:
    """By name, each as it may be kept. Raises `Rejected` for the first that may not, so that none is set."""
    if body is not None and file is not None:
        raise click.UsageError("give one of --body and --env-file")
    if file is not None:
        if name is not None:
            raise click.UsageError("--env-file brings the names; leave NAME out")
        found = _of_file(kind, file)
    elif name is None:
        raise click.UsageError(f"name the {kind.word}, or give a file of many with --env-file")
    else:
        found = {checked_name(kind, name): body if body is not None else _asked(kind, hidden)}
    stored = {checked_name(kind, one): value for one, value in found.items()}
    for one, value in stored.items():
        checked_value(kind, one, value)
    return stored


def _of_file(kind: Kind, file: Path) -> Mapping[str, str]:
    found = dotenv(_input(kind), "-") if file == STANDARD_INPUT else from_files("--env-file", [file])
    if not found:
        raise Rejected(f"--env-file {file}: no {kind.word} is in it; write NAME=value")
    return found


def _asked(kind: Kind, hidden: bool) -> str:
    if sys.stdin is None or not sys.stdin.isatty():
        return _input(kind).rstrip("\r\n")
    said: str = click.prompt(f"Paste your {kind.word}", hide_input=hidden, err=True)
    return said


def _input(kind: Kind) -> str:
    if sys.stdin is None:
        raise Rejected(f"standard input is closed; write the {kind.word} to it, or give it with --body")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise Rejected(f"the {kind.word} on standard input is no text in UTF-8; base64 makes one") from None
