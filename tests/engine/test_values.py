"""What a workflow's steps give: long values, and what people see of all of them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runner.engine.conversation.asked import Asked, asked
from runner.engine.conversation.bodies import failure, success
from runner.engine.conversation.values import SHOWN_LETTERS, Shown, Values
from runner.engine.masks import Masks
from runner.engine.matchers import Matchers
from runner.engine.retire import sweep_values
from runner.errors import BrokenDefinition
from runner.model.step import Outcome, Result
from runner.objects import FolderObjects
from runner.sdk.wire import LONGEST_VALUE, PART

SECRET = "tok3n-of-the-vault"


@pytest.fixture
def values(tmp_path: Path) -> Values:
    return Values(FolderObjects(tmp_path / "objects"), 7, tmp_path)


TERMS: dict[str, object] = {"retry": None, "timeout": None, "on-lost": None}
REQUESTS = {"do": TERMS, "sh": {**TERMS, "command": "true", "env": {}, "shell": None, "folder": ""}}


def a_step(kind: str = "do") -> Asked:
    message = {"id": 1, "name": "long", "kind": kind, "request": REQUESTS[kind], "line": "flow.py:3"}
    step = asked(message, 1, {}, Masks())
    step.runs = True
    return step


def given(values: Values, *parts: str) -> Outcome:
    step = a_step()
    for part in parts:
        values.part(step, part)
    return values.whole(step, success())


def test_a_value_that_came_in_parts_is_read_as_it_was_told(values: Values) -> None:
    parts = ['"' + "a" * (PART - 1), "b" * PART, 'c"']

    outcome = given(values, *parts)

    assert outcome.blob is not None
    assert outcome.blob.key.startswith("values/7/")
    assert "".join(values.parts(a_step(), outcome)) == "".join(parts)


def test_of_a_jobs_values_no_more_are_in_its_checkpoints_than_a_worker_can_hold(
    values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.engine.conversation.values.MOST_INLINE", 25_000)
    value = f'"{"a" * 9_998}"'

    found = [values.whole(a_step(), replace(success(), value=value)) for _ in range(3)]
    small = values.whole(a_step(), replace(success(), value="1"))

    assert [one.value is None for one in (*found, small)] == [False, False, True, False]
    assert ["".join(values.parts(a_step(), one)) for one in found] == [value] * 3
    assert values.inline == 20_001


def test_a_value_that_is_too_long_fails_its_step_and_is_not_kept(values: Values, tmp_path: Path) -> None:
    outcome = given(values, *["a" * PART] * (LONGEST_VALUE // PART), "a")

    assert outcome.result is Result.FAILURE
    assert outcome.reason == "the step's value has 67108865 bytes as JSON; the limit is 67108864"
    assert not (tmp_path / "objects").exists()


@pytest.mark.parametrize(
    ("kind", "text"), [("sh", "1"), ("do", "\u00e9"), ("do", "a" * (PART + 1))], ids=["sh", "odd", "long"]
)
def test_what_is_no_part_of_a_value_ends_the_job(values: Values, kind: str, text: str) -> None:
    with pytest.raises(BrokenDefinition, match="no part of the conversation"):
        values.part(a_step(kind), text)


def test_a_value_of_a_step_that_failed_is_let_go(values: Values, tmp_path: Path) -> None:
    step = a_step()
    values.part(step, "1")

    assert values.whole(step, failure("it failed")) == failure("it failed")
    assert not (tmp_path / "objects").exists()


@pytest.mark.parametrize(("damage", "how"), [(True, "is damaged"), (False, "there is none")])
def test_a_value_that_is_lost_is_named(values: Values, tmp_path: Path, damage: bool, how: str) -> None:
    outcome = given(values, '"abc"')
    blob = outcome.blob
    assert blob is not None
    file = tmp_path / "objects" / blob.key
    if damage:
        file.write_text('"abd"')
    else:
        file.unlink()

    with pytest.raises(BrokenDefinition, match=f"the value of step long, of 5 bytes, is lost: .*{how}"):
        list(values.parts(a_step(), outcome))


def test_people_see_a_value_without_its_secrets_and_the_workflow_all_of_it() -> None:
    shown = Shown(Masks([SECRET]), Matchers())
    value = f'{{"token": "{SECRET}"}}'

    outcome = shown.of(Outcome(Result.FAILURE, Result.FAILURE, reason=f"no {SECRET}", value=value))

    assert (outcome.value, outcome.shown, outcome.reason) == (value, '{"token": "***"}', "no ***")
    assert shown.of(Outcome(Result.SUCCESS, Result.SUCCESS, value="1")).shown is None


def test_a_secret_is_hidden_where_a_value_is_cut() -> None:
    value = "a" * (SHOWN_LETTERS - 4) + SECRET

    outcome = Shown(Masks([SECRET]), Matchers()).of(a_success(value))

    assert outcome.shown == "a" * (SHOWN_LETTERS - 4) + "***…"


def a_success(value: str) -> Outcome:
    return Outcome(Result.SUCCESS, Result.SUCCESS, value=value)


def test_what_a_step_asks_to_hide_is_written_down_with_it() -> None:
    masks = Masks()
    masks.add("of an earlier attempt")
    shown = Shown(masks, Matchers())
    masks.add("new one")

    assert shown.of(success()).masks == ("new one",)
    assert shown.of(success()).masks == ()


class Knowing:
    def __init__(self, key: str) -> None:
        self._key = key

    def known(self, keys: Sequence[str]) -> set[str]:
        return {self._key} & {*keys}


def test_a_value_that_nobody_has_written_down_is_swept(values: Values, tmp_path: Path) -> None:
    kept, left = given(values, "1").blob, given(values, "2").blob
    assert kept is not None
    assert left is not None

    later = datetime.now(UTC).replace(year=2100)
    sweep_values(retention=Knowing(kept.key), objects=values.objects, now=later)  # type: ignore[arg-type]

    assert [one.key for one in values.objects.kept("values")] == [kept.key]
