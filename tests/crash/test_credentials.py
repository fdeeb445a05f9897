"""A worker is killed after a checkout has left a token for git: the next attempt's steps push with it."""

from base64 import b64encode
from pathlib import Path

import pytest

from runner.model.step import Result
from tests.crash.world import World
from tests.homes import files_with
from tests.workspaces.forge import a_forge
from tests.workspaces.origin import git

TOKEN = "t0ken-of-the-vault"
PUSHES = """\
name: ci
on: push
jobs:
  a:
    runs-on: linux
    steps:
      - uses: actions/checkout@v5
        with: {{token: "${{{{ secrets.TOKEN }}}}"}}
      - run: echo one > one
      - run: |
          git config user.name ada && git config user.email ada@example.com
          git commit --quiet --allow-empty -m "of $RUNNER_ATTEMPT"
          git push --quiet origin HEAD:refs/heads/pushed
"""


def folders_with(home: Path, login: str) -> set[str]:
    """In which folders of a home a file has the token, or the login that git sends."""
    found = files_with(home, TOKEN.encode(), b64encode(login.encode()))
    return {path.parts[0] for path in found}


@pytest.mark.parametrize("point", ["store.record:1:after", "store.record:2:after"])
def test_a_push_goes_on_with_a_token_that_is_in_no_snapshot(
    embedded: World, tmp_path: Path, point: str
) -> None:
    commit = embedded.commit(text=PUSHES)
    login = f"x-access-token:{TOKEN}"
    settings = {"git_protocols": "http", "git_networks": "127.0.0.0/8"}
    with a_forge(tmp_path / "forge", login) as forge:
        there = forge.a_repository("octo/hello")
        git(embedded.repository, "push", "--quiet", str(there), "HEAD:refs/heads/main")
        forge.others["/octo/hello.git"] = "server:registered"
        url = f"{forge.url.replace('http://', 'http://server:registered@')}/octo/hello.git"
        real = embedded.services
        real.repositories.change(real.repositories.get("git", "octo/hello"), {"url": url})
        real.vault.keep_secret(real.repositories.get("git", "octo/hello"), "TOKEN", TOKEN)
        delivery = embedded.deliver(commit)

        embedded.killed(embedded.start("embedded", point, settings=settings))
        having = folders_with(embedded.settings.home, login)
        embedded.start("embedded", settings=settings)
        run = embedded.ended(delivery)

        job = run.jobs[0]
        log = "".join(
            real.logs.read(job.id, attempt, key, 0, 65536).decode()
            for attempt in (1, 2)
            for key in ("0", "1", "2", "3")
        )
        assert (run.result, job.attempt) == (Result.SUCCESS, 2), log
        assert git(there, "log", "--format=%s", "-1", "pushed") == "of 2"
        assert TOKEN not in log
        # What was made for the attempt that was lost is no part of the job's files.
        assert having == {"temp"}
        embedded.kill_all()
        assert folders_with(embedded.settings.home, login) <= {"temp"}
