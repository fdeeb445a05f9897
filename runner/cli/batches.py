"""`--batch`: questions as JSON lines on standard input, each answered by a line."""

import json
import sys
from collections.abc import Callable
from typing import Any

import click

from runner.errors import Rejected

Question = dict[str, Any]


def answer_all(answer: Callable[[Question], Question]) -> None:
    """Answer every line; the answer begins with the `id` of its question."""
    for number, line in enumerate(sys.stdin, start=1):
        if not line.strip():
            continue
        try:
            question = json.loads(line)
        except ValueError as error:
            raise Rejected(f"line {number} of standard input is no JSON: {error}") from None
        if not isinstance(question, dict):
            raise Rejected(f"line {number} of standard input is no JSON object")
        click.echo(json.dumps({"id": question.get("id"), **answer(question)}, ensure_ascii=False))
