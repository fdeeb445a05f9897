"""What is known of a value before there is one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.expr.evaluate import evaluate
from runner.expr.syntax import parse
from runner.expr.types import ANY, NUMBER, STRING, Typing, an_object, object_of
from runner.expr.values import ExpressionError, kind_of

CONTEXTS = {
    "github": an_object({"sha": STRING, "event": object_of(ANY)}),
    "strategy": an_object({"job-index": NUMBER}),
    "steps": an_object({"Build": an_object({"outcome": STRING})}, lacks="no step has the id"),
}
VALUES = {
    "github": {"sha": "abc", "event": {"x": [1.0]}},
    "strategy": {"job-index": 0.0},
    "steps": {"Build": {"outcome": "success"}},
}


def typed(text: str) -> tuple[str, list[str]]:
    typing = Typing(CONTEXTS)
    return typing.of(parse(text)).kind, [complaint for _, complaint, _ in typing.complaints]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("github.SHA", "string"),
        ("github.event.any.thing", "any"),
        ("steps.build.outcome == 'x'", "boolean"),
        ("strategy['job-index']", "number"),
        ("format('{0}', 1) || 'x'", "string"),
        ("github.sha && 1", "any"),
        ("fromJSON('{}').a.b", "any"),
        ("steps.*.outcome", "any"),
    ],
)
def test_a_kind_is_known_as_far_as_it_can_be(text: str, kind: str) -> None:
    assert typed(text) == (kind, [])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("github.shaa", 'there is no property "shaa"; did you mean "sha"?'),
        ("steps.biuld.outcome", 'no step has the id "biuld"; did you mean "Build"?'),
        ("github.sha.x", "a string has no properties"),
        ("join(github)", "join can do nothing with an object in place 1"),
        ("format('{0} {2}', 1)", "the format asks for {2}, but there are 1 values"),
        ("format('{')", "this is no format; write a literal brace twice, and {0} for a value"),
    ],
)
def test_what_cannot_be_right_is_told(text: str, complaint: str) -> None:
    assert typed(text)[1] == [complaint]


ATOMS = st.sampled_from(
    [
        "1",
        "'x'",
        "true",
        "null",
        "github.sha",
        "github.event.x",
        "steps.build.outcome",
        "strategy['job-index']",
    ]
)


def called(parts: tuple[str, str]) -> str:
    return f"{parts[0]}({parts[1]})"


EXPRESSIONS = st.recursive(
    ATOMS,
    lambda below: st.one_of(
        st.tuples(below, st.sampled_from(["==", "<", "&&", "||"]), below).map(lambda it: f"({' '.join(it)})"),
        st.tuples(st.sampled_from(["toJSON", "format", "!", "fromJSON"]), below).map(called),
        st.tuples(below, below).map(lambda one: f"contains({one[0]}, {one[1]})"),
    ),
    max_leaves=6,
)


@given(EXPRESSIONS)
def test_no_value_is_of_another_kind_than_was_said(text: str) -> None:
    kind, _ = typed(text)
    try:
        value = evaluate(text, VALUES)
    except ExpressionError:
        return

    assert kind in ("any", kind_of(value).lower())
