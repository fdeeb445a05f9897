"""Tokens, acts, pauses and blocks, as people type them, on one real server."""

import pytest

from tests.cli.conftest import PATIENCE, Machine, Shell, run_of

WAITS = """
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - run: while [ ! -e {flag} ]; do sleep 0.05; done
      - run: echo "went on"
"""
PASSES = "on: push\njobs: {build: {runs-on: ubuntu-latest, steps: [run: echo it]}}\n"


def pushed(machine: Machine, shell: Shell, workflow: str = PASSES) -> tuple[str, int]:
    machine.push(workflow)
    commit = machine.git("rev-parse", "HEAD").strip()
    return commit, run_of(shell, commit)


def test_a_token_does_what_its_role_may_and_says_what_it_may_not(
    machine: Machine, on_machine: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run = pushed(machine, on_machine)
    made = on_machine(
        "token", "create", "anna", "--role", "viewer", "--repo", "octo/hello", "--expires", "30d"
    )
    assert made.status == 0, made.err
    assert "the token anna is a viewer's until 20" in made.err
    listed = on_machine("token", "list").out.split("\t")
    assert listed[:4] == ["anna", "viewer", "git:octo/hello", "admin"]

    monkeypatch.setenv("RUNNER_TOKEN", made.out.strip())
    assert on_machine("runs", "view", str(run)).status == 0
    refused = on_machine("runs", "cancel", str(run))
    monkeypatch.delenv("RUNNER_TOKEN")

    assert refused.status == 4
    assert refused.err.startswith("runner: the token anna is a viewer's, and this needs a writer's;")
    assert on_machine("token", "create", "bert", "--role", "viewer", "--person", "bert-at-work").status == 0
    assert "bert (bert-at-work)\tviewer" in on_machine("token", "list").out
    assert on_machine("token", "revoke", "bert", "--json").json == {"name": "bert", "removed": True}
    assert on_machine("token", "revoke", "anna").out == "revoked the token anna\n"
    monkeypatch.setenv("RUNNER_TOKEN", made.out.strip())
    gone = on_machine("runs", "list")
    assert (gone.status, "does not take this token" in gone.err) == (4, True)


def test_a_token_that_cannot_be_made_is_refused_by_name(on_machine: Shell) -> None:
    soon = on_machine("token", "create", "a", "--role", "viewer", "--expires", "soon")
    admin = on_machine("token", "create", "admin", "--role", "viewer")

    assert (soon.status, "'soon' is no span of time; give one such as 90m, 12h or 30d" in soon.err) == (
        2,
        True,
    )
    assert (admin.status, "the server itself acts under that name" in admin.err) == (1, True)


def test_what_people_did_is_listed_for_them_and_for_programs(machine: Machine, on_machine: Shell) -> None:
    commit, run = pushed(machine, on_machine)
    on_machine("runs", "watch", str(run))
    on_machine("runs", "cancel", str(run))
    on_machine("variable", "set", "MODE", "-R", "octo/hello", "--body", "fast")

    line = on_machine("audit", "--run", str(run)).out.strip().split("\t")
    (found,) = on_machine("audit", "--repo", "octo/hello", "--limit", "1", "--json", "actor,act,details").json
    unknown = on_machine("audit", "--repo", "no/such")

    assert line[1:5] == ["admin", "cancel", "octo/hello", f"run {run}"]
    assert line[5] == f"started by octo, at {commit[:12]}, changed nothing"
    assert (found["actor"], found["act"], found["details"]["variable"]) == ("admin", "set-variable", "MODE")
    assert "fast" not in str(found)
    assert (unknown.status, "no repository no/such" in unknown.err) == (1, True)


def test_a_paused_run_says_why_and_goes_on_where_it_was(machine: Machine, on_machine: Shell) -> None:
    flag = machine.folder / "paused"
    _, run = pushed(machine, on_machine, WAITS.format(flag=flag))

    said = on_machine("runs", "pause", str(run), "--reason", "wait for me")

    assert said.out == f"run {run} is paused; `runner runs unpause {run}` has it go on\n"
    shown = on_machine("runs", "view", str(run)).out
    assert "paused by admin since " in shown
    assert ": wait for me" in shown
    assert on_machine("runs", "unpause", str(run)).out == f"run {run} goes on\n"
    flag.touch()
    with machine.spawn("runs", "watch", str(run)) as watching:
        assert watching.wait(PATIENCE) == 0
    assert on_machine("runs", "logs", str(run)).out == "went on\n"


def test_who_stops_a_run_twice_or_lets_one_go_that_stands_still_is_told_how_it_stands(
    machine: Machine, on_machine: Shell
) -> None:
    flag = machine.folder / "twice"
    commit, run = pushed(machine, on_machine, WAITS.format(flag=flag))
    on_machine("runs", "pause", str(run), "--reason", "the first")

    again = on_machine("runs", "pause", str(run), "--reason", "the second")
    (stop,) = on_machine("repo", "block", "octo/hello", "--commit", commit, "--json", "commit,words").json
    still = on_machine("runs", "unpause", str(run)).out
    left = on_machine("repo", "unblock", "octo/hello", "--commit", commit, "--json").json
    flag.touch()
    with machine.spawn("runs", "watch", str(run)) as watching:
        assert watching.wait(PATIENCE) == 0

    assert "it was stopped before: paused by admin since " in again.err
    assert again.err.endswith(": the first\n")
    assert (stop["commit"], left) == (commit, [])
    assert still == f"run {run} is not paused any more, and stands still: {stop['words']}\n"
    assert on_machine("runs", "unpause", str(run)).out == f"run {run} has ended: success\n"
    unknown = on_machine("runs", "view", str(run), "--job", "nope")
    assert (unknown.status, f"run {run} has no job 'nope'; it has " in unknown.err) == (1, True)
    assert on_machine("runs", "view", str(run), "--log-failed").err.startswith("no step failed; ")
    said = on_machine("runs", "approve", str(run))
    assert (said.status, said.err) == (
        1,
        f"runner: run {run} does not wait for approval; `runner runs view {run}` says what holds it up\n",
    )


def test_a_bad_commit_is_blocked_its_runs_are_ended_and_nothing_of_it_begins(
    machine: Machine, on_machine: Shell
) -> None:
    flag = machine.folder / "blocked"
    commit, run = pushed(machine, on_machine, WAITS.format(flag=flag))

    blocked = on_machine("repo", "block", "octo/hello", "--commit", commit[:12], "--reason", "it wipes disks")
    assert (blocked.status, f"commit {commit[:12]} is blocked by admin" in blocked.out) == (0, True)
    assert on_machine("repo", "stops", "octo/hello").out.split("\t")[0] == commit
    assert f"blocked:     commit {commit[:12]} is blocked" in on_machine("repo", "show", "octo/hello").out
    assert on_machine("repo", "list").out.split("\t")[-1] == "blocked\n"
    assert on_machine("runs", "list", "--status", "stopped").out.split("\t")[1] == str(run)
    assert "it wipes disks" in on_machine("runs", "view", str(run)).out
    refused = on_machine("trigger", "octo/hello", "--commit", commit, "--watch")
    assert refused.status == 1
    assert "is blocked by admin since" in refused.err
    ended = on_machine("runs", "cancel", "-R", "octo/hello", "--commit", commit)
    assert ended.out == "cancelled 1 run of octo/hello\n"
    assert on_machine("runs", "watch", str(run)).status == 3
    assert f"of=commit {commit}" in on_machine("audit", "-L", "1").out
    assert on_machine("repo", "unblock", "octo/hello", "--commit", commit).status == 0
    assert on_machine("repo", "stops", "octo/hello").err == "nothing is stopped of octo/hello\n"
    assert on_machine("trigger", "octo/hello", "--commit", commit).status == 0
    flag.touch()


def test_a_paused_repository_takes_pushes_that_wait(machine: Machine, on_machine: Shell) -> None:
    assert on_machine("repo", "pause", "octo/hello", "--reason", "maintenance").status == 0
    _, run = pushed(machine, on_machine)

    assert on_machine("runs", "list", "-L", "1").out.split("\t")[0] == "queued, stopped"
    assert "octo/hello is paused by admin" in on_machine("runs", "view", str(run)).out
    assert on_machine("repo", "unpause", "octo/hello").out == "octo/hello goes on\n"
    assert on_machine("runs", "watch", str(run)).status == 0


def test_one_run_or_all_of_a_repository_has_to_be_named(on_machine: Shell) -> None:
    for args in (["runs", "pause"], ["runs", "cancel", "1", "-R", "octo/hello"], ["runs", "unpause"]):
        ran = on_machine(*args)
        assert (ran.status, "give one run, or --repo" in ran.err) == (2, True)
    assert "--commit and --workflow need --repo" in on_machine("runs", "cancel", "1", "-c", "abcd").err
    assert "give --commit or --workflow" in on_machine("repo", "block", "octo/hello").err
