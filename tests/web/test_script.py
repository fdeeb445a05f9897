"""The page's script, in Node.js, over a document that only notes what is written into it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runner import web

SCRIPT = Path(web.__file__).parent / "static/run.js"
PAGE = """\
const said = JSON.parse(require("fs").readFileSync(0));
const written = [];
const element = new Proxy(function () {}, {
  get: (_, name) => name === Symbol.iterator ? function* () {} : name === "length" ? 0 : element,
  set: (_, name, value) => (typeof value === "string" && written.push(value), true),
  apply: () => element,
  construct: () => element,
});
const document = {
  getElementById: (id) => id.startsWith("job-") || id.startsWith("summary-") ? null : element,
  createElement: () => element,
  querySelector: () => element,
};
const seen = { document, said, EventSource: element, Node: element, written };
require("vm").runInNewContext(require("fs").readFileSync(process.argv[1], "utf8") + "\\njob(said);", seen);
console.log(JSON.stringify(written));
"""
JOB = {"id": 1, "name": "build", "status": "success", "reason": "", "steps": []}
STEP = {"key": "1", "name": "make", "status": "success", "reason": "it was slow"}
WAIT = {"by": "ada", "answer": "approved"}


def written(**more: Any) -> list[str]:
    """What is written into the page once a server tells it of a job."""
    made = subprocess.run(
        ["/usr/bin/node", "-e", PAGE, str(SCRIPT)],
        input=json.dumps(JOB | more),
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[str] = json.loads(made.stdout)
    return found


def test_a_server_of_a_former_version_is_shown_with_what_it_says_and_no_more() -> None:
    said = written(steps=[STEP], waits=[WAIT])

    assert {"build", "make", "it was slow", " · approved by ada"} <= set(said)
    assert [one for one in said if "undefined" in one] == []


@pytest.mark.parametrize(
    ("wait", "shown"),
    [
        ({"subject": "approval of deploy", "comment": "go"}, " · approval of deploy: approved by ada: go"),
        ({"subject": "approval of deploy", "comment": ""}, " · approval of deploy: approved by ada"),
    ],
)
def test_what_a_person_said_is_shown_with_what_it_was_about(wait: dict[str, str], shown: str) -> None:
    assert shown in written(waits=[WAIT | wait])


@pytest.mark.parametrize(("value", "shown"), [("3", True), ("", True), (None, False)])
def test_what_a_step_gave_is_shown_where_it_gave_something(value: str | None, shown: bool) -> None:
    said = written(steps=[STEP | {"value": value}])

    # It is marked as one.
    assert ("value" in said) == shown
    assert value is None or value in said
