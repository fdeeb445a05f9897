"""Reading expressions: what is refused, where, and why."""

import inspect
import sys

import pytest

from runner.expr.syntax import MAX_LENGTH, parse
from runner.expr.values import ExpressionError


def refusal_of(text: str, contexts: tuple[str, ...] | None = None) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        parse(text, contexts)
    return caught.value


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("a == #", 5, "unexpected #"),
        ("a = b", 2, "unexpected =; did you mean ==?"),
        ("a &b", 2, "unexpected &b; did you mean &&?"),
        ("'never closed", 0, "the text 'never closed has no closing quote"),
        ('"double"', 0, 'unexpected "double"; a text stands between single quotes'),
        ("1 + 2", 2, "+ is not a number"),
        ("0xZZ", 0, "0xZZ is not a number"),
        ("..name", 0, "..name is not a number"),
    ],
)
def test_what_is_no_word_of_the_language_is_named_where_it_stands(
    text: str, offset: int, message: str
) -> None:
    error = refusal_of(text)

    assert (error.stage, error.offset, str(error)) == ("lex", offset, message)


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("", 0, "an expression is missing here"),
        ("   ", 0, "an expression is missing here"),
        ("a b", 2, "unexpected b"),
        ("a ==", 2, "the expression ends too early, after =="),
        ("(a", 1, "the expression ends too early, after a; here belongs )"),
        ("(a]", 2, "unexpected ]; here belongs )"),
        ("a.5", 2, "unexpected 5; here belongs the name of a property"),
        ("a[1", 2, "the expression ends too early, after 1; here belongs ]"),
        ("contains(a b)", 11, "unexpected b; here belongs ,"),
        ("contains(a)", 0, "contains takes 2 arguments, not 1"),
        ("join()", 0, "join takes 1 to 2 arguments, not 0"),
        ("format()", 0, "format takes 1 or more arguments, not 0"),
        ("succes()", 0, 'no function named "succes"; did you mean success?'),
        ("a && startWith(a, b)", 5, 'no function named "startWith"; did you mean startsWith?'),
    ],
)
def test_what_is_no_sentence_is_named_where_it_stops_being_one(text: str, offset: int, message: str) -> None:
    error = refusal_of(text)

    assert (error.stage, error.offset, str(error)) == ("parse", offset, message)


def test_an_unknown_context_is_answered_with_those_there_are() -> None:
    error = refusal_of("env.A == githb.sha", ("env", "github", "needs"))

    assert str(error) == 'no context named "githb"; here you can use env, github, needs'
    assert error.offset == 9


def test_contexts_are_known_in_any_spelling() -> None:
    parse("GitHub.sha", ("github",))


def test_a_tree_may_be_fifty_levels_deep_and_no_deeper() -> None:
    parse("a" + ".b" * 49)

    assert "50 levels" in str(refusal_of("a" + ".b" * 50))
    assert "50 levels" in str(refusal_of("!" * 50 + "a"))


def test_parentheses_alone_make_no_tree_deep_but_have_a_limit() -> None:
    parse("(" * 100 + "a" + ")" * 100)

    assert "parentheses" in str(refusal_of("(" * 5_000 + "a" + ")" * 5_000))


@pytest.mark.parametrize("opening", ["toJSON(", "a[", "case((", "a[(", "(", "!(", "1==(", "((("])
def test_what_never_closes_is_refused_with_half_of_the_stack_still_free(opening: str) -> None:
    def below(frames: int) -> ExpressionError:
        return refusal_of(opening * 2_500) if frames == 0 else below(frames - 1)

    assert below(sys.getrecursionlimit() // 2 - len(inspect.stack())).stage == "parse"


def test_a_chain_of_one_operator_is_as_deep_as_one_of_its_links() -> None:
    parse(" && ".join(["a"] * 1_000))


def test_an_expression_has_a_longest_length() -> None:
    assert str(MAX_LENGTH) in str(refusal_of("a" * (MAX_LENGTH + 1)))
