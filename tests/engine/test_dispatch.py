"""Runs that are asked for by the name of a workflow."""

from typing import Any

import pytest

from runner.engine.control import rerun
from runner.errors import Rejected
from runner.model.run import Run
from runner.model.source import Delivery, Repository
from tests.builders import an_event
from tests.engine.conftest import TWO_STEPS, Bench

DEPLOY = """\
on:
  workflow_dispatch:
    inputs:
      where: {type: choice, options: [staging, production], required: true}
      dry: {type: boolean, default: true}
      count: {type: number, default: 2}
jobs:
  deploy:
    runs-on: linux
    steps:
      - env:
          TYPED: ${{ inputs.where }} ${{ !inputs.dry }} ${{ inputs.count == 2 }} ${{ toJSON(inputs.count) }}
          TEXTS: ${{ toJSON(github.event.inputs.dry) }} ${{ toJSON(github.event.inputs.count) }}
          ABOUT: ${{ github.event_name }} ${{ github.event.workflow }} ${{ github.event.ref }}
        run: deploy
"""
WITHOUT = """\
on:
  push:
  workflow_dispatch:
    inputs:
      dry: {type: boolean}
jobs:
  a: {runs-on: linux, steps: [{run: x, env: {SEEN: "${{ toJSON(inputs) }}"}}]}
"""


def dispatch(bench: Bench, workflow: str, guid: str = "guid", **given: Any) -> Delivery:
    payload = {"workflow": workflow, "inputs": given.pop("inputs", {}), "ref": "main"}
    return bench.admit(bench.receive(an_event(kind="workflow_dispatch", payload=payload, **given), guid))


def started(bench: Bench, delivery: Delivery) -> Run:
    assert delivery.status == "admitted", delivery.reason
    (run,) = delivery.runs
    return bench.store.load(run)


def test_a_run_that_is_asked_for_sees_its_inputs_typed_and_in_the_event_as_text(bench: Bench) -> None:
    bench.write(DEPLOY, ".runner/workflows/deploy.yml")
    bench.write(TWO_STEPS)

    run = started(bench, dispatch(bench, "deploy.yml", inputs={"where": "staging", "dry": "false"}))
    bench.work()

    (command,) = bench.executor.commands
    assert run.workflow == ".runner/workflows/deploy.yml"
    assert command.env["TYPED"] == "staging true true 2"
    assert command.env["TEXTS"] == '"false" "2"'
    assert command.env["ABOUT"] == "workflow_dispatch .runner/workflows/deploy.yml refs/heads/main"


def test_a_rerun_sees_the_same_inputs(bench: Bench) -> None:
    bench.write(DEPLOY, ".runner/workflows/deploy.yml")
    run = started(bench, dispatch(bench, "deploy.yml", inputs={"where": "staging"}))
    bench.work()

    rerun(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()

    first, second = bench.executor.commands
    assert first.env["TYPED"] == second.env["TYPED"] == "staging false true 2"


def test_what_cannot_be_started_so_starts_nothing_and_says_why(bench: Bench) -> None:
    bench.write(DEPLOY, ".runner/workflows/deploy.yml")
    bench.write(TWO_STEPS)
    bench.write("on: 5", ".runner/workflows/broken.yml")

    for number, (workflow, inputs, says) in enumerate(
        [
            ("deploy.yml", {}, 'the input "where" is required; here you can use production, staging'),
            (
                "deploy.yml",
                {"where": "moon"},
                '.runner/workflows/deploy.yml cannot start so: the input "where"',
            ),
            ("deploy.yml", {"where": "staging", "wet": 1}, 'there is no input "wet"'),
            ("depoy.yml", {}, 'there is no workflow "depoy.yml"; did you mean "deploy.yml"?'),
            ("", {}, "there is no workflow"),
            ("ci.yml", {}, '.runner/workflows/ci.yml cannot be started by hand; give its "on" a'),
            ("broken.yml", {}, ".runner/workflows/broken.yml:1:5"),
        ]
    ):
        delivery = dispatch(bench, workflow, str(number), inputs=inputs)
        assert (delivery.status, delivery.runs) == ("failed", ())
        assert says in delivery.reason


def test_a_run_of_another_event_has_no_inputs(bench: Bench) -> None:
    bench.a_run(WITHOUT)
    bench.work()

    assert bench.executor.commands[0].env["SEEN"] == "{}"


@pytest.mark.parametrize(
    ("there", "ref"), [("refs/heads/v1", "refs/heads/v1"), ("refs/tags/v1", "refs/tags/v1")]
)
def test_a_short_name_is_a_branchs_or_a_tags(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, there: str, ref: str
) -> None:
    def resolve(repo: Repository, asked: str) -> str:
        if asked != there:
            raise Rejected(f"octo/hello has no ref {asked}")
        return "2" * 40

    monkeypatch.setattr(bench.workspaces, "resolve", resolve)
    bench.write(WITHOUT)

    delivery = dispatch(bench, "ci.yml", ref="v1", commit=None)
    missing = dispatch(bench, "ci.yml", "another", ref="v2", commit=None)

    assert (delivery.event.ref, started(bench, delivery).route.commit) == (ref, "2" * 40)
    assert (missing.status, missing.reason) == ("failed", "octo/hello has no ref refs/heads/v2")
