"""`actions/cache` and what it saves and restores, over a real store, real objects and real files."""

import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from runner.engine.caches import CacheStore
from runner.engine.ports import Command, Exit
from runner.engine.sweep import sweep
from runner.errors import DatabaseUnavailable, Unavailable
from runner.model.limits import NONE
from runner.model.run import Run
from runner.model.source import Event, Repository
from runner.model.step import Outcome, Result
from runner.store import SqlCaches
from runner.store.read_models import CacheFilter
from runner.vault import MemoryVault
from tests.builders import an_event
from tests.engine.conftest import Bench
from tests.fakes import Troubled

WORKFLOW = """\
name: ci
on: [push, pull_request]
jobs:
  build:
    runs-on: linux
    steps:
"""
CACHE = """\
      - id: cache
        uses: actions/cache@v4
        with: {path: deps, key: npm-1}
"""


@dataclass
class Site:
    """One workspace after another, in which each step's script is run for real."""

    bench: Bench
    workspace: Path
    runs: int = 0
    printed: bytes = b""

    def __post_init__(self) -> None:
        self.bench.workspaces.folder = self.workspace
        self.bench.executor.act = self.act
        self.bench.executor.prints = lambda command: self.printed

    def act(self, command: Command) -> Exit:
        home = Path(command.env["HOME"])
        home.mkdir(parents=True, exist_ok=True)
        ran = subprocess.run(
            ["bash", "-e", command.argv[-1]], cwd=self.workspace, env=dict(command.env), capture_output=True
        )
        self.printed = ran.stdout + ran.stderr
        return Exit(ran.returncode)

    def run(self, steps: str, event: Event | None = None) -> Run:
        """A run of one job with these steps, in an empty workspace, to its end."""
        self.begin(steps, event)
        return self.end()

    def begin(self, steps: str, event: Event | None = None) -> Run:
        subprocess.run(["rm", "-rf", self.workspace], check=True)
        self.workspace.mkdir()
        self.runs += 1
        self.bench.write(WORKFLOW + steps)
        event = event or an_event(default_branch="main")
        delivery = self.bench.admit(self.bench.receive(event, guid=f"guid-{self.runs}"))
        assert delivery.runs, delivery.reason
        self.last = delivery.runs[0]
        return self.bench.store.load(self.last)

    def end(self) -> Run:
        self.bench.work()
        return self.bench.store.load(self.last)

    def outcome(self, step: str) -> Outcome:
        job = self.bench.store.load(self.last).jobs[0]
        return self.bench.store.recall(job)[step].outcome

    def said(self, step: str) -> str:
        job = self.bench.store.load(self.last).jobs[0]
        return self.bench.logs.printed.get((job.id, job.attempt, step), b"").decode()

    def kept(self) -> list[tuple[str, str]]:
        repository = self.bench.repositories.get("git", "octo/hello")
        rows = SqlCaches(self.bench.database, NONE)
        _, found = rows.all(repository, CacheFilter(sort="created_at", ascending=True, limit=100))
        return [(one.key, one.ref) for one in found]

    def caches(self, caches: CacheStore) -> None:
        self.bench.station = replace(self.bench.station, caches=caches)


@pytest.fixture
def site(bench: Bench, tmp_path: Path) -> Site:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    return Site(bench, workspace)


def made(key: str = "npm-1", paths: str = "deps", more: str = "") -> str:
    given = f"{{path: {paths}, key: {key}{more}}}"
    return f"      - id: cache\n        uses: actions/cache@v4\n        with: {given}\n"


MAKE = "      - run: mkdir -p deps && echo content > deps/file && ln -s file deps/link\n"
SEE = "      - run: cat deps/file deps/link\n"


def test_what_one_run_saves_at_its_end_a_later_one_restores(site: Site) -> None:
    first = site.run(CACHE + MAKE)

    assert first.result is Result.SUCCESS
    assert dict(site.outcome("1").outputs) == {"cache-primary-key": "npm-1"}
    assert "there is no cache for npm-1" in site.said("1")
    assert "saved 3 files and folders" in site.said("1.post")

    second = site.run(CACHE + SEE)

    assert second.result is Result.SUCCESS
    assert site.said("2") == "content\ncontent\n"
    assert dict(site.outcome("1").outputs) == {
        "cache-primary-key": "npm-1",
        "cache-matched-key": "npm-1",
        "cache-hit": "true",
    }
    assert "there is a cache with the key npm-1 already, so none is saved" in site.said("1.post")
    assert site.kept() == [("npm-1", "refs/heads/main")]


def test_a_key_to_go_back_to_restores_and_the_new_one_is_saved(site: Site) -> None:
    site.run(CACHE + MAKE)

    site.run(made("npm-2", more=', restore-keys: "other-\\nnpm-"') + SEE)

    assert site.said("2") == "content\ncontent\n"
    assert site.outcome("1").outputs["cache-hit"] == "false"
    assert site.outcome("1").outputs["cache-matched-key"] == "npm-1"
    assert [key for key, _ in site.kept()] == ["npm-1", "npm-2"]


@pytest.mark.parametrize(
    ("paths", "found"),
    [("elsewhere", False), ("'deps*'", False), ("./deps/", True), ("'${{ github.workspace }}/deps'", True)],
)
def test_other_paths_are_another_cache(site: Site, paths: str, found: bool) -> None:
    site.run(CACHE + MAKE)

    site.run(made(paths=paths))

    assert ("cache-hit" in site.outcome("1").outputs) is found


def test_a_job_that_fails_saves_none(site: Site) -> None:
    site.run(CACHE + MAKE + "      - run: exit 1\n")

    assert site.outcome("1.post").result is Result.SKIPPED
    assert site.kept() == []


def test_the_key_at_the_end_is_that_of_the_begin(site: Site) -> None:
    key = "k-${{ hashFiles('lock') || 'none' }}"

    site.run(made(f'"{key}"') + MAKE + "      - run: echo changed > lock\n")

    assert site.kept() == [("k-none", "refs/heads/main")]


def test_lookup_only_restores_nothing_and_says_what_there_is(site: Site) -> None:
    site.run(CACHE + MAKE)

    site.run(made(more=", lookup-only: true") + "      - run: test ! -e deps\n")

    assert site.bench.store.load(site.last).result is Result.SUCCESS
    assert site.outcome("1").outputs["cache-hit"] == "true"


def test_fail_on_cache_miss_fails_where_none_is_found_only(site: Site) -> None:
    asked = made(more=", fail-on-cache-miss: true").replace("cache@", "cache/restore@")

    missed = site.run(asked)
    assert missed.result is Result.FAILURE
    assert site.outcome("1").reason == (
        "actions/cache/restore: there is no cache for npm-1 (fail-on-cache-miss)"
    )
    site.run(CACHE + MAKE)
    assert site.run(asked + SEE).result is Result.SUCCESS


def test_save_and_restore_are_steps_of_their_own(site: Site) -> None:
    both = made().replace("cache@v4", "cache/restore@v4").replace("id: cache", "id: restore")

    site.run(both + MAKE + made().replace("cache@v4", "cache/save@v4") + "      - run: exit 1\n")
    assert site.kept() == [("npm-1", "refs/heads/main")]
    site.run(both + SEE + made().replace("cache@v4", "cache/save@v4"))

    assert site.said("2") == "content\ncontent\n"
    assert "there is a cache with the key npm-1 already" in site.said("3")
    keys = site.bench.store.recall(site.bench.store.load(site.last).jobs[0])
    assert not [key for key in keys if key.endswith(".post")]


def test_paths_may_be_patterns_in_home_and_in_the_temporary_folder(site: Site) -> None:
    asked = (
        "      - uses: actions/cache@v4\n"
        "        with:\n"
        "          key: many\n"
        "          path: |\n"
        "            ~/.npm\n"
        "            **/node_modules\n"
        "            !**/node_modules/.bin\n"
        "            ${{ runner.temp }}/tool-*\n"
        "            /usr/share/nothing\n"
    )
    make = (
        "      - run: |\n"
        '          mkdir -p ~/.npm a/node_modules/.bin b/c/node_modules b/src "$RUNNER_TEMP/tool-1"\n'
        "          touch ~/.npm/x a/node_modules/{y,.bin/z} b/c/node_modules/w b/src/no\n"
        '          touch "$RUNNER_TEMP/tool-1/t"\n'
    )
    see = '      - run: find . ~/.npm "$RUNNER_TEMP/tool-1" -type f -printf "%P\\n" | sort | tr "\\n" " "\n'

    site.run(asked + make)
    site.run(asked + see)

    assert site.said("2") == "a/node_modules/y b/c/node_modules/w t x "
    assert "##[warning]'/usr/share/nothing' is in no folder of the job" in site.said("1")


def test_an_action_may_cache_within_itself(site: Site) -> None:
    action = (
        "runs:\n  using: composite\n  steps:\n"
        "    - {uses: actions/cache@v4, with: {path: deps, key: inner}}\n"
    )
    steps = "      - run: mkdir act && cp ../action.yml act\n      - uses: ./act\n"
    (site.workspace.parent / "action.yml").write_text(action)

    site.run(steps + MAKE)
    site.run(steps + SEE)

    assert site.said("3") == "content\ncontent\n"
    assert site.kept() == [("inner", "refs/heads/main")]


# --- whose it is -----------------------------------------------------------------------------


def a_pull(head: str = "octo/hello") -> Event:
    sides = {
        side: {"ref": ref, "sha": "1" * 40, "repo": {"full_name": name}}
        for side, ref, name in (("head", "change", head), ("base", "main", "octo/hello"))
    }
    payload = {"action": "opened", "number": 7, "pull_request": sides}
    return an_event(kind="pull_request", ref="refs/pull/7/merge", payload=payload, default_branch="main")


def test_what_a_pull_request_saves_the_branch_that_it_goes_to_does_not_read(site: Site) -> None:
    site.run(CACHE + MAKE, a_pull())
    assert site.kept() == [("npm-1", "refs/pull/7/merge")]

    site.run(CACHE)
    assert "cache-hit" not in site.outcome("1").outputs

    site.run(CACHE + SEE, a_pull())
    assert site.outcome("1").outputs["cache-hit"] == "true"


def test_a_pull_request_reads_what_its_base_has_and_writes_nothing_there(site: Site) -> None:
    site.run(CACHE + MAKE)

    site.run(CACHE + made("npm-2").replace("id: cache", "id: other") + SEE, a_pull())

    assert site.outcome("1").outputs["cache-hit"] == "true"
    assert site.said("3") == "content\ncontent\n"
    assert site.kept() == [("npm-1", "refs/heads/main"), ("npm-2", "refs/pull/7/merge")]


def test_a_branch_reads_the_default_branch_and_no_other(site: Site) -> None:
    site.run(CACHE + MAKE, an_event(ref="refs/heads/other", default_branch="main"))
    feature = an_event(ref="refs/heads/feature", default_branch="main")

    site.run(CACHE, feature)
    assert "cache-hit" not in site.outcome("1").outputs


def test_two_repositories_with_the_same_keys_see_nothing_of_each_other(site: Site) -> None:
    site.bench.repositories.add(Repository("git", "octo/other", "/srv/other.git"), "secret")
    site.run(CACHE + MAKE, an_event(repo="octo/other", default_branch="main"))

    site.run(CACHE)

    assert "cache-hit" not in site.outcome("1").outputs


def test_a_repository_that_is_registered_again_has_none(site: Site) -> None:
    site.run(CACHE + MAKE)
    found = site.bench.repositories.get("git", "octo/hello")
    site.bench.repositories.remove(found)
    site.bench.repositories.add(Repository("git", "octo/hello", "/srv/hello.git"), "secret")

    site.run(CACHE)

    assert "cache-hit" not in site.outcome("1").outputs


# --- what goes wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{path: deps}", "`key` is needed"),
        ("{key: npm}", "`path` is needed"),
        ('{path: deps, key: "a,b"}', "the key 'a,b' has a comma in it"),
        (f"{{path: deps, key: {'k' * 513}}}", "has 513 letters, and 512 are the limit"),
    ],
)
def test_inputs_that_cannot_be_are_named(site: Site, given: str, said: str) -> None:
    run = site.run(f"      - uses: actions/cache@v4\n        with: {given}\n")

    assert run.result is Result.FAILURE
    assert said in site.outcome("1").reason


def test_a_secret_is_no_key_of_what_others_see(site: Site) -> None:
    site.bench.station = replace(site.bench.station, vault=MemoryVault({"TOKEN": "hunter2"}, {}))

    run = site.run(made(key='"npm-${{ secrets.TOKEN }}"') + MAKE)

    assert run.result is Result.SUCCESS
    assert "##[warning]no cache was saved: `key` has a secret in it" in site.said("1.post")
    assert site.kept() == []


def test_inputs_that_do_nothing_are_told_of(site: Site) -> None:
    run = site.run(made(more=", save-always: true, upload-chunk-size: 1, pth: deps"))

    assert run.result is Result.SUCCESS
    assert "##[warning]there is no input 'pth'; there are path, key" in site.said("1")
    assert "##[warning]save-always does nothing" in site.said("1")


def test_nothing_to_save_is_a_warning(site: Site) -> None:
    run = site.run(made(paths="nothing"))

    assert run.result is Result.SUCCESS
    assert "##[warning]no cache was saved: there is nothing at nothing" in site.said("1.post")


@pytest.mark.parametrize(("method", "step"), [("find", "1"), ("there", "1.post"), ("keep", "1.post")])
def test_rows_that_are_away_fail_no_job(site: Site, method: str, step: str) -> None:
    caches = site.bench.station.caches
    away = Troubled(caches.rows, method, failures=9, error=Unavailable("the database is away"))
    site.caches(CacheStore(away, caches.objects))

    run = site.run(CACHE + MAKE)

    assert run.result is Result.SUCCESS
    assert re.search(r"##\[warning\]no cache was \w+: the database is away", site.said(step))
    assert len(site.kept()) == (method == "find")


@pytest.mark.parametrize("method", ["open", "put"])
def test_objects_that_are_away_fail_no_job(site: Site, method: str) -> None:
    caches = site.bench.station.caches
    site.run(CACHE + MAKE)
    away = Troubled(caches.objects, method, failures=9, error=Unavailable("the bucket is away"))
    site.caches(CacheStore(caches.rows, away))

    run = site.run(made("npm-2" if method == "put" else "npm-1") + MAKE)

    assert run.result is Result.SUCCESS
    assert "the bucket is away" in site.said("1.post" if method == "put" else "1")
    assert [key for key, _ in site.kept()] == ["npm-1"]


@pytest.mark.parametrize("damage", [b"", b"no archive", b"x" * 100_000])
def test_a_damaged_object_fails_no_job_and_is_saved_anew(site: Site, damage: bytes, tmp_path: Path) -> None:
    site.run(CACHE + MAKE)
    (file,) = (path for path in (tmp_path / "objects").rglob("*") if path.is_file())
    file.write_bytes(damage)

    run = site.run(CACHE + MAKE)

    assert run.result is Result.SUCCESS
    assert re.search(r"##\[warning\]no cache was restored: the object caches/\S+ is damaged", site.said("1"))
    assert "saved 3 files and folders" in site.said("1.post")
    site.run(CACHE + SEE)
    assert site.said("2") == "content\ncontent\n"


def test_a_link_that_leads_out_is_kept_as_a_link_and_never_followed(site: Site, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file").write_text("of another tenant")
    lead_out = "      - run: mkdir deps && ln -s ../../secret deps/out && ln -s ../../secret/file deps/file\n"

    site.run(CACHE + lead_out)
    assert "saved 3 files and folders" in site.said("1.post")
    (file,) = (path for path in (tmp_path / "objects").rglob("*") if path.is_file())
    assert b"tenant" not in subprocess.run(["zstd", "-dc", file], check=True, capture_output=True).stdout

    through = site.run(made("through", paths="deps/out/file") + lead_out)
    assert through.result is Result.SUCCESS
    assert "cache was saved" in site.said("1.post")
    assert [key for key, _ in site.kept()] == ["npm-1"]


def test_a_cache_is_not_restored_through_a_link_that_leads_out(site: Site, tmp_path: Path) -> None:
    site.run(CACHE + MAKE)
    (tmp_path / "secret").mkdir()

    run = site.run("      - run: ln -s ../secret deps\n" + CACHE)

    assert run.result is Result.SUCCESS
    assert "##[warning]no cache was restored: " in site.said("2")
    assert list((tmp_path / "secret").iterdir()) == []


def test_a_name_with_a_newline_in_it_comes_back(site: Site) -> None:
    site.run(CACHE + "      - run: mkdir deps && echo odd > deps/$'new\\nline'\n")
    site.run(CACHE + "      - run: cat deps/$'new\\nline'\n")

    assert site.said("2") == "odd\n"


def test_our_own_files_in_the_temporary_folder_are_in_no_cache(site: Site) -> None:
    whole = made(paths='"${{ runner.temp }}"', key="all")

    site.run(whole + '      - run: echo content > "$RUNNER_TEMP/mine"\n')
    run = site.run(whole + '      - run: cat "$RUNNER_TEMP/mine"\n')

    assert run.result is Result.SUCCESS
    assert site.said("2") == "content\n"


def test_a_worker_that_dies_after_it_saved_saves_again_without_harm(site: Site) -> None:
    store = site.bench.store
    run = site.begin(made().replace("cache@v4", "cache/save@v4"))
    (site.workspace / "deps").mkdir()
    (site.workspace / "deps/file").write_text("content\n")
    station = site.bench.station
    dying = Troubled(store, "record", error=DatabaseUnavailable("away"))
    site.bench.station = replace(station, store=dying)
    with pytest.raises(DatabaseUnavailable):
        site.bench.work()
    assert (site.kept(), site.last) == ([("npm-1", "refs/heads/main")], run.id)

    site.bench.station = station
    sweep(store=store, dispatcher=site.bench.bell, everything=True)

    assert site.end().result is Result.SUCCESS
    assert "there is a cache with the key npm-1 already, so none is saved" in site.said("1")
    assert site.kept() == [("npm-1", "refs/heads/main")]
