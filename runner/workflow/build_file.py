"""The whole of a file without an error, as a value."""

from runner.workflow.build import Builder, Defaults, permissions, shown
from runner.workflow.compose import Mapping, Node, Scalar
from runner.workflow.document import (
    ActionDef,
    Call,
    Composite,
    Docker,
    Filter,
    Input,
    Schedule,
    Script,
    Trigger,
    Triggers,
    Workflow,
)
from runner.workflow.reading import entries_of, items_of, value_at

NOT_EVENTS = ("schedule", "workflow_dispatch", "workflow_call")


def build_workflow(build: Builder, path: str, root: Node) -> Workflow:
    name = value_at(root, "name")
    return Workflow(
        path=path,
        name=shown(name) or path,
        on=build_triggers(build, value_at(root, "on")),
        jobs=build.jobs(root),
        env=build.env(value_at(root, "env")),
        run_name=build.template(value_at(root, "run-name")),
        permissions=permissions(root),
        concurrency=build.concurrency(value_at(root, "concurrency")),
    )


def build_triggers(build: Builder, node: Node | None) -> Triggers:
    """From any of the three forms: one event, a list of them, or a mapping with filters."""
    named: dict[str, Node | None] = {shown(item): None for item in items_of(node)}
    named |= {key.text: value for key, value in entries_of(node)}
    dispatch = value_at(named.get("workflow_dispatch"), "inputs")
    call = named.get("workflow_call")
    return Triggers(
        events={name: trigger(name, value) for name, value in named.items() if name not in NOT_EVENTS},
        schedules=tuple(
            Schedule(shown(value_at(one, "cron")), shown(value_at(one, "timezone")) or "UTC")
            for one in items_of(named.get("schedule"))
        ),
        dispatch=build_inputs(build, dispatch) if "workflow_dispatch" in named else None,
        call=build_call(build, call) if "workflow_call" in named else None,
    )


def trigger(name: str, node: Node | None) -> Trigger:
    types = value_at(node, "types")
    return Trigger(
        event=name,
        types=texts(types) if types is not None else None,
        branches=a_filter(node, "branches"),
        tags=a_filter(node, "tags"),
        paths=a_filter(node, "paths"),
        workflows=texts(value_at(node, "workflows")),
    )


def texts(node: Node | None) -> tuple[str, ...]:
    return tuple(map(shown, items_of(node)))


def a_filter(node: Node | None, key: str) -> Filter | None:
    taken, ignored = value_at(node, key), value_at(node, f"{key}-ignore")
    if taken is not None:
        return Filter(texts(taken))
    return Filter(texts(ignored), ignore=True) if ignored is not None else None


def build_inputs(build: Builder, node: Node | None) -> dict[str, Input]:
    return {
        name.text: Input(
            type=shown(value_at(one, "type")) or "string",
            required=build.flag(value_at(one, "required")) is True,
            default=build.tree(value_at(one, "default")),
            options=texts(value_at(one, "options")),
            description=shown(value_at(one, "description")),
        )
        for name, one in entries_of(node)
    }


def build_call(build: Builder, node: Node | None) -> Call:
    secrets, outputs = value_at(node, "secrets"), value_at(node, "outputs")
    return Call(
        inputs=build_inputs(build, value_at(node, "inputs")),
        secrets={
            name.text: build.flag(value_at(one, "required")) is True for name, one in entries_of(secrets)
        },
        outputs={name.text: build.text(value_at(one, "value")) for name, one in entries_of(outputs)},
    )


def build_action(build: Builder, path: str, root: Node) -> ActionDef:
    return ActionDef(
        path=path,
        name=shown(value_at(root, "name")),
        runs=build_runs(build, value_at(root, "runs")),
        inputs=build_inputs(build, value_at(root, "inputs")),
        outputs={
            name.text: build.template(value_at(one, "value"))
            for name, one in entries_of(value_at(root, "outputs"))
        },
    )


def build_runs(build: Builder, node: Node | None) -> Composite | Script | Docker:
    using = shown(value_at(node, "using"))
    before, after = build.condition(value_at(node, "pre-if")), build.condition(value_at(node, "post-if"))

    def word(key: str) -> str | None:
        found = value_at(node, key)
        return shown(found) if isinstance(found, Scalar) else None

    match using.lower():
        case "composite":
            return Composite(build.steps(value_at(node, "steps"), Defaults()))
        case "docker":
            return Docker(
                image=shown(value_at(node, "image")),
                entrypoint=word("entrypoint"),
                args=build.templates(value_at(node, "args")),
                env=build.env(value_at(node, "env")) if isinstance(value_at(node, "env"), Mapping) else {},
                pre_entrypoint=word("pre-entrypoint"),
                pre_if=before,
                post_entrypoint=word("post-entrypoint"),
                post_if=after,
            )
        case _:
            return Script(using, shown(value_at(node, "main")), word("pre"), before, word("post"), after)
