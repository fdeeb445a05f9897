"""What an event says of whose code it is about."""

import pytest

from runner.model.source import PARENT
from tests.builders import an_event


@pytest.mark.parametrize(
    ("payload", "fork"),
    [
        ({}, None),
        ({PARENT: {"fork": None}}, None),
        ({PARENT: {"fork": "mallory/hello"}}, "mallory/hello"),
        ({PARENT: "mallory/hello"}, None),
    ],
)
def test_what_a_step_of_a_forks_run_starts_is_a_forks_too(
    payload: dict[str, object], fork: str | None
) -> None:
    event = an_event(kind="workflow_dispatch", payload=payload)

    assert (event.fork, event.trusted) == (fork, fork is None)
