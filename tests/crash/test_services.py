"""A worker is killed around what it does with containers: the job goes on with services of its own."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker import APIClient

from runner.model.step import Result
from runner.wiring import station
from tests.crash.world import PATIENCE, World, a_world, wait_for
from tests.executors.jobs import Kind, comes_alive, open_folder

WORKFLOW = """\
name: ci
on: push
jobs:
  a:
    runs-on: linux
    services:
      cache:
        image: runner-test:latest
        ports: ["PORT:6379"]
        options: --health-cmd "redis-cli ping" --health-interval 1s --health-retries 50
        command: redis-server --save "" --dir /tmp --protected-mode no
    steps:
      - run: |
          exec 3<>/dev/tcp/127.0.0.1/PORT; echo INCR x >&3; read -r said <&3
          test "${{said%?}}" = ":1"
      - uses: docker://runner-test:latest
        with:
          args: bash -c 'test "$(redis-cli -h cache incr y)" = 1; test $RUNNER_ATTEMPT != 1 || PAUSE'
"""
POINTS = (
    *("containers.dock:1:after", "dock.start:1:before", "dock.start:1:after", "executors.open:1:after"),
    *("dock.run:1:before", "dock.run:1:after", "dock.close:1:before", "dock.close:1:after"),
)


@pytest.fixture
def world(docker: Kind) -> Iterator[World]:
    with open_folder() as folder, a_world(folder, docker=docker.options["url"]) as made:
        yield made
        made.keeps_the_laws()


def with_a_port(pause: str) -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return WORKFLOW.replace("PORT", str(port)).replace("PAUSE", pause)


def left(world: World) -> list[str]:
    """What docker still has of this world's jobs."""
    site = station(world.services, "nobody").site
    client = APIClient(world.docker, version="auto")
    try:
        labels = [one["Labels"].get("runner.job", "") for one in client.containers(all=True)]
        labels += [one["Labels"].get("runner.job", "") for one in client.networks()]
        return [label for label in labels if label.startswith(f"{site}-")]
    finally:
        client.close()


@pytest.mark.parametrize("point", POINTS)
def test_a_server_killed_beside_a_container_goes_on_with_fresh_services(world: World, point: str) -> None:
    commit = world.commit(text=with_a_port("true"))
    delivery = world.deliver(commit)

    world.killed(world.start("embedded", point))
    world.start("embedded")

    assert world.ended(delivery).result is Result.SUCCESS
    wait_for(lambda: True if not left(world) else None, "the end of the job's containers")


def test_a_server_killed_while_a_step_is_in_its_container_leaves_nothing_of_it(world: World) -> None:
    commit = world.commit(text=with_a_port("sleep {token}"))
    delivery = world.deliver(commit)

    victim = world.start("embedded")
    assert comes_alive(world.token)
    victim.kill()
    world.start("embedded")

    assert world.ended(delivery).result is Result.SUCCESS
    world.leaves_nothing_alive()
    wait_for(lambda: True if not left(world) else None, "the end of the job's containers")


def test_a_server_that_stops_in_order_takes_its_containers_along(world: World, tmp_path: Path) -> None:
    commit = world.commit(text=with_a_port("sleep {token}"))
    world.deliver(commit)
    process = world.start("embedded")
    assert comes_alive(world.token)

    process.terminate()
    assert process.wait(PATIENCE) == 0

    assert left(world) == []
