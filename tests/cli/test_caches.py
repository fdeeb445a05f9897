"""Caches as people see them, of jobs on a real server."""

import pytest

from tests.cli.conftest import Machine, Shell, run_of

REPOSITORY = ("-R", "octo/hello")
CACHED = """
on: push
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/cache@v4
        id: cache
        with: {path: deps, key: npm-1}
      - run: mkdir -p deps && echo kept >> deps/file && cat deps/file
"""


@pytest.fixture(autouse=True)
def nothing_kept(on_machine: Shell) -> object:
    yield
    for one in on_machine("cache", "list", *REPOSITORY, "--json", "id").json:
        on_machine("cache", "delete", str(one["id"]), *REPOSITORY)


def test_what_a_job_saved_is_listed_used_by_the_next_and_deleted(machine: Machine, on_machine: Shell) -> None:
    assert "no caches; a job keeps one with actions/cache" in on_machine("cache", "list", *REPOSITORY).err
    logs = []
    for _ in range(2):
        machine.push(CACHED)
        run = str(run_of(on_machine, machine.git("rev-parse", "HEAD").strip()))
        assert on_machine("runs", "watch", run).status == 0
        logs.append(on_machine("runs", "logs", run).out)

    assert "there is no cache for npm-1" in logs[0]
    assert "saved 2 files and folders" in logs[0]
    assert "restored 2 files and folders" in logs[1]
    listed = on_machine("cache", "list", *REPOSITORY, "--key", "npm", "--sort", "size").out
    assert "npm-1\trefs/heads/main\t" in listed
    (one,) = on_machine("cache", "list", *REPOSITORY, "--json", "key,size_in_bytes").json
    assert one["key"] == "npm-1"
    assert 0 < one["size_in_bytes"] < 1000

    other = on_machine("cache", "delete", "npm-1", *REPOSITORY, "--ref", "refs/heads/other")
    assert (other.status, "octo/hello has no cache with the key 'npm-1'" in other.err) == (1, True)
    gone = on_machine("cache", "delete", "npm-1", *REPOSITORY)
    assert (gone.status, gone.out) == (0, "deleted cache npm-1 of octo/hello\n")
    assert not [path for path in (machine.home / "objects/caches").rglob("*") if path.is_file()]
