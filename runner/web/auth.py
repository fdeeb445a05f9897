"""Who uses the API and sees the pages: whoever holds a token, or a session begun with one.

Tokens are known by their digests. A session is a token's name and an expiry, signed, so that the server
remembers nothing; it ends with its token, and a new admin token ends every session. What each may do is said
in `access`.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Protocol
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from runner.errors import Forbidden, Rejected, Unauthorized
from runner.model.access import ADMIN, Actor, Role, Token
from runner.private import create
from runner.settings import Settings

COOKIE = "runner_session"
SESSION_SECONDS = 7 * 24 * 3600


def admin_token(settings: Settings) -> str:
    """The API token, as RUNNER_TOKEN gives it or from the home folder; the first start makes the file."""
    if settings.token:
        return settings.token
    path = settings.token_file
    if not path.exists():
        create(path, f"{new_token()}\n")
    token = path.read_text().strip()
    if len(token) < 16:
        raise Rejected(f"{path} holds no token; remove the file, the next start writes a new one")
    return token


def new_token() -> str:
    """256 random bits."""
    return f"rnr_{secrets.token_urlsafe(32)}"


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


class Tokens(Protocol):
    """The tokens that people were given."""

    def by_digest(self, digest: str) -> Token | None: ...

    def by_name(self, name: str) -> Token | None: ...


class Guard:
    """Knows who asks. `address` is where people reach the server, for the check of origins."""

    def __init__(
        self, token: str, address: str, tokens: Tokens, clock: Callable[[], float] = time.time
    ) -> None:
        self._admin = Token(ADMIN, Role.ADMIN, None, digest_of(token))
        self._key = hashlib.sha256(b"runner session\0" + token.encode()).digest()
        self._address = address
        self._tokens = tokens
        self._clock = clock

    def check(self, method: str, headers: Headers) -> Actor:
        """Who asks. Raises `Unauthorized`.

        A session may only read: a page of someone else's cannot act through it.
        """
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and (known := self._of(token.strip())) is not None:
            return self._actor(known)
        if method in ("GET", "HEAD") and (actor := self.session(headers)) is not None:
            return actor
        raise Unauthorized(
            "send `Authorization: Bearer TOKEN`; the token is in the file admin-token of the server's home, "
            "or one that `runner token create` made"
        )

    def _of(self, token: str) -> Token | None:
        digest = digest_of(token)
        if hmac.compare_digest(digest, self._admin.digest):
            return self._admin
        return self._tokens.by_digest(digest)

    def _actor(self, token: Token) -> Actor:
        return Actor(ADMIN, Role.ADMIN) if token is self._admin else token.actor

    # --- sessions of people with a browser -------------------------------------------------------

    def begin_session(self, token: str) -> str | None:
        """A cookie's value; None where nobody has that token."""
        known = self._of(token)
        if known is None:
            return None
        until = str(int(self._clock()) + SESSION_SECONDS)
        return f"{until}.{known.name}.{self._sign(until, known)}"

    def session(self, headers: Headers) -> Actor | None:
        """Whose session it is, while it lasts and its token is good."""
        until, _, rest = _cookie(headers).partition(".")
        name, _, signature = rest.rpartition(".")
        known = self._admin if name == ADMIN else self._tokens.by_name(name) if name else None
        if known is None or not hmac.compare_digest(self._sign(until, known).encode(), signature.encode()):
            return None
        return self._actor(known) if int(until) > self._clock() else None

    def check_origin(self, headers: Headers) -> None:
        """A form must come from a page of ours; raises `Forbidden`."""
        origin = urlsplit(headers.get("origin", ""))
        ours = (urlsplit(self._address).netloc, headers.get("host", ""))
        if not origin.netloc or origin.netloc not in ours:
            raise Forbidden("this form was sent from another site")

    @property
    def secure(self) -> bool:
        """Whether cookies may only travel over TLS."""
        return self._address.startswith("https:")

    def _sign(self, until: str, token: Token) -> str:
        # Another token that is given the same name later does not bring back the sessions of this one.
        said = f"{until}\0{token.name}\0{token.digest}"
        return hmac.new(self._key, said.encode(errors="replace"), hashlib.sha256).hexdigest()


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""
