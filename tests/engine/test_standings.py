"""Schedules follow the default branch, and become runs of its newest commit."""

from datetime import timedelta

import pytest

from runner.engine.admit import admit
from runner.engine.standings import following, sync_event
from runner.errors import Unavailable
from runner.model.source import Delivery, Event, Repository, Route
from runner.model.standing import Scheduled, Standing
from tests.builders import TITLES, an_event
from tests.engine.conftest import TWO_STEPS, Bench

CI = ".runner/workflows/ci.yml"
NIGHTLY = TWO_STEPS.replace(
    "on: push", "on: {push: , schedule: [{cron: '30 5 * * *', timezone: Europe/Berlin}]}"
)
HOURLY = TWO_STEPS.replace("on: push", "on: {schedule: [{cron: '0 * * * *'}, {cron: '30 5 * * *'}]}")
AT_NIGHT = Scheduled(CI, "30 5 * * *", "Europe/Berlin")


def push(bench: Bench, guid: str, **given: object) -> Delivery:
    fields = {"default_branch": "main"} | given
    return bench.admit(bench.receive(an_event(**fields), guid))


def stored(bench: Bench) -> set[Scheduled]:
    return set(bench.standings.due("git", "octo/hello"))


def test_a_push_to_the_default_branch_brings_and_takes_schedules(bench: Bench) -> None:
    bench.write(NIGHTLY)
    assert push(bench, "1").status == "admitted"
    assert stored(bench) == {AT_NIGHT}

    bench.write(HOURLY)
    push(bench, "2")
    assert stored(bench) == {Scheduled(CI, "0 * * * *"), Scheduled(CI, "30 5 * * *")}

    bench.workspaces.files.clear()
    push(bench, "3")
    assert stored(bench) == set()


def test_a_push_that_asks_for_no_run_brings_its_schedules_all_the_same(bench: Bench) -> None:
    bench.write(NIGHTLY)
    bench.workspaces.said = "a change [skip ci]"

    assert push(bench, "1").status == "ignored"

    assert stored(bench) == {AT_NIGHT}


@pytest.mark.parametrize(
    "given",
    [
        {"ref": "refs/heads/dev"},
        {"ref": "refs/tags/v1"},
        {"payload": {"by_hand": True}},
        {"kind": "workflow_dispatch", "payload": {"workflow": "ci.yml"}},
    ],
)
def test_schedules_come_from_nowhere_else(bench: Bench, given: dict[str, object]) -> None:
    bench.write(NIGHTLY)

    push(bench, "1", **given)

    assert stored(bench) == set()


def test_a_repository_that_does_not_tell_its_default_branch_is_asked_for_it(bench: Bench) -> None:
    bench.write(NIGHTLY)

    push(bench, "1", default_branch=None)

    assert stored(bench) == {AT_NIGHT}


def test_a_file_that_cannot_be_run_has_no_schedule(bench: Bench) -> None:
    bench.write(NIGHTLY)
    bench.write(NIGHTLY.replace("jobs:", "jos:"), ".runner/workflows/broken.yml")

    push(bench, "1")

    assert stored(bench) == {AT_NIGHT}


def test_an_older_push_that_is_heard_of_late_changes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write(HOURLY)
    push(bench, "newest")
    newest = stored(bench)
    read = bench.workspaces.read

    def at_commit(route: Route, folder: str) -> dict[str, bytes]:
        return (
            {CI: NIGHTLY.encode()} if route.commit == "2" * 40 and "runner" in folder else read(route, folder)
        )

    monkeypatch.setattr(bench.workspaces, "read", at_commit)
    delivery = push(bench, "late", commit="2" * 40)

    assert delivery.status == "admitted"
    assert stored(bench) == newest


def test_a_push_that_changes_no_schedule_asks_the_repository_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write(NIGHTLY)
    push(bench, "1")

    def never(repo: Repository) -> str:
        raise AssertionError

    monkeypatch.setattr(bench.workspaces, "default_branch", never)

    assert push(bench, "2").status == "admitted"


def test_who_was_overtaken_while_reading_reads_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.write(NIGHTLY)
    ask, asked = bench.workspaces.default_branch, list[Repository]()

    def overtaken(repo: Repository) -> str | None:
        if not asked:
            revision, _ = bench.standings.standing("git", "octo/hello")
            other = Standing("3" * 40, frozenset({Scheduled("other.yml", "0 0 * * *")}))
            assert bench.standings.stand(repo, revision, other, following)
        asked.append(repo)
        return ask(repo)

    monkeypatch.setattr(bench.workspaces, "default_branch", overtaken)
    push(bench, "1")

    assert len(asked) == 2
    assert stored(bench) == {AT_NIGHT}


def test_a_new_repository_is_read_at_its_newest_commit_and_holds_only_that(bench: Bench) -> None:
    bench.write(NIGHTLY)

    delivery = bench.admit(bench.receive(sync_event("git", "octo/hello", "it is new here")))

    assert (delivery.status, delivery.reason) == ("ignored", f"the default branch was read at {'1' * 12}")
    assert stored(bench) == {AT_NIGHT}


def test_an_empty_repository_is_read_when_something_is_pushed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(bench.workspaces, "default_branch", lambda repo: None)
        delivery = bench.admit(bench.receive(sync_event("git", "octo/hello", "it is new here")))
    assert (delivery.status, "nothing was pushed" in delivery.reason) == ("ignored", True)

    bench.write(NIGHTLY)
    push(bench, "1")

    assert stored(bench) == {AT_NIGHT}


def fired(bench: Bench, path: str = CI, cron: str = "30 5 * * *") -> Event:
    payload = {"schedule": cron, "workflow": path}
    return an_event(kind="schedule", ref="HEAD", commit=None, actor="runner", payload=payload)


def test_a_schedule_starts_its_own_workflow_at_the_newest_commit_of_the_default_branch(bench: Bench) -> None:
    shows = NIGHTLY.replace("- run: one", "- {run: one, env: {SEEN: '${{ github.event.schedule }}'}}")
    bench.write(shows)
    bench.write(shows, ".runner/workflows/other.yml")

    delivery = bench.admit(bench.receive(fired(bench)))
    bench.work()

    (run,) = (bench.store.load(run) for run in delivery.runs)
    assert (run.workflow, run.route.commit, delivery.event.ref) == (CI, "1" * 40, "refs/heads/main")
    assert bench.executor.commands[0].env["SEEN"] == "30 5 * * *"
    assert bench.executor.commands[0].env["GITHUB_EVENT_NAME"] == "schedule"


@pytest.mark.parametrize(
    ("path", "cron", "says"),
    [
        ("gone.yml", "30 5 * * *", "gone.yml is not there at 111111111111"),
        (CI, "1 1 * * *", "none of its schedules is 1 1 * * *"),
    ],
)
def test_a_schedule_that_is_there_no_more_starts_nothing_and_is_forgotten(
    bench: Bench, path: str, cron: str, says: str
) -> None:
    revision, _ = bench.standings.standing("git", "octo/hello")
    repository = bench.repositories.get("git", "octo/hello")
    gone = Standing("2" * 40, frozenset({Scheduled(path, cron)}))
    bench.standings.stand(repository, revision, gone, following)
    bench.write(NIGHTLY)

    delivery = bench.admit(bench.receive(fired(bench, path, cron)))

    assert (delivery.status, says in delivery.reason) == ("ignored", True)
    assert stored(bench) == {AT_NIGHT}


def test_a_branch_that_never_stands_still_is_said_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.write(NIGHTLY)
    delivery = bench.receive(an_event(default_branch="main"))
    monkeypatch.setattr(bench.standings, "stand", lambda *_: False)

    admit(
        delivery.id,
        store=bench.store,
        sources=bench.station.sources,
        standings=bench.standings,
        dispatcher=bench.bell,
        titles=TITLES,
    )

    assert "changes faster than it can be read" in bench.store.delivery(delivery.id).reason


def test_the_error_of_a_repository_that_cannot_be_read_is_the_deliverys(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(repo: Repository) -> None:
        raise Unavailable("git: could not connect")

    bench.write(NIGHTLY)
    with monkeypatch.context() as patched:
        patched.setattr(bench.workspaces, "default_branch", unreachable)
        failed = push(bench, "1")
    again = bench.admit(bench.store.replay(failed.id))

    assert (failed.status, again.status) == ("failed", "admitted")
    assert stored(bench) == {AT_NIGHT}


def test_a_schedule_waits_an_hour_for_a_repository_that_does_not_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write(NIGHTLY)
    delivery = bench.receive(fired(bench))

    def unreachable(repo: Repository) -> None:
        raise Unavailable("git: could not connect")

    with monkeypatch.context() as patched:
        patched.setattr(bench.workspaces, "default_branch", unreachable)
        assert bench.admit(delivery).status == "received"
        patched.setattr("runner.engine.subject.PATIENCE", timedelta())
        late = bench.admit(bench.receive(fired(bench, cron="0 0 * * *"), "late"))

    assert (late.status, late.reason) == ("failed", "git: could not connect")
    assert bench.admit(delivery).status == "admitted"
