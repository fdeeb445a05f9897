"""What `actions/checkout` asks for by its inputs."""

import re
import stat
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from secrets import token_hex

import pytest

from runner.engine import control
from runner.engine.errands.checkout import joined
from runner.engine.ports import BOX_TEMP, Command, Exit, Large, Submodule, Wanted
from runner.engine.sources import OPEN
from runner.errors import BrokenDefinition
from runner.model.run import Run
from runner.model.source import Repository, Route, bare_url
from runner.model.step import Result
from runner.model.waits import Signal
from runner.vault import MemoryVault
from tests.engine.conftest import Bench

ONE, TWO = "1" * 40, "2" * 40


def ran(bench: Bench, inputs: str) -> tuple[Result | None, str]:
    return ran_steps(bench, f"      - {{uses: actions/checkout@v5, with: {{{inputs}}}}}\n")


def ran_steps(bench: Bench, steps: str, job: str = "") -> tuple[Result | None, str]:
    bench.logs.printed.clear()
    text = f"on: push\njobs:\n  a:\n    runs-on: linux\n{job}    steps:\n"
    run = bench.a_run(text + steps, token_hex(8))
    bench.work()
    said = b"".join(bench.logs.printed.values()).decode()
    return bench.store.load(run.id).result, said


@pytest.mark.parametrize(
    "inputs",
    [
        "persist-credentials: true",
        "ref: main",
        "ref: refs/heads/main",
        "path: .",
        "fetch-depth: 0",
        "clean: false",
        "filter: 'blob:none'",
    ],
)
def test_what_a_job_begins_with_is_left_as_it_is(bench: Bench, inputs: str) -> None:
    assert ran(bench, inputs)[0] is Result.SUCCESS
    assert bench.workspaces.checked_out == []


@pytest.mark.parametrize("clean", [True, False])
def test_a_commits_files_are_checked_out_again_once_steps_may_have_changed_them(
    bench: Bench, clean: bool
) -> None:
    bench.workspaces.changing = (1,)
    again = f"{{uses: actions/checkout@v4, with: {{clean: {str(clean).lower()}}}}}"

    result, _ = ran_steps(bench, f"      - run: echo dirty > README\n      - {again}\n")

    assert result is Result.SUCCESS
    assert [(path, wanted) for _, path, _, wanted in bench.workspaces.checked_out] == [
        ((), Wanted(clean=clean))
    ]


def test_they_are_also_where_nothing_is_kept_of_what_steps_change(bench: Bench) -> None:
    checkout = "      - uses: actions/checkout@v4\n"

    result, _ = ran_steps(
        bench, f"{checkout}      - run: echo dirty > README\n{checkout}", "    snapshot: off\n"
    )

    assert result is Result.SUCCESS
    assert [path for _, path, _, _ in bench.workspaces.checked_out] == [()]


def test_another_ref_is_bound_to_its_commit_and_held_as_long_as_the_run(bench: Bench) -> None:
    result, _ = ran(bench, "ref: topic, path: ./deep//there/, clean: false, sparse-checkout: docs")

    ((route, path, ref, wanted),) = bench.workspaces.checked_out
    assert result is Result.SUCCESS
    assert (route.repo, route.commit, path, ref) == ("octo/hello", ONE, ("deep", "there"), "refs/heads/topic")
    assert wanted == Wanted(clean=False, sparse="docs")
    assert bench.workspaces.fetched[-1] == route


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ("path: ../x", "path is a folder in the workspace, not '../x'"),
        ("path: /etc", "path is a folder in the workspace, not '/etc'"),
        ("path: a/.GIT/hooks", "path is a folder in the workspace"),
        ("repository: '../x'", "repository is OWNER/NAME"),
        ("repository: 'a/b/c'", "repository is OWNER/NAME"),
        ("repository: '-a/b'", "repository is OWNER/NAME"),
        ("clean: maybe", "clean is true or false, not 'maybe'"),
        ("submodules: some", "submodules is true or false, or recursive, not 'some'"),
        ("fetch-depth: '-1'", "fetch-depth is a number, 0 for all, not '-1'"),
        ("lfs: some", "lfs is true or false, not 'some'"),
        ("ssh-user: '-oProxyCommand=x'", "ssh-user is the name of a user, not '-oProxyCommand=x'"),
        ("ssh-key: k, ssh-strict: perhaps", "ssh-strict is true or false, not 'perhaps'"),
        ("token: 'tök en'", "token is one line of letters, digits and signs"),
        (
            "repository: o/a, github-server-url: 'https://evil.test'",
            "github-server-url: others are cloned from https://github.test",
        ),
    ],
)
def test_what_cannot_be_is_named(bench: Bench, inputs: str, why: str) -> None:
    result, said = ran(bench, inputs)

    assert result is Result.FAILURE
    assert f"actions/checkout: {why}" in said
    assert bench.workspaces.checked_out == []


def a_config(bench: Bench, folder: str) -> Path:
    """What git in a folder of the workspace is configured by."""
    config = bench.workspaces.folder / folder / ".git/config"
    config.parent.mkdir(parents=True)
    config.write_text("[core]\n\tbare = false\n")
    return config


def included(text: str) -> Path:
    """The file that a configuration includes, where steps in containers of their own would find it too."""
    path, other = re.findall(r'^\[include\]\n\tpath = "(.+)"\n\tpath = "(.+)"$', text, re.MULTILINE)[0]
    assert other == f"{BOX_TEMP}/{Path(path).name}"
    return Path(path)


def looking(bench: Bench, config: Path, then: str = "") -> list[tuple[str, str]]:
    """What is in it and in what it includes whenever a step runs, which leaves `then` at its end."""
    seen = []

    def act(command: Command) -> Exit:
        text = config.read_text()
        file = included(text)
        assert (str(file.parent), stat.S_IMODE(file.stat().st_mode)) == (command.env["RUNNER_TEMP"], 0o600)
        seen.append((text, file.read_text()))
        config.write_text(text + then)
        return Exit(0)

    bench.executor.act = act
    return seen


def test_a_token_is_what_git_goes_with_until_the_job_ends(bench: Bench) -> None:
    config = a_config(bench, "lib")
    seen = looking(bench, config, then="[user]\n\tname = me\n")
    step = "      - {uses: actions/checkout@v5, with: {repository: o/a, path: lib, token: t0ps3cret}}\n"

    result, said = ran_steps(bench, f"{step}      - run: git push\n")

    login = b64encode(b"x-access-token:t0ps3cret").decode()
    assert (result, "t0ps3cret" in said, login in said) == (Result.SUCCESS, False, False)
    ((around, found),) = seen
    assert found == f'[http "https://github.test/"]\n\textraheader = AUTHORIZATION: basic {login}\n'
    assert not {text for text in ("t0ps3cret", login) if text in around}
    assert config.read_text() == "[core]\n\tbare = false\n[user]\n\tname = me\n"


WITH_A_WAIT = """\
      - {uses: actions/checkout@v5, with: {repository: o/a, path: lib, token: "${{ secrets.TOKEN }}"}}
      - run: one
      - {uses: runner/wait@v1, with: {signal: go}}
      - run: two
"""


def waited(bench: Bench, later: dict[str, str], steps: str = WITH_A_WAIT) -> tuple[Run, str]:
    """A job that goes on in another attempt, with these secrets."""
    secrets = {"TOKEN": "first-t0ken"}
    bench.station = replace(bench.station, vault=MemoryVault(secrets))
    text = "on: push\njobs:\n  a:\n    runs-on: linux\n    steps:\n"
    run = bench.a_run(text + steps, token_hex(8))
    bench.work()
    secrets.clear()
    secrets.update(later)
    control.signal(run.id, Signal("go", "1"), store=bench.store, dispatcher=bench.bell)
    bench.work()
    return bench.store.load(run.id), b"".join(bench.logs.printed.values()).decode()


def test_another_attempt_goes_on_with_the_token_as_it_is_then(bench: Bench) -> None:
    config = a_config(bench, "lib")
    seen = looking(bench, config)

    run, said = waited(bench, {"TOKEN": "other-t0ken"})

    (first, one), (second, two) = seen
    tokens = ("first-t0ken", "other-t0ken")
    logins = [b64encode(f"x-access-token:{token}".encode()).decode() for token in tokens]
    assert (run.result, run.jobs[0].attempt) == (Result.SUCCESS, 2), said
    assert (logins[0] in one, logins[1] in two) == (True, True)
    assert included(first).parent != included(second).parent
    assert included(first).name == included(second).name
    assert not {text for text in (*logins, *tokens) if text in first + second + said}
    assert config.read_text() == "[core]\n\tbare = false\n"


def test_an_ssh_key_of_an_action_is_there_in_another_attempt(bench: Bench) -> None:
    config = a_config(bench, "lib")
    (bench.workspaces.folder / "act").mkdir()
    (bench.workspaces.folder / "act/action.yml").write_text(
        "name: a\ndescription: a\ninputs: {key: {required: true}}\nruns:\n  using: composite\n  steps:\n"
        '    - {uses: actions/checkout@v5, with: {path: lib, repository: o/a, ssh-key: "${{inputs.key}}"}}\n'
    )
    keys: list[str] = []

    def act(command: Command) -> Exit:
        said = included(config.read_text()).read_text()
        keys.append(Path(re.findall(r"ssh -i (\S+/ssh-key-\w+) ", said)[0]).read_text())
        assert str(command.env["RUNNER_TEMP"]) in said
        return Exit(0)

    bench.executor.act = act
    uses = '      - {uses: ./act, with: {key: "${{ secrets.TOKEN }}"}}\n'
    run, said = waited(bench, {"TOKEN": "other-k3y"}, uses + WITH_A_WAIT.partition("\n")[2])

    assert run.result is Result.SUCCESS, said
    assert keys == ["first-t0ken\n", "other-k3y\n"]
    assert config.read_text() == "[core]\n\tbare = false\n"


def test_what_a_step_took_back_is_not_there_in_another_attempt(bench: Bench) -> None:
    config = a_config(bench, "lib")
    files: list[str] = []

    def act(command: Command) -> Exit:
        config.write_text("[core]\n\tbare = true\n")
        files.extend(path.name for path in Path(command.env["RUNNER_TEMP"]).glob("git-credentials-*"))
        return Exit(0)

    bench.executor.act = act
    run, said = waited(bench, {"TOKEN": "first-t0ken"})

    assert run.result is Result.SUCCESS, said
    # In the first attempt alone.
    assert len(files) == 1
    assert config.read_text() == "[core]\n\tbare = true\n"


def test_a_token_that_is_gone_when_the_job_goes_on_is_warned_of(bench: Bench) -> None:
    config = a_config(bench, "lib")
    bench.executor.act = lambda command: Exit(0)

    run, said = waited(bench, {})

    assert run.result is Result.SUCCESS
    assert "##[warning]persist-credentials: no token or ssh-key is given any more" in said
    assert config.read_text() == "[core]\n\tbare = false\n"


def test_an_ssh_key_is_in_a_file_of_the_job_until_it_ends(bench: Bench) -> None:
    config = a_config(bench, "lib")
    files: list[tuple[str, int]] = []

    def act(command: Command) -> Exit:
        seen.append(included(config.read_text()).read_text())
        file = Path(re.findall(r"ssh -i (\S+/ssh-key-\w+) ", seen[-1])[0])
        files.append((file.read_text(), stat.S_IMODE(file.stat().st_mode)))
        return Exit(0)

    seen: list[str] = []
    bench.executor.act = act
    given = "ssh-key: 'k3y-of-ssh', ssh-known-hosts: 'github.test ssh-x AAAA', ssh-user: me"
    step = f"      - {{uses: actions/checkout@v5, with: {{repository: o/a, path: lib, {given}}}}}\n"

    result, said = ran_steps(bench, f"{step}      - run: git push\n")

    assert (result, "k3y-of-ssh" in said) == (Result.SUCCESS, False)
    (found,) = seen
    assert "StrictHostKeyChecking=yes" in found
    assert '[url "ssh://me@github.test/"]\n\tinsteadOf = "https://github.test/"\n' in found
    assert "k3y-of-ssh" not in found
    assert config.read_text() == "[core]\n\tbare = false\n"
    assert files == [("k3y-of-ssh\n", 0o600)]


@pytest.mark.parametrize(
    "inputs", ["token: t0ps3cret, persist-credentials: false", "persist-credentials: true"]
)
def test_no_key_is_left_where_none_is_given_or_wanted(bench: Bench, inputs: str) -> None:
    config = a_config(bench, "lib")
    before = config.read_text()
    bench.workspaces.others["o/a", ONE] = {}

    result, said = ran(bench, f"repository: o/a, path: lib, {inputs}")

    assert result is Result.SUCCESS, said
    assert config.read_text() == before


def test_what_a_key_fetched_is_for_whoever_has_the_same_one(bench: Bench) -> None:
    def fetched(inputs: str) -> Route:
        result, said = ran(bench, f"repository: o/a, path: lib, persist-credentials: false, {inputs}")
        assert result is Result.SUCCESS, said
        return bench.workspaces.fetched[-1]

    bench.workspaces.others["o/a", ONE] = {}
    first = fetched("token: t0ps3cret")

    assert first.repo == "o/a"
    assert fetched("token: t0ps3cret") == first
    assert "t0ps3cret" not in repr(first)
    others = {fetched(inputs).forge for inputs in ("token: 0th3r", "ssh-key: t0ps3cret", "fetch-depth: 1")}
    assert len(others | {first.forge}) == 4
    assert OPEN in others


def test_a_token_is_for_submodules_of_its_server_and_for_no_others(bench: Bench) -> None:
    bench.workspaces.parts = {
        "o/a": [
            Submodule("same", "same", "git@github.test:o/same.git", TWO),
            Submodule("other", "other", "https://other.test/o/other.git", TWO),
        ],
    }
    bench.workspaces.others |= {("other.test/o/other", TWO): {}, ("github.test/o/same", TWO): {}}
    given = "persist-credentials: false, token: t0ps3cret, submodules: true"

    result, said = ran(bench, f"repository: o/a, path: lib, {given}")

    assert result is Result.SUCCESS, said
    forges = {route.repo: route.forge for route in bench.workspaces.fetched}
    assert forges["github.test/o/same"].startswith("given-")
    assert forges["other.test/o/other"] == OPEN


def test_what_lfs_has_is_put_over_what_a_job_began_with(bench: Bench) -> None:
    assert ran(bench, "lfs: true")[0] is Result.SUCCESS
    assert bench.workspaces.checked_out == []

    large = {"a.bin": Large("0" * 64, 7)}
    bench.workspaces.large["octo/hello"] = large
    result, said = ran(bench, "lfs: true")

    ((_, path, _, wanted),) = bench.workspaces.checked_out
    assert (result, path, wanted) == (Result.SUCCESS, (), Wanted(large=large, there=True))
    assert "1 files of LFS, 7 bytes" in said


def test_what_lfs_has_comes_with_another_place_and_with_submodules(bench: Bench) -> None:
    bench.repositories.add(Repository("git", "srv/lib", "/srv/lib.git", shared=True), "secret")
    bench.workspaces.parts = {"octo/hello": [Submodule("lib", "lib", "../lib.git", TWO)]}
    large = {"a.bin": Large("0" * 64, 7)}
    bench.workspaces.large["srv/lib"] = large

    result, said = ran(bench, "lfs: true, submodules: true, path: there")

    assert result is Result.SUCCESS, said
    assert [(path, wanted.large) for _, path, _, wanted in bench.workspaces.checked_out] == [
        (("there",), {}),
        (("there", "lib"), large),
    ]


def test_a_shared_neighbour_is_told_by_name_and_not_by_where_it_is(bench: Bench) -> None:
    neighbour = Repository("git", "octo/lib", "https://user:pass@inside.test/octo/lib", shared=True)
    bench.repositories.add(neighbour, "secret")

    result, said = ran(bench, f"repository: octo/lib, ref: '{TWO}', path: lib")

    ((route, path, ref, _),) = bench.workspaces.checked_out
    assert (result, route.forge, route.commit, path, ref) == (Result.SUCCESS, "git", TWO, ("lib",), "")
    assert "inside.test" not in said


def test_submodules_without_others_in_them_are_one_deep(bench: Bench) -> None:
    bench.repositories.add(Repository("git", "srv/lib", "/srv/lib.git", shared=True), "secret")
    bench.workspaces.parts = {
        "octo/hello": [Submodule("lib", "parts/lib", "./../lib.git", TWO)],
        "srv/lib": [Submodule("deep", "deep", "../deep.git", TWO)],
    }

    result, said = ran(bench, "submodules: recursive")
    assert result is Result.FAILURE, said
    assert "submodule deep: '/srv/deep.git' is no address of a repository that is open to all" in said

    bench.repositories.add(Repository("git", "srv/deep", "/srv/deep.git", shared=True), "secret")
    bench.workspaces.checked_out.clear()
    result, said = ran(bench, "submodules: true")
    assert result is Result.SUCCESS, said
    paths = [path for _, path, _, _ in bench.workspaces.checked_out]
    assert paths == [(), ("parts", "lib")]
    assert bench.workspaces.checked_out[0][3].submodules == {"lib": "/srv/lib.git"}

    bench.workspaces.checked_out.clear()
    assert ran(bench, "submodules: recursive")[0] is Result.SUCCESS
    paths = [path for _, path, _, _ in bench.workspaces.checked_out]
    assert paths == [(), ("parts", "lib"), ("parts", "lib", "deep")]


def test_a_circle_of_submodules_ends(bench: Bench) -> None:
    bench.repositories.add(Repository("git", "srv/lib", "/srv/lib.git", shared=True), "secret")
    bench.workspaces.parts = {
        "octo/hello": [Submodule("lib", "lib", "../lib.git", TWO)],
        "srv/lib": [Submodule("lib", "lib", "../lib.git", TWO)],
    }

    result, said = ran(bench, "submodules: recursive")

    assert result is Result.FAILURE
    assert "submodules have others in them more than 10 deep" in said


@pytest.mark.parametrize(
    ("parent", "url", "found"),
    [
        ("https://h.test/o/n", "../lib.git", "https://h.test/o/lib.git"),
        ("https://h.test/o/n.git/", "../../p/lib", "https://h.test/p/lib"),
        ("git@h.test:o/n", "../lib", "git@h.test:o/lib"),
        ("git@h.test:n", "../lib", "git@h.test:lib"),
        ("ssh://git@h.test:22/o/n", "./../lib", "ssh://git@h.test:22/o/lib"),
        ("/srv/o/n", "./sub", "/srv/o/n/sub"),
        ("https://h.test/o/n", "https://other.test/x", "https://other.test/x"),
    ],
)
def test_a_relative_url_is_one_beside_its_parent(parent: str, url: str, found: str) -> None:
    assert joined(parent, url) == found


@pytest.mark.parametrize("url", ["../../../x", "../../../../../x"])
def test_a_relative_url_does_not_leave_its_host(url: str) -> None:
    with pytest.raises(BrokenDefinition, match="leads out of the forge"):
        joined("https://h.test/o/n", url)


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("https://user:pass@h.test/o/n", "https://h.test/o/n"),
        ("https://token@h.test/o/n", "https://h.test/o/n"),
        ("https://h.test/o/n?token=x", "https://h.test/o/n"),
        ("ssh://git:pass@h.test/o/n", "ssh://git@h.test/o/n"),
        ("git@h.test:o/n", "git@h.test:o/n"),
        ("/srv/a:b@c", "/srv/a:b@c"),
    ],
)
def test_a_step_is_told_no_login(url: str, bare: str) -> None:
    assert bare_url(url) == bare


def test_the_urls_of_submodules_are_those_of_whoever_may_see_them(bench: Bench) -> None:
    sources, own = bench.station.sources, bench.a_run().route
    bench.repositories.add(Repository("git", "o/shared", "https://a:b@h.test/o/shared", shared=True), "s")
    bench.repositories.add(Repository("git", "o/private", "git@h.test:o/private"), "s")

    assert sources.at(own, "git@h.test:o/shared.git").url == "https://a:b@h.test/o/shared"
    bench.repositories.add(Repository("git", "team/tools", "/srv/git/t.git", shared=True), "s")
    assert sources.at(own, "/srv/git/t").name == "team/tools"
    for url in ("git@h.test:o/private", "ssh://git@h.test/o/private", "https://me:pass@h.test/o/private"):
        found = sources.at(own, url)
        assert (found.forge, found.url) == ("actions", "https://h.test/o/private")
    assert sources.at(own, "/srv/hello.git").name == "octo/hello"
