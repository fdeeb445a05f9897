"""Which commits of other repositories a run is bound to, when, and what becomes of those it cannot have."""

from pathlib import Path

import pytest

from runner.engine.admit import Selection
from runner.engine.control import rerun
from runner.engine.perform import perform
from runner.engine.pins import MOST_PINS
from runner.engine.ports import Command, Exit
from runner.engine.sources import OPEN, Sources
from runner.errors import BrokenDefinition, DatabaseUnavailable
from runner.forges import FORGES
from runner.model.planning import pin
from runner.model.run import Finished, Queued, Run
from runner.model.source import Repository
from runner.model.step import Result
from runner.workflow.references import Remote
from tests.builders import a_route, a_run, an_event
from tests.engine.conftest import Bench
from tests.engine.test_steps import conclusions, doing, job, lost

ONE, TWO = "a" * 40, "b" * 40
PLAIN = "name: p\ndescription: p\nruns: {using: composite, steps: [{shell: bash, run: plain}]}\n"
AROUND = "name: n\ndescription: n\nruns: {using: node20, pre: pre.js, main: main.js, post: post.js}\n"


def uses(*actions: str) -> str:
    steps = "".join(f"    - uses: {action}\n" for action in actions)
    return f"name: u\ndescription: u\nruns:\n  using: composite\n  steps:\n{steps}"


def publish(bench: Bench, version: str, files: dict[str, str], commit: str = ONE) -> None:
    """Have another repository with these files at a version."""
    name = version.partition("@")[0]
    bench.workspaces.versions[version] = commit
    bench.workspaces.others[name, commit] = {path: text.encode() for path, text in files.items()}


def in_workspace(bench: Bench, path: str, text: str) -> None:
    """An action that a step finds, and that the commit has not got."""
    folder = bench.workspaces.folder / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "action.yml").write_text(text)


def reason(run: Run) -> str:
    phase = run.jobs[0].phase
    assert isinstance(phase, Finished | Queued), phase
    return phase.reason


# --- before there is a run --------------------------------------------------------------------


def test_all_that_a_workflow_shows_is_bound_before_it_runs_and_asked_for_once(bench: Bench) -> None:
    publish(bench, "o/a@v1", {"action.yml": uses("o/b@v1", "$/in"), "in/action.yml": uses("o/c/deep@main")})
    publish(bench, "o/b@v1", {"action.yml": PLAIN})
    publish(bench, "o/c@main", {"deep/action.yml": PLAIN}, TWO)
    publish(bench, "o/flows@v2", {".github/workflows/x.yml": called("./.github/workflows/y.yml")})
    bench.workspaces.others["o/flows", ONE][".github/workflows/y.yml"] = flow("o/b@v1", "o/d@v1")
    publish(bench, "o/d@v1", {"action.yml": PLAIN}, TWO)
    bench.write(uses("o/e@v1"), "own/action.yml")
    publish(bench, "o/e@v1", {"action.yml": PLAIN}, TWO)
    text = job("uses: o/a@v1", "uses: o/a@v1", "uses: ./own", "uses: actions/checkout@v4")

    run = bench.a_run(f"{text}  b:\n    uses: o/flows/.github/workflows/x.yml@v2\n")

    assert run.pins == {
        "o/a@v1": ONE,
        "o/b@v1": ONE,
        "o/c@main": TWO,
        "o/e@v1": TWO,
        "o/flows@v2": ONE,
        "o/d@v1": TWO,
    }
    assert sorted(bench.workspaces.resolved) == sorted(run.pins)


def called(path: str) -> str:
    return f"on: workflow_call\njobs:\n  c:\n    uses: {path}\n"


def flow(*actions: str) -> bytes:
    steps = ", ".join(f"{{uses: {action}}}" for action in actions)
    return f"on: workflow_call\njobs:\n  d:\n    runs-on: linux\n    steps: [{steps}]\n".encode()


def test_a_workflow_in_python_is_called_from_its_own_repository_only(bench: Bench) -> None:
    publish(bench, "o/flows@v2", {".runner/workflows/x.yml": called("./.runner/workflows/y.py")})

    run = bench.a_run("on: push\njobs:\n  b:\n    uses: o/flows/.runner/workflows/x.yml@v2\n")
    bench.work()

    ended = bench.store.load(run.id)
    reasons = [job.phase.reason for job in ended.jobs if isinstance(job.phase, Finished)]
    assert ended.result is Result.FAILURE
    assert any(
        "y.py@v2: a workflow in Python is called from its own repository only" in one for one in reasons
    )


def test_a_workflow_that_uses_nothing_of_others_asks_nobody(bench: Bench) -> None:
    bench.write(PLAIN, "own/action.yml")

    run = bench.a_run(job("uses: ./own", "uses: actions/checkout@v4", "run: one"))

    assert (run.pins, bench.workspaces.resolved) == ({}, [])
    assert [route.repo for route in bench.workspaces.fetched] == ["octo/hello"]


def test_workflows_that_one_push_starts_ask_for_a_version_once(bench: Bench) -> None:
    publish(bench, "o/a@v1", {"action.yml": PLAIN})
    bench.write(job("uses: o/a@v1"), ".runner/workflows/other.yml")
    bench.write(job("uses: o/a@v1"))

    runs = bench.admit(bench.receive()).runs

    assert [dict(bench.store.load(run).pins) for run in runs] == [{"o/a@v1": ONE}] * 2
    assert bench.workspaces.resolved == ["o/a@v1"]


def test_what_takes_too_long_to_look_for_is_left_to_the_job(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(bench, "o/a@v1", {"action.yml": PLAIN})
    bench.a_run(job("uses: o/a@v1"), "in time")
    left = bench.workspaces.seconds[-2:]
    assert [seconds is not None and 0 < seconds <= 60 for seconds in left] == [True, True]
    monkeypatch.setattr("runner.engine.pins.PATIENCE", -1.0)

    run = bench.a_run(job("uses: o/a@v1"))
    assert run.pins == {}
    bench.work()

    assert bench.store.load(run.id).pins == {"o/a@v1": ONE}


def test_actions_of_the_workspace_that_use_each_other_are_looked_at_once(bench: Bench) -> None:
    publish(bench, "o/a@v1", {"action.yml": PLAIN})
    bench.write(uses("./two", "o/a@v1"), "one/action.yml")
    bench.write(uses("./one"), "two/action.yml")

    assert bench.a_run(job("uses: ./one")).pins == {"o/a@v1": ONE}


def test_what_a_run_has_itself_is_bound_only_where_it_is_called_by_its_name(bench: Bench) -> None:
    own = a_route().commit
    bench.write(PLAIN, "act/action.yml")
    bench.write(flow("$/act").decode(), ".github/workflows/x.yml")
    text = f"on: push\njobs:\n  a:\n    uses: $/.github/workflows/x.yml\n{other_job('one')}"

    run = bench.a_run(text)
    assert run.pins == {}
    bench.work()
    assert (bench.store.load(run.id).result, bench.executor.scripts) == (Result.SUCCESS, ["one", "plain"])

    run = bench.a_run(text.replace("$/", "octo/hello/").replace("x.yml", f"x.yml@{own}"), "again")
    bench.work()
    assert (bench.store.load(run.id).result, run.pins) == (Result.SUCCESS, {f"octo/hello@{own}": own})


def test_a_full_commit_id_is_its_own_answer_in_any_case(bench: Bench) -> None:
    publish(bench, "o/a@x", {"action.yml": PLAIN})

    run = bench.a_run(job(f"uses: o/a@{ONE.upper()}"))

    assert (run.pins, bench.workspaces.resolved) == ({f"o/a@{ONE.upper()}": ONE}, [])


def test_a_run_is_bound_to_no_more_versions_than_the_most(bench: Bench) -> None:
    steps = [f"uses: o/a@v{number}" for number in range(MOST_PINS + 1)]
    for number in range(MOST_PINS + 1):
        publish(bench, f"o/a@v{number}", {"action.yml": PLAIN})

    run = bench.a_run(job(*steps))
    assert len(run.pins) == MOST_PINS
    bench.work()

    ended = bench.store.load(run.id)
    assert ended.result is Result.FAILURE
    assert reason(ended).startswith(f"o/a@v{MOST_PINS}: the run uses {MOST_PINS} versions")
    assert bench.executor.scripts == []


# --- what is bound stays so --------------------------------------------------------------------


def test_the_first_one_to_say_which_commit_a_version_is_counts() -> None:
    run = a_run(pins={"o/a@v1": ONE})

    assert pin(run, {"o/a@v1": TWO, "o/b@v1": TWO}).pins == {"o/a@v1": ONE, "o/b@v1": TWO}


def test_a_rerun_has_the_commits_of_the_run_though_the_tag_was_moved_and_deleted(bench: Bench) -> None:
    publish(bench, "o/a@v1", {"action.yml": PLAIN})
    run = bench.a_run(job("uses: o/a@v1"))
    bench.work()
    publish(bench, "o/a@v1", {"action.yml": PLAIN.replace("plain", "moved")}, TWO)
    rerun(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()
    bench.workspaces.versions.clear()
    rerun(run.id, store=bench.store, dispatcher=bench.bell)
    bench.work()

    again = bench.store.load(run.id)
    assert (again.attempt, again.result, again.pins) == (3, Result.SUCCESS, {"o/a@v1": ONE})
    assert bench.executor.scripts == ["plain"] * 3
    assert bench.workspaces.resolved == ["o/a@v1"]


def test_what_did_not_answer_is_bound_before_the_first_step(bench: Bench) -> None:
    run = bench.a_run(job("uses: o/a@v1"))
    assert run.pins == {}
    publish(bench, "o/a@v1", {"action.yml": PLAIN})

    def act(command: Command) -> Exit:
        assert bench.store.load(run.id).pins == {"o/a@v1": ONE}
        return Exit(0)

    bench.executor.act = act
    bench.work()

    assert bench.store.load(run.id).result is Result.SUCCESS


def test_what_only_a_step_shows_is_bound_before_it_is_used(bench: Bench) -> None:
    publish(bench, "o/a@v1", {"action.yml": PLAIN})
    run = bench.a_run(job("run: make", "uses: ./made"))
    assert run.pins == {}

    def make(command: Command) -> None:
        in_workspace(bench, "made", uses("o/a@v1"))

    def plain(command: Command) -> None:
        assert bench.store.load(run.id).pins == {"o/a@v1": ONE}

    assert doing(bench, make=make, plain=plain) == []
    bench.work()

    assert conclusions(bench, run) == {"1": "success", "2": "success"}
    assert b"Download action repository 'o/a@v1' (SHA:aaaa" in bench.logs.printed[run.jobs[0].id, 1, "2"]


# --- what cannot be had ------------------------------------------------------------------------


def test_a_version_that_is_not_there_fails_its_job_alone_and_before_its_first_step(bench: Bench) -> None:
    publish(bench, "o/a@v1", {"action.yml": PLAIN})
    run = bench.a_run(job("run: never", "uses: o/a@v9") + other_job("good"))
    bench.work()

    ended = bench.store.load(run.id)
    assert [str(one.phase.result) for one in ended.jobs if isinstance(one.phase, Finished)] == [
        "failure",
        "success",
    ]
    assert reason(ended) == 'o/a@v9: https://github.test/o/a has no branch, tag or commit "v9"'
    assert bench.executor.scripts == ["good"]


def other_job(script: str) -> str:
    return f"  b:\n    runs-on: linux\n    steps:\n      - run: {script}\n"


def test_a_repository_that_does_not_answer_is_asked_again_before_the_job_begins(bench: Bench) -> None:
    run = bench.a_run(job("run: one", "uses: o/a@v1"))
    bench.work()

    waiting = bench.store.load(run.id)
    assert reason(waiting).startswith("o/a@v1: o/a at https://github.test/o/a does not answer; there must be")
    assert "tried 1 of 6 times" in reason(waiting)
    assert bench.executor.scripts == []


def test_one_that_does_not_answer_in_the_middle_of_a_job_has_no_step_begin_that_uses_it(bench: Bench) -> None:
    in_workspace(
        bench, "own", uses("o/a@v1").replace("steps:\n", "steps:\n    - {shell: bash, run: never}\n")
    )
    run = bench.a_run(job("run: one", "uses: ./own"))
    bench.work()

    waiting = bench.store.load(run.id)
    assert bench.executor.scripts == ["one"]
    assert isinstance(waiting.jobs[0].phase, Queued)
    assert "o/a@v1: o/a at https://github.test/o/a does not answer" in reason(waiting)
    assert conclusions(bench, run) == {"1": "success"}


def test_for_somebody_at_a_terminal_what_does_not_answer_is_an_error_at_once(bench: Bench) -> None:
    sources = Sources("https://github.test", bench.repositories, bench.workspaces, patient=False)

    with pytest.raises(BrokenDefinition, match=r"o/a@v1: o/a at .* does not answer"):
        sources.resolve(a_route(), Remote("o/a", "", "v1"))


def test_actions_of_the_workspace_that_use_each_other_for_ever_are_named(bench: Bench) -> None:
    publish(bench, "o/a@v1", {"action.yml": uses("$/in"), "in/action.yml": uses("o/a@v1")})
    run = bench.a_run(job("run: never", "uses: o/a@v1"))
    bench.work()

    assert reason(bench.store.load(run.id)) == (
        "actions use each other in a circle: o/a@v1 -> o/a/in@v1 -> o/a@v1"
    )


def test_actions_that_use_each_other_too_deep_are_named(bench: Bench) -> None:
    files = {f"{number}/action.yml": uses(f"$/{number + 1}") for number in range(12)}
    publish(bench, "o/a@v1", files)
    run = bench.a_run(job("uses: o/a/0@v1"))
    bench.work()

    assert reason(bench.store.load(run.id)) == "o/a/0@v1: actions use each other more than 10 deep"


# --- whose repository it is --------------------------------------------------------------------


def test_the_runs_own_repository_is_fetched_as_it_is_registered(bench: Bench) -> None:
    assert bench.station.sources.repository(a_route(), "Octo/Hello").url == "/srv/hello.git"


def test_a_neighbour_is_used_only_where_it_is_shared(bench: Bench) -> None:
    bench.repositories.add(Repository("git", "octo/shared", "/srv/shared.git", shared=True), "secret")
    bench.repositories.add(Repository("git", "octo/private", "/srv/private.git"), "secret")
    bench.repositories.add(Repository("github", "octo/other", "/srv/other.git", shared=True), "secret")
    sources = bench.station.sources

    assert sources.repository(a_route(), "octo/shared").url == "/srv/shared.git"
    for name in ("octo/private", "octo/other", "octo/nowhere"):
        found = sources.repository(a_route(), name)
        assert (found.forge, found.url) == ("actions", f"https://github.test/{name}")


def test_what_nobody_registered_is_of_no_forge_that_could_be_registered() -> None:
    assert OPEN not in FORGES


def test_a_neighbour_is_found_in_whichever_case_it_is_named(bench: Bench) -> None:
    bench.repositories.add(Repository("git", "platform/actions", "/srv/actions.git", shared=True), "secret")

    assert bench.station.sources.repository(a_route(), "Platform/Actions").url == "/srv/actions.git"


@pytest.mark.parametrize("ref", ["v1", ONE])
def test_one_that_is_not_shared_is_not_a_strangers_who_took_its_name(bench: Bench, ref: str) -> None:
    bench.repositories.add(Repository("git", "octo/private", "/srv/private.git"), "secret")
    publish(bench, "Octo/Private@v1", {"action.yml": PLAIN})

    run = bench.a_run(job("run: never", f"uses: Octo/Private@{ref}"))
    bench.work()

    ended = bench.store.load(run.id)
    assert (ended.result, ended.pins, bench.executor.scripts) == (Result.FAILURE, {}, [])
    assert "https://github.test/Octo/Private has no " in reason(ended)


@pytest.mark.parametrize("url", ["git@github.test:octo/open.git", "https://ada:key@github.test/octo/open"])
def test_one_that_is_not_shared_and_is_open_to_all_is_used_as_anybody_uses_it(bench: Bench, url: str) -> None:
    bench.repositories.add(Repository("github", "octo/open", url), "secret")
    publish(bench, "octo/open@v1", {"action.yml": PLAIN})

    run = bench.a_run(job("uses: octo/open@v1"))
    bench.work()

    assert bench.store.load(run.id).pins == {"octo/open@v1": ONE}


def test_what_is_wrong_with_a_neighbour_does_not_say_where_it_is(bench: Bench) -> None:
    bench.repositories.add(Repository("git", "octo/shared", "ssh://git@10.0.0.7/s", shared=True), "secret")

    run = bench.a_run(job("uses: octo/shared@v1"))
    bench.work()

    said = reason(bench.store.load(run.id))
    assert said.startswith("octo/shared@v1: octo/shared does not answer; the log of the server says why")
    assert "10.0.0.7" not in said


def of_a_fork(bench: Bench, text: str) -> Run:
    """What an approved pull request ran that a fork made."""
    bench.repositories.add(Repository("git", "octo/shared", "/srv/shared.git", shared=True), "secret")
    publish(bench, "octo/shared@v1", {"action.yml": PLAIN})
    bench.write(text.replace("on: push", "on: pull_request"))
    pull = {"head": {"repo": {"full_name": "mallory/hello"}}, "base": {"repo": {"full_name": "octo/hello"}}}
    event = an_event(kind="pull_request", payload={"pull_request": pull})
    # As if somebody had approved it.
    (run,) = bench.admit(bench.receive(event), Selection((".runner/workflows/ci.yml",))).runs
    bench.work()
    return bench.store.load(run)


@pytest.mark.parametrize("known", [True, False])
def test_an_action_of_a_fork_cannot_use_a_neighbour(bench: Bench, known: bool) -> None:
    if known:
        bench.write(uses("octo/shared@v1"), "own/action.yml")
    in_workspace(bench, "own", uses("octo/shared@v1"))

    run = of_a_fork(bench, job("uses: ./own"))

    assert (run.result, run.pins, bench.workspaces.placed) == (Result.FAILURE, {}, [])
    assert b"octo/shared is a repository of this server, which an action of a fork cannot use" in b"".join(
        bench.logs.printed.values()
    )


def test_a_workflow_of_the_base_can_in_a_run_of_a_fork_too(bench: Bench) -> None:
    bench.write(uses("octo/shared@v1"), "own/action.yml")
    in_workspace(bench, "own", uses("octo/shared@v1"))

    run = of_a_fork(bench, job("uses: ./own", "uses: octo/shared@v1"))

    assert (run.result, run.pins) == (Result.SUCCESS, {"octo/shared@v1": ONE})


def test_one_that_is_not_shared_is_as_one_that_does_not_exist(bench: Bench) -> None:
    bench.repositories.add(Repository("git", "octo/private", "/srv/private.git"), "secret")
    said = []
    for name in ("octo/private", "octo/nowhere"):
        run = bench.a_run(job(f"uses: {name}@v1"), name)
        bench.work()
        waiting = reason(bench.store.load(run.id))
        said.append(waiting.split("; tried")[0].replace(name, "NAME"))

    assert said[0] == said[1]
    assert "/srv/private.git" not in said[0]


# --- before the first step ---------------------------------------------------------------------


def test_what_actions_do_before_the_first_step_is_done_once_in_order_and_seen_by_what_follows(
    bench: Bench,
) -> None:
    publish(bench, "o/n@v1", {"action.yml": AROUND, "around/action.yml": uses("o/n@v1")})
    run = bench.a_run(job("run: one", "uses: o/n@v1", "uses: o/n/around@v1"))
    begun: list[tuple[str, str, str]] = []

    def act(command: Command) -> Exit:
        name = Path(command.argv[-1]).name
        begun.append((name, command.env["RUNNER_STEP"], command.env.get("STATE_at", "")))
        if name == "pre.js":
            Path(command.env["GITHUB_STATE"]).write_text(f"at={command.env['RUNNER_STEP']}\n")
        if len(begun) == 3:
            raise DatabaseUnavailable("away")
        return Exit(0)

    bench.executor.act = act
    with pytest.raises(DatabaseUnavailable):
        bench.work()
    perform(bench.store.stranded(everything=True).envelopes[0], bench.station)

    names = [(name.replace("_runner_step-1", "one"), step, state) for name, step, state in begun]
    assert names == [
        ("pre.js", "2", ""),
        ("pre.js", "3.1", ""),
        ("one.sh", "1", ""),
        ("one.sh", "1", ""),
        ("main.js", "2", "2"),
        ("main.js", "3.1", "3.1"),
        ("post.js", "3.1", "3.1"),
        ("post.js", "2", "2"),
    ]
    assert list(conclusions(bench, run)) == ["2.pre", "3.1.pre", "1", "2", "3", "3.1.post", "2.post"]


def test_what_fails_before_the_first_step_fails_the_job_and_is_tidied_up(bench: Bench) -> None:
    publish(bench, "o/n@v1", {"action.yml": AROUND})
    run = bench.a_run(job("run: never", "uses: o/n@v1", "run: always, if: always()"))

    begun = doing(bench, pre_js=lambda command: Exit(1))
    bench.work()

    assert begun == ["pre.js", "always", "post.js"]
    assert bench.store.load(run.id).result is Result.FAILURE


def test_what_an_action_does_before_the_first_step_may_depend_on_a_condition(bench: Bench) -> None:
    never = AROUND.replace("post: post.js", "pre-if: github.ref == 'refs/heads/x', post: post.js")
    publish(bench, "o/n@v1", {"action.yml": never})
    run = bench.a_run(job("uses: o/n@v1, if: false"))

    begun = doing(bench)
    bench.work()

    assert begun == []
    assert conclusions(bench, run) == {"1.pre": "skipped", "1": "skipped"}


def test_what_actions_left_to_be_done_is_done_by_another_worker_with_the_same_commits(bench: Bench) -> None:
    publish(bench, "o/n@v1", {"action.yml": AROUND.replace("pre: pre.js, ", "")})
    in_workspace(bench, "own", uses("o/n@v1"))
    run = bench.a_run(job("uses: ./own", "uses: o/n@v1", "run: two"))

    begun = doing(bench, two=lost)
    with pytest.raises(DatabaseUnavailable):
        bench.work()
    publish(bench, "o/n@v1", {"action.yml": PLAIN}, TWO)
    doing_again = doing(bench)
    perform(bench.store.stranded(everything=True).envelopes[0], bench.station)

    assert begun == ["main.js", "main.js", "two"]
    assert doing_again == ["two", "post.js", "post.js"]
    assert list(conclusions(bench, run)) == ["1", "2", "3", "2.post", "1.1.post"]
    assert {route.commit for route, _ in bench.workspaces.placed} == {ONE}
    assert len(bench.workspaces.placed) == 2
