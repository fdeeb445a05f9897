"""Workflow commands: what a step says to the runner in what it prints.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

DATA = {"%0D": "\r", "%0A": "\n", "%25": "%"}
PROPERTY = {"%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ",", "%25": "%"}
OLD = {"%3B": ";", "%0D": "\r", "%0A": "\n", "%5D": "]"}


@dataclass(frozen=True, slots=True)
class Spoken:
    """One command. Names of commands are in lower case."""

    command: str
    data: str
    properties: Mapping[str, str] = field(default_factory=dict)


def parse_spoken(line: str) -> Spoken | None:
    """The command in a line of output: `::name key=value,key=value::data`, at its beginning."""
    text = line.lstrip()
    if not text.startswith("::"):
        return None
    head, marker, data = text[2:].partition("::")
    if not marker:
        return None
    return command(head, unescaped(data, DATA), ",", PROPERTY)


def parse_old(line: str) -> Spoken | None:
    """The command in the form of before: `##[name key=value;key=value]data`, anywhere in the line."""
    _, opening, rest = line.partition("##[")
    head, closing, data = rest.partition("]")
    if not opening or not closing:
        return None
    return command(head, unescaped(data, OLD), ";", OLD)


def command(head: str, data: str, separator: str, escapes: Mapping[str, str]) -> Spoken | None:
    name, _, rest = head.strip().partition(" ")
    if not name:
        return None
    pairs = (part.partition("=") for part in rest.strip().split(separator))
    properties = {key.strip(): unescaped(value, escapes) for key, _, value in pairs if key.strip() and value}
    return Spoken(name.lower(), data, properties)


def unescaped(text: str, escapes: Mapping[str, str]) -> str:
    for escape, character in escapes.items():
        text = text.replace(escape, character)
    return text
