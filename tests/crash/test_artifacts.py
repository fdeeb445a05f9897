"""A process is killed anywhere around an upload: the artifact is there once, whole, and in nobody's way."""

from zipfile import ZipFile

import pytest

from runner.model.step import Result
from tests.crash.world import World

UPLOADED = """\
name: ci
on: push
jobs:
  a:
    runs-on: linux
    steps:
      - run: |
          echo "a 1 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          mkdir built
          echo made > built/file
      - id: up
        uses: actions/upload-artifact@v4
        with: {{name: built, path: built}}
      - run: test "${{{{ steps.up.outputs.artifact-id }}}}" -gt 0
  b:
    needs: a
    runs-on: linux
    steps:
      - uses: actions/download-artifact@v4
        with: {{name: built, path: there}}
      - run: |
          echo "b 2 $RUNNER_ATTEMPT $GITHUB_SHA $(cat version)" {record}
          test "$(cat there/file)" = made
"""
POINTS = [
    "objects.put:1:before",
    # The object is there, and nobody knows it.
    "artifacts.add:1:before",
    # It is known, and its step is not written down.
    "artifacts.add:1:after",
    "store.record:2:before",
    "store.record:2:after",
]


@pytest.mark.parametrize("point", POINTS)
def test_a_server_killed_around_an_upload_has_one_artifact(embedded: World, point: str) -> None:
    delivery = embedded.deliver(embedded.commit(text=UPLOADED))
    embedded.killed(embedded.start("embedded", point))

    embedded.start("embedded")

    _is_sound(embedded, delivery)


def test_a_worker_killed_before_its_upload_is_written_down_is_replaced_by_another(distributed: World) -> None:
    distributed.start("clock")
    victim = distributed.start("worker", "artifacts.add:1:after")
    delivery = distributed.deliver(distributed.commit(text=UPLOADED))
    distributed.killed(victim)

    distributed.start("worker")

    _is_sound(distributed, delivery)


def _is_sound(world: World, delivery: str) -> None:
    run = world.ended(delivery)
    assert run.result is Result.SUCCESS
    (made,) = world.services.artifacts.of_run(run.route, run.id)
    with world.services.objects.open(made.blob) as file, ZipFile(file) as archive:
        assert archive.read("file") == b"made\n"
    done = world.services.store.recall(run.jobs[0])["2"].outcome
    assert done.outputs["artifact-id"] == str(made.id)
    # An object that was never known stays for the clock to find, and no more than that one.
    left = {one.key for one in world.services.objects.kept("artifacts")} - {made.blob.key}
    assert len(left) <= 1
