"""Who may use the API and see the pages: whoever holds the admin token, or a session made with it.

Tokens are compared by their digests in constant time. A session is a signed expiry, so that the server
remembers nothing; a new admin token ends every session.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from runner.errors import Rejected, Unauthorized
from runner.private import create
from runner.settings import Settings
from runner.web.answers import Forbidden

COOKIE = "runner_session"
SESSION_SECONDS = 7 * 24 * 3600


def admin_token(settings: Settings) -> str:
    """The API token, as RUNNER_TOKEN gives it or from the home folder; the first start makes the file."""
    if settings.token:
        return settings.token
    path = settings.token_file
    if not path.exists():
        create(path, f"rnr_{secrets.token_urlsafe(32)}\n")
    token = path.read_text().strip()
    if len(token) < 16:
        raise Rejected(f"{path} holds no token; remove the file, the next start writes a new one")
    return token


class Guard:
    """Lets the admin through. `address` is where people reach the server, for the check of origins."""

    def __init__(self, token: str, address: str, clock: Callable[[], float] = time.time) -> None:
        self._digest = hashlib.sha256(token.encode()).digest()
        self._key = hashlib.sha256(b"runner session\0" + token.encode()).digest()
        self._address = address
        self._clock = clock

    def fits(self, token: str) -> bool:
        said = hashlib.sha256(token.encode(errors="surrogateescape")).digest()
        return hmac.compare_digest(said, self._digest)

    def check(self, method: str, headers: Headers) -> None:
        """Raises `Unauthorized`. A session may only read: a page of someone else's cannot act through it."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.fits(token.strip()):
            return
        if method in ("GET", "HEAD") and self.session(headers):
            return
        raise Unauthorized(
            "send `Authorization: Bearer TOKEN`; the token is in the file admin-token of the server's home"
        )

    # --- sessions of people with a browser -------------------------------------------------------

    def begin_session(self) -> str:
        """A cookie's value."""
        until = str(int(self._clock()) + SESSION_SECONDS)
        return f"{until}.{self._sign(until)}"

    def session(self, headers: Headers) -> bool:
        until, _, signature = _cookie(headers).partition(".")
        if not hmac.compare_digest(self._sign(until).encode(), signature.encode()):
            return False
        return int(until) > self._clock()

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

    def _sign(self, until: str) -> str:
        return hmac.new(self._key, until.encode(errors="replace"), hashlib.sha256).hexdigest()


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""
