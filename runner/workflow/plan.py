"""What an event would make of a workflow: its jobs in stages, each with its combinations and labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runner.expr.values import ExpressionError, Value, known, to_string
from runner.workflow.document import Flag, JobDef, Number, Steps, Strategy, Workflow
from runner.workflow.matrix import BadMatrix, Combination, combinations
from runner.workflow.trees import settled


@dataclass(frozen=True, slots=True)
class Planned:
    """One job. `legs` and `labels` are None where only a run can tell; labels are those of its first leg."""

    key: str
    needs: tuple[str, ...]
    legs: tuple[Combination, ...] | None
    labels: tuple[str, ...] | None
    fail_fast: Value = True
    max_parallel: Value = None


def stages(workflow: Workflow) -> tuple[tuple[str, ...], ...]:
    """Jobs that can run at the same time, each stage after all it needs."""
    depth: dict[str, int] = {}
    left = list(workflow.jobs)
    while left:
        ready = [job for job in left if all(need in depth for need in job.needs)]
        for job in ready:
            depth[job.key] = 1 + max((depth[need] for need in job.needs), default=-1)
        left = [job for job in left if job.key not in depth]
    found: list[list[str]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
    for job in workflow.jobs:
        found[depth[job.key]].append(job.key)
    return tuple(tuple(stage) for stage in found)


def planned(job: JobDef, contexts: Mapping[str, object]) -> Planned:
    """One job as it would run with these contexts."""
    strategy = job.strategy or Strategy()
    legs: tuple[Combination, ...] | None
    try:
        legs = combinations(settled(strategy.matrix, contexts))
    except (ExpressionError, BadMatrix):
        legs = None
    first = legs[0] if legs else {}
    return Planned(
        key=job.key,
        needs=job.needs,
        legs=legs,
        labels=labels_of(job, {**contexts, "matrix": first}) if legs is not None else None,
        fail_fast=setting(strategy.fail_fast, contexts),
        max_parallel=setting(strategy.max_parallel, contexts),
    )


def setting(value: Flag | Number | None, contexts: Mapping[str, object]) -> Value:
    try:
        return settled(value, contexts)
    except ExpressionError:
        return None


def labels_of(job: JobDef, contexts: Mapping[str, object]) -> tuple[str, ...] | None:
    """The labels of a runner for it; one expression may give several."""
    found: list[str] = []
    for label in job.body.labels if isinstance(job.body, Steps) else ():
        try:
            value = settled(label, contexts)
        except ExpressionError:
            return None
        if isinstance(value, Sequence) and not isinstance(value, str):
            found += [to_string(known(one)) for one in value]
        else:
            found.append(to_string(value))
    return tuple(found)
