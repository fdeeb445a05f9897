import json
from typing import Any

import pytest

from runner.engine.matchers import BadMatcher, Matchers
from runner.model.step import Annotation


def matchers(*patterns: dict[str, Any], **given: Any) -> Matchers:
    made = Matchers()
    made.add(matcher(*patterns, **given))
    return made


def matcher(*patterns: dict[str, Any], **given: Any) -> bytes:
    return json.dumps({"problemMatcher": [{"owner": "tool", "pattern": patterns, **given}]}).encode()


STYLISH = (
    {"regexp": r"^([^\s].*)$", "file": 1},
    {
        "regexp": r"^\s+(\d+):(\d+)\s+(error|warning|info)\s+(.*)\s\s+(.*)$",
        "line": 1,
        "column": 2,
        "severity": 3,
        "message": 4,
        "code": 5,
        "loop": True,
    },
)


def test_the_last_of_several_patterns_may_hold_for_many_lines() -> None:
    made = matchers(*STYLISH)
    said = [
        "a.js",
        "  1:2  error  Bad thing  no-bad",
        "  3:4  warning  Odd  odd",
        "",
        "  5:6  error  Lost  x",
    ]

    assert [made.match(line) for line in said] == [
        None,
        Annotation("error", "Bad thing", "no-bad", "a.js", 1, None, 2),
        Annotation("warning", "Odd", "odd", "a.js", 3, None, 4),
        None,
        None,
    ]


def test_colours_do_not_matter_and_the_matchers_severity_is_the_default() -> None:
    made = matchers({"regexp": "^(bad.*)$", "message": 1}, severity="warning")

    assert made.match("\x1b[31mbad \x1b[0mthing") == Annotation("warning", "bad thing")


def test_of_two_matchers_with_one_owner_the_later_counts() -> None:
    made = matchers({"regexp": "(a)", "message": 1})
    made.add(matcher({"regexp": "(b)", "message": 1}))

    assert made.match("a") is None
    assert made.match("b") == Annotation("error", "b")
    made.remove("tool")
    assert not made


def test_a_file_is_found_from_the_path_it_was_named_in() -> None:
    made = matchers({"regexp": r"(\S+) (\S+) (.*)", "file": 1, "fromPath": 2, "message": 3})

    found = made.match("../a.cs src/app/app.csproj broken")
    assert found is not None
    assert found.file == "src/a.cs"


def test_an_expression_that_takes_for_ever_is_let_go_of() -> None:
    made = matchers({"regexp": r"^(a|aa)+$", "message": 1})

    found = made.match("a" * 60 + "b")

    assert found is not None
    assert "took too long" in found.message
    assert not made


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"[", "JSON"),
        (b"{}", "problemMatcher"),
        (b'{"problemMatcher": [{}]}', "owner"),
        (matcher(), "1 to 10 patterns"),
        (matcher({"regexp": "(", "message": 1}), "no regular expression"),
        (matcher({"regexp": "(a)", "message": 2}), "no group"),
        (matcher({"regexp": "(a)"}), "message"),
        (matcher({"regexp": "(a)", "message": 1, "loop": True}), "loop"),
        (matcher({"regexp": "(a)", "message": 1}, severity="fatal"), "severity"),
        (matcher({"regexp": "a" * 3000, "message": 0}), "2000"),
    ],
)
def test_a_matcher_that_cannot_be_used_says_why(text: bytes, why: str) -> None:
    with pytest.raises(BadMatcher, match=why):
        Matchers().add(text)


def test_what_was_changed_can_be_done_once_more() -> None:
    made = matchers({"regexp": "^(.*)$", "message": 1})
    made.add(matcher({"regexp": "^(.*)$", "message": 1}, owner="other"))
    made.remove("tool")
    made.remove("unknown")
    with pytest.raises(BadMatcher):
        made.add(b"{}")

    again = Matchers()
    for change in made.added:
        again.restore(change)

    assert again.added == made.added
    again.remove("other")
    assert not again


def test_one_that_is_not_taken_is_not_kept_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.engine.matchers.MOST_MATCHERS", 1)
    made = matchers({"regexp": "^(.*)$", "message": 1})

    with pytest.raises(BadMatcher, match="and no more"):
        made.add(matcher({"regexp": "^(.*)$", "message": 1}, owner="other"))

    assert len(made.added) == 1


def test_an_expression_that_would_fill_the_memory_is_refused() -> None:
    nested = {"regexp": "(((a{70}){70}){70}){70}", "message": 0}

    with pytest.raises(BadMatcher, match="repeats too much"):
        Matchers().add(json.dumps({"problemMatcher": [{"owner": "x", "pattern": [nested]}]}).encode())
