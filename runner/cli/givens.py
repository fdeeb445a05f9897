"""What a run is given on the command line: `NAME=value` options, and files of such lines.

The files are what people call dotenv: a variable to a line, `#` comments, `export` allowed. A value in single
quotes stays as it is; in double quotes `\\n` is a line break. Both may have several lines.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from runner import environment
from runner.errors import Rejected

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_LINE = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<name>[^\s=#]+)[ \t]*=[ \t]*", re.ASCII)
_QUOTED = {
    '"': re.compile(r'"((?:[^"\\]|\\.)*)"[ \t]*(?:#[^\n]*)?(?=\n|$)', re.DOTALL),
    "'": re.compile(r"'([^']*)'[ \t]*(?:#[^\n]*)?(?=\n|$)"),
}
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def pairs(option: str, said: Iterable[str]) -> dict[str, str]:
    """`NAME=value` as they were given to an option. Raises `Rejected` without repeating a value."""
    found = {}
    for one in said:
        name, equals, value = one.partition("=")
        if not equals:
            raise Rejected(f"{option} {name if NAME.fullmatch(name) else '...'}: write {option} NAME=value")
        found[_checked(option, name)] = value
    return found


def secrets(said: Iterable[str]) -> dict[str, str]:
    """As `pairs`; a name alone is a variable of this process, else it is asked for on the terminal."""
    found = {}
    for one in said:
        name, equals, value = one.partition("=")
        _checked("--secret", name)
        found[name] = value if equals else _known(name)
    return found


def _known(name: str) -> str:
    value = environment.variable(name)
    if value is not None:
        return value
    if not sys.stdin.isatty():
        raise Rejected(
            f"--secret {name}: there is no variable {name}; set it, or write --secret {name}=value"
        )
    asked: str = click.prompt(name, hide_input=True, err=True)
    return asked


def _checked(where: str, name: str) -> str:
    if not NAME.fullmatch(name):
        raise Rejected(f"{where}: a name is letters, digits, `_`, `-` and `.`, and begins with no digit")
    return name


def from_files(option: str, files: Iterable[Path]) -> dict[str, str]:
    """The variables of several files; the last one wins."""
    found: dict[str, str] = {}
    for file in files:
        try:
            text = file.read_bytes().decode("utf-8-sig")
        except OSError as error:
            raise Rejected(f"{option} {file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise Rejected(f"{option} {file}: the file is not UTF-8") from None
        found |= dotenv(text, str(file))
    return found


def dotenv(text: str, where: str) -> Mapping[str, str]:
    """Raises `Rejected` with the line, and nothing of what is in it."""
    text = text.replace("\r\n", "\n")
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        line = text[at:end].strip()
        if not line or line.startswith("#"):
            at = end + 1
            continue
        place = f"{where}:{text.count(chr(10), 0, at) + 1}"
        begun = _LINE.match(text, at)
        if begun is None:
            raise Rejected(f"{place}: write NAME=value")
        name, value, at = _checked(place, begun["name"]), text[begun.end() : end], begun.end()
        if quoted := _QUOTED.get(value[:1]):
            whole = quoted.match(text, at)
            if whole is None:
                raise Rejected(f"{place}: the value of {name} begins with {value[:1]} and never ends with it")
            value, end = whole[1], whole.end()
            if text[at] == '"':
                value = re.sub(
                    r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), value, flags=re.DOTALL
                )
        else:
            value = re.sub(r"[ \t]+#.*", "", value).strip()
        found[name] = value
        at = end + 1
    return found
