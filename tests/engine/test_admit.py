from dataclasses import replace

import pytest

from runner.engine.admit import Selection, admit
from runner.errors import BrokenDefinition, NotFound, Unavailable
from runner.model.run import Queued
from runner.model.source import Repository
from runner.model.step import Result
from runner.vault import MemoryVault
from tests.builders import TITLES, an_event
from tests.engine.conftest import TWO_STEPS, Bench


def test_a_push_starts_every_workflow_that_names_it(bench: Bench) -> None:
    bench.write(TWO_STEPS)
    bench.write(TWO_STEPS.replace("name: ci", "name: again"), ".runner/workflows/again.yaml")

    delivery = bench.admit(bench.receive())

    assert delivery.status == "admitted"
    assert [bench.store.load(run).name for run in delivery.runs] == ["again", "ci"]
    assert len(bench.bell.rung) == 2


def test_githubs_folder_is_read_only_where_ours_has_no_workflow(bench: Bench) -> None:
    bench.write(TWO_STEPS, ".github/workflows/ci.yml")
    assert bench.store.load(bench.admit(bench.receive()).runs[0]).workflow == ".github/workflows/ci.yml"

    bench.write(TWO_STEPS)
    second = bench.admit(bench.receive(guid="second"))

    assert [bench.store.load(run).workflow for run in second.runs] == [".runner/workflows/ci.yml"]


PYTHON = """\
from runner.sdk import workflow
import shared

@workflow(on="push")
async def deploy(event, step):
    await step.sh("ship", "make ship")
"""


def test_a_function_in_python_is_a_workflow_and_what_it_imports_is_none(bench: Bench) -> None:
    bench.write(PYTHON, ".runner/workflows/deploy.py")
    bench.write("x = 1\n", ".runner/workflows/shared.py")
    bench.write(TWO_STEPS)

    runs = [bench.store.load(run) for run in bench.admit(bench.receive()).runs]

    assert [(run.workflow, run.name, [job.key for job in run.jobs]) for run in runs] == [
        (".runner/workflows/ci.yml", "ci", ["build"]),
        (".runner/workflows/deploy.py", "deploy", ["deploy"]),
    ]
    assert (runs[1].jobs[0].labels, runs[1].jobs[0].steps) == ((), ())


def test_python_that_cannot_be_read_is_a_run_that_failed_only_where_it_could_be_a_workflow(
    bench: Bench,
) -> None:
    bench.write(PYTHON + "(", ".runner/workflows/deploy.py")
    bench.write("(", ".runner/workflows/shared.py")

    (run,) = (bench.store.load(run) for run in bench.admit(bench.receive()).runs)

    assert run.result is Result.FAILURE
    assert run.problems == (".runner/workflows/deploy.py:7:1: not valid Python: '(' was never closed",)


def test_python_in_githubs_folder_is_no_workflow(bench: Bench) -> None:
    bench.write(PYTHON, ".github/workflows/deploy.py")

    assert bench.admit(bench.receive()).reason.startswith("no workflow files in .runner/workflows or")


def test_a_broken_workflow_is_a_run_that_failed_with_every_problem(bench: Bench) -> None:
    bench.write("on: push\njobs:\n  a:\n    step: 1\n    runs-on: linux\n")

    run = bench.store.load(bench.admit(bench.receive()).runs[0])

    assert run.result is Result.FAILURE
    assert len(run.problems) >= 2
    assert all(problem.startswith(".runner/workflows/ci.yml:") for problem in run.problems)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("Deploy by @${{ github.actor }} to ${{ inputs.where }}", "Deploy by @octo to staging"),
        ("${{ github.workflow }} ${{ github.run_number }}/${{ github.run_id }}", "ci 1/1"),
        ("${{ vars.SITE }} of ${{ github.server_url }}", "here of http://runner.test"),
        ("'two\n\n  lines'", "two lines"),
        ("${{ fromJSON('\"a\\u0000b\\ud800\"') }}", "a b\ufffd"),
        ("'  '", ""),
        ("${{ fromJSON('broken') }}", ""),
        ("x" * 300, "x" * 255),
    ],
)
def test_a_run_is_called_as_its_workflow_says(bench: Bench, name: str, title: str) -> None:
    bench.station = replace(bench.station, vault=MemoryVault(given_variables={"SITE": "here"}))
    start = "on: {workflow_dispatch: {inputs: {where: {type: string}}}}"
    bench.write(TWO_STEPS.replace("on: push", f"run-name: {name}\n{start}"))
    payload = {"workflow": "ci.yml", "inputs": {"where": "staging"}}

    delivery = bench.admit(bench.receive(an_event(kind="workflow_dispatch", actor="octo", payload=payload)))

    assert bench.store.load(delivery.runs[0]).title == title


def test_a_push_that_no_workflow_matches_says_why_of_each(bench: Bench) -> None:
    bench.write(TWO_STEPS.replace("on: push", "on: {push: {branches: [release]}}"))

    delivery = bench.admit(bench.receive())

    assert delivery.status == "ignored"
    assert ".runner/workflows/ci.yml: " in delivery.reason
    assert "main" in delivery.reason


@pytest.mark.parametrize(
    ("message", "word"),
    [("docs [skip ci]\n", "[skip ci]"), ("a\n\nskip-checks: true\n", "skip-checks: true")],
)
def test_a_push_whose_newest_commit_asks_for_no_run_starts_none_and_says_so(
    bench: Bench, message: str, word: str
) -> None:
    bench.write(TWO_STEPS)
    bench.workspaces.said = message

    delivery = bench.admit(bench.receive())

    assert (delivery.status, delivery.runs) == ("ignored", ())
    assert delivery.reason == f"the message of {'1' * 12} says {word}"


def test_who_starts_a_commit_by_hand_means_it_whatever_its_message_says(bench: Bench) -> None:
    bench.write(TWO_STEPS)
    bench.workspaces.said = "docs [skip ci]\n"

    assert bench.admit(bench.receive(an_event(payload={"by_hand": True}))).status == "admitted"


def test_a_commit_without_workflows_says_where_they_were_looked_for(bench: Bench) -> None:
    delivery = bench.admit(bench.receive())

    assert delivery.status == "ignored"
    assert ".runner/workflows or .github/workflows" in delivery.reason


def test_a_repository_that_does_not_answer_ends_the_delivery_and_a_replay_admits_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write(TWO_STEPS)

    def unreachable(repo: Repository, route: object, keep: str) -> None:
        raise Unavailable("git: could not connect to hello.test")

    with monkeypatch.context() as patched:
        patched.setattr(bench.workspaces, "fetch", unreachable)
        failed = bench.admit(bench.receive())
    replayed = bench.admit(bench.store.replay(failed.id))

    assert (failed.status, failed.reason) == ("failed", "git: could not connect to hello.test")
    assert (replayed.status, len(replayed.runs)) == ("admitted", 1)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (BrokenDefinition("a tree that cannot be"), "a tree that"),
        (ZeroDivisionError("ours"), "internal error"),
    ],
)
def test_whatever_keeps_a_delivery_from_being_judged_ends_it_with_the_reason(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    def broken(route: object, before: object) -> list[str]:
        raise error

    bench.write(TWO_STEPS.replace("on: push", "on: {push: {paths: [a]}}"))
    monkeypatch.setattr(bench.workspaces, "changed", broken)

    delivery = bench.admit(bench.receive())

    assert delivery.status == "failed"
    assert says in delivery.reason


@pytest.mark.parametrize(
    "ref",
    [
        "-x",
        "refs/heads/--upload-pack=touch",
        "refs/heads/a\nb",
        "refs/heads/a\x1bb",
        "refs/heads/../../x",
        "refs/heads/a b",
        "refs/heads/x.lock",
        "",
    ],
)
def test_a_push_of_what_no_ref_is_called_fails_though_it_names_a_commit(bench: Bench, ref: str) -> None:
    bench.write(TWO_STEPS)

    delivery = bench.admit(bench.receive(an_event(ref=ref)))

    assert (delivery.status, delivery.runs) == ("failed", ())
    assert "is no ref name" in delivery.reason


def test_a_push_to_a_branch_that_looks_like_a_command_is_admitted(bench: Bench) -> None:
    bench.write(TWO_STEPS)

    assert bench.admit(bench.receive(an_event(ref="refs/heads/$(id)"))).status == "admitted"


@pytest.mark.parametrize("commit", [None, "1" * 40])
def test_head_is_the_default_branch_also_where_a_replay_is_the_first_that_can_ask_for_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, commit: str | None
) -> None:
    bench.write(TWO_STEPS.replace("on: push", "on: {push: {branches: [main]}}"))

    def unreachable(repo: Repository) -> None:
        raise Unavailable("git: could not connect to hello.test")

    with monkeypatch.context() as patched:
        patched.setattr(bench.workspaces, "default_branch", unreachable)
        failed = bench.admit(bench.receive(an_event(ref="HEAD", commit=commit)))
    replayed = bench.admit(bench.store.replay(failed.id))

    assert (failed.status, failed.event.ref) == ("failed", "HEAD")
    assert (replayed.status, replayed.event.ref) == ("admitted", "refs/heads/main")
    assert bench.store.load(replayed.runs[0]).route.commit == "1" * 40


def test_a_ping_cannot_be_replayed_into_a_run(bench: Bench) -> None:
    bench.write(TWO_STEPS)
    ping = bench.receive(an_event(kind="ping", ref="", commit=None, ignored="ping: the hook works"))

    assert bench.store.replay(ping.id) == bench.store.delivery(ping.id)
    assert bench.store.delivery(ping.id).status == "ignored"


def test_a_replay_of_what_was_admitted_makes_no_second_run(bench: Bench) -> None:
    bench.write(TWO_STEPS)
    delivery = bench.admit(bench.receive())

    assert bench.admit(bench.store.replay(delivery.id)) == delivery


def test_a_message_that_comes_three_times_admits_once(bench: Bench) -> None:
    bench.write(TWO_STEPS)
    delivery = bench.receive()

    for _ in range(3):
        settled = bench.admit(delivery)

    assert len(settled.runs) == 1


def test_an_event_that_names_only_a_ref_is_pinned_to_its_commit(bench: Bench) -> None:
    bench.write(TWO_STEPS)

    run = bench.store.load(bench.admit(bench.receive(an_event(commit=None))).runs[0])

    assert run.route.commit == "1" * 40


def test_a_job_that_needs_nothing_is_queued_and_rung_for_with_its_labels(bench: Bench) -> None:
    run = bench.a_run()

    (message,) = bench.bell.rung
    assert isinstance(run.jobs[0].phase, Queued)
    assert (message.route, message.run, message.job, message.labels) == (
        run.route,
        run.id,
        run.jobs[0].id,
        ("linux",),
    )


def test_a_delivery_that_does_not_exist_is_named(bench: Bench) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        admit(
            "nowhere",
            store=bench.store,
            sources=bench.station.sources,
            standings=bench.standings,
            dispatcher=bench.bell,
            titles=TITLES,
        )


def test_only_what_a_person_names_is_run_wherever_it_is_and_whatever_the_commit_says(
    bench: Bench,
) -> None:
    bench.write(TWO_STEPS)
    bench.write(TWO_STEPS, "elsewhere/x.yml")
    bench.workspaces.said = "[skip ci]"

    delivery = bench.admit(bench.receive(), Selection(files=("elsewhere/x.yml",)))

    assert [bench.store.load(run).workflow for run in delivery.runs] == ["elsewhere/x.yml"]


THREE_JOBS = """
on: push
jobs:
  a: {runs-on: x, steps: [{run: y}]}
  b: {needs: a, runs-on: x, steps: [{run: y}]}
  c: {runs-on: x, steps: [{run: y}]}
"""


def test_a_job_that_a_person_names_brings_those_that_it_needs(bench: Bench) -> None:
    bench.write(THREE_JOBS)
    bench.write(TWO_STEPS, ".runner/workflows/other.yml")

    (run,) = bench.admit(bench.receive(), Selection(jobs=("b",))).runs

    assert [job.key for job in bench.store.load(run).jobs] == ["a", "b"]


def test_what_a_person_names_and_is_not_there_fails_with_what_is(bench: Bench) -> None:
    bench.write(THREE_JOBS)

    job = bench.admit(bench.receive(), Selection(jobs=("d",)))
    file = bench.admit(bench.receive(guid="second"), Selection(files=("d.yml",)))

    assert (job.status, job.reason) == ("failed", "no job 'd'; there are a, b, c")
    assert (file.status, file.reason) == ("failed", "d.yml is not in octo/hello at 111111111111")
