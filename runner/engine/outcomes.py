"""What steps leave behind, each by itself and those of a composite action together: no more than a limit."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from runner.engine.commands import FILE_BYTES
from runner.errors import BrokenDefinition
from runner.model.step import Annotation, Exports, Outcome, Post, Result

MOST_ANNOTATIONS = 10
"""Of each level that are kept of one step, as GitHub does; all are in the log."""


class TooMuch(BrokenDefinition):
    """A step hands on more than can be kept."""

    def __init__(self, what: str, found: int) -> None:
        super().__init__(f"{what}: {found} letters together are more than the limit of {FILE_BYTES}")


def within_limits(outcome: Outcome) -> Outcome:
    """`outcome` with as many annotations as are kept. Raises `TooMuch`."""
    exports = outcome.exports
    for what, found in (
        ("the step's outputs", letters(outcome.outputs)),
        ("the step's variables for later steps", letters(exports.env)),
        ("the step's folders for PATH", sum(map(len, exports.path))),
        ("the step's summary", len(outcome.summary)),
        ("what the step keeps for the end of the job", sum(_kept(post) for post in outcome.posts)),
    ):
        if found > FILE_BYTES:
            raise TooMuch(what, found)
    return replace(outcome, annotations=_first(outcome.annotations))


def with_step(done: Outcome, step: Outcome, inside: Mapping[str, Any]) -> tuple[Outcome, TooMuch | None]:
    """What a composite action has done so far, with one step more; and what of that step was too much.

    What it has left to be done at the end of the job is the last that is dropped.
    """
    problem: TooMuch | None = None
    said = replace(step, exports=Exports(), summary="")
    for kept in (step, said, replace(said, posts=())):
        try:
            return within_limits(_joined(done, kept, inside)), problem
        except TooMuch as error:
            problem = problem or error
    return done, problem


def _joined(done: Outcome, step: Outcome, inside: Mapping[str, Any]) -> Outcome:
    failed = not step.conclusion.ok
    result = step.conclusion if failed and done.result is Result.SUCCESS else done.result
    return replace(
        done,
        result=result,
        conclusion=result,
        exit_code=step.exit_code if failed else done.exit_code,
        exports=done.exports.then(step.exports),
        summary=done.summary + step.summary,
        reason=done.reason or (step.reason if failed else ""),
        annotations=done.annotations + step.annotations,
        posts=done.posts + tuple(replace(one, steps={**inside, **one.steps}) for one in step.posts),
    )


def letters(pairs: Mapping[str, str]) -> int:
    return sum(len(name) + len(value) for name, value in pairs.items())


def _kept(post: Post) -> int:
    return letters(post.state) + sum(letters(step["outputs"]) for step in post.steps.values())


def _first(said: Iterable[Annotation]) -> tuple[Annotation, ...]:
    count: dict[str, int] = {}
    kept = []
    for one in said:
        count[one.level] = count.get(one.level, 0) + 1
        if count[one.level] <= MOST_ANNOTATIONS:
            kept.append(one)
    return tuple(kept)
