"""`runner eval`: the value of an expression."""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import click

from runner.cli.batches import Question, answer_all
from runner.errors import Rejected
from runner.expr.evaluate import Functions, evaluate, holds, render
from runner.expr.hashing import Spend, hash_files
from runner.expr.status import status_functions
from runner.expr.syntax import parse
from runner.expr.template import parse_template
from runner.expr.values import ExpressionError, Value, kind_of, known, to_string


@click.command("eval")
@click.argument("expression", required=False)
@click.option("--contexts", type=click.File(), help="A JSON file with what the contexts hold.")
@click.option("--batch", is_flag=True, help="Answer JSON lines on standard input.")
def evaluate_expression(expression: str | None, contexts: Any, batch: bool) -> None:
    """Print the value of an expression as JSON; a text with ${{ }} in it becomes text."""
    if batch:
        answer_all(_answer)
        return
    if expression is None:
        raise click.UsageError("give an expression, or --batch")
    seen = _object(contexts) if contexts else {}
    mode = "template" if "${{" in expression else "expr"
    try:
        value = _value(mode, expression, seen, _functions({}))
    except ExpressionError as error:
        raise Rejected(f"column {error.offset + 1}: {error}") from None
    click.echo(json.dumps(plain(value), ensure_ascii=False))


def _object(file: TextIO) -> dict[str, Any]:
    try:
        found = json.load(file)
    except (ValueError, RecursionError) as error:
        raise Rejected(f"--contexts {file.name}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Rejected(f"--contexts {file.name}: a JSON {type(found).__name__}; give an object")
    return found


def _answer(question: Question) -> Question:
    mode, text = question.get("mode", "expr"), str(question["expr"])
    try:
        if mode == "syntax":
            parse(text)
            return {"ok": True, "kind": "Syntax", "value": "ok"}
        value = _value(mode, text, question.get("contexts") or {}, _functions(question))
    except ExpressionError as error:
        return {
            "ok": False,
            "error": {"class": error.stage, "message": str(error), "pos": error.offset + 1},
        }
    return {"ok": True, "kind": kind_of(value), "value": plain(value), "string": to_string(value)}


def _value(mode: str, text: str, contexts: Mapping[str, Any], functions: Functions) -> Value:
    match mode:
        case "if":
            return holds(text, contexts, functions)
        case "template":
            return render(parse_template(text, contexts.keys()), contexts, functions)
        case _:
            return evaluate(text, contexts, functions)


def _functions(question: Mapping[str, Any]) -> Functions:
    folder = Folder(Path(question.get("workdir") or "."))
    status = status_functions(
        question.get("job_status") or "success", question.get("composite_action_status")
    )

    def hashed(*patterns: object) -> str:
        return hash_files(folder, [to_string(known(pattern)) for pattern in patterns])

    return {**status, "hashFiles": hashed}


def plain(value: object) -> Any:
    """What JSON can hold; numbers that it cannot are their text."""
    match value:
        case float():
            if math.isnan(value) or math.isinf(value):
                return to_string(value)
            return int(value) if value.is_integer() and abs(value) < 2**53 else value
        case Mapping():
            return {key: plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return value


class Folder:
    """The files below a folder, as `hashFiles` asks for them."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def paths(self, spend: Spend) -> Iterator[str]:
        return self._below("", (os.path.realpath(self._root),), spend)

    def _below(self, folder: str, trail: tuple[str, ...], spend: Spend) -> Iterator[str]:
        with os.scandir(self._root / folder) as there:
            entries = sorted(there, key=lambda one: one.name)
        for entry in entries:
            spend(1, 0)
            path = f"{folder}{entry.name}"
            if entry.is_file():
                yield path
            elif entry.is_dir() and (real := os.path.realpath(entry.path)) not in trail:
                yield from self._below(f"{path}/", (*trail, real), spend)

    def digest(self, path: str, spend: Spend) -> bytes:
        spend(0, (self._root / path).stat().st_size)
        with (self._root / path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
