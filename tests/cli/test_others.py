"""What other repositories have, as people use it: on a server and in a checkout."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.conftest import PATIENCE, Machine, Shell, run_of
from tests.forked import command
from tests.workspaces.origin import git

SAYS = "name: s\ndescription: s\nruns: {{using: composite, steps: [{{shell: bash, run: echo it says {}}}]}}\n"


def uses(action: str) -> str:
    return f"on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps: [{{uses: {action}}}]\n"


def publish(origin: Path, ref: str, said: str) -> str:
    """Have a repository with an action in its top folder, and move a tag to it; gives its commit."""
    if not origin.exists():
        origin.mkdir(parents=True)
        git(origin, "init", "--quiet")
    (origin / "action.yml").write_text(SAYS.format(said))
    git(origin, "add", "--all")
    git(origin, "commit", "--quiet", "--message", said)
    git(origin, "tag", "--force", ref)
    return git(origin, "rev-parse", "HEAD")


def pushed(machine: Machine, shell: Shell, workflow: str) -> str:
    machine.push(workflow)
    return str(run_of(shell, machine.git("rev-parse", "HEAD").strip()))


def test_a_rerun_uses_what_a_tag_was_though_it_was_moved_and_deleted(
    machine: Machine, on_machine: Shell
) -> None:
    origin = machine.folder / "others/tools/says"
    commit = publish(origin, "v1", "one")
    run = pushed(machine, on_machine, uses("tools/says@v1"))
    assert on_machine("runs", "watch", run).status == 0

    publish(origin, "v1", "two")
    on_machine("runs", "rerun", run)
    assert on_machine("runs", "watch", run).status == 0
    moved = on_machine("runs", "logs", run).out
    git(origin, "tag", "--delete", "v1")
    on_machine("runs", "rerun", run)
    assert on_machine("runs", "watch", run).status == 0

    assert f"Download action repository 'tools/says@v1' (SHA:{commit})" in moved
    assert "it says one" in moved
    assert "it says one" in on_machine("runs", "logs", run).out
    assert f"uses:        tools/says@v1 at {commit}" in on_machine("runs", "view", run).out
    assert on_machine("runs", "view", run, "--json", "pins,attempt").json == {
        "pins": {"tools/says@v1": commit},
        "attempt": 3,
    }


def why_it_waits(shell: Shell, run: str) -> str:
    """Why a job cannot begin, as soon as that was tried."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        reason: str = shell("runs", "view", run, "--json").json["jobs"][0]["reason"]
        if "; tried" in reason:
            return reason
    raise AssertionError(f"run {run} was not tried")


def test_a_neighbour_is_used_where_it_is_shared_and_not_there_else(
    machine: Machine, on_machine: Shell
) -> None:
    for name in ("shared", "private"):
        publish(machine.folder / name, "v1", name)
    add = ("repo", "add", "--json")
    url = ("--url", str(machine.folder / "shared"))
    assert on_machine(*add, "octo/shared", *url, "--shared").json["shared"] is True
    url = ("--url", str(machine.folder / "private"))
    assert on_machine(*add, "octo/private", *url).json["shared"] is False

    run = pushed(machine, on_machine, uses("octo/shared@v1"))
    assert on_machine("runs", "watch", run).status == 0
    said = []
    for name in ("octo/private", "octo/nowhere"):
        run = pushed(machine, on_machine, uses(f"{name}@v1"))
        said.append(why_it_waits(on_machine, run).split("; tried")[0].replace(name, "NAME"))
        on_machine("runs", "cancel", run)

    assert said[0] == said[1]
    assert said[0].startswith("NAME@v1: NAME at ")
    assert "octo/shared\tgit" in on_machine("repo", "list").out
    assert on_machine("repo", "list", "--json", "name,shared").json == [
        {"name": "octo/hello", "shared": False},
        {"name": "octo/private", "shared": False},
        {"name": "octo/shared", "shared": True},
    ]


def test_the_doctor_says_where_other_repositories_come_from(
    on_machine: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said() -> dict[str, str]:
        return {one["name"]: one["said"] for one in on_machine("doctor", "--json").json["findings"]}

    assert said()["actions"].startswith("owner/name is cloned from /")
    monkeypatch.setenv("RUNNER_ACTIONS_URL", "https://github.com")
    assert "the protocol 'https' of its URL is not allowed" in said()["actions"]
    monkeypatch.setenv("RUNNER_ACTIONS_URL", "")
    assert "RUNNER_ACTIONS_URL: give the address of a forge" in on_machine("doctor").err
    monkeypatch.setenv("RUNNER_ACTIONS_URL", "https://ada:hunter2@example.org")
    refused = on_machine("doctor")
    assert (refused.status, "hunter2" in refused.err) == (1, False)
    assert "RUNNER_ACTIONS_URL: all may see what is cloned from there" in refused.err


# --- a checkout --------------------------------------------------------------------------------


def run_here(checkout: Path, actions_url: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNNER_", "GIT_"))}
    # Nothing is asked of a network that these tests may have.
    env = kept | {"RUNNER_ACTIONS_URL": actions_url, "PYTHONPATH": str(Path.cwd())}
    return command("run", "--executor", "host", cwd=checkout, env=env)


def a_checkout(folder: Path, workflow: str) -> Path:
    publish(folder, "own", "its own")
    place = folder / ".github/workflows/ci.yml"
    place.parent.mkdir(parents=True)
    place.write_text(workflow)
    return folder


def test_a_checkout_runs_with_what_others_have(tmp_path: Path) -> None:
    publish(tmp_path / "others/tools/says", "v1", "hello")
    checkout = a_checkout(tmp_path / "checkout", uses("tools/says@v1"))

    ran = run_here(checkout, str(tmp_path / "others"))

    assert (ran.returncode, "it says hello" in ran.stdout) == (0, True), ran.stdout + ran.stderr


def test_a_checkout_runs_with_what_it_has_at_another_version_itself(tmp_path: Path) -> None:
    checkout = a_checkout(tmp_path / "checkout", uses("local/checkout@own"))
    (checkout / "action.yml").write_text(SAYS.format("something new"))

    ran = run_here(checkout, str(tmp_path / "others"))

    assert (ran.returncode, "it says its own" in ran.stdout) == (0, True), ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("action", "url", "problem"),
    [
        ("tools/says@v9", "", 'tools/says@v9: {}/tools/says has no branch, tag or commit "v9"'),
        ("tools/none@v1", "", "tools/none@v1: tools/none at {}/tools/none does not answer"),
        (
            "tools/says@v1",
            "https://forge.invalid",
            "tools/says@v1: tools/says: there is no host forge.invalid",
        ),
        ("tools/says@v1", "https://u:p@forge.invalid", "RUNNER_ACTIONS_URL: all may see what is cloned"),
    ],
)
def test_what_cannot_be_had_is_named_at_once(tmp_path: Path, action: str, url: str, problem: str) -> None:
    others = tmp_path / "others"
    publish(others / "tools/says", "v1", "hello")
    checkout = a_checkout(tmp_path / "checkout", uses(action))

    ran = run_here(checkout, url or str(others))

    assert ran.returncode == 1
    assert problem.format(others) in ran.stdout + ran.stderr
