"""Nodes -> values, for a file without an error: every node is what the language asks for."""

from collections.abc import Mapping as Dictionary
from dataclasses import dataclass

from runner.expr.template import OPEN, Condition, Template, parse_template
from runner.expr.values import known
from runner.model.snapshot import Keep
from runner.workflow.checks import seconds_of
from runner.workflow.compose import Mapping, Node, Scalar, Sequence
from runner.workflow.document import (
    DEFAULT_TIMEOUT,
    Cancel,
    Concurrency,
    Container,
    Env,
    Environment,
    Flag,
    JobDef,
    Number,
    Parallel,
    Permissions,
    Retry,
    Reusable,
    Run,
    Snapshot,
    StepDef,
    Steps,
    Strategy,
    Tree,
    Uses,
    Wait,
)
from runner.workflow.reading import Reader, entries_of, items_of, shown_scalar, value_at

EMPTY = parse_template("")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What `defaults.run` says, for steps that do not say it themselves."""

    shell: Template | None = None
    working_directory: Template | None = None


class Builder:
    """Makes values from the nodes of one file."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def template(self, node: Node | None) -> Template | None:
        return self._reader.template(node) if isinstance(node, Scalar) else None

    def text(self, node: Node | None) -> Template:
        return self.template(node) or EMPTY

    def templates(self, node: Node | None) -> tuple[Template, ...]:
        return tuple(self.text(item) for item in items_of(node))

    def condition(self, node: Node | None) -> Condition | None:
        return self._reader.condition(node) if isinstance(node, Scalar) else None

    def env(self, node: Node | None) -> Env:
        """A mapping of texts; one whose keys are expressions too is not known before it is evaluated."""
        if isinstance(node, Scalar):
            return self.text(node)
        return {name.text: self.text(value) for name, value in entries_of(node)}

    def flag(self, node: Node | None, otherwise: bool = False) -> Flag:
        if not isinstance(node, Scalar):
            return otherwise
        return node.value if isinstance(node.value, bool) else self.text(node)

    def number(self, node: Node | None) -> Number | None:
        if not isinstance(node, Scalar):
            return None
        return float(node.value) if isinstance(node.value, int | float) else self.text(node)

    def tree(self, node: Node | None) -> Tree:
        match node:
            case Scalar():
                value = known(node.value)
                if isinstance(value, str) and OPEN in value:
                    return self.text(node)
                return value if isinstance(value, bool | float | str) else None
            case Sequence(_, items):
                return tuple(self.tree(item) for item in items)
            case Mapping(_, entries):
                return {name.text: self.tree(value) for name, value in entries}
            case None:
                return None

    def defaults(self, node: Node | None, outer: Defaults) -> Defaults:
        shell = self.template(value_at(node, "run", "shell"))
        folder = self.template(value_at(node, "run", "working-directory"))
        return Defaults(shell or outer.shell, folder or outer.working_directory)

    def jobs(self, root: Node) -> tuple[JobDef, ...]:
        outer = self.defaults(value_at(root, "defaults"), Defaults())
        jobs = entries_of(value_at(root, "jobs"))
        keys = {key.text.lower(): key.text for key, _ in jobs}
        return tuple(self._job(key, job, keys, outer) for key, job in jobs)

    def _job(self, key: Scalar, node: Node, keys: Dictionary[str, str], outer: Defaults) -> JobDef:
        needs = (item.text for item in items_of(value_at(node, "needs")) if isinstance(item, Scalar))
        strategy = value_at(node, "strategy")
        reusable = value_at(node, "uses")
        return JobDef(
            key=key.text,
            body=self._reusable(node) if reusable is not None else self._steps_job(node, outer),
            pos=key.pos,
            name=self.template(value_at(node, "name")),
            needs=tuple(keys[need.lower()] for need in needs),
            condition=self.condition(value_at(node, "if")),
            strategy=self._strategy(strategy) if strategy is not None else None,
            continue_on_error=self.flag(value_at(node, "continue-on-error")),
            concurrency=self.concurrency(value_at(node, "concurrency")),
            permissions=permissions(node),
        )

    def _reusable(self, node: Node) -> Reusable:
        secrets, given = value_at(node, "secrets"), value_at(node, "with")
        inherits = isinstance(secrets, Scalar) and secrets.text == "inherit"
        inputs = (
            self.text(given)
            if isinstance(given, Scalar)
            else {name.text: self.tree(value) for name, value in entries_of(given)}
        )
        return Reusable(shown(value_at(node, "uses")), inputs, None if inherits else self.env(secrets))

    def _steps_job(self, node: Node, outer: Defaults) -> Steps:
        runs_on, services = value_at(node, "runs-on"), value_at(node, "services")
        labels = value_at(runs_on, "labels") if isinstance(runs_on, Mapping) else runs_on
        container = value_at(node, "container")
        defaults = self.defaults(value_at(node, "defaults"), outer)
        timeout = self.number(value_at(node, "timeout-minutes"))
        snapshot = value_at(node, "snapshot")
        keep = Keep(snapshot.text) if isinstance(snapshot, Scalar) and snapshot.text in tuple(Keep) else None
        return Steps(
            steps=self.steps(value_at(node, "steps"), defaults),
            labels=self.templates(labels),
            group=self.template(value_at(runs_on, "group")),
            env=self.env(value_at(node, "env")),
            timeout=DEFAULT_TIMEOUT if timeout is None else timeout,
            container=self._container(container) if container is not None else None,
            services=self.text(services)
            if isinstance(services, Scalar)
            else {name.text: self._container(one) for name, one in entries_of(services)},
            environment=self._environment(value_at(node, "environment")),
            outputs=self.env(value_at(node, "outputs")),
            snapshot=None if keep else self._snapshot(snapshot),
            keep=keep,
            retry=self._retry(value_at(node, "retry")),
            on_lost=self._word(value_at(node, "on-lost")),
        )

    def _strategy(self, node: Node) -> Strategy:
        if isinstance(node, Scalar):
            return Strategy(matrix=self.text(node))
        return Strategy(
            matrix=self.tree(value_at(node, "matrix")),
            fail_fast=self.flag(value_at(node, "fail-fast"), otherwise=True),
            max_parallel=self.number(value_at(node, "max-parallel")),
        )

    def concurrency(self, node: Node | None) -> Concurrency | None:
        if node is None:
            return None
        if isinstance(node, Scalar):
            return Concurrency(self.text(node))
        return Concurrency(
            self.text(value_at(node, "group")),
            self.flag(value_at(node, "cancel-in-progress")),
            self._word(value_at(node, "queue")) or "single",
        )

    def _container(self, node: Node) -> Container | Template:
        if isinstance(node, Scalar):
            whole = self.text(node)
            return Container(whole) if whole.literal is not None else whole
        return Container(
            image=self.text(value_at(node, "image")),
            credentials=self.env(value_at(node, "credentials")),
            env=self.env(value_at(node, "env")),
            ports=self.templates(value_at(node, "ports")),
            volumes=self.templates(value_at(node, "volumes")),
            options=self.template(value_at(node, "options")),
            entrypoint=self.template(value_at(node, "entrypoint")),
            command=self.template(value_at(node, "command")),
        )

    def _environment(self, node: Node | None) -> Environment | None:
        if isinstance(node, Mapping):
            return Environment(
                self.text(value_at(node, "name")),
                self.template(value_at(node, "url")),
                self.flag(value_at(node, "deployment"), otherwise=True),
            )
        name = self.template(node)
        return Environment(name) if name is not None and name.text else None

    def _snapshot(self, node: Node | None) -> Snapshot | None:
        if isinstance(node, Mapping):
            version = self.template(value_at(node, "version"))
            return Snapshot(
                self.text(value_at(node, "image-name")), version, self.condition(value_at(node, "if"))
            )
        name = self.template(node)
        return Snapshot(name) if name is not None else None

    def _retry(self, node: Node | None) -> Retry | None:
        if node is None:
            return None
        attempts, longest = self.number(value_at(node, "max-attempts")), value_at(node, "max-delay")
        codes = items_of(value_at(node, "on-exit-codes"))
        return Retry(
            max_attempts=int(attempts) if isinstance(attempts, float) else 1,
            delay=seconds(value_at(node, "delay")) or 0.0,
            backoff=self._word(value_at(node, "backoff")) or "constant",
            max_delay=seconds(longest),
            jitter=self.flag(value_at(node, "jitter")) is True,
            on_exit_codes=tuple(int(shown(code)) for code in codes),
        )

    def steps(self, node: Node | None, defaults: Defaults) -> tuple[StepDef, ...]:
        return tuple(
            self._step(str(position), item, defaults) for position, item in enumerate(items_of(node), start=1)
        )

    def _step(self, key: str, node: Node, defaults: Defaults) -> StepDef:
        return StepDef(
            key=key,
            body=self._body(key, node, defaults),
            pos=node.pos,
            id=self._word(value_at(node, "id")),
            name=self.template(value_at(node, "name")),
            condition=self.condition(value_at(node, "if")),
            env=self.env(value_at(node, "env")),
            timeout=self.number(value_at(node, "timeout-minutes")),
            continue_on_error=self.flag(value_at(node, "continue-on-error")),
            background=self.flag(value_at(node, "background")) is True,
            retry=self._retry(value_at(node, "retry")),
            on_lost=self._word(value_at(node, "on-lost")),
        )

    def _body(self, key: str, node: Node, defaults: Defaults) -> Run | Uses | Parallel | Wait | Cancel:
        for word, value in entries_of(node):
            match word.text:
                case "uses":
                    return Uses(shown(value), self.env(value_at(node, "with")))
                case "parallel":
                    items = enumerate(items_of(value), start=1)
                    return Parallel(
                        tuple(self._step(f"{key}.{position}", item, defaults) for position, item in items)
                    )
                case "wait":
                    return Wait(tuple(map(shown, items_of(value))))
                case "wait-all":
                    return Wait(None)
                case "cancel":
                    return Cancel(shown(value))
        return Run(
            script=self.text(value_at(node, "run")),
            shell=self.template(value_at(node, "shell")) or defaults.shell,
            working_directory=self.template(value_at(node, "working-directory"))
            or defaults.working_directory,
        )

    def _word(self, node: Node | None) -> str | None:
        return shown(node) if node is not None else None


def shown(node: Node | None) -> str:
    return shown_scalar(node) if isinstance(node, Scalar) else ""


def seconds(node: Node | None) -> float | None:
    return seconds_of(shown(node)) if node is not None else None


def permissions(node: Node) -> Permissions | None:
    """What `permissions` in it grants."""
    found = value_at(node, "permissions")
    match found:
        case None:
            return None
        case Scalar():
            return Permissions(otherwise="write" if found.text == "write-all" else "read")
        case _:
            return Permissions({scope.text: shown(level) for scope, level in entries_of(found)})
