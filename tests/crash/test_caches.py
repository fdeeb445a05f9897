"""A worker is killed around what it keeps for later runs: the job ends well, and what is kept is whole."""

import os

import pytest

from runner.model.step import Result
from runner.store.read_models import CacheFilter
from tests.crash.world import World

SAVE = """\
name: ci
on: push
jobs:
  a:
    runs-on: linux
    steps:
      - run: mkdir -p deps && echo content > deps/file
      - uses: actions/cache/save@v4
        with: {{path: deps, key: deps-1}}
"""
RESTORE = """\
name: ci
on: push
jobs:
  a:
    runs-on: linux
    steps:
      - uses: actions/cache/restore@v4
        with: {{path: deps, key: deps-1, fail-on-cache-miss: true}}
      - run: test "$(cat deps/file)" = content
"""
POINTS = ("objects.put:1:after", "caches.keep:1:after", "store.record:2:before")


@pytest.mark.parametrize("point", POINTS)
def test_a_cache_whose_worker_was_killed_as_it_was_saved_is_there_once_and_whole(
    embedded: World, point: str
) -> None:
    world, real = embedded, embedded.services
    delivery = world.deliver(world.commit(text=SAVE))

    world.killed(world.start("embedded", point))
    world.start("embedded")

    assert world.ended(delivery).result is Result.SUCCESS
    count, (kept,) = real.cache_rows.all(real.repositories.get("git", "octo/hello"), CacheFilter())
    assert (count, kept.key) == (1, "deps-1")
    # What was put and never named is swept after a day.
    assert len(list(real.objects.kept("caches"))) == 1 + (point == "objects.put:1:after")
    again = world.deliver(world.commit("2", text=RESTORE), "push-2")
    assert world.ended(again).result is Result.SUCCESS


POINTS_LATER = ("store.record:1:before", "store.record:1:after", "store.record:2:before")


@pytest.mark.skipif(os.geteuid() != 0, reason="overlays are mounted by root alone")
@pytest.mark.parametrize("point", POINTS_LATER)
def test_a_job_whose_worker_was_killed_around_a_cache_that_is_laid_over_its_folder_ends_well(
    embedded: World, point: str
) -> None:
    world, real = embedded, embedded.services
    saved = world.deliver(world.commit(text=SAVE))
    first = world.start("embedded")
    assert world.ended(saved).result is Result.SUCCESS
    first.kill()
    first.wait()
    delivery = world.deliver(world.commit("2", text=RESTORE), "push-2")

    world.killed(world.start("embedded", point))
    world.start("embedded")

    assert world.ended(delivery).result is Result.SUCCESS
    stock = real.settings.home / "stock"
    assert len([path for path in stock.iterdir() if not path.name.startswith(".")]) == 1
