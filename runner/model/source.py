"""Where code comes from, and what happened to it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from runner.model.limits import NONE, Limits
from runner.model.snapshot import Keep

FULL_COMMIT_ID = re.compile(r"[0-9a-f]{40}")
TOKEN_USER = "x-access-token"
"""Who logs in over http with a token; forges look at the token alone."""
KNOWN_HOSTS = (
    "github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
    "github.com ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7"
    "opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=",
)
"""As https://api.github.com/meta has them."""
FROM_PULLS = ("pull_request", "pull_request_review", "pull_request_review_comment")
"""Events whose runs have the code of a pull request."""
PARENT = "parent"
"""Where in a payload it is said which step of which run has started what is asked for."""
DEPTH = "depth"
"""How many runs have followed each other up to this event."""
_HTTP_LOGIN = re.compile(r"^(https?://)[^/]*@", re.IGNORECASE)
_PASSWORD = re.compile(r"^((?:[a-z][a-z0-9+.-]*://)?[^/@:]*):[^/]*@", re.IGNORECASE)
_QUERY = re.compile(r"^([a-z][a-z0-9+.-]*://[^?#]*)[?#].*", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Route:
    """Where a run's code lives: one commit of one repository on one forge.

    Every message and every run carries a Route, so a retry next month loads
    the same bytes as today. It says where to look, never who may look.
    """

    forge: str
    repo: str
    commit: str

    def __post_init__(self) -> None:
        if not FULL_COMMIT_ID.fullmatch(self.commit):
            raise ValueError(f"a route needs a full commit id, not {self.commit!r}")


@dataclass(frozen=True, slots=True)
class Event:
    """What a forge or a person told us, as the forge's adapter read it.

    `commit` is None where the event names none (a ping, a deleted branch) or leaves it to be
    resolved from `ref` when it is admitted. `before` is the commit the ref had, None for a new ref.
    """

    kind: str
    forge: str
    repo: str
    ref: str = ""
    commit: str | None = None
    before: str | None = None
    actor: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)
    default_branch: str | None = None
    """The repository's default branch, where the event tells it."""
    ignored: str | None = None
    """Why nothing will run for it, where that is known from the event alone."""

    @property
    def branch(self) -> str | None:
        """The branch's name where the ref is a branch."""
        return self.ref.removeprefix("refs/heads/") if self.ref.startswith("refs/heads/") else None

    @property
    def tag(self) -> str | None:
        """The tag's name where the ref is a tag."""
        return self.ref.removeprefix("refs/tags/") if self.ref.startswith("refs/tags/") else None

    @property
    def fork(self) -> str | None:
        """The repository that a pull request comes from, where it is another one; None where none does.

        Its code is not trusted: whoever wrote it may not push here.
        """
        if self.kind == "workflow_dispatch":
            # What a step starts is trusted no more than that step's run.
            parent = self.payload.get(PARENT)
            return str(parent["fork"]) if isinstance(parent, Mapping) and parent.get("fork") else None
        pull = self.payload.get("pull_request")
        if self.kind not in FROM_PULLS or not isinstance(pull, Mapping):
            return None
        names = []
        for side in ("head", "base"):
            found = pull.get(side)
            repo = found.get("repo") if isinstance(found, Mapping) else None
            names.append(str(repo.get("full_name")) if isinstance(repo, Mapping) else "a deleted repository")
        head, base = names
        return None if head.lower() == base.lower() == self.repo.lower() else head

    @property
    def trusted(self) -> bool:
        """Whether its code was pushed by somebody who may: only such a run is given secrets."""
        return self.fork is None


@dataclass(frozen=True, slots=True)
class Key:
    """What lets whoever gives it into a repository, for as long as it is being used. It is kept nowhere.

    `token` is for http, `private` an ssh key. `hosts` are lines as in a file of known hosts; other hosts are
    refused where it is `strict`.
    """

    token: str = field(default="", repr=False)
    private: str = field(default="", repr=False)
    hosts: str = field(default="", repr=False)
    strict: bool = True

    @property
    def private_file(self) -> str:
        """The key as ssh reads it from a file, whose last line must have an end."""
        return f"{_with_newlines(self.private)}\n"

    @property
    def known_hosts(self) -> str:
        """A file of known hosts, with those that everybody knows."""
        return "\n".join((*KNOWN_HOSTS, _with_newlines(self.hosts), ""))


@dataclass(frozen=True, slots=True)
class Repository:
    """A registered repository: the one place that says where its code is fetched from."""

    forge: str
    name: str
    url: str
    executor: str | None = None
    """The executor its jobs use; None takes the server's default."""
    image: str | None = None
    """The image its jobs use on docker where `container:` names none."""
    registration: str = ""
    """Sets it apart from whatever is registered under its name before or after it."""
    shared: bool = False
    """Whether workflows of the other repositories here may use its actions and workflows."""
    limits: Limits = NONE
    """What it may use of the server, where that is said of this repository."""
    snapshot: Keep | None = None
    """What becomes of the files that steps of its jobs leave; None is what the server does."""
    key: Key | None = field(default=None, repr=False)
    """What it is reached with instead of what its URL says; only one that is not registered has it."""

    def place(self, kind: str) -> str:
        """Where its objects of a kind are: apart from those of whatever had or will have its name."""
        return f"{kind}/{(self.registration or '0').replace('.', '/')}"


def _with_newlines(text: str) -> str:
    return re.sub(r"\r\n?", "\n", text).strip()


def shown_url(url: str) -> str:
    """A clone URL as anybody may see it: whatever in it could be a password or a token is left out.

    With http that is the whole login, for forges take a token in the place of the user.
    """
    url = _HTTP_LOGIN.sub(r"\1***@", url)
    return _QUERY.sub(r"\1?***", _PASSWORD.sub(r"\1:***@", url))


def bare_url(url: str) -> str:
    """A clone URL without whatever in it could be a password or a token."""
    url = _HTTP_LOGIN.sub(r"\1", url)
    return _QUERY.sub(r"\1", _PASSWORD.sub(r"\1@", url))


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event as it was stored, and what became of it."""

    id: str
    event: Event
    status: str
    """`received`, `admitted`, `ignored` or `failed`."""
    reason: str
    received_at: datetime
    runs: tuple[int, ...] = ()
    approved: bool = False
    """Whether somebody let its code run, though it comes from a fork."""
