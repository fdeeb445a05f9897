"""Values of expressions, by the coercions of GitHub."""

import json
import math
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.expr.evaluate import evaluate, holds, render
from runner.expr.template import parse_template
from runner.expr.values import ExpressionError, Value, format_number, is_truthy, kind_of, to_string

CONTEXTS: dict[str, object] = {
    "github": {"ref": "refs/heads/main", "run": 7, "event": {"commits": [{"id": "a"}, {"id": "b"}, {}]}},
    "env": {"NAME": "value", "Empty": ""},
    "list": ["zero", "one", "two"],
}


def value_of(text: str) -> Value:
    return evaluate(text, CONTEXTS)


def error_of(text: str) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        value_of(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("true", True),
        ("-1.5e1", -15.0),
        ("0xff", 255.0),
        ("0o17", 15.0),
        (".5", 0.5),
        ("'it''s'", "it's"),
        ("github.ref", "refs/heads/main"),
        ("GITHUB['REF']", "refs/heads/main"),
        ("github.run", 7.0),
        ("github.nothing.at.all", None),
        ("list[1]", "one"),
        ("list[1.9]", "one"),
        ("list['1']", "one"),
        ("list[3]", None),
        ("list[-1]", None),
        ("list.one", None),
        ("1 < 2 == true", True),
        ("!github.nothing", True),
        ("false || 'x' && 'y'", "y"),
    ],
)
def test_an_expression_has_the_value_github_gives_it(text: str, value: object) -> None:
    assert value_of(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "null == 0",
        "null == ''",
        "'' == 0",
        "true == 1",
        "true == '1'",
        "'1e1' == 10",
        "' 0x10 ' == 16",
        "'ABC' == 'abc'",
        "'Σ' == 'ς'",
        "github == github",
        "fromJSON('[1]') != fromJSON('[1]')",
        "fromJSON('{}') != 'Object'",
        "NaN != NaN",
        "'a' < 'B'",
        "null >= false",
        "'ı' != 'I'",
        "'ß' != 'ss'",
    ],
)
def test_unlike_kinds_compare_as_on_github(text: str) -> None:
    assert value_of(text) is True


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("github.event.commits.*.id", ["a", "b"]),
        ("github.event.commits[*]['id']", ["a", "b"]),
        ("github.event.*.id", []),
        ("github.event.*.*.id", ["a", "b"]),
        ("github.nothing.*", []),
        ("env.*", ["value", ""]),
        ("list.*", ["zero", "one", "two"]),
    ],
)
def test_a_filter_collects_what_its_items_have(text: str, value: list[object]) -> None:
    assert value_of(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("contains('Hello', 'ELL')", True),
        ("contains(list, 'ONE')", True),
        ("contains(list, 'on')", False),
        ("contains(env, 'value')", False),
        ("startsWith(github.ref, 'REFS/')", True),
        ("endsWith('1234', 34)", True),
        ("endsWith(list, '')", False),
        ("format('{1}-{0}-{{}}', 'a', true)", "true-a-{}"),
        ("join(list)", "zero,one,two"),
        ("join(list, '; ')", "zero; one; two"),
        ("join('one')", "one"),
        ("join(env)", ""),
        ("toJSON(list[5])", "null"),
        ("toJSON(github.event.commits[2])", "{}"),
        ("toJSON('é\"')", '"é\\""'),
        ("fromJSON('{\"a\": [1, null]}').a[0]", 1.0),
        ("case(github.run == 7, 'seven', 'other')", "seven"),
        ("case(false, 1, false, 2, 3)", 3.0),
    ],
)
def test_a_function_gives_what_github_documents(text: str, value: object) -> None:
    assert value_of(text) == value


def test_json_is_written_as_github_writes_it() -> None:
    assert value_of('toJSON(fromJSON(\'{"a":[1,{}],"b":[]}\'))') == (
        '{\n  "a": [\n    1,\n    {}\n  ],\n  "b": []\n}'
    )


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("'x' == format('{0', 1)", 7, "'{0' is no format"),
        ("format('{2}', 1)", 0, "asks for {2}, which is not among 1 values"),
        ("fromJSON('{')", 0, "fromJSON cannot read '{'"),
        ("fromJSON(github.ref)", 0, "fromJSON cannot read 'refs/heads/main'"),
        ("case(1, 2, 3)", 5, "a condition of case must be true or false"),
        ("hashFiles('x')", 0, "hashFiles cannot be used here"),
    ],
)
def test_what_has_no_value_is_named_with_its_place(text: str, offset: int, message: str) -> None:
    error = error_of(text)

    assert (error.stage, error.offset) == ("eval", offset)
    assert message in str(error)


def test_operands_that_do_not_decide_are_not_evaluated() -> None:
    assert value_of("true || fromJSON('{')") is True
    assert value_of("false && fromJSON('{')") is False
    assert value_of("case(true, 1, fromJSON('{'))") == 1


def test_functions_of_the_surroundings_are_called_with_values() -> None:
    value = evaluate("hashFiles('a', list)", CONTEXTS, {"HASHFILES": lambda *args: repr(args)})

    assert value == "('a', ['zero', 'one', 'two'])"


@pytest.mark.parametrize(
    "bomb",
    [
        "format('{0}{0}{0}{0}{0}{0}{0}{0}{0}{0}', %s)",
        'join(fromJSON(\'["a","b","c","d"]\'), %s)',
        "toJSON(format('\"\"\\\\{0}{0}{0}{0}', %s))",
    ],
)
def test_an_expression_cannot_grow_without_end(bomb: str) -> None:
    text = "'0123456789'"
    for _ in range(20):
        text = bomb % text

    assert "characters" in str(error_of(text))


def test_deep_json_is_refused_and_not_followed() -> None:
    with pytest.raises(ExpressionError, match="levels deep"):
        evaluate("fromJSON(text)", {"text": "[" * 500 + "]" * 500})
    with pytest.raises(ExpressionError, match="fromJSON cannot read"):
        evaluate("fromJSON(text)", {"text": "[" * 100_000})


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.1, "0.1"),
        (-0.0, "0"),
        (1e15, "1E+15"),
        (123456789012345.0, "123456789012345"),
        (1e-4, "0.0001"),
        (1e-5, "1E-05"),
        (1 / 3, "0.333333333333333"),
        (math.inf, "Infinity"),
        (math.nan, "NaN"),
    ],
)
def test_numbers_print_with_fifteen_digits_as_dotnet_does(number: float, text: str) -> None:
    assert format_number(number) == text


def test_a_template_is_its_text_with_the_values_in_it() -> None:
    template = parse_template("on ${{ github.ref }}: ${{ env.Missing }}${{ 1 == 1 }}!")

    assert render(template, CONTEXTS) == "on refs/heads/main: true!"


def test_half_a_character_never_comes_out() -> None:
    template = parse_template("<${{ fromJSON('\"\\ud800\"') }}>")

    assert render(template, {}) == "<\ufffd>"


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ("github.run == 7", True),
        ("${{ github.run == 8 }}", False),
        ("${{ github.run == 8 }} && false", True),
        ("", True),
        ("failure()", False),
        ("!failure() && env.Empty", False),
    ],
)
def test_a_condition_is_an_expression_with_or_without_braces(condition: str, met: bool) -> None:
    status = {"success": lambda: True, "failure": lambda: False}

    assert holds(condition, CONTEXTS, status) is met


def test_a_condition_asks_for_success_unless_it_asks_for_a_status() -> None:
    status = {"success": lambda: False, "failure": lambda: True, "always": lambda: True}

    assert not holds("true", CONTEXTS, status)
    assert not holds("${{ true }}", CONTEXTS, status)
    assert holds("always()", CONTEXTS, status)
    assert holds("true && failure()", CONTEXTS, status)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(-1e300, 1e300) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
WORDS = """
    null true NaN 1 -0 .5 0x1 'a' '' 'é' a env list github . .* [*] [ ] ( ) , ! < <= == != && ||
    contains( format( join( toJSON( fromJSON( case( success() hashFiles('x') '{0}' ${{ }} @ " \u00e9
"""


@given(st.lists(st.sampled_from(WORDS.split()), max_size=12).map(" ".join), JSON)
def test_whatever_is_written_only_an_expression_error_comes_out(text: str, given_value: object) -> None:
    contexts = {"a": given_value, "env": {"x": given_value}, "list": [given_value], "github": None}
    offset = 0
    try:
        to_string(evaluate(text, contexts))
        render(parse_template(text), contexts)
    except ExpressionError as error:
        offset = error.offset

    assert 0 <= offset <= len(text)


@pytest.mark.parametrize(
    "expression",
    [
        *("foreign == other", "foreign < other", "!contains(foreign, 'z')", "!startsWith(sharp, sharp)"),
        *("contains(many, 'x')", "contains(many, foreign)", "!toJSON(many)", "!join(numbers, '')"),
        *("!fromJSON(ones)", "!format(braces)", "names.zzzzz", "!lists.*.*.zzzzz", "digits > 1"),
    ],
)
def test_an_expression_is_given_up_before_it_takes_a_second(expression: str) -> None:
    contexts = {
        "foreign": "é" * 1_000_000,
        "other": "é" * 999_999 + "x",
        "sharp": "ß" * 100_000,
        "many": ["é" * 10] * 100_000,
        "numbers": [1.5] * 100_000,
        "ones": f"[{'1,' * 2_000_000}1]",
        "braces": "{{" * 2_000_000,
        "digits": "9" * 100_000 + "x",
        "names": {f"{number:05}": 1 for number in range(100_000)},
        "lists": [[{}] * 100] * 1000,
    }
    begun = time.process_time()
    with suppress(ExpressionError):
        evaluate(" || ".join([expression] * 100), contexts)

    assert time.process_time() - begun < 2, "a second, and one more for a machine that has much to do"


def test_a_key_that_is_no_text_finds_nothing() -> None:
    assert evaluate("github[github]", {"github": {"a": 1}}) is None


@given(st.text(max_size=30))
def test_any_text_survives_being_quoted(text: str) -> None:
    quoted = "'" + text.replace("'", "''") + "'"

    assert value_of(quoted) == text
    assert render(parse_template(f"<${{{{ {quoted} }}}}>"), {}) == f"<{text}>"


@given(JSON)
def test_json_read_back_is_what_was_written(given_value: Any) -> None:
    written = evaluate("toJSON(a)", {"a": given_value})

    assert isinstance(written, str)
    assert evaluate("toJSON(fromJSON(toJSON(a)))", {"a": given_value}) == written
    json.loads(written)


@given(JSON, JSON)
def test_comparisons_agree_with_each_other(left: object, right: object) -> None:
    contexts = {"l": left, "r": right}

    def holds_between(operator: str) -> bool:
        return evaluate(f"l {operator} r", contexts) is True

    assert holds_between("==") is not holds_between("!=")
    assert holds_between("<=") is (holds_between("<") or holds_between("=="))
    assert holds_between(">=") is (holds_between(">") or holds_between("=="))
    assert not (holds_between("<") and holds_between(">"))
    assert holds_between("<") is (evaluate("r > l", contexts) is True)


@given(JSON)
def test_not_twice_is_whether_it_counts_as_true(given_value: object) -> None:
    value = evaluate("a", {"a": given_value})

    assert evaluate("!!a", {"a": given_value}) is is_truthy(value)
    assert kind_of(value) in ("Null", "Boolean", "Number", "String", "Array", "Object")
