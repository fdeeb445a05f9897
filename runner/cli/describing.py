"""`runner schema` and `runner graph`: the language for editors, a workflow for readers."""

import json
from pathlib import Path

import click

from runner.workflow.action_language import ACTION
from runner.workflow.graph import as_mermaid, as_svg, as_text
from runner.workflow.jsonschema import json_schema
from runner.workflow.language import WORKFLOW
from runner.workflow.load import load

FORMS = {"text": as_text, "mermaid": as_mermaid, "svg": as_svg}


@click.command()
@click.option("--action", is_flag=True, help="That of action.yml.")
def schema(action: bool) -> None:
    """Print the JSON Schema (Draft-07) of workflow files, ours included."""
    shape, title = (ACTION, "action.yml") if action else (WORKFLOW, "workflow file")
    click.echo(json.dumps(json_schema(shape, title), indent=2))


@click.command()
@click.argument("workflow", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "form", type=click.Choice(list(FORMS)), default="text", show_default=True)
def graph(workflow: Path, form: str) -> None:
    """Print the jobs of a workflow file and what each waits for."""
    click.echo(FORMS[form](load(str(workflow), workflow.read_bytes())))
