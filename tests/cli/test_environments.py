"""Environments as people set them, and the jobs that wait for them, on a real server."""

import pytest

from tests.cli.conftest import PATIENCE, Machine, Shell, run_of

REPOSITORY = ("-R", "octo/hello")
DEPLOY = """
on: push
jobs:
  test:
    runs-on: ubuntu-latest
    environment: ${{ github.event.nothing || 'production' }}
    steps:
      - run: echo shipped
"""


@pytest.fixture(autouse=True)
def nothing_kept(on_machine: Shell) -> object:
    yield
    for one in on_machine("environment", "list", *REPOSITORY, "--json", "name").json:
        on_machine("environment", "remove", one["name"], *REPOSITORY)


def test_an_environment_is_set_listed_shown_and_removed(on_machine: Shell) -> None:
    given = ("--reviewer", "anna", "--reviewer", "bert", "--wait-timer", "30", "--branch", "release/*")
    made = on_machine("environment", "set", "production", *REPOSITORY, *given, "--prevent-self-review")
    assert (made.status, made.out) == (0, "set environment production of octo/hello\n")

    listed, shown = (
        on_machine("environment", "list", *REPOSITORY).out,
        on_machine("environment", "show", "Production", *REPOSITORY).out,
    )
    for text in ("production", "anna, bert", "30 min", "release/*"):
        assert text in listed
        assert text in shown
    again = on_machine("environment", "set", "production", *REPOSITORY, "--wait-timer", "5", "--json").json
    assert (again["wait_timer"], again["reviewers"]) == (5, [])
    gone = on_machine("environment", "remove", "PRODUCTION", *REPOSITORY, "--json").json
    assert gone == {"name": "PRODUCTION", "removed": True}
    assert "no rules; `runner environment set" in on_machine("environment", "list", *REPOSITORY).err
    gone = on_machine("environment", "show", "production", *REPOSITORY)
    assert (gone.status, "octo/hello has no rules for an environment" in gone.err) == (1, True)


def test_a_job_waits_for_the_reviewers_of_its_environment(machine: Machine, on_machine: Shell) -> None:
    on_machine("environment", "set", "production", *REPOSITORY, "--reviewer", "anna")
    machine.push(DEPLOY)
    run = str(run_of(on_machine, machine.git("rev-parse", "HEAD").strip()))
    with machine.spawn("runs", "watch", run) as watching:
        assert watching.stdout is not None
        assert any(
            "waits for approval by anna: environment production, until 20" in line for line in watching.stdout
        )
        listed = on_machine("runs", "list", "--status", "waiting", *REPOSITORY)
        assert "waits for approval by anna: environment production" in listed.out
        wrong = on_machine("runs", "approve", run, "--environment", "staging")
        assert (wrong.status, "waited for: production" in wrong.err) == (1, True)
        both = on_machine("runs", "approve", run, "--environment", "production", "--job", "test")
        assert (both.status, "either --job or --environment" in both.err) == (2, True)
        assert on_machine("runs", "approve", run, "--environment", "PRODUCTION", "-m", "go").status == 0
        rest, _ = watching.communicate(timeout=PATIENCE)

    assert (watching.returncode, "shipped" in rest) == (0, True)
    waits = on_machine("runs", "view", run, "--json", "jobs").json["jobs"][0]["waits"]
    assert [(one["key"], one["answer"], one["comment"]) for one in waits] == [
        ("environment", "approved", "go")
    ]
