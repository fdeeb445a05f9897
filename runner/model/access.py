"""Who may do what: roles, tokens, and the one who asks."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from runner.errors import Rejected

Scope = frozenset[tuple[str, str]] | None
"""The repositories that somebody sees, each as its forge and its name; None is all of them."""
ADMIN = "admin"
"""Who holds the token of the server's home."""
TAKEN = (ADMIN, "runner", "webhook")
"""Who acts under names of the server's own."""
LONGEST_LOGIN = 255
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Role(StrEnum):
    """Each may do what those before it may, and more."""

    VIEWER = "viewer"
    """Reads."""
    WRITER = "writer"
    """Starts runs, and cancels those that it started."""
    MAINTAINER = "maintainer"
    """Acts on every run, approves, blocks, and sets secrets and variables."""
    ADMIN = "admin"
    """Registers repositories and makes tokens."""

    def covers(self, needed: "Role") -> bool:
        roles = list(Role)
        return roles.index(self) >= roles.index(needed)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for something, and what that one may do."""

    name: str
    role: Role
    scope: Scope = None
    person: str = ""
    """What forges call whoever it is, where that is said."""

    def is_called(self, name: str) -> bool:
        """Whether somebody whom a forge tells of is the one who asks. Logins are the same in any case."""
        return name == self.name or (bool(self.person) and name.casefold() == self.person.casefold())


@dataclass(frozen=True, slots=True)
class Token:
    """What a token stands for. Of itself there is only its SHA-256, in hexadecimal digits."""

    name: str
    role: Role
    scope: Scope
    digest: str
    expires_at: datetime | None = None
    person: str = ""
    """The login at the forges of whoever holds it."""

    def __post_init__(self) -> None:
        if self.role is Role.ADMIN and self.scope is not None:
            raise Rejected("an admin is one of all repositories; leave them out, or make it a maintainer")

    @property
    def actor(self) -> Actor:
        return Actor(self.name, self.role, self.scope, self.person)


def checked_token_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Rejected(
            f"{name[:100]!a} cannot name a token; give up to 100 letters, digits, dots, dashes and "
            "underscores, the first one a letter or a digit"
        )
    if name.lower() in TAKEN:
        raise Rejected(f"a token cannot be called {name}: the server itself acts under that name")
    return name


def checked_person(login: str) -> str:
    if login != login.strip() or not login.isprintable() or not 0 < len(login) <= LONGEST_LOGIN:
        raise Rejected(f"{login[:100]!a} is nobody's login; give one as a forge shows it, such as anna")
    return login


def checked_role(said: str) -> Role:
    if said not in list(Role):
        raise Rejected(f"no role {said[:100]!a}; there are {', '.join(Role)}")
    return Role(said)
