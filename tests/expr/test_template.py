"""Texts with expressions in them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.expr.template import parse_template
from runner.expr.values import ExpressionError


def test_a_text_without_expressions_is_literal() -> None:
    assert parse_template("echo $HOME {{ }} ${x}").literal == "echo $HOME {{ }} ${x}"
    assert parse_template("").literal == ""


def test_a_text_with_an_expression_is_not_literal() -> None:
    assert parse_template("a ${{ 'b' }}").literal is None


def test_references_are_paths_with_the_place_of_each_part() -> None:
    text = "x ${{ steps.build.outputs['x y'] }} ${{ env[github.ref].a || needs.*.result }}"

    references = parse_template(text).references()

    assert [reference.path for reference in references] == [
        ("steps", "build", "outputs", "x y"),
        ("github", "ref"),
        ("env",),
        ("needs", "*", "result"),
    ]
    for reference in references:
        for part, offset in zip(reference.path, reference.offsets, strict=True):
            assert text[offset:].lstrip("'").startswith(part)


@pytest.mark.parametrize("text", ["'a'" * 170_000, "'}}'" * 120_000, "9" * 20_000 + "x", "'" * 500_001])
def test_a_text_that_is_too_long_or_wrong_is_refused_at_once(text: str) -> None:
    begun = time.process_time()
    with pytest.raises(ExpressionError):
        parse_template(f"${{{{ {text} }}}}")

    assert time.process_time() - begun < 1


def test_calls_are_found_wherever_they_stand() -> None:
    calls = parse_template("${{ format('{0}', toJSON(env)) }} ${{ a[always()] }}").calls()

    assert [call.signature.name for call in calls] == ["format", "toJSON", "always"]


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("echo ${{ github.sha", 5, "this ${{ has no }} that closes it"),
        ("echo ${{ 'a }} b", 5, "this ${{ has no }} that closes it"),
        ("echo ${{ }}", 8, "an expression is missing here"),
        ("line\n${{ a }} ${{ b c }}", 20, "unexpected c"),
    ],
)
def test_an_error_knows_its_place_in_the_whole_text(text: str, offset: int, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_template(text)

    assert (caught.value.offset, str(caught.value)) == (offset, message)


def test_braces_in_a_quoted_text_close_nothing() -> None:
    template = parse_template("${{ format('{{0}}', 'it''s }}') }}.")

    assert template.parts[1:] == (".",)


@given(st.text(alphabet="${} 'ab\n", max_size=20))
def test_any_text_is_a_template_or_an_error_inside_it(text: str) -> None:
    offset, literal = 0, None
    try:
        literal = parse_template(text).literal
    except ExpressionError as error:
        offset = error.offset

    assert 0 <= offset <= len(text)
    assert literal == (None if "${{" in text else text)
