"""Who is given secrets and variables: whoever may push, however workflows call each other."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass, replace

import pytest

from runner.engine.admit import Selection
from runner.engine.control import rerun
from runner.engine.ports import Command, Exit, Vault
from runner.errors import Unavailable
from runner.model.run import Finished, Queued, Run
from runner.model.source import Event, Repository
from runner.model.step import Result
from tests.builders import an_event
from tests.engine.conftest import Bench

CANARY = "canary-of-the-engine"
CALLED = ".runner/workflows/called.yml"
SEES = """\
    runs-on: linux
    env: {TOKEN: "${{ secrets.TOKEN }}", ALL: "${{ toJSON(secrets) }}", REGION: "${{ vars.REGION }}"}
    steps:
      - run: see
"""
DIRECT = f"on: [push, pull_request, pull_request_target]\njobs:\n  a:\n{SEES}"
INHERITED = """\
on: [push, pull_request, pull_request_target]
jobs:
  call:
    uses: ./.runner/workflows/called.yml
    secrets: inherit
"""
HANDED = INHERITED.replace("inherit", '{TOKEN: "${{ secrets.TOKEN }}"}')
WHERE_CALLED = f"on: {{workflow_call: {{secrets: {{TOKEN: {{required: false}}}}}}}}\njobs:\n  b:\n{SEES}"


@dataclass
class Watched(Vault):
    """Remembers how often it was opened; `away` makes it one that cannot be."""

    kept: dict[str, str] = field(default_factory=lambda: {"TOKEN": CANARY}, repr=False)
    opened: int = 0
    away: str = ""

    def secrets(self, repository: Repository) -> Mapping[str, str]:
        self.opened += 1
        if self.away:
            raise Unavailable(self.away)
        return self.kept

    def variables(self, repository: Repository) -> Mapping[str, str]:
        return {"REGION": "north"}


@pytest.fixture
def vault(bench: Bench) -> Watched:
    made = Watched()
    bench.station = replace(bench.station, vault=made)
    return made


def an_event_of(kind: str, fork: str) -> Event:
    pull = {"head": {"repo": {"full_name": fork}}, "base": {"repo": {"full_name": "octo/hello"}}}
    return an_event(kind=kind, payload={"pull_request": pull} if kind != "push" else {})


def ran(bench: Bench, event: Event, text: str) -> Run:
    bench.write(text)
    bench.write(WHERE_CALLED, CALLED)
    delivery = bench.receive(event)
    # As if somebody had approved it.
    run = bench.admit(delivery, Selection((".runner/workflows/ci.yml",))).runs[0]
    bench.work()
    return bench.store.load(run)


def seen(bench: Bench) -> tuple[str, str, str]:
    env = bench.executor.commands[0].env
    return env["TOKEN"], "".join(env["ALL"].split()), env["REGION"]


@pytest.mark.parametrize("text", [DIRECT, INHERITED, HANDED])
@pytest.mark.parametrize(
    ("kind", "fork"),
    [
        ("push", ""),
        ("pull_request", "octo/hello"),
        # The base's own workflow, at the base's commit.
        ("pull_request_target", "mallory/hello"),
    ],
)
def test_whoever_may_push_is_given_secrets(
    bench: Bench, vault: Watched, text: str, kind: str, fork: str
) -> None:
    run = ran(bench, an_event_of(kind, fork), text)

    assert run.result is Result.SUCCESS
    assert seen(bench) == (CANARY, f'{{"TOKEN":"{CANARY}"}}', "north")


@pytest.mark.parametrize("text", [DIRECT, INHERITED, HANDED])
@pytest.mark.parametrize("kind", ["pull_request", "pull_request_review", "pull_request_review_comment"])
def test_a_fork_is_given_none_and_the_vault_stays_shut(
    bench: Bench, vault: Watched, text: str, kind: str
) -> None:
    run = ran(bench, an_event_of(kind, "mallory/hello"), text.replace("push, ", f"{kind}, push, ", 1))

    assert run.result is Result.SUCCESS
    assert seen(bench) == ("", "{}", "")
    assert vault.opened == 0


def test_nor_is_it_told_of_variables_by_the_name_of_a_group(bench: Bench, vault: Watched) -> None:
    text = DIRECT.replace("jobs:", 'concurrency: "in-${{ vars.REGION }}"\njobs:')

    run = ran(bench, an_event_of("pull_request", "mallory/hello"), text)

    assert run.turn is not None
    assert run.turn.group == "in-"


def test_a_called_workflow_that_inherits_nothing_sees_nothing(bench: Bench, vault: Watched) -> None:
    ran(bench, an_event_of("push", ""), INHERITED.replace("    secrets: inherit\n", ""))

    assert seen(bench) == ("", "{}", "north")


def test_a_job_asks_the_vault_once_and_a_later_attempt_again(bench: Bench, vault: Watched) -> None:
    run = ran(bench, an_event_of("push", ""), DIRECT)
    asked = vault.opened
    vault.kept = {"TOKEN": "another"}

    rerun(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()

    assert (asked, vault.opened) == (1, 2)
    assert [command.env["TOKEN"] for command in bench.executor.commands] == [CANARY, "another"]


def test_a_job_that_cannot_be_given_its_secrets_waits_and_says_why(bench: Bench, vault: Watched) -> None:
    vault.away = "there is no key"

    run = ran(bench, an_event_of("push", ""), DIRECT)

    (job,) = run.jobs
    assert isinstance(job.phase, Queued)
    assert "there is no key" in job.phase.reason
    assert bench.executor.commands == []
    vault.away = ""


def test_what_a_step_is_given_is_not_in_what_is_shown_of_it_nor_in_a_reason(
    bench: Bench, vault: Watched
) -> None:
    shown: list[str] = []

    def breaks(command: Command) -> Exit:
        # All that is on its way here, as a debugger or a tool that reports errors would show it.
        frame = inspect.currentframe()
        while frame is not None:
            if "/runner/engine/" in frame.f_code.co_filename:
                shown.extend(repr(one) for one in frame.f_locals.values() if is_dataclass(one))
            frame = frame.f_back
        raise RuntimeError("a bug")

    bench.executor.act = breaks
    run = ran(bench, an_event_of("push", ""), DIRECT)

    (job,) = run.jobs
    assert isinstance(job.phase, Finished)
    assert job.phase.reason == "internal error: RuntimeError"
    assert len(shown) > 10
    assert [one for one in shown if CANARY in one] == []


@pytest.mark.parametrize(
    "step",
    [
        "uses: actions/checkout@v4, with: {ssh-user: '${{ secrets.TOKEN }}'}",
        "uses: actions/checkout@v4, with: {token: '${{ secrets.TOKEN }}', lfs: '${{ secrets.TOKEN }}'}",
        'uses: docker://a, with: {args: "a \'${{ secrets.TOKEN }}"}',
        "run: go, env: '${{ fromJSON(toJSON(secrets.TOKEN)) }}'",
        "run: 'go ${{ fromJSON(secrets.TOKEN) }}'",
        "run: 'go ${{ format(secrets.TOKEN) }}'",
        "run: \"go ${{ hashFiles(format('/{0}', secrets.TOKEN)) }}\"",
    ],
)
def test_no_part_of_a_secret_is_in_what_is_said_of_a_step_that_cannot_use_it(
    bench: Bench, vault: Watched, step: str
) -> None:
    vault.kept = {"TOKEN": "{" + "".join(f"{number:03}" for number in range(60))}
    text = f"on: push\njobs:\n  a:\n    runs-on: linux\n    steps: [{{{step}}}]\n"

    run = ran(bench, an_event_of("push", ""), text)

    said = b"".join(bench.logs.printed.values()).decode()
    assert run.result is Result.FAILURE
    assert "##[error]" in said
    assert "000001002" not in said + str(run)


NEEDING = WHERE_CALLED.replace("required: false", "required: true")


@pytest.mark.parametrize("handing", [HANDED.replace("secrets.TOKEN }", "secrets.NONE }"), INHERITED])
def test_a_secret_that_is_needed_may_be_empty(bench: Bench, vault: Watched, handing: str) -> None:
    vault.kept = {}
    bench.write(handing)
    bench.write(NEEDING, CALLED)

    run = bench.admit(bench.receive(an_event()), Selection((".runner/workflows/ci.yml",))).runs[0]
    bench.work()

    assert bench.store.load(run).result is Result.SUCCESS
