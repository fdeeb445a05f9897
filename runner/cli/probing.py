"""`runner probe`: single rules of the language, asked about one by one."""

from collections.abc import Callable, Mapping
from typing import Any

import click

from runner.cli.batches import Question, answer_all
from runner.engine.commands import BLOCKED, parse_pairs
from runner.engine.masks import Masks
from runner.engine.output import COMMANDS, parse_command
from runner.engine.refs import Head, ref_of, sha_of, short_ref
from runner.errors import RunnerError
from runner.workflow.cron import LEAST_MINUTES, BadCron, parse_cron
from runner.workflow.shells import shell_template


@click.command()
@click.option("--batch", is_flag=True, required=True, help="Answer JSON lines on standard input.")
def probe(batch: bool) -> None:
    """Answer questions about single rules of the language: commands, masks, shells, schedules, refs."""
    answer_all(_answer)


def _answer(question: Question) -> Question:
    kind = str(question.get("kind"))
    if kind not in _KINDS:
        return {"error": f"no kind {kind!r}; there are {', '.join(_KINDS)}"}
    try:
        return _KINDS[kind](question)
    except RunnerError as error:
        return {"error": str(error)}


def _file(question: Question) -> Question:
    text = str(question["content"]).removeprefix("\ufeff")
    kind = str(question["file"])
    if kind == "path":
        return {"value": [line for line in text.splitlines() if line]}
    if kind == "summary":
        return {"value": text}
    pairs = parse_pairs(text, f"GITHUB_{kind.upper()}")
    if kind == "env":
        pairs = {name: value for name, value in pairs.items() if name.upper() not in BLOCKED}
    return {"value": pairs}


def _command(question: Question) -> Question:
    known = question.get("known_commands")
    found = parse_command(str(question["line"]), COMMANDS if known is None else frozenset(known))
    if found is None:
        return {"value": None}
    return {"value": {"command": found.name, "data": found.data, "properties": dict(found.properties)}}


def _mask(question: Question) -> Question:
    masks = Masks(question.get("secrets") or ())
    for line in question.get("commands") or ():
        found = parse_command(line)
        if found is not None and found.name == "add-mask":
            masks.add(found.data)
    return {"value": masks.hide_text(str(question["input"]))}


def _shell(question: Question) -> Question:
    """What runs a script: bash runs it otherwise where a workflow asks for it by name."""
    shell, said = question.get("shell"), question.get("explicit_in_workflow")
    return {"value": shell_template(None if shell == "bash" and not said else shell or None)}


def _cron(question: Question) -> Question:
    try:
        gap = parse_cron(str(question["cron"])).shortest_gap
    except BadCron as error:
        return {"valid": False, "why": str(error)}
    return {"valid": True, "more_often_than_5_minutes": gap < LEAST_MINUTES}


def _github(question: Question) -> Question:
    kind, payload = str(question["event"]), question.get("payload") or {}
    given: Mapping[str, Any] = question.get("given") or {}
    head = Head(
        given.get("repo_head_ref", ""), given.get("repo_head_sha", ""), given.get("github_base_ref", "")
    )
    ref = ref_of(kind, payload, head)
    return {"value": {"ref": ref, "ref_name": short_ref(ref), "sha": sha_of(kind, payload, head)}}


_KINDS: Mapping[str, Callable[[Question], Question]] = {
    "filecmd": _file,
    "wfcmd": _command,
    "mask": _mask,
    "shell": _shell,
    "cron": _cron,
    "github_context": _github,
}
