"""Jobs with containers beside their sandboxes: what docker is asked for, and what the steps are given."""

from dataclasses import replace

import pytest

from runner.engine.control import cancel
from runner.engine.ports import Boxed, Exit, Recipe
from runner.errors import BrokenDefinition, Unavailable
from runner.executors.docks import OutOfReach
from runner.model.run import Finished, Run
from runner.model.step import Result
from runner.vault import MemoryVault
from runner.workflow.containers import ContainerSpec, Health, Login, Options, Port, Volume
from tests.engine.conftest import Bench

SERVICES = """\
name: ci
on: push
env: {LEVEL: workflow}
jobs:
  build:
    runs-on: linux
    env: {LEVEL: job}
    services:
      db:
        image: postgres:${{ github.ref_name }}
        credentials: {username: me, password: "${{ secrets.TOKEN }}"}
        env: {PASSWORD: "${{ secrets.TOKEN }}", LEVEL: "${{ env.LEVEL }} ${{ runner.os }}"}
        ports: [5432, "8080:80"]
        volumes: ["data:/data"]
        options: --health-cmd "pg_isready -U me"
        command: postgres -c 'a = b'
      none: {image: ""}
    steps:
      - run: ${{ job.services.db.id }} at ${{ job.services.db.ports['5432'] }} on ${{ env.NETWORK }}
        env: {NETWORK: "${{ job.services.db.network }}"}
"""


def steps(*said: str, container: str = "") -> str:
    listed = "".join(f"      - {{{one}}}\n" for one in said)
    return f"on: push\njobs:\n  build:\n    runs-on: linux\n{container}    steps:\n{listed}"


def ended(bench: Bench, run: Run) -> Finished:
    phase = bench.store.load(run.id).jobs[0].phase
    assert isinstance(phase, Finished)
    return phase


def with_secrets(bench: Bench) -> Bench:
    bench.station = replace(bench.station, vault=MemoryVault({"TOKEN": "hunter2"}, {}))
    return bench


def test_services_are_what_the_definition_says_evaluated(bench: Bench) -> None:
    run = with_secrets(bench).a_run(SERVICES)

    bench.work()

    assert ended(bench, run).result is Result.SUCCESS
    assert bench.containers.held.services == {
        "db": ContainerSpec(
            "postgres:main",
            Login("me", "hunter2"),
            {"PASSWORD": "hunter2", "LEVEL": "job Linux"},
            Options(health=Health("pg_isready -U me")),
            (Port(5432), Port(80, 8080)),
            (Volume("/data", "data"),),
            command=("postgres", "-c", "a = b"),
        )
    }
    assert bench.executor.scripts == ["id-of-db at 5433 on network-of-the-job"]
    assert [shared for _, shared in bench.workspaces.seen_by] == [False]
    assert bench.containers.held.heard == ["close"]
    job = run.jobs[0].id
    assert b"the service none is not started" in bench.logs.printed[job, 1, "0"]
    assert bench.logs.printed[job, 1, "end"] == b"what the services said\n"


def test_images_are_kept_for_the_registration_of_a_name(bench: Bench) -> None:
    bench.a_run(steps("uses: 'docker://a:1'"))
    bench.work()
    registration = bench.repositories.get("git", "octo/hello").registration

    assert registration
    assert registration in bench.containers.sites[0].tenant.splitlines()


def test_that_a_service_sees_the_jobs_files_is_said_to_who_keeps_them(bench: Bench) -> None:
    bench.a_run(SERVICES.replace("data:/data", "/github/workspace:/data:ro"))
    with_secrets(bench).work()

    assert [shared for _, shared in bench.workspaces.seen_by] == [True]


def test_a_job_without_containers_asks_for_no_docker(bench: Bench) -> None:
    bench.a_run()

    bench.work()

    assert bench.containers.sites == []


@pytest.mark.parametrize("failure", [OutOfReach(), BrokenDefinition("db said hunter2")])
def test_what_keeps_services_from_starting_is_the_jobs_reason_without_secrets(
    bench: Bench, failure: BrokenDefinition
) -> None:
    bench.containers.held.failure = failure
    run = with_secrets(bench).a_run(SERVICES)

    bench.work()

    assert ended(bench, run).result is Result.FAILURE
    assert ended(bench, run).reason == str(failure).replace("hunter2", "***")
    assert bench.executor.scripts == []
    assert bench.containers.held.heard == ["close"]


def test_a_docker_that_does_not_answer_is_asked_again_later(bench: Bench) -> None:
    bench.containers.held.failure = Unavailable("no docker daemon answers")
    run = with_secrets(bench).a_run(SERVICES)

    bench.work()

    job = bench.store.load(run.id).jobs[0]
    assert not isinstance(job.phase, Finished)
    assert b"the job cannot begin: no docker daemon answers" in bench.logs.printed[job.id, 1, "end"]


def test_a_service_cannot_have_the_servers_port(bench: Bench) -> None:
    bench.station = replace(bench.station, server="http://localhost:8787")
    run = bench.a_run(steps("run: one", container="    services: {db: {image: a, ports: ['8787:1']}}\n"))

    bench.work()

    assert ended(bench, run).reason.startswith("services.db: port 8787 of this machine is the server's")
    assert bench.containers.held.services == {}


@pytest.mark.parametrize(
    "service",
    [
        '{image: a, options: "${{ vars.TOKEN }} \'x"}',
        "{image: a, options: '--env ${{ vars.TOKEN }}'}",
        '{image: a, command: "${{ vars.TOKEN }} \'x"}',
        "{image: '${{ vars.TOKEN }} x'}",
    ],
)
def test_no_part_of_a_secret_is_in_what_is_wrong_with_a_service(bench: Bench, service: str) -> None:
    secret = "hunter " * 20
    bench.station = replace(bench.station, vault=MemoryVault({}, {"TOKEN": secret}))
    run = bench.a_run(steps("run: one", container=f"    services: {{db: {service}}}\n"))

    bench.work()

    assert ended(bench, run).reason.startswith("services.db: ")
    assert "hunter" not in ended(bench, run).reason


@pytest.mark.parametrize(
    ("services", "problem"),
    [
        (
            "{db: {image: a, ports: '${{ fromJSON(vars.MANY) }}'}}",
            "services.db: a container can have 128 ports",
        ),
        (
            "{db: {image: a, volumes: '${{ fromJSON(vars.MANY) }}'}}",
            "services.db: a container can have 100 vol",
        ),
        ("{db: {image: a, ports: ['1-128'], options: -p 1}}", "services.db: a container can have 128"),
    ],
)
def test_a_container_has_only_so_many_ports_and_volumes(bench: Bench, services: str, problem: str) -> None:
    many = ", ".join(['"1-128"'] * 200)
    bench.station = replace(bench.station, vault=MemoryVault({}, {"MANY": f"[{many}]"}))
    run = bench.a_run(steps("run: one", container=f"    services: {services}\n"))

    bench.work()

    assert ended(bench, run).reason.startswith(problem)


@pytest.mark.parametrize(
    ("service", "problem"),
    [
        ("{image: a, options: '${{ github.event_name }}ful --x'}", "services.db: a service cannot have"),
        ("{image: a, ports: ['${{ github.event_name }}']}", r'services.db: "\*\*\*" is no port'),
        ("{image: a, volumes: ['/${{ github.event_name }}:/x']}", "services.db: .* a folder of the machine"),
        ("{image: 'runner.local/${{ github.event_name }}'}", "services.db: .* cannot be named"),
        (
            "{image: a, credentials: {username: b, password: '${{ secrets.NONE }}'}}",
            "services.db: credentials: the password is empty",
        ),
    ],
)
def test_what_an_expression_makes_of_a_service_is_looked_at_as_what_is_written_out(
    bench: Bench, service: str, problem: str
) -> None:
    run = bench.a_run(steps("run: one", container=f"    services: {{db: {service}}}\n"))

    bench.work()

    with pytest.raises(BrokenDefinition, match=problem):
        raise BrokenDefinition(ended(bench, run).reason)
    assert bench.containers.held.services == {}


def test_a_service_may_be_one_expression(bench: Bench) -> None:
    said = """{"db": {"image": "a", "ports": [1]}, "off": "", "b": "c"}"""
    services = f"    services: >-\n      ${{{{ fromJSON('{said}') }}}}\n"
    bench.a_run(steps("run: one", container=services))

    bench.work()

    assert bench.containers.held.services == {
        "db": ContainerSpec("a", ports=(Port(1),)),
        "b": ContainerSpec("c"),
    }


# --- steps in containers of their own ------------------------------------------------------------


def test_a_step_in_an_image_is_given_paths_as_it_sees_them(bench: Bench) -> None:
    run = bench.a_run(
        steps(
            "uses: 'docker://a:1', env: {MINE: '${{ github.workspace }}/x', LIKE: /workspaces}, "
            "with: {args: \"-c 'a b' c\", entrypoint: /bin/sh, dry-run: yes}"
        )
    )

    bench.work()

    assert ended(bench, run).result is Result.SUCCESS
    (step,) = bench.containers.held.steps
    assert (step.image, step.entrypoint, step.args) == ("a:1", "/bin/sh", ("-c", "a b", "c"))
    wanted = {
        "GITHUB_WORKSPACE": "/github/workspace",
        "GITHUB_EVENT_PATH": "/github/runner_temp/_runner_event.json",
        "GITHUB_OUTPUT": "/github/runner_temp/_runner_output",
        "RUNNER_TEMP": "/github/runner_temp",
        "HOME": "/github/runner_temp/home",
        "MINE": "/github/workspace/x",
        "LIKE": "/workspaces",
        "INPUT_DRY-RUN": "yes",
        "INPUT_ARGS": "-c 'a b' c",
        "RUNNER_STEP": "1",
        "CI": "true",
    }
    assert {name: step.env.get(name) for name in wanted} == wanted
    assert "PATH" not in step.env
    assert bench.executor.commands == []
    assert bench.containers.sites[0].inside is False


ACTION = """\
name: act
description: x
inputs: {who: {description: x, default: world}}
runs:
  using: docker
  image: %s
  entrypoint: /main
  post-entrypoint: /post
  pre-entrypoint: /pre
  args: ["${{ inputs.who }}", two words]
  env: {OF_ACTION: "${{ inputs.who }}", OWN: action}
"""


@pytest.mark.parametrize("image", ["docker://a:1", "sub/Dockerfile"])
def test_an_action_in_an_image_and_what_it_does_at_the_end(bench: Bench, image: str) -> None:
    (bench.workspaces.folder / "act").mkdir()
    (bench.workspaces.folder / "act/action.yml").write_text(ACTION % image)
    run = bench.a_run(steps("uses: ./act, env: {OWN: step}, with: {args: never, who: me}"))

    def act(step: Boxed) -> Exit:
        if step.entrypoint == "/main":
            (bench.executor.sandboxes[0].host_temp / "_runner_state").write_text("seen=yes\n")
            (bench.executor.sandboxes[0].host_temp / "_runner_output").write_text("said=hello\n")
        return Exit(0)

    bench.containers.held.act = act
    bench.work()

    recipe = Recipe(bench.workspaces.folder, "act", "sub/Dockerfile")
    main, post = bench.containers.held.steps
    assert {main.image, post.image} == {"a:1"} if image.startswith("docker") else {recipe}
    assert (main.entrypoint, post.entrypoint) == ("/main", "/post")
    assert main.args == post.args == ("me", "two words")
    assert (main.env["OF_ACTION"], main.env["OWN"], main.env["INPUT_WHO"]) == ("me", "step", "me")
    assert ("STATE_seen" in main.env, post.env["STATE_seen"]) == (False, "yes")
    assert (main.cancellable, post.cancellable) == (True, False)
    outcomes = {key: one.outcome for key, one in bench.store.recall(bench.store.load(run.id).jobs[0]).items()}
    assert outcomes["1"].outputs == {"said": "hello"}
    assert outcomes["1.post"].result is Result.SUCCESS
    assert b"before the first step" in bench.logs.printed[run.jobs[0].id, 1, "1"]


def test_a_cancel_reaches_a_step_in_a_container(bench: Bench) -> None:
    run = bench.a_run(steps("uses: 'docker://a:1'", "run: never", "uses: 'docker://b:1', if: always()"))

    def act(step: Boxed) -> Exit:
        if step.image == "b:1":
            return Exit(0)
        cancel(run.id, store=bench.store, dispatcher=bench.bell)
        assert bench.executor.sandboxes[-1].interrupted.wait(30)
        return Exit(130, "cancel")

    bench.containers.held.act = act
    bench.work()

    assert bench.store.load(run.id).result is Result.CANCELLED
    assert [(step.image, step.cancellable) for step in bench.containers.held.steps] == [
        ("a:1", True),
        ("b:1", False),
    ]
    assert bench.containers.held.heard == ["interrupt", "close"]


def test_a_step_that_needs_docker_where_there_is_none_fails_the_job_by_name(bench: Bench) -> None:
    def act(step: Boxed) -> Exit:
        raise Unavailable("no docker daemon answers at unix:///none: start it, or set RUNNER_DOCKER")

    bench.containers.held.act = act
    run = bench.a_run(steps("uses: 'docker://a:1'"))

    bench.work()

    assert ended(bench, run).result is Result.FAILURE
    assert "set RUNNER_DOCKER" in ended(bench, run).reason
