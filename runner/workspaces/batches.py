"""Fetching contents of Git LFS from a repository's server: its batch API, with basic transfers.

https://github.com/git-lfs/git-lfs/blob/main/docs/api says how. The repository's login goes to its own server
at its own address; wherever that sends us for a content, only what it said itself is sent along.
"""

import json
import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any, Protocol
from urllib.parse import unquote, urljoin, urlsplit

from runner.engine.ports import Large
from runner.errors import Rejected, Unavailable
from runner.workspaces.git import Git, GitFailed
from runner.workspaces.hosts import Hosts
from runner.workspaces.large import Shelf
from runner.workspaces.names import Address

AT_ONCE = 8
"""How many contents are fetched side by side."""
BATCH = 100
"""How many are asked for with one word."""
TRIES = 4
PAUSE_SECONDS = 0.5
ANSWER_BYTES = 16 * 1024 * 1024
MOST_HEADERS = 50
MOST_REDIRECTS = 5
CHECK_SECONDS = 0.2
_JSON = "application/vnd.git-lfs+json"
_PIECE = 1 << 18
_SCP = re.compile(r"([^/:]+):(.+)")


@dataclass(frozen=True, slots=True)
class Server:
    """Where a repository's contents are asked for, and what says who asks."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def local_folder(address: Address) -> Path | None:
    """Where a repository on this machine keeps its contents; None for one elsewhere."""
    if address.host is not None:
        return None
    path = Path(unquote(address.url.removeprefix("file://")) if "://" in address.url else address.url)
    return (path / ".git" if (path / ".git").is_dir() else path) / "lfs" / "objects"


def server_of(
    name: str, address: Address, configured: str, git: Git, hosts: Hosts, check: Callable[[], None]
) -> Server:
    """The LFS server of a repository that is elsewhere; `configured` is what its `.lfsconfig` says of it.

    Errors: `Rejected`, `Unavailable`.
    """
    own = _own(address)
    if configured and _parts(configured) != _parts(own):
        return Server(_elsewhere(name, configured, own))
    if address.host is not None and address.host.port is None:
        return _by_ssh(name, address, own, git, hosts, check)
    headers = {}
    for line in address.settings.values():
        key, _, value = line.partition(": ")
        headers[key] = value
    return Server(own, headers)


def _own(address: Address) -> str:
    """What git-lfs makes of a clone URL."""
    url = address.url.rstrip("/")
    url = f"{url.removesuffix('.git')}.git/info/lfs"
    if address.host is None or address.host.port is not None:
        return url
    host, path = _ssh_place(url)[1:]
    return f"https://{host}/{path.lstrip('/')}"


def _elsewhere(name: str, configured: str, own: str) -> str:
    """An LFS server that a file of the repository names: for what is open to all, and on its own host."""
    (scheme, there, _, _), (_, mine, _, _) = _parts(configured), _parts(own)
    if scheme not in ("http", "https") or not there or "@" in configured:
        raise Rejected(f"{name}: .lfsconfig: lfs.url must be https://HOST/PATH, without a login")
    if there != mine:
        raise Rejected(
            f"{name}: .lfsconfig: lfs.url leads to {there[:100]!a}; contents are fetched from "
            f"the host of the repository alone, which is {mine}"
        )
    return configured.rstrip("/")


def _parts(url: str) -> tuple[str, str, int | None, str]:
    """What two URLs of one server have in common."""
    try:
        found = urlsplit(url)
        port = found.port or {"http": 80, "https": 443}.get(found.scheme)
    except ValueError:
        return "", "", None, url
    path = found.path.rstrip("/").removesuffix("/info/lfs").removesuffix(".git")
    return found.scheme, (found.hostname or "").lower(), port, path


# --- over ssh ------------------------------------------------------------------------------------


def _ssh_place(url: str) -> tuple[Sequence[str], str, str]:
    """The arguments that lead ssh to a host, the host alone, and the path there."""
    if "://" not in url:
        found = _SCP.fullmatch(url)
        if found is None:
            raise Rejected("no host can be read in the URL of the repository")
        return [found[1]], found[1].rpartition("@")[2], found[2]
    parts = urlsplit(url)
    host = parts.netloc.rpartition(":")[0] if parts.port else parts.netloc
    return [*(("-p", str(parts.port)) if parts.port else ()), host], parts.hostname or "", parts.path


def _by_ssh(
    name: str, address: Address, own: str, git: Git, hosts: Hosts, check: Callable[[], None]
) -> Server:
    """As git-lfs does: the ssh server says where to ask, and lends a login for it."""
    hosts.settings(name, address)
    target, _, path = _ssh_place(address.url)
    command = f"git-lfs-authenticate {shlex.quote(path)} download"
    try:
        said = git.over_ssh(target, command, 60, check)
    except GitFailed as error:
        if re.search(r"denied|not permitted|publickey", error.stderr, re.I):
            raise Rejected(f"{name}: its ssh server gives no login for LFS: {error.said}") from error
        # A server without that command may still be open to all.
        return Server(own)
    found = _read_json(name, said)
    href, header = found.get("href") or own, found.get("header")
    if not isinstance(href, str):
        raise Unavailable(f"{name}: its ssh server names no LFS server that can be understood")
    return Server(href.rstrip("/"), _headers(header))


# --- the contents --------------------------------------------------------------------------------


class Asks(Protocol):
    """As `asking.Asking` does, which loads what it needs for HTTP."""

    def asked(
        self, repository: str, method: str, url: str, headers: Mapping[str, str], content: bytes = b""
    ) -> AbstractContextManager[Any]: ...

    def end(self) -> None: ...


class Fetching:
    """Contents of one repository, on their way to its shelf. `paths`: a file of each, for messages."""

    def __init__(
        self, name: str, server: Server, paths: Mapping[Large, str], shelf: Shelf, asking: Asks
    ) -> None:
        self._name = name
        self._server = server
        self._paths = paths
        self._shelf = shelf
        self._asking = asking
        self._ended = Event()
        self._why = ""

    def fetch(self, check: Callable[[], None]) -> None:
        """Have all of them. `check` is called now and then, and ends it by raising.

        Errors: `Rejected` where the server will not give one, `Unavailable` where it cannot now.
        """
        left = set(self._paths)
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="lfs")
        try:
            for number in range(TRIES):
                if number:
                    _pause(PAUSE_SECONDS * 3 ** (number - 1), check)
                left = self._round(left, pool, check)
                if not left:
                    return
        except BaseException:
            self._ended.set()
            self._asking.end()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        raise Unavailable(f"{self._name}: {len(left)} files of LFS cannot be fetched now; {self._why}")

    def _round(self, wanted: set[Large], pool: ThreadPoolExecutor, check: Callable[[], None]) -> set[Large]:
        """Those that did not come, though they may another time."""
        ordered, left = iter(sorted(wanted, key=lambda one: one.id)), set[Large]()
        while batch := list(islice(ordered, BATCH)):
            running: dict[Future[Any], Sequence[Large]] = {pool.submit(self._actions, batch): batch}
            while running:
                done, _ = wait(running, timeout=CHECK_SECONDS, return_when=FIRST_COMPLETED)
                check()
                for future in done:
                    meant = running.pop(future)
                    try:
                        found = future.result()
                    except Unavailable as error:
                        self._why = str(error)
                        left |= set(meant)
                        continue
                    for one, action in found or ():
                        if action is None:
                            left.add(one)
                        else:
                            running[pool.submit(self._download, one, action)] = [one]
        return left

    def _actions(self, batch: Sequence[Large]) -> list[tuple[Large, Mapping[str, Any] | None]]:
        """What to do for each of them; None where the server cannot say now."""
        question = {
            "operation": "download",
            "transfers": ["basic"],
            "objects": [{"oid": one.id, "size": one.size} for one in batch],
            "hash_algo": "sha256",
        }
        headers = {**self._server.headers, "Accept": _JSON, "Content-Type": _JSON}
        url = f"{self._server.url}/objects/batch"
        with self._asking.asked(self._name, "POST", url, headers, json.dumps(question).encode()) as answer:
            self._check_answer(answer.status_code)
            said = _read_json(self._name, b"".join(_bounded(answer.iter_bytes(_PIECE), ANSWER_BYTES)))
        if said.get("transfer", "basic") != "basic" or said.get("hash_algo", "sha256") != "sha256":
            raise Rejected(f"{self._name}: its LFS server offers no basic transfer of SHA-256 contents")
        objects = said.get("objects")
        found = {
            one["oid"]: one
            for one in (objects if isinstance(objects, list) else ())
            if isinstance(one, dict) and isinstance(one.get("oid"), str)
        }
        return [(one, self._action(one, found.get(one.id, {}))) for one in batch]

    def _check_answer(self, status: int) -> None:
        host = urlsplit(self._server.url).hostname
        if status in (401, 403):
            given = "the login that it is given" if self._server.headers else "whoever has no login"
            raise Rejected(f"{self._name}: the LFS server at {host} refuses {given} ({status})")
        if status in (404, 410, 422, 501):
            raise Rejected(f"{self._name}: there is no LFS server for it at {host} ({status})")
        if status != 200:
            raise Unavailable(f"{self._name}: the LFS server at {host} answers with {status}")

    def _action(self, one: Large, said: Mapping[str, Any]) -> Mapping[str, Any] | None:
        match said:
            case {"error": {"code": int(code), **rest}}:
                if code >= 500 or code == 429:
                    self._why = f"{self._shown(one)}: the server answers with {code}"
                    return None
                raise Rejected(
                    f"{self._name}: {self._shown(one)} is not on its LFS server ({code}: "
                    f"{str(rest.get('message', ''))[:200]!a}); push it with `git lfs push --all`"
                )
            case {"actions": {"download": {"href": str(), **_more} as action}}:
                return {**action, "authenticated": said.get("authenticated")}
        self._why = f"{self._shown(one)}: the server says not where it is"
        return None

    def _download(self, one: Large, action: Mapping[str, Any]) -> None:
        url, headers = action["href"], _headers(action.get("header"))
        own = {name: value for name, value in self._server.headers.items() if name.lower() == "authorization"}
        if not headers and action.get("authenticated") is not True and _host(url) == _host(self._server.url):
            headers = own
        for _ in range(MOST_REDIRECTS):
            with self._asking.asked(self._name, "GET", url, headers) as answer:
                target = answer.headers.get("location", "")
                if answer.is_redirect and target:
                    following = _joined(url, target)
                    headers = headers if _host(following) == _host(url) else {}
                    url = following
                    continue
                if answer.status_code != 200:
                    raise Unavailable(f"{self._shown(one)}: the server answers with {answer.status_code}")
                try:
                    self._shelf.put(one, self._pieces(answer.iter_bytes(_PIECE)))
                except Unavailable as error:
                    raise Unavailable(f"{self._shown(one)}: {error}") from error
                return
        raise Unavailable(f"{self._shown(one)}: the server sends us from one address to the next")

    def _pieces(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            if self._ended.is_set():
                raise Unavailable("nobody waits for it any more")
            yield piece

    def _shown(self, one: Large) -> str:
        return ascii(self._paths[one][:200])


def _joined(url: str, target: str) -> str:
    try:
        return urljoin(url, target)
    except ValueError:
        raise Unavailable("the server sends us to an address that cannot be read") from None


def _host(url: str) -> tuple[str, str, int | None]:
    return _parts(url)[:3]


def _headers(said: object) -> dict[str, str]:
    """What a server gives to be sent along; not what belongs to us to say."""
    if not isinstance(said, Mapping):
        return {}
    pairs = [(name, value) for name, value in said.items() if isinstance(value, str)][:MOST_HEADERS]
    forbidden = ("host", "content-length", "transfer-encoding", "connection")
    return {name: value for name, value in pairs if name.lower() not in forbidden}


def _read_json(name: str, text: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, Mapping):
        raise Unavailable(f"{name}: its LFS server answers with something else than JSON")
    return found


def _bounded(pieces: Iterator[bytes], most: int) -> Iterator[bytes]:
    for piece in pieces:
        most -= len(piece)
        if most < 0:
            raise Unavailable("the LFS server answers with more than can be read")
        yield piece


def _pause(seconds: float, check: Callable[[], None]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        check()
        time.sleep(min(left, CHECK_SECONDS))
