"""HTTP to the machines that git may reach, for what git itself does not fetch.

It goes where `hosts` lets it and nowhere else: a host is looked up once, what was found is checked, and that
is what is connected to. No redirect is followed here, and nothing of the environment is read.
"""

import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from threading import Lock
from typing import Any, Self
from weakref import WeakSet

import httpx2

from runner.errors import Rejected, Unavailable
from runner.workspaces.authorities import trusted
from runner.workspaces.git import TRUST
from runner.workspaces.hosts import Hosts
from runner.workspaces.names import Host

TIMEOUT = httpx2.Timeout(30, connect=10)
"""How long a server may say nothing."""
_PORTS = {"http": 80, "https": 443}


class Asking:
    """For any number of threads, and until the block ends.

    `protocols` as git has them, `environment` is its own, for certificates.
    """

    def __init__(self, hosts: Hosts, protocols: str, environment: Mapping[str, str]) -> None:
        self._hosts = hosts
        self._protocols = protocols.split(":")
        self._environment = environment
        self._clients: dict[tuple[str, str, int, str], httpx2.Client] = {}
        self._lock = Lock()
        self._closing = ExitStack()
        self._sockets: WeakSet[socket.socket] = WeakSet()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def end(self) -> None:
        """Have all that is asked end now, with an error where it is asked."""
        for one in list(self._sockets):
            with suppress(OSError):
                # Not that of TLS, which would have a word with the other side.
                socket.socket.shutdown(one, socket.SHUT_RDWR)

    @contextmanager
    def asked(
        self, repository: str, method: str, url: str, headers: Mapping[str, str], content: bytes = b""
    ) -> Iterator[httpx2.Response]:
        """What is answered, its body not read yet.

        Errors: `Rejected` where `url` leads to where nothing may be fetched from; `Unavailable`.
        """
        parsed, host = self._read(repository, url)
        found, proxy = self._hosts.way(repository, host)
        client = self._client(host, proxy)
        fixed = {"User-Agent": "runner", "Accept-Encoding": "identity", "Host": parsed.netloc.decode()}
        extensions = {"sni_hostname": parsed.host, "trace": self._trace, "timeout": TIMEOUT.as_dict()}
        with ExitStack() as opened, _told(repository, host):
            places = [parsed] if proxy else [parsed.copy_with(host=place) for place in found]
            for number, place in enumerate(places, start=1):
                asked = client.build_request(
                    method,
                    place,
                    headers={**headers, **fixed},
                    content=content or None,
                    extensions=extensions,
                )
                try:
                    response = client.send(asked, stream=True)
                    break
                except httpx2.ConnectError:
                    if number == len(places):
                        raise
            opened.callback(response.close)
            yield response

    def _read(self, repository: str, url: str) -> tuple[httpx2.URL, Host]:
        try:
            parsed = httpx2.URL(url)
        except (httpx2.InvalidURL, UnicodeError):
            raise Rejected(f"{repository}: its LFS server names an address that cannot be read") from None
        if parsed.scheme not in _PORTS or not parsed.host or parsed.userinfo:
            raise Rejected(f"{repository}: its LFS server names an address that is not https://HOST/PATH")
        if parsed.scheme not in self._protocols:
            raise Rejected(
                f"{repository}: the protocol {parsed.scheme!r} of its LFS server is not allowed; allowed are "
                f"{', '.join(self._protocols)} (RUNNER_GIT_PROTOCOLS)"
            )
        return parsed, Host(parsed.scheme, parsed.host, parsed.port or _PORTS[parsed.scheme])

    def _client(self, host: Host, proxy: str) -> httpx2.Client:
        """One for each host: what was said to one over a connection is never said to another."""
        key = (host.protocol, host.name, host.port or 0, proxy)
        with self._lock:
            if key not in self._clients:
                client = httpx2.Client(
                    verify=trusted(self._environment), trust_env=False, proxy=proxy or None, timeout=TIMEOUT
                )
                self._clients[key] = self._closing.enter_context(client)
            return self._clients[key]

    def _trace(self, event: str, about: dict[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._sockets.add(about["return_value"].get_extra_info("socket"))


@contextmanager
def _told(repository: str, host: Host) -> Iterator[None]:
    try:
        yield
    except httpx2.RequestError as error:
        if (untrusted := _untrusted(error)) is not None:
            raise Unavailable(
                f"{repository}: the certificate of {host.name}:{host.port} is not trusted "
                f"({untrusted.verify_message}); {TRUST}"
            ) from error
        # Not the address: it may have a signature in it that lets anybody read.
        why = str(error)[:200] or type(error).__name__
        raise Unavailable(f"{repository}: {host.name} does not answer: {why}") from error


def _untrusted(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """What of all that led to an error says that a certificate is not to be trusted."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error
