import os
import subprocess
from pathlib import Path

import pytest

from tests.web.conftest import Web

ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "USER": "octo",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}


def git(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["git", *arguments], cwd=folder, env=ENV, check=True, capture_output=True, text=True
    )


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A clone with one commit, of a bare repository beside it."""
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "bare.git")
    git(tmp_path, "clone", "-q", "bare.git", "work")
    git(tmp_path / "work", "commit", "-q", "--allow-empty", "-m", "one")
    return tmp_path / "work"


def install(web: Web, work: Path, name: str = "octo/hello") -> Path:
    script = web.call("GET", f"/api/v1/repos/{name}/hook")
    hook = work.parent / "bare.git" / "hooks" / "post-receive"
    hook.write_text(script.text)
    hook.chmod(0o700)
    return hook


def test_a_real_push_tells_of_each_ref(served: Web, work: Path) -> None:
    served.add()
    install(served, work)
    git(work, "tag", 'v1"$(id)')

    said = git(work, "push", "origin", "HEAD:refs/heads/main", "HEAD:refs/heads/\u00fcber/x", "--tags").stderr

    commit = git(work, "rev-parse", "HEAD").stdout.strip()
    stored = served.site.views.deliveries()
    assert {one.ref for one in stored} == {"refs/heads/main", "refs/heads/\u00fcber/x", 'refs/tags/v1"$(id)'}
    assert {(one.commit, one.actor, one.status) for one in stored} == {(commit, "octo", "received")}
    assert served.site.views.delivery(stored[0].id).payload["repository"]["default_branch"] == "main"
    assert all(f"{served.url}/api/v1/deliveries/{one.id}" in said for one in stored)


def test_a_push_that_deletes_a_branch_is_told_too(served: Web, work: Path) -> None:
    served.add()
    install(served, work)
    git(work, "push", "origin", "HEAD:refs/heads/topic")
    git(work, "push", "origin", ":refs/heads/topic")

    assert [one.status for one in served.site.views.deliveries()] == ["ignored", "received"]


def test_a_refused_delivery_warns_and_the_push_stands(served: Web, work: Path) -> None:
    served.add()
    install(served, work)
    served.call("DELETE", "/api/v1/repos/octo/hello")

    said = git(work, "push", "origin", "HEAD:refs/heads/main").stderr

    assert "not told of refs/heads/main: 401" in said
    assert git(work.parent / "bare.git", "rev-parse", "main").stdout == git(work, "rev-parse", "HEAD").stdout


def test_a_server_that_is_away_warns_and_the_push_stands(web: Web, work: Path) -> None:
    web.add()
    install(web, work)
    web.listener.close()

    said = git(work, "push", "origin", "HEAD:refs/heads/main").stderr

    assert "runner: not told of refs/heads/main:" in said


def test_a_machine_without_python_warns_and_goes_on(web: Web, work: Path) -> None:
    web.add()
    hook = install(web, work)

    done = subprocess.run(
        ["/bin/sh", str(hook)], env={"PATH": "/nonexistent"}, capture_output=True, text=True
    )

    assert done.returncode == 0
    assert "python3 is missing" in done.stderr


def test_the_key_is_on_no_command_line(web: Web, work: Path) -> None:
    web.add()
    script = install(web, work).read_text()
    secret = web.site.repositories.secret("git", "octo/hello") or ""

    assert [line for line in script.splitlines() if secret in line] == [f"SECRET = {secret!r}"]
    assert "openssl" not in script


def test_only_plain_git_has_a_hook_script(web: Web) -> None:
    web.add(forge="github")

    answer = web.call("GET", "/api/v1/repos/octo/hello/hook")

    assert answer.status_code == 400
    assert f"{web.url}/hooks/github" in answer.json()["message"]
