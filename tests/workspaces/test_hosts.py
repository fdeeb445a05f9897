"""Where git may go: every address that is not public is refused, however it is written or reached."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path

import pytest

from runner.errors import Rejected, Unavailable
from runner.model.source import Repository, Route
from runner.settings import Settings
from runner.workspaces import GitWorkspaces
from runner.workspaces.hosts import Hosts, PrivateAddress, lookup
from runner.workspaces.names import address_of
from tests.workspaces.origin import FORGE, NAME

COMMIT = "1" * 40
PROTOCOLS = "https:http:ssh"
LOCAL = ip_network("127.0.0.0/8")


def at(url: str) -> Repository:
    return Repository(FORGE, NAME, url)


class Server:
    """A web server that sends everybody elsewhere, and knows who came."""

    def __init__(self, to: str = "") -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(f"{self.headers['host']}{self.path}")
                self.send_response(302 if to else 404)
                self.send_header("location", to + self.path)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b::a00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00::1]",
        "[ff02::1]",
    ],
)
@pytest.mark.parametrize(
    "url", ["https://{}/a.git", "http://octo:pw@{}:8080/a.git", "ssh://git@{}/a.git", "{}:a.git"]
)
def test_an_address_that_is_not_public_is_refused_in_every_form(tmp_path: Path, host: str, url: str) -> None:
    with (
        GitWorkspaces(tmp_path, PROTOCOLS) as workspaces,
        pytest.raises(PrivateAddress, match=r"is at \S+, which is not public; .*RUNNER_GIT_NETWORKS="),
    ):
        workspaces.check(at(url.format(host)))


@pytest.mark.parametrize("host", ["1.1.1.1", "[2606:4700:4700::1111]", "[64:ff9b::1.1.1.1]"])
def test_a_public_address_is_fine(tmp_path: Path, host: str) -> None:
    with GitWorkspaces(tmp_path, PROTOCOLS) as workspaces:
        workspaces.check(at(f"https://{host}/a.git"))


def test_one_private_address_among_public_ones_is_enough(tmp_path: Path) -> None:
    with (
        GitWorkspaces(tmp_path, PROTOCOLS, lookup=lambda host: ["1.1.1.1", "10.0.0.1"]) as workspaces,
        pytest.raises(PrivateAddress, match=r"forge\.test of its URL is at 10\.0\.0\.1"),
    ):
        workspaces.check(at("https://forge.test/a.git"))


def test_a_network_that_the_administrator_names_is_allowed_and_no_other(tmp_path: Path) -> None:
    networks = Settings(git_networks="10.0.0.0/8, fd00::/8").git_network_list
    with GitWorkspaces(tmp_path, PROTOCOLS, networks=networks) as workspaces:
        for host in ("10.1.2.3", "[::ffff:10.1.2.3]", "[fd00::1]"):
            workspaces.check(at(f"https://{host}/a.git"))
        with pytest.raises(PrivateAddress):
            workspaces.check(at("https://127.0.0.1/a.git"))


def test_networks_that_are_none_are_named_with_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNER_GIT_NETWORKS", "10.0.0.0/33")

    with pytest.raises(Rejected, match=r"RUNNER_GIT_NETWORKS: .*'10\.0\.0\.0/33'"):
        Settings.from_env()


def test_a_host_that_became_private_is_refused_when_it_is_fetched_from(
    tmp_path: Path, server: Server
) -> None:
    places = ["1.1.1.1"]
    repository = at(f"http://forge.test:{server.port}/a.git")
    with GitWorkspaces(tmp_path, PROTOCOLS, lookup=lambda host: places) as workspaces:
        workspaces.check(repository)
        places[:] = ["127.0.0.1"]

        with pytest.raises(PrivateAddress):
            workspaces.fetch(repository, _route(), "run-1")
        with pytest.raises(PrivateAddress):
            workspaces.resolve(repository, "main")
        with pytest.raises(PrivateAddress):
            workspaces.default_branch(repository)

    assert server.asked == []


def test_git_goes_to_the_address_that_was_checked_whatever_a_name_server_says(
    tmp_path: Path, server: Server
) -> None:
    # No name server knows forge.test: git can only have the address from us.
    def found(host: str) -> list[str]:
        return ["127.0.0.1"]

    repository = at(f"http://forge.test:{server.port}/a.git")
    with (
        GitWorkspaces(tmp_path, PROTOCOLS, networks=[LOCAL], lookup=found) as workspaces,
        pytest.raises(Unavailable, match="does not answer"),
    ):
        workspaces.fetch(repository, _route(), "run-1")

    assert server.asked[0] == f"forge.test:{server.port}/a.git/info/refs?service=git-upload-pack"


def test_git_follows_no_redirect(tmp_path: Path, server: Server) -> None:
    first = Server(to=f"http://127.0.0.1:{server.port}")
    try:
        with (
            GitWorkspaces(tmp_path, PROTOCOLS, networks=[LOCAL]) as workspaces,
            pytest.raises(Unavailable, match="does not answer"),
        ):
            workspaces.fetch(at(f"http://127.0.0.1:{first.port}/a.git"), _route(), "run-1")
    finally:
        first.close()

    assert (len(first.asked), server.asked) == (1, [])


def test_a_host_that_nobody_knows_can_be_registered_and_is_not_asked_for_by_git(tmp_path: Path) -> None:
    with GitWorkspaces(tmp_path, PROTOCOLS, lookup=lambda host: ()) as workspaces:
        workspaces.check(at("https://forge.test/a.git"))

        with pytest.raises(Unavailable, match=r"there is no host forge\.test"):
            workspaces.fetch(at("https://forge.test/a.git"), _route(), "run-1")


@pytest.mark.parametrize(("exempt", "reached"), [("", True), ("other.test", True), ("forge.test", False)])
def test_a_proxy_finds_hosts_that_only_it_knows(exempt: str, reached: bool) -> None:
    environment = {"https_proxy": "http://proxy.test:3128", "no_proxy": exempt}
    hosts = Hosts((), environment, lambda host: ())
    address = address_of(at("https://forge.test/a.git"), PROTOCOLS)
    if reached:
        assert hosts.settings(NAME, address) == {}
        return
    with pytest.raises(Unavailable):
        hosts.settings(NAME, address)


def test_every_address_of_a_host_is_given_to_git() -> None:
    hosts = Hosts((), {}, lambda host: ["1.1.1.1", "2606:4700::1"])

    settings = hosts.settings(NAME, address_of(at("https://forge.test/a.git"), PROTOCOLS))

    assert settings == {"http.curloptResolve": "forge.test:443:1.1.1.1,[2606:4700::1]"}


def test_a_host_that_is_no_name_at_all_has_no_address() -> None:
    assert lookup("a" * 70 + ".test") == ()


def _route() -> Route:
    return Route(FORGE, NAME, COMMIT)
