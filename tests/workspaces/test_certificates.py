"""A forge behind TLS, whose certificate comes from an authority that only who runs us knows of."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import httpx2
import pytest

from runner import environment
from runner.errors import Unavailable
from runner.model.source import Repository, Route
from runner.workspaces import GitWorkspaces, authorities
from runner.workspaces.git import Git
from tests.workspaces.authority import Authority
from tests.workspaces.forge import Forge, a_forge, digest_of
from tests.workspaces.origin import Origin, mirror_of
from tests.workspaces.test_large import ATTRIBUTES, BIG, LOGIN, checked_out, pushed


@pytest.fixture(autouse=True)
def no_authority_is_named_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "ours", "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "theirs", "theirs")


@pytest.fixture
def forge(tmp_path: Path, authority: Authority) -> Iterator[Forge]:
    with a_forge(tmp_path / "forge", LOGIN, authority.certificate()) as made:
        yield made


@pytest.fixture
def repository(forge: Forge, origin: Origin) -> tuple[Repository, Route]:
    return pushed(forge, origin, {".gitattributes": ATTRIBUTES, "a.bin": forge.keep(BIG)})


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """The forge is trusted, and whatever fails is tried again at once."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    monkeypatch.setattr("runner.workspaces.batches.PAUSE_SECONDS", 0.01)


@contextmanager
def a_home(home: Path) -> Iterator[GitWorkspaces]:
    """As a server opens it, which speaks https and nothing else."""
    networks = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
    with GitWorkspaces(home, "https", networks=networks, environment=environment.for_git()) as opened:
        yield opened


@pytest.mark.parametrize(
    ("named", "empty"),
    [
        (("SSL_CERT_FILE", "file"), ()),
        (("GIT_SSL_CAINFO", "file"), ()),
        (("SSL_CERT_FILE", "file"), ("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "SSL_CERT_DIR")),
        (("SSL_CERT_DIR", "folder"), ("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "SSL_CERT_FILE")),
        (("GIT_SSL_CAPATH", "folder"), ()),
    ],
)
def test_a_repository_and_its_large_files_come_from_a_forge_whose_authority_is_named(
    repository: tuple[Repository, Route],
    forge: Forge,
    authority: Authority,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    named: tuple[str, str],
    empty: tuple[str, ...],
) -> None:
    monkeypatch.setenv(named[0], str(getattr(authority, named[1])))
    for name in empty:
        monkeypatch.setenv(name, "")

    with a_home(home) as workspaces:
        there, _ = checked_out(workspaces, *repository)
        assert (there / "a.bin").read_bytes() == BIG

    assert len(forge.paths("/objects/batch")) == 1


def test_a_forge_whose_authority_nobody_named_is_told_no_login_and_sends_nothing(
    repository: tuple[Repository, Route],
    forge: Forge,
    stranger: Authority,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(stranger.file))
    host = re.escape(forge.url.removeprefix("https://"))

    with a_home(home) as workspaces:
        with pytest.raises(Unavailable, match=f"the certificate of {host} is not trusted .*SSL_CERT_FILE"):
            workspaces.fetch(*repository, "run")
        with pytest.raises(
            Unavailable, match=f"the certificate of {host} is not trusted .*SSL_CERT_FILE"
        ) as said:
            workspaces.resolve(repository[0], "refs/heads/main")

    assert forge.asked == []
    assert LOGIN.partition(":")[2] not in str(said.value)


@pytest.mark.parametrize(
    ("named", "lacks"),
    [("GIT_SSL_CAINFO", "SSL_CERT_FILE"), ("GIT_SSL_CAPATH", "SSL_CERT_DIR")],
)
def test_large_files_come_from_nobody_whom_git_would_not_trust(
    repository: tuple[Repository, Route],
    forge: Forge,
    authority: Authority,
    stranger: Authority,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    named: str,
    lacks: str,
) -> None:
    part = "folder" if named == "GIT_SSL_CAPATH" else "file"
    monkeypatch.setenv(named, str(getattr(authority, part)))
    # Python reads that by itself; git is not told of it.
    monkeypatch.setenv(lacks, str(getattr(stranger, part)))
    monkeypatch.setattr("runner.workspaces.batches.PAUSE_SECONDS", 0.01)

    with a_forge(tmp_path / "elsewhere", certificate=stranger.certificate()) as elsewhere:
        forge.elsewhere = replace(elsewhere, contents=forge.contents)
        with (
            a_home(home) as workspaces,
            pytest.raises(Unavailable, match=r"1 files .* is not trusted"),
        ):
            checked_out(workspaces, *repository)

        assert elsewhere.asked == []


@pytest.mark.parametrize("named", [{}, {"SSL_CERT_FILE": "file"}, {"SSL_CERT_DIR": "folder"}])
def test_git_is_told_where_the_authorities_of_the_machine_are_not(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, named: dict[str, str]
) -> None:
    for name, part in named.items():
        monkeypatch.setenv(name, str(getattr(authority, part)))

    git = Git("https", environment.for_git())
    told = git.run(["-c", "alias.told=!env", "told"]).decode().split("\n")

    said = dict(one.split("=", 1) for one in told if one.startswith("GIT_SSL_CA"))
    # What it is not told of, its curl knows of itself.
    assert said.keys() == ({"GIT_SSL_CAINFO", "GIT_SSL_CAPATH"} if named else set())
    places = [Path(place) for place in said.values()]
    certificates = [place for place in places if place.is_file()]
    certificates += [one for place in places if place.is_dir() for one in place.iterdir()]
    assert {one.read_bytes() for one in certificates} == ({authority.file.read_bytes()} if named else set())


@pytest.mark.parametrize("built", ["file", "folder"])
@pytest.mark.parametrize(
    "empty",
    [(), ("SSL_CERT_FILE",), ("SSL_CERT_DIR",), ("SSL_CERT_FILE", "SSL_CERT_DIR")],
)
def test_where_all_that_names_authorities_is_empty_those_of_the_machine_are_trusted(
    forge: Forge,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    built: str,
    empty: tuple[str, ...],
) -> None:
    forge.keep(BIG)
    none = {"file": tmp_path / "none.pem", "folder": tmp_path / "none"}
    places = none | {built: getattr(authority, built)}
    paths = ssl.get_default_verify_paths()._replace(
        openssl_cafile=str(places["file"]), openssl_capath=str(places["folder"])
    )
    # A test has no other machine, and OpenSSL was built for this one.
    monkeypatch.setattr("ssl.get_default_verify_paths", lambda: paths)
    for name in empty:
        monkeypatch.setenv(name, "")

    ours = authorities.trusted(environment.for_git())

    address = f"{forge.url}/contents/{digest_of(BIG)}"
    assert httpx2.get(address, verify=ours, trust_env=False).content == BIG


def test_the_machines_own_authorities_are_the_same_whether_variables_are_empty_or_not_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unset = authorities.trusted(environment.for_git())
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, "")

    empty = authorities.trusted(environment.for_git())

    assert empty.get_ca_certs() == unset.get_ca_certs()


def test_links_to_certificates_that_are_gone_stop_nothing(
    repository: tuple[Repository, Route],
    authority: Authority,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "hashed"
    folder.mkdir()
    for one in authority.folder.iterdir():
        (folder / one.name).write_bytes(one.read_bytes())
    (folder / "00000000.0").symlink_to(tmp_path / "gone.pem")
    (folder / "00000000.1").mkdir()
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))

    with a_home(home) as workspaces:
        there, _ = checked_out(workspaces, *repository)

        assert (there / "a.bin").read_bytes() == BIG


def test_a_folder_without_certificates_is_one_of_which_none_can_be_read(
    repository: tuple[Repository, Route], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "none", tmp_path / "empty"):
        monkeypatch.setenv("SSL_CERT_DIR", str(folder))
        with a_home(home) as workspaces, pytest.raises(Unavailable, match=r"no certificates .* SSL_CERT_DIR"):
            workspaces.resolve(repository[0], "refs/heads/main")


@pytest.mark.usefixtures("trusted")
def test_large_files_are_not_fetched_from_where_the_certificate_is_a_strangers(
    repository: tuple[Repository, Route],
    forge: Forge,
    stranger: Authority,
    home: Path,
    tmp_path: Path,
) -> None:
    with a_forge(tmp_path / "elsewhere", certificate=stranger.certificate()) as elsewhere:
        forge.elsewhere = replace(elsewhere, contents=forge.contents)
        host = re.escape(elsewhere.url.removeprefix("https://"))
        why = (
            rf"1 files of LFS .*certificate of {host} is not trusted \(unable to get local issuer .*SSL_CERT_"
        )
        with a_home(home) as workspaces, pytest.raises(Unavailable, match=why):
            checked_out(workspaces, *repository)

        assert elsewhere.asked == []
    assert [one for one in (mirror_of(home) / "lfs").rglob("*") if one.is_file()] == [
        mirror_of(home) / "lfs/.lock"
    ]


@pytest.mark.usefixtures("trusted")
def test_a_file_of_certificates_that_cannot_be_read_is_named(
    repository: tuple[Repository, Route],
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with a_home(home) as workspaces:
        workspaces.fetch(*repository, "run")
    for text, why in ((None, "No such file"), ("no certificate", "SSL")):
        named = tmp_path / "named.pem"
        if text is not None:
            named.write_text(text)
        monkeypatch.setenv("SSL_CERT_FILE", str(named))

        with a_home(home) as workspaces:
            with pytest.raises(Unavailable, match="SSL_CERT_FILE"):
                workspaces.resolve(repository[0], "refs/heads/main")
            with pytest.raises(Unavailable, match=f"from {re.escape(str(named))} .*{why}"):
                checked_out(workspaces, *repository)
