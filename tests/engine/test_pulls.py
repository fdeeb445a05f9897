"""Pull requests and new branches, in real repositories."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.engine.admit import admit
from runner.engine.changes import changed
from runner.engine.sources import Sources
from runner.model.source import Delivery, Event, Repository
from runner.workspaces import GitWorkspaces
from tests.builders import TITLES, an_event
from tests.engine.conftest import TWO_STEPS, Bench
from tests.workspaces.origin import Origin, git

CI = ".runner/workflows/ci.yml"
PULLED = TWO_STEPS.replace("on: push", "on: {pull_request: {paths: ['docs/**']}}")
TARGETED = TWO_STEPS.replace("on: push", "on: {pull_request_target: {paths: ['docs/**']}}")


class Forge:
    """A repository with a pull request, 7, as GitHub keeps it."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench = bench
        self.origin = Origin(folder / "origin")
        # GitHub lets the commits of pull requests be fetched by their ids.
        git(self.origin.path, "config", "uploadpack.allowAnySHA1InWant", "true")
        self.workspaces = GitWorkspaces(folder / "home", "file")
        repository = Repository("git", "octo/real", str(self.origin.path))
        bench.repositories.add(repository, "secret")
        self.files = {CI: PULLED, ".runner/workflows/target.yml": TARGETED, "src/a": "1"}
        self.first = self.origin.commit(self.files)
        self.head = self.base = ""

    @property
    def repository(self) -> Repository:
        return self.bench.repositories.get("git", "octo/real")

    def pull(self, **changes: str) -> None:
        """Open pull request 7, while the base moves on."""
        git(self.origin.path, "checkout", "--quiet", "-B", "topic", self.first)
        self.head = self.origin.commit(self.files | changes)
        git(self.origin.path, "checkout", "--quiet", "main")
        self.base = self.origin.commit(self.files | {"other/b": "of main"})
        self.merge()

    def merge(self) -> None:
        git(self.origin.path, "checkout", "--quiet", "--detach", "main")
        git(self.origin.path, "merge", "--quiet", "--no-edit", "--no-ff", self.head)
        self.merged = git(self.origin.path, "rev-parse", "HEAD")
        git(self.origin.path, "update-ref", "refs/pull/7/merge", self.merged)
        git(self.origin.path, "update-ref", "refs/pull/7/head", self.head)
        git(self.origin.path, "checkout", "--quiet", "main")
        git(self.origin.path, "branch", "--quiet", "-D", "topic")

    def event(self, action: str = "opened", fork: str = "octo/real", **given: Any) -> Event:
        pull = {
            "number": 7,
            "head": {"ref": "topic", "sha": self.head, "repo": {"full_name": fork}},
            "base": {"ref": "main", "sha": self.base, "repo": {"full_name": "octo/real"}},
        }
        fields = {
            "kind": "pull_request",
            "repo": "octo/real",
            "ref": "refs/pull/7/merge",
            "commit": None,
            "default_branch": "main",
            "payload": {"action": action, "number": 7, "pull_request": pull},
        }
        return an_event(**fields | given)

    def admit(self, delivery: Delivery) -> Delivery:
        bench = self.bench
        admit(
            delivery.id,
            store=bench.store,
            sources=Sources("https://github.test", bench.repositories, self.workspaces),
            standings=bench.standings,
            dispatcher=bench.bell,
            titles=TITLES,
        )
        return bench.store.delivery(delivery.id)

    def deliver(self, event: Event | None = None, guid: str = "guid") -> Delivery:
        return self.admit(self.bench.receive(event or self.event(), guid))

    def target(self) -> Delivery:
        """What came of the same as pull_request_target."""
        return self.admit(self.bench.store.delivery(self.bench.bell.admitted[-1]))


@pytest.fixture
def forge(bench: Bench, tmp_path: Path) -> Iterator[Forge]:
    made = Forge(bench, tmp_path)
    yield made
    made.workspaces.close()


def test_a_pull_request_runs_at_the_commit_that_merges_it(forge: Forge) -> None:
    forge.pull(**{"docs/a": "1"})

    delivery = forge.deliver()

    (run,) = (forge.bench.store.load(run) for run in delivery.runs)
    assert (run.route.commit, run.workflow, delivery.event.ref) == (forge.merged, CI, "refs/pull/7/merge")
    assert delivery.event.trusted


def test_the_same_starts_the_workflows_of_the_base_that_take_it(forge: Forge) -> None:
    forge.pull(**{"docs/a": "1"})
    first = forge.deliver()

    delivery = forge.target()
    forge.admit(first)

    (run,) = (forge.bench.store.load(run) for run in delivery.runs)
    assert (delivery.event.kind, delivery.event.ref) == ("pull_request_target", "refs/heads/main")
    assert (run.route.commit, run.workflow) == (forge.base, ".runner/workflows/target.yml")
    assert len(set(forge.bench.bell.admitted)) == 2


def test_a_filter_on_paths_is_about_what_the_pull_request_itself_changes(forge: Forge) -> None:
    forge.pull(**{"src/a": "2"})

    pulled, target = forge.deliver(), forge.target()

    for delivery in (pulled, target):
        assert delivery.status == "ignored"
        assert "its filter on paths leaves out everything that changed" in delivery.reason


@pytest.mark.parametrize(("action", "status"), [("reopened", "admitted"), ("labeled", "ignored")])
def test_without_types_only_what_changes_its_code_starts_it(forge: Forge, action: str, status: str) -> None:
    forge.pull(**{"docs/a": "1"})

    assert forge.deliver(forge.event(action)).status == status


def test_one_that_conflicts_waits_for_its_merge_and_then_says_so(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge.pull(**{"docs/a": "1"})
    git(forge.origin.path, "update-ref", "-d", "refs/pull/7/merge")

    delivery = forge.deliver()
    assert delivery.status == "received"
    monkeypatch.setattr("runner.engine.subject.UNTIL_MERGED", delivery.received_at - delivery.received_at)
    delivery = forge.admit(delivery)

    assert delivery.status == "failed"
    assert delivery.reason == "nothing merges pull request 7: it conflicts with main, or is closed"


def test_a_merge_of_an_earlier_push_is_not_taken_for_this_one(forge: Forge) -> None:
    forge.pull(**{"docs/a": "1"})
    older = forge.merged
    forge.pull(**{"docs/a": "2"})
    newest, forge.merged = forge.merged, older
    git(forge.origin.path, "update-ref", "refs/pull/7/merge", older)

    delivery = forge.deliver()
    assert delivery.status == "received"
    git(forge.origin.path, "update-ref", "refs/pull/7/merge", newest)

    assert forge.bench.store.load(forge.admit(delivery).runs[0]).route.commit == newest


def test_the_message_of_its_newest_commit_can_ask_for_no_run(forge: Forge) -> None:
    forge.pull(**{"docs/a": "1"})
    git(forge.origin.path, "checkout", "--quiet", "-B", "topic", forge.head)
    git(forge.origin.path, "commit", "--quiet", "--amend", "-m", "docs [skip ci]")
    forge.head = git(forge.origin.path, "rev-parse", "HEAD")
    forge.merge()

    pulled, target = forge.deliver(), forge.target()

    assert (pulled.status, pulled.reason) == ("ignored", f"the message of {forge.head[:12]} says [skip ci]")
    assert target.status == "admitted"


def test_the_code_of_a_fork_runs_only_once_it_is_approved_and_then_at_that_commit(forge: Forge) -> None:
    forge.pull(**{"docs/a": "1"})

    held = forge.deliver(forge.event(fork="mallory/real"))
    again = forge.admit(forge.bench.store.replay(held.id))
    forge.pull(**{"docs/a": "2"})
    approved = forge.admit(forge.bench.store.approve(held.id))

    assert (held.status, held.runs, again.reason) == ("ignored", (), held.reason)
    assert held.reason == (
        f"its code comes from mallory/real: it runs once `runner deliveries approve {held.id}` lets it"
    )
    assert approved.status == "admitted"
    assert held.event.commit not in (None, forge.merged)
    assert forge.bench.store.load(approved.runs[0]).route.commit == held.event.commit
    assert not approved.event.trusted


@pytest.mark.parametrize(
    "path",
    [
        CI,
        ".runner/workflows/new.yml",
        ".github/workflows-shared/new.yml",
        ".runner/workflows/flow.py",
        ".runner/workflows/steps/ship.py",
    ],
)
def test_a_fork_cannot_change_which_workflows_run_whoever_approves(forge: Forge, path: str) -> None:
    forge.pull(**{"docs/a": "1", path: PULLED.replace("run: one", "run: evil")})

    delivery = forge.deliver(forge.event(fork="mallory/real"))

    assert (delivery.status, delivery.runs) == ("failed", ())
    assert "comes from mallory/real and changes the workflows of main" in delivery.reason


def test_a_fork_that_is_closed_is_compared_with_the_base_and_not_with_what_it_grew_from(forge: Forge) -> None:
    evil = PULLED.replace("run: one", "run: evil").replace("{paths: ['docs/**']}", "{types: [closed]}")
    forge.pull(**{CI: evil})
    git(forge.origin.path, "update-ref", "-d", "refs/pull/7/merge")
    git(forge.origin.path, "checkout", "--quiet", "--detach", forge.head)
    side = forge.origin.commit(forge.files | {CI: evil, "docs/a": "1"})
    git(forge.origin.path, "checkout", "--quiet", "--detach", forge.head)
    git(forge.origin.path, "merge", "--quiet", "--no-edit", "--no-ff", side)
    forge.head = git(forge.origin.path, "rev-parse", "HEAD")
    git(forge.origin.path, "update-ref", "refs/pull/7/head", forge.head)

    delivery = forge.deliver(forge.event("closed", fork="mallory/real"))

    assert delivery.status == "failed"
    assert "changes the workflows of main" in delivery.reason


def test_a_fork_starts_the_workflows_of_the_base_without_an_approval(forge: Forge) -> None:
    forge.pull(**{"docs/a": "1"})
    forge.deliver(forge.event(fork="mallory/real"))

    delivery = forge.target()

    assert delivery.event.trusted
    assert forge.bench.store.load(delivery.runs[0]).route.commit == forge.base


def test_one_that_is_closed_unmerged_runs_at_its_own_commit_where_nothing_merges_it(forge: Forge) -> None:
    closed = PULLED.replace("{paths: ['docs/**']}", "{types: [closed]}")
    forge.files[CI] = closed
    forge.first = forge.origin.commit(forge.files)
    forge.pull(**{"docs/a": "1"})
    git(forge.origin.path, "update-ref", "-d", "refs/pull/7/merge")

    delivery = forge.deliver(forge.event("closed"))

    assert forge.bench.store.load(delivery.runs[0]).route.commit == forge.head


def test_a_run_sees_where_it_comes_from(forge: Forge) -> None:
    forge.pull(**{"docs/a": "1"})
    bench = forge.bench
    run = bench.store.load(forge.deliver().runs[0])
    bench.workspaces.files |= {CI: PULLED.encode()}

    bench.work()

    env = bench.executor.commands[0].env
    assert run.route.commit == env["GITHUB_SHA"] == forge.merged
    assert (env["GITHUB_REF"], env["GITHUB_REF_NAME"]) == ("refs/pull/7/merge", "7/merge")
    assert (env["GITHUB_HEAD_REF"], env["GITHUB_BASE_REF"]) == ("topic", "main")


# --- pushes ----------------------------------------------------------------------------------


def paths(forge: Forge, **given: Any) -> list[str]:
    event = an_event(repo="octo/real", default_branch="main", **given)
    route = replace(forge.origin.route(event.commit or ""), repo="octo/real")
    forge.workspaces.fetch(forge.repository, route, keep="push")
    found = changed(event, route, "push", forge.repository, forge.workspaces)
    assert found is not None
    return list(found)


def test_a_push_to_a_branch_is_compared_with_what_the_branch_had(forge: Forge) -> None:
    before = forge.origin.commit({"a": "1", "b": "1"})
    git(forge.origin.path, "checkout", "--quiet", "-b", "topic")
    side = forge.origin.commit({"a": "1", "b": "1", "c": "1"})
    git(forge.origin.path, "checkout", "--quiet", "main")
    after = forge.origin.commit({"a": "2", "b": "1"})
    git(forge.origin.path, "merge", "--quiet", "--no-edit", "topic")
    merge = git(forge.origin.path, "rev-parse", "HEAD")

    assert paths(forge, commit=merge, before=before) == ["a", "c"]
    assert paths(forge, commit=merge, before=after) == ["c"]
    # Forced back to another line of history.
    assert paths(forge, commit=side, before=merge) == ["a"]


def test_a_new_branch_is_compared_with_where_it_left_the_default_branch(forge: Forge) -> None:
    git(forge.origin.path, "checkout", "--quiet", "-b", "topic")
    first = forge.origin.commit(forge.files | {"docs/a": "1"})
    commit = forge.origin.commit(forge.files | {"docs/a": "1", "docs/b": "1"})
    git(forge.origin.path, "checkout", "--quiet", "main")
    forge.origin.commit(forge.files | {"other": "1"})
    about = {"ref": "refs/heads/topic", "commit": commit}

    assert paths(forge, **about) == ["docs/a", "docs/b"]
    assert paths(forge, **about, payload={"commits": [{"id": first}, {"id": commit}]}) == ["docs/a", "docs/b"]
    assert paths(forge, **about, payload={"commits": [{"id": commit}]}) == ["docs/b"]


def test_the_first_push_of_all_changes_every_file(forge: Forge) -> None:
    assert paths(forge, commit=forge.first) == sorted(forge.files)
    assert paths(forge, commit=forge.first, payload={"commits": [{"id": forge.first}]}) == sorted(forge.files)


def test_what_is_started_by_hand_changes_every_file(forge: Forge) -> None:
    commit = forge.origin.commit(forge.files | {"docs/a": "1"})

    about = {"ref": "refs/heads/topic", "commit": commit, "payload": {"by_hand": True}}

    assert paths(forge, **about) == sorted([*forge.files, "docs/a"])


def test_a_commit_that_is_named_by_hand_is_one_of_its_ref(forge: Forge) -> None:
    files = {CI: TWO_STEPS}
    old, newest = forge.origin.commit(files), forge.origin.commit(files | {"a": "1"})
    git(forge.origin.path, "checkout", "--quiet", "-B", "topic")
    other = forge.origin.commit(files | {"b": "1"})

    def by_hand(commit: str, ref: str = "refs/heads/main") -> Delivery:
        event = an_event(repo="octo/real", ref=ref, commit=commit, payload={"by_hand": True})
        return forge.deliver(event, f"{ref} {commit}")

    assert [by_hand(one).status for one in (old, newest)] == ["admitted", "admitted"]
    assert by_hand(other, "refs/heads/topic").status == "admitted"
    refused = by_hand(other)
    assert (refused.status, refused.reason) == (
        "failed",
        f"refs/heads/main of octo/real has no commit {other} in its history",
    )
