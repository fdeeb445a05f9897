"""Reading `steps`, and the defaults that a step begins with."""

import re
from collections.abc import Mapping as Dictionary
from dataclasses import dataclass, replace

from runner.expr.template import Template, parse_template
from runner.workflow.compose import Mapping, Node, Scalar, Sequence
from runner.workflow.document import StepDef
from runner.workflow.reading import NO_NAMES, Names, Reader, only
from runner.workflow.schema import DEFAULTS, RUN_DEFAULTS, STEP, STEP_TEXT, Scope, cut
from runner.workflow.shells import shell_problem

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
IDENTIFIER_RULE = "use letters, digits, - and _, beginning with a letter or a single _"

NOTHING_TO_RUN = parse_template("")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What `defaults.run` says, for steps that do not say it themselves."""

    shell: str | None = None
    working_directory: Template | None = None

    def over(self, outer: "Defaults") -> "Defaults":
        return Defaults(self.shell or outer.shell, self.working_directory or outer.working_directory)


def read_defaults(reader: Reader, node: Node, scope: Scope, names: Names = NO_NAMES) -> Defaults:
    run = only(reader.fields(node, "defaults", DEFAULTS), "run")
    if run is None:
        return Defaults()
    fields = reader.fields(run, "run", RUN_DEFAULTS)
    return Defaults(read_shell(reader, fields), read_folder(reader, fields, scope, names))


def read_shell(reader: Reader, fields: dict[str, Node]) -> str | None:
    node = only(fields, "shell")
    shell = reader.text(node, "shell") if node is not None else None
    if node is None or shell is None:
        return None
    if (problem := shell_problem(shell)) is not None:
        reader.problem(node.pos, problem)
        return None
    return shell


def read_folder(reader: Reader, fields: dict[str, Node], scope: Scope, names: Names) -> Template | None:
    node = only(fields, "working-directory")
    return reader.template(node, "working-directory", scope, names) if node is not None else None


def read_steps(reader: Reader, node: Node, defaults: Defaults, names: Names) -> tuple[StepDef, ...]:
    if not isinstance(node, Sequence) or not node.items:
        reader.wrong(node, "steps", "a list with at least one step")
        return ()
    steps: list[StepDef] = []
    ids: dict[str, str] = {}
    here = replace(names, steps=ids)
    for position, item in enumerate(node.items, start=1):
        step = read_step(reader, str(position), item, defaults, here)
        if step.id is not None:
            ids[step.id.lower()] = step.id
        steps.append(step)
    return tuple(steps)


def read_step(reader: Reader, key: str, node: Node, defaults: Defaults, names: Names) -> StepDef:
    fields = reader.fields(node, f"step {key}", STEP)
    if isinstance(node, Mapping) and not {name.text for name, _ in node.entries} & {"run", "uses"}:
        reader.problem(node.pos, f'step {key} needs "run"')
    own = Defaults(read_shell(reader, fields), read_folder(reader, fields, STEP_TEXT, names)).over(defaults)
    name, env, timeout = only(fields, "name"), only(fields, "env"), only(fields, "timeout-minutes")
    go_on = only(fields, "continue-on-error")
    return StepDef(
        key=key,
        run=read_run(reader, fields, names),
        pos=node.pos,
        id=read_id(reader, only(fields, "id"), names.steps),
        name=reader.template(name, "name", STEP_TEXT, names) if name is not None else None,
        shell=own.shell,
        working_directory=own.working_directory,
        env=reader.templates(env, "env", STEP_TEXT, names) if env is not None else {},
        timeout=reader.minutes(timeout, "timeout-minutes") if timeout is not None else None,
        continue_on_error=reader.boolean(go_on, "continue-on-error") if go_on is not None else False,
    )


def read_run(reader: Reader, fields: dict[str, Node], names: Names) -> Template:
    if "run" not in fields:
        return NOTHING_TO_RUN
    node = fields["run"]
    if isinstance(node, Scalar) and not node.text.strip():
        reader.wrong(node, "run", "a script")
        return NOTHING_TO_RUN
    return reader.template(node, "run", STEP_TEXT, names) or NOTHING_TO_RUN


def read_id(reader: Reader, node: Node | None, taken: Dictionary[str, str]) -> str | None:
    text = reader.text(node, "id") if node is not None else None
    if node is None or text is None:
        return None
    if IDENTIFIER.fullmatch(text) is None or text.startswith("__"):
        what = f'"{cut(text)}" cannot be an id; {IDENTIFIER_RULE}'
        reader.problem(node.pos, what)
        return None
    if text.lower() in taken:
        reader.problem(node.pos, f'another step before this one has the id "{text}"')
        return None
    return text
