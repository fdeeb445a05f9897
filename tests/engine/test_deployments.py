"""Where a job has deployed to: what its `environment` says once its steps are over."""

from pathlib import Path

import pytest

from runner.engine.ports import Command, Exit
from runner.model.environment import Deployment
from runner.model.run import Finished, Job
from runner.model.step import Result
from runner.store.views import Views
from tests.engine.conftest import Bench

DEPLOY = """\
on: push
jobs:
  deploy:
    runs-on: linux
    environment: {name: production, url: "URL"}
    steps:
      - id: ship
        run: ship
"""
OF_A_STEP = "https://${{ steps.ship.outputs.host }}/app"


def deployed(bench: Bench, url: str = OF_A_STEP, host: str = "eu.test", code: int = 0, **said: str) -> Job:
    """The job after a step that says where it shipped to."""

    def act(command: Command) -> Exit:
        Path(command.env["GITHUB_OUTPUT"]).write_text(f"host={host}\n")
        return Exit(code)

    bench.executor.act = act
    text = DEPLOY.replace("URL", url)
    for former, new in said.items():
        text = text.replace(former, new)
    run = bench.a_run(text)
    bench.work()
    return bench.store.load(run.id).jobs[0]


def result_of(job: Job) -> tuple[Result, str]:
    assert isinstance(job.phase, Finished)
    return job.phase.result, job.phase.reason


def test_the_url_of_an_environment_is_what_the_steps_made_of_it(bench: Bench) -> None:
    job = deployed(bench)

    assert job.deployed == Deployment("production", "https://eu.test/app")
    (shown,) = Views(bench.database).run(1).jobs
    assert shown.environment == job.deployed


def test_a_job_that_failed_says_where_it_was_to_be_seen_all_the_same(bench: Bench) -> None:
    job = deployed(bench, code=1)

    assert result_of(job)[0] is Result.FAILURE
    assert job.deployed == Deployment("production", "https://eu.test/app")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("${{ github.event_name }}-1", Deployment("push-1", "https://eu.test/app")),
        ("${{ github.event.nothing }}", None),
        ("x" * 300, None),
    ],
)
def test_a_name_that_is_none_is_not_deployed_to(bench: Bench, name: str, shown: Deployment | None) -> None:
    job = deployed(bench, production=f'"{name}"')

    assert (job.deployed, result_of(job)[0]) == (shown, Result.SUCCESS)


def test_an_environment_without_an_address_is_shown_by_its_name(bench: Bench) -> None:
    assert deployed(bench, "").deployed == Deployment("production")


@pytest.mark.parametrize(
    ("host", "url", "why"),
    [
        ("x", "javascript:alert(1)//${{ steps.ship.outputs.host }}", "is no address such as https://"),
        ("x", "file:///etc/${{ steps.ship.outputs.host }}", "is no address such as https://"),
        ("x", "//${{ steps.ship.outputs.host }}/app", "is no address such as https://"),
        ("a b", OF_A_STEP, "has letters that no address has"),
        ("a\x1b[1m", OF_A_STEP, "has letters that no address has"),
        ("anna:pw@eu.test", OF_A_STEP, "has a login in it"),
        ("[", OF_A_STEP, "is no address such as https://"),
        ("a" * 3000, OF_A_STEP, "2048 are the limit"),
    ],
)
def test_nobody_is_led_to_what_is_no_address_of_the_web(bench: Bench, host: str, url: str, why: str) -> None:
    job = deployed(bench, url, host)

    assert (job.deployed, result_of(job)[0]) == (Deployment("production"), Result.SUCCESS)
    said = bench.logs.printed[job.id, 1, "0"]
    assert why.encode() in said
    assert b"\x1b" not in said


def test_an_address_that_may_hold_a_secret_is_not_shown(bench: Bench) -> None:
    bench.executor.prints = lambda command: b"::add-mask::eu-hush\n"
    job = deployed(bench, host="eu-hush.test")

    assert job.deployed == Deployment("production")
    said = bench.logs.printed[job.id, 1, "0"]
    assert b"the url of the environment is not shown: it may hold a secret" in said


def test_an_address_that_cannot_be_evaluated_fails_the_job(bench: Bench) -> None:
    result, reason = result_of(deployed(bench, "${{ fromJSON(steps.ship.outputs.host) }}"))

    assert result is Result.FAILURE
    assert reason.startswith("the url of the job's environment cannot be evaluated: ")


def test_a_job_that_makes_no_deployment_shows_none(bench: Bench) -> None:
    assert deployed(bench, url=f'{OF_A_STEP}", deployment: "${{{{ false }}}}').deployed is None
