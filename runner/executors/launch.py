"""The text that turns the agent's subshell into a step.

The agent's own environment is empty, so a variable the shell can hold is exported by the shell, which
costs nothing. A name it cannot hold (`INPUT_DRY-RUN`), or gives a meaning of its own, goes through `env`.
"""

import os
import re
from functools import lru_cache
from shlex import quote

from runner.engine.ports import Command

# What Linux takes as one string of an environment or an argument list, with its end: 32 pages.
LONGEST_STRING = 131072

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SHELLS_OWN = re.compile(
    "_|BASH.*|CDPATH|COMP_.*|DIRSTACK|ENV|EPOCH.*|EUID|FUNCNAME|GROUPS|HISTCMD|IFS|LINENO|MAIL.*|OLDPWD|OPT.*"
    "|POSIXLY_CORRECT|PPID|PS[0-4]|PWD|S?RANDOM|SECONDS|SHELLOPTS|SHLVL|TIMEFORMAT|TMOUT|UID"
)

NOT_EXECUTABLE = 126
NOT_FOUND = 127


class Unlaunchable(ValueError):
    """A command that no Linux can start; says what about it."""


def launch(command: Command) -> bytes:
    """The shell text that becomes `command`. Raises `Unlaunchable`."""
    for name, value in command.env.items():
        _fits(f"the environment variable {name}", f"{name}={value}")
        if not name or "=" in name:
            raise Unlaunchable(f"{name!r} cannot be the name of an environment variable")
    for position, argument in enumerate(command.argv):
        _fits(f"argument {position} of {command.argv[0]!r}", argument)
    _fits("the folder to start in", command.cwd)
    if not command.argv or not command.argv[0]:
        raise Unlaunchable("a command needs a program to run")
    return os.fsencode("\n".join(_lines(command)) + "\n")


def _fits(what: str, text: str) -> None:
    if "\0" in text:
        raise Unlaunchable(f"{what} holds a NUL byte, which no program can be given")
    # No letter takes more than four bytes.
    if 4 * len(text) >= LONGEST_STRING and (size := len(os.fsencode(text))) >= LONGEST_STRING:
        raise Unlaunchable(
            f"{what} is {size} bytes long; Linux takes at most {LONGEST_STRING - 1}: pass a file instead"
        )


def _lines(command: Command) -> list[str]:
    shells = {name: value for name, value in command.env.items() if _is_shells(name)}
    others = [f"{name}={value}" for name, value in command.env.items() if name not in shells]
    program = command.argv[0]
    missing = f"runner: there is no program {program} to run; PATH is {command.env.get('PATH', 'not set')}"
    closed = f"runner: cannot enter the folder {command.cwd} to run {program}"
    through = ["/usr/bin/env", *others] if others else []
    return [
        f"cd {quote(command.cwd)} 2>/dev/null || {{ printf '%s\\n' {quote(closed)}; exit 1; }}",
        # A shell exports these two by itself.
        "unset PWD OLDPWD",
        # Before the exports: one of them may be called `session`.
        f'set -- ${{session:+"$session" --}} {" ".join(map(quote, (*through, *command.argv)))}',
        # A locale that the shell takes over must not change how it reads the rest.
        *(f"export {name}={quote(shells[name])}" for name in sorted(shells, key=_is_locale)),
        f"command -v {quote(program)} >/dev/null || {{ printf '%s\\n' {quote(missing)}; exit {NOT_FOUND}; }}",
        'exec "$@"',
    ]


@lru_cache(maxsize=1024)
def _is_shells(name: str) -> bool:
    return bool(NAME.fullmatch(name)) and not SHELLS_OWN.fullmatch(name)


def _is_locale(name: str) -> bool:
    return name.startswith(("LC_", "LANG"))
