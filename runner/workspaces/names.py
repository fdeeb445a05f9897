"""Names and addresses that come from outside, made safe or refused before anything uses them."""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote

from runner.errors import Rejected
from runner.model.source import TOKEN_USER, Repository, shown_url

# Strict, because git decodes %2F and the like before it looks for the host, curl does in a host, and both
# know hosts that we would not. An IPv6 address has two colons; with one, git reads a port.
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*"
_IPV6 = r"\[[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*\]"
_HOST = rf"(?P<host>{_NAME}|{_IPV6})"
_USER = r"(?:[A-Za-z0-9._+~@-]+@)?"
_REST = r"(?P<port>:[0-9]{1,5})?(?P<path>/.*)?"
_HTTP = re.compile(rf"(?P<scheme>https?)://(?:(?P<login>[^/?#]*)@)?{_HOST}{_REST}", re.IGNORECASE)
_SSH = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*://{_USER}{_HOST}{_REST}")
_SCP = re.compile(rf"{_USER}{_HOST}:(?!:).+")
_HELPER = re.compile(r"([A-Za-z0-9+.-]+)::")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SCP_LIKE = re.compile(r"[^/]+:")


def file_name(name: str) -> str:
    """One harmless path component, and one ref component, that stands for `name` alone.

    Letters, digits, `-` and `_` stay as they are, so an administrator recognises their own names.
    """
    safe = quote(name, safe="", errors="surrogateescape").replace(".", "%2E").replace("~", "%7E")
    if not safe:
        raise Rejected("an empty name names nothing; give a job, keep-ref or repository a name")
    if len(safe) <= 150:
        return safe
    return f"{safe[:80]}%{hashlib.sha256(safe.encode()).hexdigest()}"


class SecretInUrl(Rejected):
    """A clone URL holds a secret in a place where git would show it to others."""


@dataclass(frozen=True, slots=True)
class Host:
    """The machine that a URL leads to: `name` is a name, or an address in any form that has one.

    `port` is only known with http.
    """

    protocol: str
    name: str
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where git fetches a repository from.

    `url` holds no login but the user of ssh: git puts its URL on the command line of its helpers, which
    every process on the machine can read. `settings` is configuration for git's environment instead.
    `host` is None for a repository on this machine.
    """

    url: str
    host: Host | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


def address_of(repository: Repository, protocols: str) -> Address:
    """The repository's address, where its protocol is among the colon-separated `protocols`."""
    url, shown = repository.url, shown_url(repository.url)
    if not url or url.startswith("-") or re.search(r"[\x00-\x20\x7f\ud800-\udfff]", url):
        raise Rejected(f"{repository.name}: {shown!a} is no address of a repository")
    protocol = _protocol(url)
    if protocol not in protocols.split(":"):
        raise Rejected(
            f"{repository.name}: the protocol {protocol!r} of its URL is not allowed; allowed are "
            f"{', '.join(protocols.split(':'))} (RUNNER_GIT_PROTOCOLS)"
        )
    if shown.endswith("?***"):
        raise SecretInUrl(
            f"{repository.name}: the URL {shown!a} has a query, which git would show to all on this machine; "
            "give a token as https://USER:TOKEN@HOST/PATH, with `?` and `#` in it written %3F and %23"
        )
    if shown != url and protocol not in ("http", "https"):
        raise SecretInUrl(
            f"{repository.name}: the URL {shown!a} holds a password, which {protocol} takes from no URL; "
            "give the user that the server runs as a key"
        )
    if protocol == "file":
        if not url.startswith(("/", "file:///")):
            raise Rejected(f"{repository.name}: a local repository needs an absolute path, not {shown!a}")
        return Address(url)
    if re.match(r"([^/]*@)?-", url.split("://", 1)[-1]):
        raise Rejected(f"{repository.name}: a host cannot begin with '-' in {shown!a}")
    if address := _over_http(url) if protocol in ("http", "https") else _over_ssh(url, protocol):
        token = repository.key.token if repository.key and protocol in ("http", "https") else ""
        return replace(address, settings=_login(address.url, TOKEN_USER, token)) if token else address
    # What looks like a host may be the beginning of a password, so nothing of it is repeated.
    raise Rejected(
        f"{repository.name}: no host can be read in its URL; write https://HOST/PATH, ssh://USER@HOST/PATH "
        "or USER@HOST:PATH, the host in ASCII, and `/`, `?` and `#` in a password as %2F, %3F and %23"
    )


def _protocol(url: str) -> str:
    """The protocol as git's own GIT_ALLOW_PROTOCOL names it."""
    if found := _HELPER.match(url) or _SCHEME.match(url):
        return found[1].lower()
    return "ssh" if _SCP_LIKE.match(url) else "file"


def _over_ssh(url: str, protocol: str) -> Address | None:
    """What has no login but a user: ssh, and git's own protocol where it is allowed."""
    found = (_SSH if _SCHEME.match(url) else _SCP).fullmatch(url)
    return found and Address(url, Host(protocol, found["host"]))


def _over_http(url: str) -> Address | None:
    found = _HTTP.fullmatch(url)
    if found is None:
        return None
    protocol, login, port = found["scheme"].lower(), found["login"], found["port"] or ""
    host = Host(protocol, found["host"], int(port[1:] or {"http": 80, "https": 443}[protocol]))
    if not login:
        return Address(url, host)
    bare = f"{found['scheme']}://{found['host']}{port}{found['path'] or ''}"
    user, _, password = login.partition(":")
    return Address(bare, host, _login(bare, unquote(user), unquote(password)))


def _login(url: str, user: str, password: str) -> dict[str, str]:
    """Configuration by which git logs in at a URL."""
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {f"http.{url}.extraHeader": f"Authorization: Basic {token}"}
