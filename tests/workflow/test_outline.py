"""The names of steps that have none."""

import time

from runner.workflow.load import read_workflow
from runner.workflow.outline import outline
from tests.workflow.samples import a_job


def names_of(*steps: str) -> list[str]:
    reading = read_workflow(
        "a.yml", a_job("runs-on: x\nsteps:\n" + "".join(f"- {one}\n" for one in steps)).encode()
    )
    assert reading.errors == ()
    (job,) = outline(reading.root)
    return [step["id"] for step in job["steps"]]


def test_steps_are_numbered_where_they_would_have_the_same_name() -> None:
    assert names_of("run: a", "{id: xRUN_3, run: b}", "run: c", "uses: a/b@v1", "uses: A/b@v1", "run: d") == [
        "__run",
        "xRUN_3",
        "__run_2",
        "__a_b",
        "__A_b_2",
        "__run_3",
    ]


def test_thousands_of_steps_are_named_at_once() -> None:
    begun = time.process_time()
    names = names_of(*["run: a"] * 3000)

    assert names[-1] == "__run_3000"
    assert time.process_time() - begun < 2
