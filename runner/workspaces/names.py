"""Names and addresses that come from outside, made safe or refused before anything uses them."""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from runner.errors import Rejected
from runner.model.source import Repository, shown_url

REF_BYTES = 1000
_FORBIDDEN_IN_REF = re.compile(r"[\x00-\x20\x7f-\x9f~^:?*\[\\\ud800-\udfff]|\.\.|@\{|//")
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


def checked_ref(ref: str) -> str:
    """`ref` itself where it can be the name of a ref: `git check-ref-format`'s rules, and no leading `-`."""
    parts = ref.split("/")
    if (
        not ref
        or len(ref.encode(errors="replace")) > REF_BYTES
        or _FORBIDDEN_IN_REF.search(ref)
        or ref == "@"
        or ref.endswith((".", "/"))
        or any(not part or part.startswith((".", "-")) or part.endswith(".lock") for part in parts)
    ):
        raise Rejected(
            f"{ref[:100]!a} is no ref name; give a full ref such as refs/heads/main, a branch, a tag, "
            "HEAD or a full commit id"
        )
    return ref


class SecretInUrl(Rejected):
    """A clone URL holds a secret in a place where git would show it to others."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where git fetches a repository from.

    `url` holds no login but the user of ssh: git puts its URL on the command line of its helpers, which
    every process on the machine can read. `settings` is configuration for git's environment instead.
    """

    url: str
    settings: Mapping[str, str] = field(default_factory=dict)


def address_of(repository: Repository, protocols: str) -> Address:
    """The repository's address, where its protocol is among the colon-separated `protocols`."""
    url, shown = repository.url, shown_url(repository.url)
    if not url or url.startswith("-") or re.search(r"[\x00-\x20\x7f]", url):
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
    if protocol == "file" and not url.startswith(("/", "file:///")):
        raise Rejected(f"{repository.name}: a local repository needs an absolute path, not {shown!a}")
    if protocol in ("http", "https"):
        return _without_login(repository)
    if re.match(r"([^/]*@)?-", url.split("://", 1)[-1]):
        raise Rejected(f"{repository.name}: a host cannot begin with '-' in {shown!a}")
    return Address(url)


def _protocol(url: str) -> str:
    """The protocol as git's own GIT_ALLOW_PROTOCOL names it."""
    if found := _HELPER.match(url) or _SCHEME.match(url):
        return found[1].lower()
    return "ssh" if _SCP_LIKE.match(url) else "file"


def _without_login(repository: Repository) -> Address:
    try:
        parts = urlsplit(repository.url)
        if parts.port is None and parts.netloc.endswith(":"):
            raise ValueError
    except ValueError:
        # What looks like a port may be the beginning of a password, so it is not repeated.
        raise Rejected(
            f"{repository.name}: the host and port of its URL cannot be read; write `/`, `?`, `#`, `[` and "
            "`@` in a password as %2F, %3F, %23, %5B and %40"
        ) from None
    login, at, host = parts.netloc.rpartition("@")
    if not at:
        return Address(repository.url)
    bare = urlunsplit(parts._replace(netloc=host))
    user, _, password = login.partition(":")
    token = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    return Address(bare, {f"http.{bare}.extraHeader": f"Authorization: Basic {token}"})
