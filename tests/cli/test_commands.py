"""Everything that people do with a server, on one real server."""

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import PATIENCE, Machine, Ran, Shell, run_of
from tests.servers import s3_server

PASSES = """
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - name: Say hello
        run: echo "hello from $GITHUB_REPOSITORY"
      - run: printf 'no newline'
"""
FAILS = """
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - run: echo before
      - name: Fail
        run: |
          echo "it went wrong"
          exit 7
  after:
    needs: build
    runs-on: ubuntu-latest
    steps:
      - run: echo never
"""
WAITS = """
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - run: echo waiting; while [ ! -e {flag} ]; do sleep 0.05; done; echo "went on"
"""
SAYS = """
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - name: Say it
        run: |
          echo "::warning::on two%0Alines"
          printf '::error file=src/a.c,line=3,col=7,title=Broken::it\\033[2J broke\\n'
"""
TRIES = """
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    retry: {max-attempts: 3, delay: 300ms}
    steps:
      - uses: actions/checkout@v4
      - uses: ./act
      - run: printf '%s\\n' one two; sleep 0.3; echo three; exit 1
"""
ACTION = "{name: act, description: Acts., runs: {using: node20, main: main.js, post: post.js}}"
INVALID = "on: push\njobs: 5\n"


@pytest.fixture(scope="module")
def passed(machine: Machine) -> str:
    """The commit of a push whose run has passed."""
    said = machine.push(PASSES)
    assert "/api/v1/deliveries/" in said
    return machine.git("rev-parse", "HEAD").strip()


def test_a_push_is_followed_to_its_green_end(machine: Machine, on_machine: Shell, passed: str) -> None:
    run = run_of(on_machine, passed)

    ran = on_machine("runs", "watch", str(run))

    assert ran.status == 0, ran.out
    lines = ran.out.splitlines()
    assert lines[0] == f"run {run}  .runner/workflows/ci.yml #1 of octo/hello at {passed[:12]}"
    assert "[build] hello from octo/hello" in lines
    assert "[build] no newline" in lines
    assert any(line.startswith("[build] \u2713 Say hello") for line in lines)
    assert lines[-1].startswith(f"run {run} success in ")


def test_runs_are_listed_for_people_and_for_programs(on_machine: Shell, passed: str) -> None:
    run = run_of(on_machine, passed)
    on_machine("runs", "watch", str(run))

    line = on_machine("runs", "list", "-b", "main", "-w", "ci.yml", "-s", "success", "-c", passed[:10]).out
    assert line.split("\t")[:2] == ["success", str(run)]
    assert on_machine("runs", "list", "--json", "id,status", "-c", passed).json == [
        {"id": run, "status": "success"}
    ]
    assert on_machine("runs", "list", "-b", "nothing").out == ""
    assert "there are id" in on_machine("runs", "list", "--json", "id,nothing").err


def test_a_repository_without_runs_is_one_or_is_named(on_machine: Shell) -> None:
    unknown = on_machine("runs", "list", "-R", "no/such")

    assert (unknown.status, "no repository no/such" in unknown.err) == (1, True)


def test_a_job_is_meant_by_the_name_that_is_shown(machine: Machine, on_machine: Shell) -> None:
    machine.push("on: push\njobs: {a: {name: call / b, runs-on: self-hosted, steps: [{run: echo it}]}}\n")
    run = str(run_of(on_machine, machine.git("rev-parse", "HEAD").strip()))
    on_machine("runs", "watch", run)

    assert "call / b" in on_machine("runs", "view", run, "-j", "call / b").out
    assert on_machine("runs", "logs", run, "-j", "call / b").out == "it\n"
    assert on_machine("runs", "rerun", run, "-j", "call / b").status == 0
    assert on_machine("runs", "watch", run).status == 0


def test_a_run_is_shown_with_its_steps_and_its_log(on_machine: Shell, passed: str) -> None:
    run = str(run_of(on_machine, passed))
    on_machine("runs", "watch", run)

    shown = on_machine("runs", "view", run).out
    assert f"commit:      {passed}" in shown
    assert "\u2713 build" in shown
    assert "  \u2713 Say hello" in shown
    whole = on_machine("runs", "view", "--json", run).json
    assert [step["status"] for step in whole["jobs"][0]["steps"]] == ["success", "success"]
    assert on_machine("runs", "view", run, "--json", "status").json == {"status": "success"}
    assert on_machine("runs", "logs", run).out == "hello from octo/hello\nno newline\n"
    assert on_machine("runs", "view", run, "--log", "-j", "build").out.startswith("hello")
    assert on_machine("runs", "logs", run, "--step", "2").out == "no newline\n"
    assert "no job 'lint'" in on_machine("runs", "logs", run, "-j", "lint").err
    assert on_machine("runs", "view", "9999").status == 1


def test_a_failed_run_ends_its_watch_with_1_and_shows_why(machine: Machine, on_machine: Shell) -> None:
    machine.push(FAILS)
    run = str(run_of(on_machine, machine.git("rev-parse", "HEAD").strip()))

    watched = on_machine("runs", "watch", run)

    assert watched.status == 1
    assert f"`runner runs view {run} --log-failed`" in watched.err
    assert on_machine("runs", "view", run, "--log-failed").out == "it went wrong\n"
    shown = on_machine("runs", "view", run, "--exit-status")
    assert shown.status == 1
    assert "\u2717 Fail" in shown.out
    assert "exit code 7" in shown.out
    assert "- after" in shown.out


def test_a_run_is_shown_with_what_its_steps_said(machine: Machine, on_machine: Shell) -> None:
    machine.push(SAYS)
    run = str(run_of(on_machine, machine.git("rev-parse", "HEAD").strip()))
    on_machine("runs", "watch", run)

    lines = on_machine("runs", "view", run).out.splitlines()

    assert lines[-3:] == [
        "1 error, 1 warning",
        "\u2717 src/a.c:3:7  Broken:  it broke  (build / Say it)",
        "! on two lines  (build / Say it)",
    ]
    assert len(on_machine("runs", "view", "--json", run).json["jobs"][0]["steps"][0]["annotations"]) == 2


def test_a_run_is_called_as_its_workflow_says(machine: Machine, on_machine: Shell) -> None:
    said = "run-name: Build ${{ github.ref_name }}, no. ${{ github.run_number }}\nname: CI\n"
    machine.push(said + PASSES)
    commit = machine.git("rev-parse", "HEAD").strip()
    run = run_of(on_machine, commit)
    found = on_machine("runs", "view", str(run), "--json").json
    title = f"Build main, no. {found['number']}"

    assert (found["title"], found["name"]) == (title, "CI")
    listed = on_machine("runs", "list", "-c", commit).out.split("\t")
    assert listed[2] == f"{title} (CI) #{found['number']}"
    assert listed[2] in on_machine("runs", "view", str(run)).out
    assert listed[2] in on_machine("runs", "watch", str(run)).out


def test_an_invalid_workflow_ends_with_5_and_its_place(machine: Machine, on_machine: Shell) -> None:
    machine.push(INVALID)
    run = str(run_of(on_machine, machine.git("rev-parse", "HEAD").strip()))

    watched = on_machine("runs", "watch", run)

    assert watched.status == 5
    assert ".runner/workflows/ci.yml:2:" in watched.out


def test_a_job_that_no_worker_serves_says_so(machine: Machine, on_machine: Shell) -> None:
    machine.push(PASSES.replace("runs-on: ubuntu-latest", "runs-on: [self-hosted, gpu]"))
    run = str(run_of(on_machine, machine.git("rev-parse", "HEAD").strip()))
    with machine.spawn("runs", "watch", run) as watching:
        assert watching.stdout is not None
        assert any("no worker serves the label gpu; queued since 20" in line for line in watching.stdout)
        assert "no worker serves the label gpu; queued since 20" in on_machine("runs", "view", run).out
        assert on_machine("runs", "cancel", run).status == 0
        watching.communicate(timeout=60)
    assert watching.returncode == 3


def test_a_cancelled_run_ends_its_watch_with_3_and_can_run_again(machine: Machine, on_machine: Shell) -> None:
    flag = machine.folder / "again"
    machine.push(WAITS.format(flag=flag))
    run = str(run_of(on_machine, machine.git("rev-parse", "HEAD").strip()))
    with machine.spawn("runs", "watch", run) as watching:
        assert watching.stdout is not None
        assert any("waiting" in line for line in watching.stdout)

        assert on_machine("runs", "cancel", run).status == 0
        rest, _ = watching.communicate(timeout=PATIENCE)

    assert watching.returncode == 3
    assert f"run {run} cancelled" in rest
    flag.touch()
    assert "attempt 2" in on_machine("runs", "rerun", run).out
    assert on_machine("runs", "watch", run).status == 0
    assert on_machine("runs", "view", run, "-a", "1", "--json", "status").json == {"status": "cancelled"}


PARTLY = """
on: push
jobs:
  build:
    runs-on: linux
    outputs: {{word: "${{{{ steps.say.outputs.word }}}}"}}
    steps:
      - id: say
        run: echo "word=kept $GITHUB_RUN_ATTEMPT" >> "$GITHUB_OUTPUT"
  test:
    needs: build
    runs-on: linux
    steps: [{{run: test -e {flag}}}]
  tell:
    needs: [build, test]
    runs-on: linux
    steps: [{{run: 'echo "${{{{ needs.build.outputs.word }}}}, $GITHUB_RUN_ATTEMPT"'}}]
"""


def test_what_failed_is_run_again_with_what_the_other_jobs_gave(machine: Machine, on_machine: Shell) -> None:
    flag = machine.folder / "partly"
    machine.push(PARTLY.format(flag=flag))
    run = str(run_of(on_machine, machine.git("rev-parse", "HEAD").strip()))
    assert on_machine("runs", "watch", run).status == 1
    flag.touch()

    assert "attempt 2" in on_machine("runs", "rerun", run, "--failed").out
    assert on_machine("runs", "watch", run).status == 0

    assert "kept 1, 2" in on_machine("runs", "logs", run, "--job", "tell").out
    first, second = (
        {job["key"]: (job["id"], job["status"]) for job in shown["jobs"]}
        for shown in (on_machine("runs", "view", run, "-a", one, "--json").json for one in ("1", "2"))
    )
    assert first["build"] == second["build"]
    assert [first["test"][1], first["tell"][1]] == ["failure", "skipped"]
    assert [second["test"][1], second["tell"][1]] == ["success", "success"]
    refused = on_machine("runs", "rerun", run, "--failed")
    assert (refused.status, "no job of run" in refused.err) == (1, True)
    assert on_machine("runs", "rerun", run, "--failed", "--job", "test").status == 2
    assert "attempt 3" in on_machine("runs", "rerun", run, "--job", "tell").out
    assert on_machine("runs", "watch", run).status == 0


WAITING = """
on: push
jobs:
  deploy:
    runs-on: linux
    steps:
      - uses: runner/sleep@v1
        with: {for: 100ms}
      - id: go
        uses: runner/wait@v1
        with: {signal: go, timeout: 1h}
      - uses: runner/approve@v1
        with: {message: "ship to ${{ steps.go.outputs.region }}?"}
      - run: echo "shipped to ${{ steps.go.outputs.region }}"
"""


def test_a_run_sleeps_and_waits_for_a_signal_and_for_approval(machine: Machine, on_machine: Shell) -> None:
    machine.push(WAITING)
    run = str(run_of(on_machine, machine.git("rev-parse", "HEAD").strip()))
    with machine.spawn("runs", "watch", run) as watching:
        assert watching.stdout is not None
        assert any('waits for the signal "go", until 20' in line for line in watching.stdout)
        assert on_machine("runs", "view", run, "--exit-status").status == 8
        misspelt = on_machine("runs", "signal", run, "og").out
        assert misspelt == (
            f"run {run} was sent og and keeps it: nothing waits for 'og' yet; waited for now: 'go'\n"
        )
        sent = on_machine("runs", "signal", run, "go", "--payload", '{"region": "eu"}', "--key", "one")
        assert sent.out == f"run {run} was sent go\n"
        assert any("waits for approval: ship to eu?" in line for line in watching.stdout)
        assert "this copy does nothing" in on_machine("runs", "signal", run, "go", "--key", "one").out
        early = on_machine("runs", "signal", run, "later").out
        assert "nothing waits for 'later' yet; waited for now: no signal\n" in early
        assert on_machine("runs", "list", "--status", "waiting", "--json", "id").json == [{"id": int(run)}]
        refused = on_machine("runs", "approve", run, "--job", "build")
        assert (refused.status, "has no job 'build'; it has deploy" in refused.err) == (1, True)
        assert on_machine("runs", "approve", run, "--comment", "fine").status == 0
        rest, _ = watching.communicate(timeout=PATIENCE)

    assert (watching.returncode, "shipped to eu" in rest) == (0, True)
    shown = on_machine("runs", "view", run).out
    assert 'signal "go" of step 2 "Run runner/wait@v1": sent by admin\n' in shown
    assert 'approval of step 3 "Run runner/approve@v1": approved by admin: fine\n' in shown
    again = on_machine("runs", "reject", run)
    assert (again.status, "admin has said approved at" in again.err) == (1, True)
    late = on_machine("runs", "signal", run, "go")
    assert (late.status, "has ended; a signal would reach nobody" in late.err) == (1, True)
    bad = on_machine("runs", "signal", run, "go", "--payload", "{")
    assert (bad.status, "--payload is no JSON" in bad.err) == (2, True)


STOPPING = """
on: push
jobs:
  build:
    runs-on: linux
    steps:
      - run: echo "made in $RUNNER_ATTEMPT" | tee made
      - {{name: Gate, run: test -e {flag}}}
      - run: echo "it was $(cat made)"
"""


def test_a_run_goes_on_at_the_step_where_it_stopped_and_from_one_that_is_named(
    machine: Machine, on_machine: Shell
) -> None:
    flag = machine.folder / "stopping"
    machine.push(STOPPING.format(flag=flag))
    run = str(run_of(on_machine, machine.git("rev-parse", "HEAD").strip()))
    assert on_machine("runs", "watch", run).status == 1
    flag.touch()

    assert on_machine("runs", "resume", run).status == 0
    watched = on_machine("runs", "watch", run)

    assert watched.status == 0
    assert [watched.out.count(said) for said in ("] made in 1", "it was made in 1", "made in 2")] == [1, 1, 0]
    shown = on_machine("runs", "view", run).out
    assert shown.count("(kept)") == 1
    assert on_machine("runs", "logs", run, "--step", "1").out == "made in 1\n"
    assert on_machine("runs", "rerun", run, "--from-step", "build:Gate").status == 0
    assert on_machine("runs", "watch", run).status == 0
    assert on_machine("runs", "view", run).out.count("(kept)") == 1
    refused = on_machine("runs", "rerun", run, "--from-step", "build:nothing")
    assert (refused.status, "has no step 'nothing'" in refused.err) == (1, True)
    assert on_machine("runs", "rerun", run, "--failed", "--from-step", "build:2").status == 2
    assert on_machine("runs", "resume", run).status == 1


def test_a_trigger_runs_what_a_push_would_have_run(machine: Machine, on_machine: Shell, passed: str) -> None:
    ran = on_machine("trigger", "octo/hello", "--ref", "main", "--commit", passed, "--watch")

    assert ran.status == 0, ran.err
    assert "[build] hello from octo/hello" in ran.out
    refused = on_machine("trigger", "octo/hello", "--ref", "nothing", "--watch")
    assert refused.status == 1
    assert "failed: " in refused.err


def test_deliveries_show_what_became_of_them_and_are_replayed(on_machine: Shell, passed: str) -> None:
    made = on_machine("trigger", "octo/hello", "--commit", "3" * 40, "--json").json["delivery"]
    until = time.monotonic() + PATIENCE
    while on_machine("deliveries", "show", made, "--json", "status").json["status"] == "received":
        assert time.monotonic() < until

    shown = on_machine("deliveries", "show", made)

    assert "failed" in shown.out
    assert f"`runner deliveries replay {made}`" in shown.err
    assert made in on_machine("deliveries", "list", "-s", "failed", "-R", "octo/hello").out
    assert on_machine("deliveries", "replay", made).status == 0
    admitted = on_machine("deliveries", "list", "-s", "admitted", "--json", "id").json[-1]["id"]
    assert on_machine("deliveries", "replay", admitted).status == 1


def test_repositories_are_registered_and_removed(on_machine: Shell) -> None:
    added = on_machine("repo", "add", "octo/other", "--url", "/srv/other.git", "--secret", "a long secret")
    assert (added.status, "a long secret" in added.out) == (0, False)
    assert on_machine("repo", "show", "--json", "octo/other").json["url"] == "/srv/other.git"
    assert "--missed skip" in on_machine("repo", "set", "octo/other").err
    assert "missed" in on_machine("repo", "set", "octo/other", "--missed", "skip").out
    assert on_machine("repo", "show", "--json", "octo/other").json["missed"] == "skip"
    assert on_machine("repo", "set", "octo/other", "--snapshot", "durable", "--json", "snapshot").json == {
        "snapshot": "durable"
    }
    assert "octo/other\tgit\t/srv/other.git" in on_machine("repo", "list").out
    assert "'a long secret'" in on_machine("repo", "hook", "octo/other").out
    assert on_machine("repo", "add", "octo/other", "--url", "/srv/other.git").status == 1
    assert on_machine("repo", "remove", "octo/other").status == 0
    assert on_machine("repo", "show", "octo/other").status == 1
    refused = on_machine("repo", "add", "octo/web", "--url", "https://example.org/x.git")
    assert "allowed are file (RUNNER_GIT_PROTOCOLS)" in refused.err


def test_what_a_repository_may_use_is_set_and_shown(on_machine: Shell) -> None:
    url = ("--url", "/srv/limited.git")
    assert on_machine("repo", "add", "octo/limited", *url, "--max-jobs", "4").status == 0

    changed = on_machine("repo", "set", "octo/limited", "--queue-timeout", "90m", "--keep-runs", "0")
    assert on_machine("repo", "set", "octo/limited", "--keep-snapshots", "7d").status == 0

    assert changed.status == 0
    shown = on_machine("repo", "show", "octo/limited").out
    said = [line.split(":", 1)[1].strip() for line in shown.splitlines()[-4:]]
    assert said == ["4", "90m", "no limit", "7d"]
    assert on_machine("repo", "set", "octo/limited", "--max-jobs", "default").status == 0
    limits = on_machine("repo", "show", "--json", "octo/limited").json["limits"]
    assert (limits["max_jobs"], limits["queue_timeout"], limits["keep_runs"]) == (None, 5400, 0)
    wrong = on_machine("repo", "set", "octo/limited", "--run-timeout", "soon")
    assert wrong.status == 2
    assert "give a span of time such as 90d, 24h or 1h30m, or a number of seconds; 0 is no limit" in wrong.err
    nothing = on_machine("repo", "set", "octo/limited")
    assert nothing.status == 2
    assert "give an option, such as --max-jobs 4" in nothing.err


def test_a_wrong_token_is_not_allowed(on_machine: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNER_TOKEN", "wrong")

    ran = on_machine("runs", "list")

    assert ran.status == 4
    assert "set RUNNER_TOKEN" in ran.err


def test_the_doctor_says_what_works(on_machine: Shell) -> None:
    ran = on_machine("doctor", "--json")

    assert ran.status == 0, ran.out
    findings = {one["name"]: one for one in ran.json["findings"]}
    assert findings["executor host"]["works"]
    assert findings["git"]["said"].startswith("git 2.")
    assert ("overlays" in findings["workspaces"]["said"]) is findings["workspaces"]["works"]
    assert "a job could run here" in on_machine("doctor").out


def test_the_doctor_says_how_jobs_get_their_files(on_machine: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNER_DOCKER", "tcp://127.0.0.1:1")
    findings = on_machine("doctor", "--json").json["findings"]
    (found,) = [one for one in findings if one["name"] == "workspaces"]

    how, _, why = found["said"].partition("; no overlay can be mounted: ")
    cloned = "each job's files are cloned one by one"
    written = (
        "each job's files are written one by one, for they cannot be cloned: the file system there cannot"
    )
    assert how in (cloned, written)
    assert why == "docker at tcp://127.0.0.1:1 has mounts of its own" or os.geteuid()


def test_the_doctor_says_what_steps_can_reach(on_machine: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def said() -> dict[str, str]:
        return {one["name"]: one["said"] for one in on_machine("doctor", "--json").json["findings"]}

    assert "share this machine's network, localhost too" in said()["executor sandbox"]
    monkeypatch.setenv("RUNNER_JOB_NETWORK", "no")

    assert "steps have no network (RUNNER_JOB_NETWORK)" in said()["executor sandbox"]
    assert "share this machine's network" in said()["executor host"]
    monkeypatch.setenv("RUNNER_JOB_NETWORK", "host")
    assert "RUNNER_JOB_NETWORK: Input should be a valid boolean" in on_machine("doctor").err


def test_the_doctor_says_where_objects_are_and_whether_that_works(
    on_machine: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def said() -> dict[str, Any]:
        found = on_machine("doctor", "--json").json["findings"]
        return next(one for one in found if one["name"] == "objects")

    assert said()["said"].endswith("/home/objects, written and read")
    monkeypatch.setenv("RUNNER_OBJECTS", "s3://bucket/ci")
    with s3_server(tmp_path) as bucket:
        for name, value in bucket.environment().items():
            monkeypatch.setenv(name, value)
        assert said()["said"] == "s3://bucket/ci, written and read"
        left = [path.name for path in bucket.files.rglob("*") if path.is_file()]
        assert left == ["owner"], "the probe is gone, and whose the objects are is said"
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")

        assert "the bucket bucket answers SignatureDoesNotMatch" in said()["said"]
        assert not said()["works"]


def test_200_mb_of_webhook_leave_the_servers_memory_as_it_was(machine: Machine) -> None:
    assert machine.server is not None
    port = int(machine.run("repo", "hook", "octo/hello").out.split("http://127.0.0.1:")[1].split("'")[0])
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    head = b"POST /hooks/git HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"

    def refused(megabytes: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head)
            for _ in range(megabytes * 16):
                connection.sendall(chunk)
            connection.sendall(b"0\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")

    # What the first one loads stays.
    refused(2)
    before = memory_of(machine.server.pid)
    refused(200)

    assert memory_of(machine.server.pid) - before < 20_000


def memory_of(pid: int) -> int:
    """Resident memory in KiB, without what is of files: a young process goes on loading those."""
    said = Path(f"/proc/{pid}/status").read_text()
    return int(said.partition("RssAnon:")[2].split()[0])


DEPLOY = """
on:
  workflow_dispatch:
    inputs:
      where: {type: choice, options: [staging, production], required: true}
      dry: {type: boolean}
jobs:
  deploy:
    runs-on: ubuntu-latest
    steps:
      - run: echo "to ${{ inputs.where }}, dry ${{ inputs.dry }}"
"""


def test_a_workflow_is_started_by_hand_with_inputs_and_wrong_ones_are_named(
    machine: Machine, on_machine: Shell
) -> None:
    path = machine.folder / "work" / ".runner" / "workflows" / "deploy.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(DEPLOY)
    machine.push(PASSES)

    def trigger(*options: str) -> Ran:
        return on_machine("trigger", "octo/hello", "--workflow", *options)

    watched = trigger("deploy.yml", "--input", "where=staging", "--input", "dry=true", "--watch")
    wrong = trigger(".runner/workflows/deploy.yml", "--input", "were=staging")
    started = trigger("deploy.yml", "--ref", "main", "--input", "where=production", "--json").json

    assert watched.status == 0, watched.err
    assert "[deploy] to staging, dry true" in watched.out.splitlines()
    assert wrong.status == 1
    assert 'there is no input "were"; did you mean "where"?' in wrong.err
    assert 'the input "where" is required; here you can use production, staging' in wrong.err
    run = on_machine("runs", "view", str(started["workflow_run_id"]), "--json", "event,branch").json
    assert run == {"event": "workflow_dispatch", "branch": "main"}
    assert on_machine("trigger", "octo/hello", "--input", "a=b").status == 2
    assert trigger("deploy.yml", "--input", "a").status == 2


def test_a_schedule_is_due_once_it_is_on_the_default_branch_and_no_more_when_it_is_gone(
    machine: Machine, on_machine: Shell
) -> None:
    path = machine.folder / "work" / ".runner" / "workflows" / "nightly.yml"
    schedule = "on: {schedule: [{cron: '30 5 * * 1-5', timezone: Europe/Berlin}]}"

    def scheduled(most: int) -> list[str]:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            found = on_machine("repo", "schedules", "octo/hello", "--json").json
            if len(found) == most:
                return [f"{one['cron']} {one['timezone']}" for one in found]
            time.sleep(0.1)
        raise AssertionError(found)

    path.write_text(PASSES.replace("on: push", schedule))
    machine.push(PASSES)
    assert scheduled(1) == ["30 5 * * 1-5 Europe/Berlin"]
    assert "30 5 * * 1-5" in on_machine("repo", "schedules", "octo/hello").out

    path.unlink()
    machine.push(PASSES)
    assert scheduled(0) == []
    assert on_machine("repo", "sync", "octo/hello").status == 0
    assert on_machine("repo", "schedules", "octo/hello").out == ""


def test_every_try_of_a_job_is_followed_whole_and_printed_so_afterwards(
    machine: Machine, on_machine: Shell
) -> None:
    action = machine.folder / "work" / "act"
    action.mkdir()
    (action / "action.yml").write_text(ACTION)
    (action / "main.js").write_text("console.log('acts')")
    (action / "post.js").write_text("console.log('tidies'); setTimeout(() => console.log('has tidied'), 300)")
    machine.push(TRIES)
    run = str(run_of(on_machine, machine.git("rev-parse", "HEAD").strip()))
    said = ("acts", "one", "two", "three", "tidies", "has tidied")

    watched = on_machine("runs", "watch", run).out.splitlines()

    assert [line for line in watched if line.removeprefix("[build] ") in said] == [
        f"[build] {word}" for word in said * 3
    ]
    printed = on_machine("runs", "logs", run).out.splitlines()
    assert [line for line in printed if line in said] == [*said] * 3
    assert (
        on_machine("runs", "logs", run, "--step", "2.post").out.splitlines() == ["tidies", "has tidied"] * 3
    )
