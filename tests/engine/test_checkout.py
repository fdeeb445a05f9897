"""What `actions/checkout` asks for by its inputs."""

from secrets import token_hex

import pytest

from runner.engine.errands.checkout import joined
from runner.engine.ports import Submodule, Wanted
from runner.errors import BrokenDefinition
from runner.model.source import Repository, bare_url
from runner.model.step import Result
from tests.engine.conftest import Bench

ONE, TWO = "1" * 40, "2" * 40


def ran(bench: Bench, inputs: str) -> tuple[Result | None, str]:
    bench.logs.printed.clear()
    text = "on: push\njobs:\n  a:\n    runs-on: linux\n    steps:\n"
    step = f"      - {{uses: actions/checkout@v5, with: {{{inputs}}}}}\n"
    run = bench.a_run(text + step, token_hex(8))
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
        ("lfs: true", "lfs: true is not supported yet"),
        ("ssh-key: k", "ssh-key is not supported"),
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


def test_a_token_is_said_to_be_of_no_use_and_not_shown(bench: Bench) -> None:
    result, said = ran(bench, "token: abcdef")

    assert (result, "abcdef" in said) == (Result.SUCCESS, False)
    assert "##[warning]token: it is not used" in said


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
