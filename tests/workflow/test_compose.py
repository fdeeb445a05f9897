"""YAML text as nodes: the core schema, the limits, and the place of every character."""

import json
import math
import re
import time

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from runner.workflow.compose import (
    MAX_DEPTH,
    MAX_EXPANDED,
    MAX_NODES,
    Mapping,
    Node,
    Scalar,
    Sequence,
    compose,
)
from runner.workflow.document import Problem
from runner.workflow.place import Source


def composed(text: str) -> Node:
    problems: list[Problem] = []
    node = compose("f", text, problems)
    assert problems == []
    assert node is not None
    return node


def problem_of(text: str) -> str:
    problems: list[Problem] = []
    compose("f", text, problems)
    (problem,) = problems
    return str(problem).removeprefix("f:")


def plain(node: Node) -> object:
    match node:
        case Scalar():
            return node.value
        case Sequence():
            return [plain(item) for item in node.items]
        case Mapping():
            return {key.text: plain(value) for key, value in node.entries}


# JSON escapes what lies beyond the first plane in two halves, which is not YAML.
TEXT = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]))
# YAML wants the colon within 1,024 characters of where a key began.
KEYS = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_json_means_the_same_as_yaml(value: object) -> None:
    assert plain(composed(json.dumps(value, indent=2))) == value


EXPONENT = re.compile(r"[-+]?[0-9.]+[eE][-+]?[0-9]+")


def has_exponent(value: object) -> bool:
    """Whether there is a text in it such as 0E0, which YAML 1.1 does not take for a number."""
    match value:
        case str():
            return EXPONENT.fullmatch(value) is not None
        case list():
            return any(map(has_exponent, value))
        case dict():
            return any(map(has_exponent, [*value, *value.values()]))
        case _:
            return False


@given(JSON)
def test_what_another_program_wrote_is_read_back(value: object) -> None:
    # It writes YAML 1.1, and such a text without quotes.
    assume(not has_exponent(value))
    text = yaml.safe_dump(value, allow_unicode=False)

    assert plain(composed(text)) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("true", True),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ("", None),
        ("~", None),
        ("3.10", 3.1),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("+12", 12),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("1.2.3", "1.2.3"),
        ("'true'", "true"),
        ('"1"', "1"),
        ("|\n  1", "1"),
        ("9" * 5000, math.inf),
    ],
)
def test_plain_values_are_those_of_the_core_schema(text: str, value: object) -> None:
    assert plain(composed(f"a: {text}")) == {"a": value}


def test_an_alias_is_what_its_anchor_names() -> None:
    assert plain(composed("a: &x [1, &y b]\nc: *x\nd: *y")) == {"a": [1, "b"], "c": [1, "b"], "d": "b"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3", '3:1: the key "a" is already given in line 1'),
        ("a: &x {b: 1}\nc:\n  <<: *x", "3:3: `<<` is not supported"),
        ("a: !!timestamp 1", "1:4: tags such as !!timestamp are not supported"),
        ("a: !!int x", '1:4: "x" is no value of !!int'),
        ("a: !mine 1", "1:4: tags such as !mine are not supported"),
        ("%TAG ! x\n---\na: 1", "1:1: tags are not supported"),
        ("? [a]\n: b", "1:3: a key must be a single text"),
        ("a: *x", "1:4: the alias *x names no anchor before it"),
        ("a: &x [*x]", "1:8: the alias *x stands inside what it names"),
        ("a: 1\n---\nb: 2", "2:1: a workflow file holds one document"),
        ("a: b: c", '1:5: a ":" cannot stand here'),
        ("a: [1, 2", '1:9: a list in brackets needs ","'),
        ("a: 'b", "1:6: the closing quote is missing"),
        ("a: @b", "1:4: no value begins with this character"),
        ("a:\n  b: 1\n c: 2", "3:2: this line is not indented like the lines it belongs to"),
        ("a:\n\tb: 1", "2:1: a tab cannot indent or begin a value in YAML; use spaces"),
        ("a: \x07", "1:4: the character U+0007 cannot stand in a workflow file"),
    ],
)
def test_what_is_refused_is_named_with_its_place(text: str, problem: str) -> None:
    assert problem_of(text).startswith(problem)


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{level}: &a{level} [*a{level - 1}, *a{level - 1}]" for level in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 500_000, f"1:{MAX_DEPTH + 1}: the file is more than {MAX_DEPTH} levels deep"),
        ("- " * 250_000, f"1:{2 * MAX_DEPTH + 1}: the file is more than {MAX_DEPTH} levels deep"),
        ("{a: " * 100_000, f"1:{4 * MAX_DEPTH + 1}: the file is more than {MAX_DEPTH} levels deep"),
        (f"[{'x,' * MAX_NODES}]", f"1:{2 * MAX_NODES}: the file has more than {MAX_NODES} values"),
        (bomb(40), f"12:12: aliases expand to more than {MAX_EXPANDED} values"),
        ("%TAG !a! b\n" * 40_000, "1:1: tags are not supported"),
    ],
)
def test_hostile_text_is_refused_in_no_time(text: str, problem: str) -> None:
    began = time.monotonic()

    assert problem_of(text).startswith(problem)
    assert time.monotonic() - began < 5


def test_a_deep_value_is_no_less_deep_behind_an_alias() -> None:
    half = MAX_DEPTH // 2 + 2

    assert "levels deep" in problem_of(f"a: &x {'[' * half}{']' * half}\nb: {'[' * half}*x{']' * half}")


LINES = st.lists(st.text("ab é'\"#:${}\\\t", max_size=8), min_size=1, max_size=5)


@given(LINES, st.sampled_from(["|", "|-", ">", "'", '"', "plain"]), st.data())
def test_every_visible_character_is_found_where_it_stands(
    lines: list[str], style: str, data: st.DataObject
) -> None:
    text = "\n".join(f"x{line}x" for line in lines)
    if style == "plain":
        text = "".join(character for character in text if character in "abxé \n")
    written = {
        "'": "'" + text.replace("'", "''").replace("\n", "\n\n  ") + "'",
        '"': json.dumps(text, ensure_ascii=data.draw(st.booleans())),
        "plain": text.replace("\n", "\n   "),
    }.get(style, f"{style} # comment\n    " + text.replace("\n", "\n    "))
    source = f"first: &a 1\nkey: &b  {written}\nlast: [*a, *b]\n"
    node = composed(source)
    assert isinstance(node, Mapping)
    scalar = node.entries[1][1]
    assert isinstance(scalar, Scalar)
    where, rows = Source(source), source.split("\n")

    for offset, character in enumerate(scalar.text):
        if character.isascii() and not character.isspace() and character not in "\\\"'":
            line, col = where.locate(scalar, offset)
            assert rows[line - 1][col - 1] == character


def test_a_tag_of_the_core_schema_says_what_a_value_is() -> None:
    assert plain(composed("[!!str 1, !!int '1', !!float '1.5', !!bool 'true', !!null '']")) == [
        "1",
        1,
        1.5,
        True,
        None,
    ]


def test_an_anchor_that_nothing_names_is_suspicious() -> None:
    problems: list[Problem] = []

    compose("f", "a: &x 1\nb: &x 2\nc: *x\n", problems)

    assert [(str(problem), problem.warning) for problem in problems] == [
        ("f:1:4: no alias names the anchor &x", True)
    ]
