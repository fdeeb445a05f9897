"""What a workflow is given by hand, and what it declares."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.workflow.document import Input
from runner.workflow.inputs import WrongInputs, as_texts, read_inputs
from tests.workflow.samples import a_job, loaded

DECLARED = {
    "who": Input(default="world"),
    "dry": Input("boolean", default=True),
    "level": Input("number", required=True),
    "where": Input("choice", options=("here", "there")),
    "stage": Input("environment"),
}


def test_what_is_given_has_the_type_that_is_declared() -> None:
    given = {"who": "ada", "dry": "false", "level": "3", "where": "there", "stage": "production"}

    values = read_inputs(DECLARED, given)

    assert values == {"who": "ada", "dry": False, "level": 3.0, "where": "there", "stage": "production"}
    assert as_texts(values) == given


def test_json_may_give_booleans_and_numbers_as_they_are() -> None:
    assert read_inputs(DECLARED, {"dry": False, "level": 3}) == read_inputs(
        DECLARED, {"dry": "False", "level": " 3.0 "}
    )


def test_what_is_not_given_is_its_default_or_empty() -> None:
    values = read_inputs(
        {"flag": Input("boolean"), "count": Input("number"), **DECLARED}, {"level": 1, "stage": None}
    )

    assert values == {
        "flag": False,
        "count": 0.0,
        "who": "world",
        "dry": True,
        "level": 1.0,
        "where": "",
        "stage": "",
    }


def test_a_text_may_be_given_as_empty_though_it_has_a_default() -> None:
    assert read_inputs(DECLARED, {"who": "", "level": 1})["who"] == ""


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"level": None}, 'the input "level" is required'),
        ({"level": ""}, 'the input "level" is required'),
        ({"level": "high"}, 'the input "level" must be a number, not "high"'),
        ({"level": True}, 'the input "level" must be a number, not "true"'),
        ({"level": "Infinity"}, 'the input "level" must be a number, not "Infinity"'),
        ({"dry": "maybe"}, 'the input "dry" must be true or false, not "maybe"'),
        ({"dry": 1}, 'the input "dry" must be true or false, not "1"'),
        ({"where": "else"}, 'the input "where" cannot be "else"; here you can use here, there'),
        ({"who": ["ada"]}, 'the input "who" must be a text'),
        ({"lvel": "1"}, 'there is no input "lvel"; did you mean "level"?'),
        ({"zzz": "1"}, 'there is no input "zzz"; here you can use dry, level, stage, where, who'),
    ],
)
def test_what_cannot_be_given_says_what_could(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(WrongInputs) as refused:
        read_inputs(DECLARED, {"level": 1, **wrong})

    assert says in str(refused.value)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(WrongInputs) as refused:
        read_inputs(DECLARED, {"dry": "maybe", "nothing": "1"})

    assert str(refused.value).count("the input") == 2
    assert 'no input "nothing"' in str(refused.value)


def test_a_workflow_that_declares_none_says_so() -> None:
    with pytest.raises(WrongInputs, match='there is no input "x"; it takes none'):
        read_inputs({}, {"x": 1})


def test_a_required_choice_names_its_options() -> None:
    with pytest.raises(WrongInputs, match="is required; here you can use a, b"):
        read_inputs({"x": Input("choice", required=True, options=("a", "b"))}, {})


NUMBERS = st.floats().filter(lambda number: abs(number) < 1.7e308 or number == number * 2)
"""Of the largest of all, 15 digits may be those of a number that is larger still."""


@given(
    st.dictionaries(st.sampled_from([*DECLARED, "other"]), st.none() | st.booleans() | NUMBERS | st.text())
)
def test_what_was_read_can_be_given_again_as_text(given: dict[str, object]) -> None:
    try:
        values = read_inputs(DECLARED, given)
    except WrongInputs:
        return
    assert set(values) == set(DECLARED)
    texts = as_texts(values)
    assert as_texts(read_inputs(DECLARED, texts)) == texts


def test_a_default_is_read_as_the_file_says_it() -> None:
    inputs = "{dry: {type: boolean, default: true}, n: {type: number, default: 2}}"
    on = f"on: {{workflow_dispatch: {{inputs: {inputs}}}}}"
    workflow = loaded(a_job("{runs-on: x, steps: [{run: y}]}", on))

    assert read_inputs(workflow.on.dispatch or {}, {}) == {"dry": True, "n": 2.0}
