"""Repositories that are fetched with a token or an ssh key of a step: with it alone, and for nobody else."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from runner.engine.ports import History, Wanted
from runner.engine.sources import OPEN, Sources
from runner.errors import BrokenDefinition
from runner.model.source import Key, Repository, Route
from runner.workflow.references import Remote
from runner.workspaces import GitWorkspaces
from runner.workspaces.keys import command_with
from tests.servers import reserved_port
from tests.workspaces.forge import Forge, a_forge, basic, digest_of
from tests.workspaces.origin import Origin, git

OWN = Route("git", "octo/hello", "1" * 40)
TOKEN = "t0ken-of-a-step"


@dataclass
class Registered:
    """What is registered here."""

    all: list[Repository] = field(
        default_factory=lambda: [Repository("git", "octo/hello", "/srv/hello.git", registration="1")]
    )

    def get(self, forge: str, name: str) -> Repository:
        return next(one for one in self.all if one.name == name)

    def alike(self, name: str) -> list[Repository]:
        return [one for one in self.all if one.name.lower() == name.lower()]

    def shared(self, forge: str) -> list[Repository]:
        return [one for one in self.all if one.shared]


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[Forge]:
    with a_forge(tmp_path / "forge", f"x-access-token:{TOKEN}") as made:
        yield made


@pytest.fixture
def workspaces(home: Path) -> Iterator[GitWorkspaces]:
    networks = [ip_network("127.0.0.0/8")]
    with GitWorkspaces(home, "http:ssh:file", networks=networks, hindrance=lambda: "not here") as opened:
        yield opened


@pytest.fixture
def sources(forge: Forge, workspaces: GitWorkspaces) -> Sources:
    return Sources(forge.url, Registered(), workspaces)


def a_private(forge: Forge, origin: Origin) -> str:
    commit = origin.commit({"secret.txt": "for those with a token"})
    bare = forge.a_repository("octo/private")
    git(origin.path, "push", "--quiet", str(bare), "HEAD:refs/heads/main")
    return commit


def fetched(sources: Sources, key: Key, ref: str = "", deep: bool = False) -> Route:
    which = sources.repository(OWN, "octo/private")
    which = sources.let_in(OWN, which, key, which.url, "git", deep)
    wanted = Remote("octo/private", "", ref)
    _, commit = sources.ref(OWN, wanted, repository=which)
    return sources.fetch(OWN, wanted, commit, "run", repository=which, deep=deep)


def test_a_token_opens_what_is_closed_to_others_and_is_on_no_disk(
    forge: Forge, origin: Origin, sources: Sources, workspaces: GitWorkspaces, home: Path
) -> None:
    commit = a_private(forge, origin)

    with pytest.raises(BrokenDefinition, match="there must be such a repository, open to all"):
        sources_at_once(sources).fetch(OWN, Remote("octo/private", "", commit), commit, "run")
    route = fetched(sources, Key(TOKEN))

    assert workspaces.read(route, "") == {"secret.txt": b"for those with a token"}
    assert ("GET", "/octo/private/info/refs", basic(f"x-access-token:{TOKEN}")) in forge.asked
    for path in home.rglob("*"):
        assert TOKEN not in str(path)
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


def sources_at_once(sources: Sources) -> Sources:
    return replace(sources, patient=False)


def test_who_shows_no_key_or_another_one_reads_nothing_of_what_is_here(
    forge: Forge, origin: Origin, sources: Sources, workspaces: GitWorkspaces
) -> None:
    commit = a_private(forge, origin)
    route = fetched(sources, Key(TOKEN))

    with pytest.raises(BrokenDefinition):
        fetched(sources, Key("an0ther"), commit)
    with pytest.raises(BrokenDefinition):
        sources_at_once(sources).fetch(OWN, Remote("octo/private", "", commit), commit, "run")
    assert fetched(sources, Key(TOKEN), commit) == route


def test_a_token_that_is_no_good_any_more_reads_nothing_of_what_is_here(
    forge: Forge, origin: Origin, sources: Sources
) -> None:
    commit = a_private(forge, origin)
    fetched(sources, Key(TOKEN), commit)
    forge.login = "x-access-token:a-new-one"

    with pytest.raises(BrokenDefinition, match=r"octo/private@.*: .* that is given is not let in"):
        fetched(sources, Key(TOKEN), commit)


@pytest.mark.parametrize("deep", [True, False])
def test_the_history_comes_where_it_is_asked_for(
    forge: Forge, origin: Origin, sources: Sources, workspaces: GitWorkspaces, deep: bool
) -> None:
    first = origin.commit({"a": "1"})
    a_private(forge, origin)

    route = fetched(sources, Key(TOKEN), deep=deep)
    root = workspaces.open(route, "job", 1, None, History("refs/heads/main")).path

    assert (first in git(root, "log", "--format=%H")) is deep


def test_what_is_in_lfs_comes_with_the_same_token(
    forge: Forge, origin: Origin, sources: Sources, workspaces: GitWorkspaces
) -> None:
    content = b"large" * 1000
    origin.commit({".gitattributes": "*.bin filter=lfs\n", "a.bin": forge.keep(content)})
    git(origin.path, "push", "--quiet", str(forge.a_repository("octo/private")), "HEAD:refs/heads/main")
    which = sources.repository(OWN, "octo/private")
    which = sources.let_in(OWN, which, Key(TOKEN), which.url, "git", False)
    route = fetched(sources, Key(TOKEN))

    large = sources.fetch_large(OWN, Remote("octo/private", "", ""), which, route, Wanted(), lambda: None)

    assert [one.id for one in large.values()] == [digest_of(content)]


def test_a_name_that_is_a_neighbours_is_not_asked_of_a_stranger_with_a_key(
    forge: Forge, origin: Origin, sources: Sources
) -> None:
    a_private(forge, origin)
    registered = sources.repositories
    assert isinstance(registered, Registered)
    registered.all.append(Repository("git", "octo/private", "https://inside.test/octo/private"))

    with pytest.raises(BrokenDefinition) as error:
        fetched(sources, Key(TOKEN))

    assert "inside.test" not in str(error.value)


@pytest.mark.parametrize(
    ("server", "url", "key", "reached"),
    [
        ("https://h.test/o/n", "https://h.test/o/lib.git", Key("t"), "https://h.test/o/lib.git"),
        ("https://h.test:8443/o/n", "http://h.test/o/lib", Key("t"), "https://h.test:8443/o/lib"),
        ("git@h.test:o/n.git", "https://h.test/o/lib", Key("t"), "https://h.test/o/lib"),
        ("https://h.test/o/n", "https://h.test/o/lib", Key("", "k"), "ssh://me@h.test/o/lib"),
        ("ssh://git@h.test:22/o/n", "https://h.test/o/lib.git", Key("", "k"), "ssh://me@h.test:22/o/lib.git"),
        ("https://h.test/o/n", "https://h.test@evil.test/o/lib", Key("t"), None),
        ("https://h.test/o/n", "https://h.test.evil.test/o/lib", Key("t"), None),
        ("https://h.test/o/n", "https://h.test:443@evil.test/o/lib", Key("t"), None),
    ],
)
def test_a_key_goes_to_the_server_that_it_is_for(
    sources: Sources, server: str, url: str, key: Key, reached: str | None
) -> None:
    found = sources.let_in(OWN, Repository(OPEN, "o/lib", url), key, server, "me", False)

    assert (found.url, found.key) == ((reached, key) if reached else (url, None))


def test_an_ssh_key_is_read_by_ssh_and_is_gone_afterwards() -> None:
    key = Key(private="-----BEGIN-----\r\nabc\r\n-----END-----  ", hosts="h.test ssh-ed25519 AAAA")

    with command_with(key) as command:
        path = command.split(" -i ")[1].split()[0]
        read = subprocess.run(["cat", path], capture_output=True, check=True).stdout
        assert Path(path).stat().st_mode & 0o777 == 0o600
    assert read == key.private_file.encode() == b"-----BEGIN-----\nabc\n-----END-----\n"
    assert "StrictHostKeyChecking=yes" in command
    assert not Path(path).exists() or Path(path).read_bytes() != read


@pytest.mark.skipif(shutil.which("sshd") is None, reason="there is no sshd on this machine")
def test_an_ssh_key_opens_a_repository_and_no_other_key_does(
    origin: Origin, workspaces: GitWorkspaces, tmp_path: Path
) -> None:
    folder = tmp_path / "sshd"
    folder.mkdir()
    for name in ("host", "user", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    commit = origin.commit({"a": "1"})
    with reserved_port() as port:
        configuration = folder / "config"
        configuration.write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nPasswordAuthentication no\n"
        )
        if os.geteuid() == 0:
            # On Debian it is made by whoever starts the service.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        command = [str(shutil.which("sshd")), "-D", "-e", "-f", str(configuration)]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        assert "Server listening" in server.stderr.readline()
    try:
        host = f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}"
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        registered = Registered([Repository("git", "octo/hello", "/srv/hello.git", registration="1")])
        sources = Sources(f"ssh://git@127.0.0.1:{port}", registered, workspaces, patient=False)

        def got(name: str, hosts: str) -> Route:
            key = Key(private=(folder / name).read_text(), hosts=hosts)
            which = Repository(OPEN, "o/n", f"https://127.0.0.1{origin.path}")
            which = sources.let_in(OWN, which, key, f"{sources.url}/o/n", user, False)
            return sources.fetch(OWN, Remote("o/n", "", ""), commit, "run", repository=which)

        assert workspaces.read(got("user", host), "") == {"a": b"1"}
        for name, hosts in (("other", host), ("user", "")):
            with pytest.raises(BrokenDefinition, match="that is given is not let in"):
                got(name, hosts)
    finally:
        server.terminate()
        server.communicate()
