"""`runner run` as people type it, in real checkouts."""

import json
import os
import pty
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import pytest

from runner.cli.following import outputs_of
from runner.executors import executor
from tests.builders import a_job
from tests.cli.conftest import PATIENCE, RUNNER, Ran
from tests.executors.jobs import survivors
from tests.forked import command
from tests.homes import contents
from tests.workspaces.origin import git

PLACE = ".github/workflows"
SHOWS = """
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - id: show
        run: for file in *; do echo "$file is $(cat "$file" 2>/dev/null)"; done
"""
FAILS = """
on: push
jobs:
  lint: {runs-on: ubuntu-latest, steps: [{run: echo linted}]}
  build:
    runs-on: ubuntu-latest
    steps:
      - {id: wrong, name: Go wrong, run: echo "it went wrong"; exit 7}
      - {id: after, run: echo never}
  package: {needs: build, runs-on: ubuntu-latest, steps: [{run: echo never}]}
"""
WAITS = """
on: push
jobs:
  build: {{runs-on: ubuntu-latest, steps: [{{run: "trap '' INT TERM; echo begun; sleep {seconds}"}}]}}
"""
# A step that does not end within 7.5 seconds is asked once more.
ASKED_AGAIN = """
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - run: |
          trap '' INT
          trap 'touch {again}' TERM
          echo begun
          while :; do sleep {seconds} & wait; done
"""


@dataclass(frozen=True, slots=True)
class Desk:
    """A folder with a checkout in it, and one for whatever is temporary."""

    folder: Path

    @property
    def checkout(self) -> Path:
        return self.folder / "checkout"

    @property
    def temp(self) -> Path:
        return self.folder / "temp"

    @property
    def waits(self) -> str:
        """A workflow that waits for longer than any other on this machine, or for shorter."""
        return WAITS.format(seconds=self.mark)

    @property
    def mark(self) -> str:
        """How long it waits, by which its processes are known."""
        return str(10**6 + crc32(str(self.folder).encode()))

    def waiting(self) -> list[str]:
        """Processes of that workflow."""
        command = ["pgrep", "-f", f"^sleep {self.mark}"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.checkout / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def commit(self, files: Mapping[str, str], message: str = "a change") -> str:
        if not (self.checkout / ".git").exists():
            git(self.checkout, "init", "--quiet", "--initial-branch=main")
        self.write(files)
        git(self.checkout, "add", "--all")
        git(self.checkout, "commit", "--quiet", "--message", message)
        return git(self.checkout, "rev-parse", "HEAD")

    def env(self, given: Mapping[str, str] | None = None) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNNER_", "GIT_"))}
        return {
            **kept,
            "TMPDIR": str(self.temp),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "USER": "ada",
            "PYTHONPATH": str(Path.cwd()),
            **(given or {}),
        }

    def run(self, *args: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Ran:
        done = command("run", *args, cwd=cwd or self.checkout, env=self.env(env))
        return Ran(done.returncode, done.stdout, done.stderr)

    def left(self) -> list[str]:
        return [path.name for path in self.temp.iterdir()]


@pytest.fixture
def desk() -> Iterator[Desk]:
    # Sandboxes run as another user, who must be able to pass through, unlike pytest's own folders.
    made = Desk(Path(tempfile.mkdtemp(prefix="runner-local-", dir="/tmp")))
    made.folder.chmod(0o711)
    made.temp.mkdir(mode=0o711)
    made.checkout.mkdir()
    yield made
    left = made.left()
    shutil.rmtree(made.folder)
    assert left == []


def everything(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """All files below, with their times; but those of git's objects, which it renews when it meets them."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            status = path.stat()
            time = 0 if "objects" in path.parts else status.st_mtime_ns
            found[str(path)] = (time, status.st_mode, path.read_bytes())
    return found


# --- the state that is run -------------------------------------------------------------------------


def test_a_checkout_is_run_and_its_end_told_as_json(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": SHOWS, "a": "1"})

    ran = desk.run("ci", "--json")

    step = {"index": 0, "id": "show", "outcome": "success", "conclusion": "success"}
    step["name"] = 'Run for file in *; do echo "$file is $(cat "$file" 2>/dev/null)"; done'
    leg = {"matrix": {}, "conclusion": "success", "reason": "", "steps": [step]}
    assert ran.json == {
        "triggered": True,
        "conclusion": "success",
        "log": "a is 1\n",
        "jobs": {"build": {"conclusion": "success", "outputs": {}, "legs": [leg]}},
    }
    assert (ran.status, ran.err) == (0, "")


def test_what_actions_do_at_the_end_are_steps_too(desk: Desk) -> None:
    action = "runs: {using: node20, main: main.js, post: post.js}\nname: x\ndescription: x\n"
    steps = "[{name: Use it, uses: ./act}, {run: exit 3}, {run: no}]"
    desk.commit(
        {
            f"{PLACE}/ci.yml": f"on: push\njobs: {{build: {{runs-on: x, steps: {steps}}}}}",
            "act/action.yml": action,
            "act/main.js": "console.log('begun')",
            "act/post.js": "console.log('tidied')",
        }
    )

    ran = desk.run("--json")
    shown = desk.run()

    steps = ran.json["jobs"]["build"]["legs"][0]["steps"]
    assert [(one["index"], one["name"], one["outcome"]) for one in steps] == [
        (0, "Use it", "success"),
        (1, "Run exit 3", "failure"),
        (2, "Run no", "skipped"),
        (3, "Post Use it", "success"),
    ]
    assert ran.json["log"] == "begun\ntidied\n"
    assert "[build] tidied" in shown.out.splitlines()
    assert any(line.startswith("[build] \u2713 Post Use it") for line in shown.out.splitlines())


def test_artifacts_go_from_job_to_job_and_into_a_folder_that_is_named(desk: Desk, tmp_path: Path) -> None:
    text = """
on: push
jobs:
  make:
    runs-on: ubuntu-latest
    steps:
      - run: mkdir -p dist/deep && echo made > dist/deep/file
      - {uses: actions/upload-artifact@v4, with: {name: built, path: dist}}
  take:
    needs: make
    runs-on: ubuntu-latest
    steps:
      - {uses: actions/download-artifact@v5, with: {name: built}}
      - run: cat deep/file
"""
    desk.commit({f"{PLACE}/ci.yml": text})

    ran = desk.run("--artifacts", str(tmp_path / "kept"))

    assert (ran.status, "[take] made" in ran.out.splitlines()) == (0, True)
    assert f"runner: artifacts in {tmp_path / 'kept'}: built" in ran.err
    assert (tmp_path / "kept/built/deep/file").read_text() == "made\n"
    assert ("[make] Artifact built has been" in ran.out, "download URL" in ran.out) == (True, False)


def test_changed_and_new_files_are_part_of_it_and_the_checkout_is_only_read(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": SHOWS, "a": "1", "b": "1", "c": "1", ".gitignore": "*.log\n"})
    desk.write({"a": "2", "new": "3", "x.log": "ignored", "staged": "4"})
    git(desk.checkout, "add", "staged")
    (desk.checkout / "b").unlink()
    before = everything(desk.checkout)

    ran = desk.run("--json")

    assert ran.json["log"] == "a is 2\nc is 1\nnew is 3\nstaged is 4\n"
    assert ran.err == "runner: with 4 files not committed: a, b, staged, new\n"
    assert everything(desk.checkout) == before


def test_the_branches_and_tags_of_the_checkout_are_known_to_git(desk: Desk) -> None:
    shows = SHOWS.replace("for file in *", "git describe --tags; git branch --all; for file in *")
    desk.commit({f"{PLACE}/ci.yml": shows})
    git(desk.checkout, "tag", "v1.2")
    git(desk.checkout, "branch", "topic")
    (desk.checkout / "new.txt").write_text("new")

    ran = desk.run("--executor", "host")

    assert ran.status == 0, ran.err
    assert "[build] v1.2-1-g" in ran.out
    assert "[build]   remotes/origin/topic" in ran.out


def test_a_change_that_leaves_size_and_time_as_they_were_is_seen_as_git_sees_it(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": SHOWS, "a": "1"})
    index = desk.checkout / ".git/index"
    desk.write({"a": "2"})
    os.utime(desk.checkout / "a", ns=(index.stat().st_mtime_ns, index.stat().st_mtime_ns))

    assert desk.run("--json").json["log"] == "a is 2\n"


def test_a_repository_without_a_commit_and_a_folder_without_git_are_run(desk: Desk) -> None:
    desk.write({f"{PLACE}/ci.yml": SHOWS, "a": "1", ".gitignore": "*.log", "x.log": "ignored"})

    plain = desk.run("--json")
    git(desk.checkout, "init", "--quiet")
    empty = desk.run("--json")

    assert plain.json["log"] == empty.json["log"] == "a is 1\n"
    assert plain.err == f"runner: {desk.checkout} is no git repository; all its files are run\n"
    assert "not committed: .github/, .gitignore, a" in empty.err


def test_a_worktree_and_a_folder_inside_a_checkout_are_run(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": SHOWS, "a": "1", "sub/b": "2"})
    worktree = desk.folder / "worktree"
    git(desk.checkout, "worktree", "add", "--quiet", "-b", "other", str(worktree))
    (worktree / "a").write_text("3")

    assert desk.run("--json", cwd=worktree).json["log"] == "a is 3\nsub is \n"
    assert desk.run("--json", cwd=desk.checkout / "sub").json["log"] == "a is 1\nsub is \n"
    assert desk.run("--json", "--repo", str(worktree), cwd=desk.temp).json["log"] == "a is 3\nsub is \n"


def test_a_submodule_is_an_empty_folder_whatever_changed_in_it(desk: Desk, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "part")
    git(tmp_path / "part", "commit", "--quiet", "--allow-empty", "--message", "first")
    desk.commit({f"{PLACE}/ci.yml": SHOWS})
    git(
        desk.checkout,
        *("-c", "protocol.file.allow=always", "submodule", "add", "--quiet", str(tmp_path / "part"), "part"),
    )
    git(desk.checkout, "commit", "--quiet", "--message", "a part")
    desk.write({"part/changed": "1", "new": "2"})

    ran = desk.run("--json")

    assert (ran.status, ran.json["log"]) == (0, "new is 2\npart is \n")


def test_a_checkout_that_cannot_be_written_to_is_run(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": SHOWS, "a": "1"})
    desk.write({"a": "2"})
    mounts = ["--bind", "/", "/", "--dev-bind", "/dev", "/dev", "--ro-bind"]
    command = ["bwrap", *mounts, str(desk.checkout), str(desk.checkout), *RUNNER, "run", "--json"]

    done = subprocess.run(
        [*command, "--executor", "host"], cwd=desk.checkout, env=desk.env(), capture_output=True, check=False
    )

    assert json.loads(done.stdout)["log"] == "a is 2\n"


def test_it_can_be_called_from_a_hook_of_git(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": SHOWS, "a": "1"})
    hook = desk.checkout / ".git/hooks/pre-commit"
    hook.write_text(f"#!/bin/sh\n{' '.join(RUNNER)} run --json > {desk.folder}/said\n")
    hook.chmod(0o755)
    desk.write({"a": "2"})
    identity = ["-c", "user.name=ada", "-c", "user.email=ada@example.com"]

    subprocess.run(["git", *identity, "commit", "-qam", "x"], cwd=desk.checkout, env=desk.env(), check=True)

    assert json.loads((desk.folder / "said").read_text())["log"] == "a is 2\n"


def test_it_starts_without_what_only_a_server_needs() -> None:
    heavy = {"celery", "kombu", "pydantic", "alembic", "httpx2", "fastapi", "uvicorn", "docker"}
    script = f"import sys, runner.cli.running; print(*({heavy!r} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""


# --- what is run -----------------------------------------------------------------------------------


def test_without_a_name_all_that_the_event_starts_are_run(desk: Desk) -> None:
    desk.commit({f"{PLACE}/{name}.yml": SHOWS for name in ("ci", "docs")}, message="[skip ci] of no concern")
    desk.write({f"{PLACE}/tags.yml": SHOWS.replace("on: push", "on: {push: {tags: ['v*']}}")})

    ran = desk.run("--json")

    assert list(ran.json["jobs"]) == ["ci.yml/build", "docs.yml/build"]
    assert list(desk.run("--json", "--ref", "refs/tags/v1").json["jobs"]) == [
        f"{name}.yml/build" for name in ("ci", "docs", "tags")
    ]


def test_a_workflow_is_named_by_its_file_wherever_it_is(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": SHOWS, "elsewhere/x.yml": SHOWS, "top.yaml": SHOWS})

    for name in ("ci", "ci.yml", f"{PLACE}/ci.yml", str(desk.checkout / "elsewhere/x.yml"), "top.yaml"):
        ran = desk.run(name)
        assert (ran.status, ran.out.splitlines()[-1].split(" in ")[0][-7:]) == (0, "success"), ran
    assert desk.run("x.yml", cwd=desk.checkout / "elsewhere").status == 0


def test_a_function_in_python_runs_with_what_it_imports_also_where_it_is_called(desk: Desk) -> None:
    function = """\
from runner.sdk import workflow
import shared

@workflow(on="workflow_call", env={"BRANCH": "${{ github.ref_name }}"})
async def deploy(event, step):
    await step.sh("say", f"echo {shared.WORD} $BRANCH")
"""
    ours = ".runner/workflows"
    call = f"on: push\njobs:\n  up: {{uses: ./{ours}/deploy.py}}\n"
    desk.commit(
        {f"{ours}/deploy.py": function, f"{ours}/shared.py": "WORD = 'hi'\n", f"{ours}/call.yml": call}
    )

    ran = desk.run("call")

    assert (ran.status, "hi main" in ran.out, "no worker" in ran.out) == (0, True, False), ran


def test_a_name_that_no_workflow_has_is_answered_by_those_there_are(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": SHOWS, "a": "1"})
    (desk.folder / "outside.yml").write_text(SHOWS)

    for name in ("cd", "../outside.yml", "/etc/passwd"):
        ran = desk.run(name)
        assert ran.status == 1
        assert ran.err == f"runner: no workflow '{name}' in {desk.checkout}; there are {PLACE}/ci.yml\n"
    assert desk.run("--repo", "nowhere").err.endswith("there is no folder nowhere\n")


def test_an_invalid_workflow_ends_with_2_and_shows_every_problem(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": "on: push\njobs:\n  a:\n    runs-on: x\n    steps: [{rnu: y}]\n"})

    ran = desk.run("ci")

    assert ran.status == 2
    assert ran.out.splitlines()[3:] == [
        f'{PLACE}/ci.yml:5:14: unknown key "rnu"; did you mean "run"?',
        "    5 |     steps: [{rnu: y}]",
        f"{' ' * 21}^",
    ]
    for_programs = desk.run("ci", "--json")
    assert (for_programs.status, for_programs.json["conclusion"]) == (2, "failure")
    assert for_programs.err == ran.out


def test_a_step_that_fails_ends_it_with_1(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": FAILS})

    ran, plain = desk.run("--json"), desk.run()

    jobs = ran.json["jobs"]
    assert (ran.status, ran.json["conclusion"]) == (1, "failure")
    assert {key: job["conclusion"] for key, job in jobs.items()} == {
        "lint": "success",
        "build": "failure",
        "package": "skipped",
    }
    assert [(one["id"], one["outcome"]) for one in jobs["build"]["legs"][0]["steps"]] == [
        ("wrong", "failure"),
        ("after", "skipped"),
    ]
    assert plain.status == 1
    assert "[build] it went wrong" in plain.out.splitlines()
    assert plain.out.splitlines()[-1].startswith(f"{PLACE}/ci.yml failure in ")


def test_only_a_job_and_what_it_needs(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": FAILS})

    assert list(desk.run("--job", "package", "--json").json["jobs"]) == ["build", "package"]
    assert desk.run("-j", "lint").status == 0
    unknown = desk.run("--job", "deploy")
    assert (unknown.status, unknown.err) == (
        1,
        "runner: nothing was run: no job 'deploy'; there are lint, build, package\n",
    )


def test_a_workflow_that_another_event_starts_says_which_option_gives_it(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": SHOWS.replace("on: push", "on: workflow_dispatch")})

    ran = desk.run()

    assert (ran.status, ran.err.endswith("on push; --event NAME gives another event\n")) == (1, True)


@pytest.mark.parametrize("needs_it", ["services: {db: postgres}", "container: debian:12"])
def test_without_docker_a_job_that_needs_it_fails_at_once(desk: Desk, needs_it: str) -> None:
    desk.commit({f"{PLACE}/ci.yml": SHOWS.replace("runs-on:", f"{needs_it}\n    runs-on:")})

    since = time.monotonic()
    ran = desk.run(env={"RUNNER_DOCKER": "unix:///nowhere.sock"})

    assert ran.status == 1
    assert "no docker daemon answers at unix:///nowhere.sock" in ran.out
    assert time.monotonic() - since < PATIENCE


def test_a_value_that_no_matrix_has_is_named(desk: Desk) -> None:
    legs = SHOWS.replace("runs-on:", "strategy: {matrix: {os: [a, b]}}\n    runs-on:")
    desk.commit({f"{PLACE}/ci.yml": legs})

    ran = desk.run("--matrix", "os=zz", "--matrix", "os=b")

    assert (ran.status, ran.err.splitlines()[-1]) == (1, "runner: no job was run with os=zz; there was os=b")
    assert desk.run("--matrix", "os=b", "--json").status == 0
    assert desk.run("--matrix", "sys=b", "--json").status == 1


def test_what_the_event_does_not_start_is_not_run(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": SHOWS.replace("on: push", "on: {push: {branches: [release]}}")})

    ran = desk.run("ci", "--json")

    assert (ran.status, ran.json["triggered"], ran.json["conclusion"]) == (1, False, "skipped")
    assert ran.err.endswith("ci.yml: its filter on branches leaves out main\n")
    assert desk.run("ci", "--ref", "refs/heads/release").status == 0


def test_a_job_for_another_kind_of_machine_is_left_out(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": SHOWS.replace("ubuntu-latest", "[self-hosted, windows-2022]")})

    leg = desk.run("--json").json["jobs"]["build"]["legs"][0]

    assert leg["conclusion"] == "skipped"
    assert leg["reason"] == "this machine is no windows-2022; --label windows-2022 says that it is"
    assert desk.run("--label", "self-hosted,windows-2022", "--json").json["conclusion"] == "success"


# --- what it is given ------------------------------------------------------------------------------


def test_the_event_and_the_github_context_are_as_they_are_given(desk: Desk) -> None:
    reads = """
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - run: |
          echo ${{ github.repository }} ${{ github.actor }} ${{ github.ref_name }} ${{ env.GIVEN }} $GIVEN
          echo ${{ github.event.ref }} ${{ github.event.pusher.name }} ${{ github.event.more }}
"""
    commit = desk.commit({f"{PLACE}/ci.yml": reads})
    (desk.folder / "payload.json").write_text('{"more": "this too"}')
    (desk.folder / "github.json").write_text('{"repository": "o/r", "actor": "grace", "run_id": "9"}')
    git(desk.checkout, "config", "user.name", "Ada L")
    git(desk.checkout, "remote", "add", "origin", "https://user:secret@git.example/octo/hello.git")

    given = desk.run(
        *("--event-payload", str(desk.folder / "payload.json"), "--github", str(desk.folder / "github.json")),
        *("--env", "GIVEN=yes", "--ref", "refs/heads/other", "--json"),
    )

    assert given.json["log"] == "o/r grace other yes yes\nrefs/heads/other Ada L this too\n"
    assert "--github says run_id, of which nothing is taken" in given.err
    assert desk.run("--json").json["log"] == "octo/hello ada main\nrefs/heads/main Ada L\n"
    assert desk.run().out.splitlines()[0].endswith(f" of octo/hello at {commit[:12]}")


def test_a_secret_is_written_nowhere(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": desk.waits})
    (desk.folder / "secrets").write_text("KEY='a very secret text'\n")
    command = [*RUNNER, "run", "--secret-file", "../secrets", "--json"]
    with subprocess.Popen(command, cwd=desk.checkout, env=desk.env(), stdout=subprocess.PIPE) as process:
        begun(desk)
        read = dict(contents(desk.temp))
        assert any(path.name == "runner.db-wal" for path in read)
        assert [path for path, data in read.items() if b"very secret" in data] == []
        process.send_signal(signal.SIGINT)


def test_what_is_given_wrongly_is_named_without_a_value(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": SHOWS})
    (desk.folder / "secrets").write_text("# these\nKEY=ok\nsecret text\n")

    assert desk.run("--secret-file", "../secrets").err == "runner: ../secrets:3: write NAME=value\n"
    assert desk.run("--var", "secret text").err == "runner: --var ...: write --var NAME=value\n"
    assert desk.run("--secret", "KEY").err.startswith("runner: --secret KEY: there is no variable KEY;")
    assert desk.run("--secret", "KEY", env={"KEY": "x"}).status == 0


def test_steps_in_a_sandbox_have_the_history_of_the_checkout_and_change_nothing_of_it(desk: Desk) -> None:
    if executor("sandbox")().check() is not None:
        pytest.skip("no sandbox can be made here")
    steps = "steps: [{run: git log --format=%s; git status --short; git fsck --strict; git tag one}]"
    text = f"on: push\njobs:\n  build: {{runs-on: ubuntu-latest, {steps}}}\n"
    desk.commit({f"{PLACE}/ci.yml": text}, "the first")
    desk.commit({"a": "1"}, "the second")
    git(desk.checkout, "gc", "--quiet")
    desk.commit({"a": "2"}, "the third")
    desk.write({"b": "new"})
    before = everything(desk.checkout)

    ran = desk.run("--json", "--executor", "sandbox")

    first, *rest = ran.json["log"].splitlines()
    assert (ran.status, ran.json["conclusion"]) == (0, "success")
    assert rest == ["the third", "the second", "the first"], first
    assert everything(desk.checkout) == before


CACHES = """
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - id: cache
        uses: actions/cache@v4
        with: {path: kept, key: one}
      - run: "echo hit: '${{ steps.cache.outputs.cache-hit }}' $(cat kept/file 2>/dev/null)"
      - run: mkdir -p kept && date +%s%N > kept/file
"""


def test_caches_are_there_again_for_the_same_checkout_alone(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": CACHES})
    other = desk.folder / "other"
    shutil.copytree(desk.checkout, other)

    first, second, elsewhere = desk.run(), desk.run(), desk.run(cwd=other)

    assert re.search("hit: *\n", first.out)
    assert re.search("hit: true [0-9]+\n", second.out)
    assert re.search("hit: *\n", elsewhere.out)
    assert stat.S_IMODE((desk.folder / "cache" / "runner").stat().st_mode) == 0o700
    assert desk.left() == []


def test_a_run_that_keeps_no_cache_leaves_nothing_at_all(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": SHOWS})

    assert desk.run().status == 0
    assert not (desk.folder / "cache").exists()


def test_caches_that_cannot_be_kept_fail_no_job(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": CACHES})
    (desk.folder / "cache").write_text("no folder")

    ran = desk.run()

    assert ran.status == 0
    assert f"caches cannot be kept in {desk.folder / 'cache' / 'runner'}" in ran.out


# --- ending it -------------------------------------------------------------------------------------


def begun(desk: Desk) -> None:
    """Wait until the step has printed something."""
    until = time.monotonic() + PATIENCE
    while not any(path.stat().st_size for path in desk.temp.glob("runner-run-*/logs/*/*/*/1.log")):
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_cancels_it_in_order(desk: Desk, number: signal.Signals) -> None:
    desk.commit({f"{PLACE}/ci.yml": desk.waits})
    command = [*RUNNER, "run", "--json"]
    with subprocess.Popen(
        command, cwd=desk.checkout, env=desk.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        begun(desk)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == 128 + number
    assert json.loads(out)["jobs"]["build"]["conclusion"] == "cancelled"
    assert err == b"runner: cancelling; once more ends it at once\n"
    assert desk.waiting() == []


def test_a_second_ctrl_c_ends_it_at_once_and_more_of_them_do_no_harm(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": desk.waits})
    with subprocess.Popen(
        [*RUNNER, "run"], cwd=desk.checkout, env=desk.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        begun(desk)
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.02)
        process.communicate(timeout=PATIENCE)

    assert process.returncode == 130
    assert desk.waiting() == []


def test_a_second_ctrl_c_waits_for_no_step_that_does_not_heed_the_first(desk: Desk) -> None:
    again = desk.folder / "again"
    desk.commit({f"{PLACE}/ci.yml": ASKED_AGAIN.format(seconds=desk.mark, again=again)})
    command = [*RUNNER, "run", "--executor", "host"]
    with subprocess.Popen(
        command, cwd=desk.checkout, env=desk.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        begun(desk)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert b"cancelling" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)

    assert process.returncode == 130
    assert not again.exists()
    assert desk.waiting() == []


def test_what_a_killed_run_left_is_removed_by_the_next(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": desk.waits, f"{PLACE}/other.yml": SHOWS})
    with subprocess.Popen([*RUNNER, "run", "ci"], cwd=desk.checkout, env=desk.env()) as process:
        begun(desk)
        assert desk.run("other").status == 0
        assert len(desk.left()) == 1, "that of a run which goes on stays"
        process.kill()
    # The kernel ends them for it, and nobody waits for that.
    assert survivors(desk.mark, PATIENCE) == []

    assert desk.run("other").status == 0


def test_a_terminal_shows_a_tree_and_then_the_log_of_what_failed(desk: Desk) -> None:
    desk.commit({f"{PLACE}/ci.yml": FAILS})
    worker, terminal = pty.openpty()
    with subprocess.Popen(
        [*RUNNER, "run"], cwd=desk.checkout, env=desk.env({"NO_COLOR": "1", "TERM": "xterm"}), stdout=terminal
    ) as process:
        os.close(terminal)
        shown = b""
        # Linux ends a terminal whose other side is closed with an error.
        try:
            while piece := os.read(worker, 65536):
                shown += piece
        except OSError:
            pass
        os.close(worker)

    assert process.returncode == 1
    said = shown.decode()
    assert "\x1b[3" not in said, "no colours"
    last = said[said.rindex("run 1 ") :].replace("\r", "")
    assert "✗ build" in last
    assert "  ✗ Go wrong" in last
    assert "- package" in last
    assert "\nbuild / Go wrong" in last
    assert "\n  it went wrong\n" in last


# --- jobs with several legs ------------------------------------------------------------------------


def test_the_outputs_of_legs_are_those_of_the_last_that_says_something() -> None:
    legs = [a_job(outputs={"a": "1", "b": "1"}), a_job(outputs={"a": "2", "b": ""}), a_job()]

    assert outputs_of(legs) == {"a": "2", "b": "1"}


# --- turns ------------------------------------------------------------------------------------------


def test_jobs_of_one_group_run_one_after_another(desk: Desk) -> None:
    job = """\
  {0}:
    runs-on: ubuntu-latest
    concurrency: {{group: "of ${{{{ github.ref_name }}}}", queue: max}}
    steps: [{{run: echo {0}}}]
"""
    text = "on: push\njobs:\n" + "".join(map(job.format, ("a", "b", "c")))
    desk.commit({f"{PLACE}/ci.yml": text})

    ran = desk.run("ci")

    assert ran.status == 0, ran.out
    said = [line for line in ran.out.splitlines() if " running" in line or " ✓ " in line]
    order = [line[1] for line in said]
    assert order == sorted(order), "one after another"
