"""What comes from outside and ends up in an argument, a path or an address."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import Rejected
from runner.model.refs import checked_ref
from runner.model.source import Repository, shown_url
from runner.workspaces import GitWorkspaces
from runner.workspaces.git import Git, GitFailed
from runner.workspaces.names import Host, SecretInUrl, address_of, file_name
from tests.workspaces.origin import Origin, git

HTTPS_AND_SSH = "https:ssh"


def at(url: str) -> Repository:
    return Repository("git", "octo/hello", url)


@pytest.mark.parametrize(
    ("url", "protocol"),
    [
        ("ext::sh -c id", "ext"),
        ("ext::sh", "ext"),
        ("file:///srv/repo.git", "file"),
        ("/srv/repo.git", "file"),
        ("./host:repo.git", "file"),
        ("http://169.254.169.254/latest", "http"),
        ("git://example.com/repo", "git"),
        ("fd::17", "fd"),
        ("HTTP://example.com/repo", "http"),
    ],
)
def test_a_protocol_that_is_not_allowed_is_refused_by_name(url: str, protocol: str) -> None:
    with pytest.raises(Rejected, match=rf"protocol '{protocol}'.*allowed are https, ssh|is no address"):
        address_of(at(url), HTTPS_AND_SSH)


@pytest.mark.parametrize(
    "url", ["-x", "--upload-pack=touch x", "ssh://-oProxyCommand=id/x", "-oProxyCommand=id:x", "", "a b:c"]
)
def test_an_address_that_could_be_an_option_is_refused(url: str) -> None:
    with pytest.raises(Rejected):
        address_of(at(url), "https:ssh:file")


@pytest.mark.parametrize(
    "url", ["https://example.com/a.git", "ssh://git@example.com/a.git", "git@example.com:octo/a.git"]
)
def test_usual_addresses_are_taken_as_they_are(url: str) -> None:
    address = address_of(at(url), HTTPS_AND_SSH)

    assert (address.url, address.settings) == (url, {})


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.com/a.git", Host("https", "example.com", 443)),
        ("HTTPS://octo:p@ss@Example.com:8443", Host("https", "Example.com", 8443)),
        ("https://[2001:db8::1]/a.git", Host("https", "[2001:db8::1]", 443)),
        ("ssh://git@example.com:2222/a.git", Host("ssh", "example.com")),
        ("ssh://[::1]:22/a.git", Host("ssh", "[::1]")),
        ("git@example.com:octo/a.git", Host("ssh", "example.com")),
        ("ada@example.org@example.com:octo/a.git", Host("ssh", "example.com")),
        ("git@[::1]:octo/a.git", Host("ssh", "[::1]")),
        ("github-deploy:octo/a.git", Host("ssh", "github-deploy")),
        ("/srv/a:b/a.git", None),
        ("file:///srv/a.git", None),
    ],
)
def test_the_host_of_a_url_is_the_one_that_git_goes_to(url: str, host: Host | None) -> None:
    assert address_of(at(url), "https:ssh:file").host == host


@pytest.mark.parametrize(
    "url",
    [
        # What git or curl would decode to another host than we read.
        "ssh://127.0.0.1%2f@example.com/a.git",
        "ssh://127%2e0.0.1/a.git",
        "https://127%2e0.0.1/a.git",
        "https://localhost%00.example.com/a.git",
        "https://ex\u00e4mple.com/a.git",
        "https://\u2460\u2461\u2466.0.0.1/a.git",
        "https://localhost./a.git",
        "https://[fe80::1%25eth0]/a.git",
        "https:///a.git",
        "https::https://127.0.0.1/a.git",
        "ssh::ssh://127.0.0.1/a.git",
        "https://example.com:99999999/a.git",
        "[127.0.0.1:22]:a.git",
        "[2130706433:22]:a.git",
    ],
)
def test_a_host_that_can_be_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(Rejected, match="no host can be read in its URL; write https://HOST/PATH"):
        address_of(at(url), HTTPS_AND_SSH)


def test_a_password_goes_where_no_other_user_can_read_it() -> None:
    address = address_of(at("https://octo:s%40cret@example.com/a.git"), HTTPS_AND_SSH)

    assert address.url == "https://example.com/a.git"
    assert address.settings == {
        "http.https://example.com/a.git.extraHeader": "Authorization: Basic b2N0bzpzQGNyZXQ="
    }


@pytest.mark.parametrize(
    "url",
    [
        "ssh://octo:s3cret@example.com/a.git",
        "ssh://octo:s3cret@example.com:22/a.git",
        "octo:s3cret@example.com:octo/a.git",
        "git://octo:s3cret@example.com/a.git",
        "https://example.com/a.git?token=s3cret",
        "https://example.com/a.git#s3cret",
        "ssh://git@example.com/a.git?token=s3cret",
    ],
)
def test_a_secret_that_git_would_show_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(SecretInUrl) as refused:
        address_of(at(url), "https:ssh:git")

    assert "s3cret" not in str(refused.value)
    assert "octo/hello: the URL '" in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://octo:s3cret@example.com/a b",
        "http://octo:s3cret@example.com/a",
        "https://octo:/s3cret@example.com/a",
        "https://octo:x/s3cret@example.com/a",
        "https://octo:s3cret?@example.com/a.git",
        "https://octo:s3cret#@example.com/a.git",
        "https://s3cret@[::1/a",
        "ssh://octo:s3cret@-oProxyCommand=id/x",
    ],
)
def test_no_refusal_repeats_a_password(url: str) -> None:
    with pytest.raises(Rejected) as refused:
        address_of(at(url), HTTPS_AND_SSH)

    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://octo:s3cret@example.com/a.git", "https://***@example.com/a.git"),
        ("https://s3cret@example.com/a.git", "https://***@example.com/a.git"),
        ("https://example.com/@octo/a.git", "https://example.com/@octo/a.git"),
        ("ssh://git@example.com:22/a.git", "ssh://git@example.com:22/a.git"),
        ("git@example.com:octo/a.git", "git@example.com:octo/a.git"),
        ("/srv/octo@home:1/a.git", "/srv/octo@home:1/a.git"),
        ("HTTPS://s3cret@example.com/a.git?s3cret", "HTTPS://***@example.com/a.git?***"),
    ],
)
def test_a_url_is_shown_without_what_could_be_a_secret(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_git_itself_refuses_what_is_not_allowed_and_is_not_told_of_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "ext")

    with pytest.raises(GitFailed, match="transport 'ext' not allowed"):
        Git("https:ssh", {}).run(["ls-remote", "--end-of-options", f"ext::touch {canary}"])
    assert not canary.exists()


def test_a_branch_named_like_a_command_is_only_a_name(workspaces: GitWorkspaces, origin: Origin) -> None:
    canary = origin.path / "canary"
    branch = f"$(touch${{IFS}}{canary})"
    commit = origin.commit({"a": "1"})
    git(origin.path, "update-ref", f"refs/heads/{branch}", commit)

    assert workspaces.resolve(origin.repository, branch) == commit
    with pytest.raises(Rejected, match="has no ref"):
        workspaces.resolve(origin.repository, "$(id)")
    assert not canary.exists()


@given(st.text(max_size=12) | st.text("ab/.-@{~^: \\*lock\x00\n", max_size=12))
def test_a_ref_that_we_take_git_takes_too(tmp_path_factory: pytest.TempPathFactory, ref: str) -> None:
    try:
        checked_ref(ref)
    except Rejected:
        return

    assert not ref.startswith("-")
    Git("https", {}).run(["check-ref-format", "--allow-onelevel", ref])


@given(st.text(min_size=1), st.text(min_size=1))
def test_names_become_different_harmless_components(one: str, other: str) -> None:
    first, second = file_name(one), file_name(other)

    assert (first == second) == (one == other)
    for name in (first, second):
        assert "/" not in name
        assert "." not in name
        assert 0 < len(name) <= 150
    checked_ref(f"refs/runner/keep/{first.lstrip('-') or 'x'}")
