"""`actions/checkout`: another commit, another repository, another place, or what a job begins with anyhow."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import monotonic

from runner.engine.errands.credentials import persist, renew
from runner.engine.errands.errand import Errand, done
from runner.engine.library import Halted
from runner.engine.ports import BOX_WORKSPACE, History, Submodule, Wanted
from runner.engine.sources import OPEN, on_same_server
from runner.errors import BrokenDefinition, DatabaseUnavailable, Unavailable
from runner.model.snapshot import BASE
from runner.model.source import Key, Repository, Route, bare_url
from runner.model.step import Outcome, Post
from runner.workflow.references import OWNER, REPOSITORY, Remote

DEEPEST = 10
MOST_SUBMODULES = 300
"""How deep submodules may have others, and how many there may be in all."""


_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
NEVER_SHOWN = ("token", "ssh-key", "ssh-known-hosts")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the inputs of a checkout ask for. `path` are names below the workspace; none is the workspace."""

    repository: str
    ref: str
    path: tuple[str, ...]
    wanted: Wanted
    submodules: bool
    recursive: bool
    lfs: bool
    deep: bool
    key: Key | None
    user: str
    persist: bool


def check_out(errand: Errand) -> Outcome:
    with _secrets_unshown(errand):
        return _checked_out(errand)


def check_out_again(errand: Errand, state: Mapping[str, str]) -> Outcome:
    """What there is to do in an attempt whose files have the checkout: steps may go on pushing."""
    with _secrets_unshown(errand):
        asked = _asked(errand)
        _hide(errand, asked.key)
        return renew(errand, asked.key, asked.user, state)


@contextmanager
def _secrets_unshown(errand: Errand) -> Iterator[None]:
    """No error says why it is one where an input has a secret in it that is not the key."""
    try:
        yield
    except (BrokenDefinition, Halted) as error:
        masks = errand.stage.masks
        shown = {name: value for name, value in errand.inputs.items() if name not in NEVER_SHOWN}
        secret = next((name for name, value in shown.items() if masks.covers(value)), None)
        if secret is None:
            raise
        # A part of one is not known as a secret any more.
        raise type(error)(f"it cannot be done; why is not shown, for `{secret}` has a secret in it") from None


def _checked_out(errand: Errand) -> Outcome:
    github = errand.seen["github"]
    asked = _asked(errand)
    _hide(errand, asked.key)
    own = Route(errand.stage.repository.forge, errand.stage.repository.name, github["sha"])
    foreign = asked.repository.lower() != own.repo.lower()
    begun_with = not foreign and asked.ref in ("", github["ref"], github["ref_name"], github["sha"])
    _warn(errand, own, foreign)
    if begun_with:
        ref, route = github["ref"], own
        repository = errand.stage.repository
    else:
        ref, route, repository = _fetched(errand, own, asked, foreign)
    placing = _Placing(errand, own, asked, bare_url(repository.url), [asked.path])
    if not begun_with or asked.path or not _is_there(errand, asked):
        placing.place(ref, route, repository, asked.path, 0)
    elif asked.lfs:
        there = replace(asked.wanted, there=not _touched(errand))
        placing.asked = replace(asked, wanted=there)
        placing.place(ref, route, repository, (), 0)
    where = "/".join(asked.path) or "the workspace"
    errand.say(f"{where} holds {route.commit} of {asked.repository}")
    outcome = done({"ref": str(ref or asked.ref), "commit": route.commit})
    if asked.key is None or not asked.persist:
        return outcome
    state = persist(errand, asked.key, asked.user, placing.server, placing.reached)
    return replace(outcome, posts=(Post(errand.path, state),)) if state else outcome


def _hide(errand: Errand, key: Key | None) -> None:
    """Have a key masked, wherever it comes from."""
    masks = errand.stage.masks
    for secret in (key.token, key.private) if key is not None else ():
        if secret and not masks.covers(secret):
            masks.add(secret)


def _is_there(errand: Errand, asked: Asked) -> bool:
    """Whether the workspace is as it would be made."""
    return not (asked.submodules or asked.wanted.sparse or _touched(errand))


def _touched(errand: Errand) -> bool:
    """Whether steps may have changed the workspace."""
    stage, path = errand.stage, errand.path
    # What the steps of an action did is not kept before the action ends.
    return stage.workspace.snapshot != BASE or len(path) > 1 or (stage.unkept and path > (0,))


def _fetched(errand: Errand, own: Route, asked: Asked, foreign: bool) -> tuple[str, Route, Repository]:
    """The ref, the commit and the repository that are meant, with the commit here."""
    sources = errand.stage.station.sources
    wanted = Remote(asked.repository if foreign else own.repo, "", asked.ref)
    _check_may(errand, own, wanted)
    which = sources.repository(own, wanted.repository)
    if asked.key is not None:
        which = sources.let_in(own, which, asked.key, which.url, asked.user, asked.deep)
    given = which if which.key is not None else None
    with _patiently():
        ref, commit = sources.ref(own, wanted, _seconds(errand), given)
        errand.check()
        shown, seconds = Remote(wanted.repository, "", asked.ref or ref), _seconds(errand)
        route = sources.fetch(own, shown, commit, _keep(errand), seconds, errand.check, given, asked.deep)
    return ref, route, which


def _check_may(errand: Errand, own: Route, wanted: Remote) -> None:
    """The code of a fork reads no more of the repositories here than the base's workflow gives it."""
    event = errand.stage.scene.asked.event
    if event.trusted or len(errand.path) == 1:
        return
    if errand.stage.station.sources.is_shared(own, wanted.repository):
        raise BrokenDefinition(
            f"{wanted.repository} is a repository of this server, which an action of a fork cannot use; "
            "a step of the workflow can"
        )


@dataclass
class _Placing:
    """Puts one repository into the workspace, and its submodules into it.

    `server` is where the key that is given is for; `reached` are the places of what is on it.
    """

    errand: Errand
    own: Route
    asked: Asked
    server: str
    reached: list[tuple[str, ...]]
    placed: int = 0

    def place(
        self, ref: str, route: Route, repository: Repository, path: tuple[str, ...], depth: int
    ) -> None:
        errand, stage = self.errand, self.errand.stage
        errand.check()
        workspaces = stage.station.workspaces
        deeper = self.asked.recursive or (self.asked.submodules and not depth)
        found = workspaces.submodules(route) if deeper else ()
        inner = [(one, self._meant(one, repository)) for one in found]
        wanted = self.asked.wanted if not depth else Wanted()
        if self.asked.lfs:
            wanted = self._with_large(route, repository, path, wanted)
            if wanted.there and not wanted.large:
                return
        wanted = replace(wanted, submodules={one.name: bare_url(which.url) for one, which in inner})
        history = replace(
            stage.history or History(""),
            ref=ref,
            url=self._shown(repository),
            owner=stage.scene.sandbox.owner,
        )
        lease, root = stage.hold.lease, stage.workspace.path
        name = stage.library.name
        workspaces.check_out(route, name, lease.attempt, root, path, history, wanted, errand.check)
        if inner and depth >= DEEPEST:
            raise BrokenDefinition(f"submodules have others in them more than {DEEPEST} deep")
        for one, which in inner:
            self._submodule(one, which, path, depth + 1)

    def _with_large(
        self, route: Route, repository: Repository, path: tuple[str, ...], wanted: Wanted
    ) -> Wanted:
        """With the contents here that the commit has in LFS."""
        errand, shown = self.errand, Remote(repository.name, "", route.commit)
        with _patiently():
            large = errand.stage.station.sources.fetch_large(
                self.own, shown, repository, route, wanted, errand.check
            )
        if large:
            total = sum(one.size for one in large.values())
            errand.say(f"{'/'.join(path) or 'the workspace'}: {len(large)} files of LFS, {total} bytes")
        return replace(wanted, large=large)

    def _meant(self, one: Submodule, parent: Repository) -> Repository:
        asked, sources = self.asked, self.errand.stage.station.sources
        with _about(one):
            which = sources.at(self.own, joined(parent.url, one.url))
            if asked.key is not None:
                which = sources.let_in(self.own, which, asked.key, self.server, asked.user, asked.deep)
            return which

    def _submodule(self, one: Submodule, which: Repository, path: tuple[str, ...], depth: int) -> None:
        self.placed += 1
        if self.placed > MOST_SUBMODULES:
            raise BrokenDefinition(f"there are more than {MOST_SUBMODULES} submodules")
        errand = self.errand
        named = Remote(which.name, "", one.commit)
        keep, seconds = _keep(errand), _seconds(errand)
        with _patiently(), _about(one):
            route = errand.stage.station.sources.fetch(
                self.own, named, one.commit, keep, seconds, errand.check, which, self.asked.deep
            )
        below = (*path, *one.path.split("/"))
        if on_same_server(which.url, self.server):
            self.reached.append(below)
        errand.say(f"submodule {'/'.join(below)}: {one.commit} of {which.name}")
        self.place("", route, which, below, depth)

    def _shown(self, repository: Repository) -> str:
        """What `origin` is called; of a neighbour not where it is, which is its administrator's business."""
        if repository.forge == OPEN or repository.key is not None or repository.name == self.own.repo:
            return bare_url(repository.url)
        return f"{self.errand.stage.station.sources.url}/{repository.name}"


def joined(parent: str, url: str) -> str:
    """A submodule's URL, which may be relative to that of the repository that it is in."""
    if not url.startswith(("./", "../")):
        return url
    parent, mark = parent.rstrip("/"), "/"
    host = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*|", parent)
    while url.startswith(("./", "../")):
        if url.startswith("../"):
            above = re.match(r"(.*[^/:])([/:]).+", parent, re.DOTALL)
            if above is None or (host and len(above[1]) < host.end()):
                raise BrokenDefinition(f"{url[:200]!a} leads out of the forge that the repository is on")
            parent, mark = above[1], above[2]
        url = url.partition("/")[2]
    return f"{parent}{mark}{url}"


# --- the inputs ----------------------------------------------------------------------------------


def _asked(errand: Errand) -> Asked:
    """Raises `BrokenDefinition` for what cannot be."""
    inputs = {name: value.strip() for name, value in errand.inputs.items() if value.strip()}
    github = errand.seen["github"]
    depth = inputs.get("fetch-depth", "1")
    if not depth.isdecimal():
        raise BrokenDefinition(f"fetch-depth is a number, 0 for all, not {depth[:100]!a}")
    recursive = inputs.get("submodules", "").lower() == "recursive"
    user = inputs.get("ssh-user", "git")
    if not _USER.fullmatch(user):
        raise BrokenDefinition(f"ssh-user is the name of a user, not {user[:100]!a}")
    for name in ("fetch-tags", "set-safe-directory"):
        _flag(inputs, name, True)
    return Asked(
        repository=_repository(inputs.get("repository", github["repository"])),
        ref=inputs.get("ref", ""),
        path=_path(errand, inputs.get("path", ".")),
        wanted=Wanted(
            clean=_flag(inputs, "clean", True),
            sparse=inputs.get("sparse-checkout", ""),
            cone=_flag(inputs, "sparse-checkout-cone-mode", True),
        ),
        submodules=recursive or _flag(inputs, "submodules", False),
        recursive=recursive,
        lfs=_flag(inputs, "lfs", False),
        deep=depth.lstrip("0") != "1",
        key=_key(inputs),
        user=user,
        persist=_flag(inputs, "persist-credentials", True),
    )


def _key(inputs: Mapping[str, str]) -> Key | None:
    token, private = inputs.get("token", ""), inputs.get("ssh-key", "")
    strict = _flag(inputs, "ssh-strict", True)
    if not (token or private):
        return None
    if not token.isprintable() or not token.isascii():
        raise BrokenDefinition("token is one line of letters, digits and signs")
    return Key(token, private, inputs.get("ssh-known-hosts", ""), strict)


def _flag(inputs: Mapping[str, str], name: str, otherwise: bool) -> bool:
    value = inputs.get(name, str(otherwise)).lower()
    if value not in ("true", "false"):
        more = ", or recursive" if name == "submodules" else ""
        raise BrokenDefinition(f"{name} is true or false{more}, not {value[:100]!a}")
    return value == "true"


def _repository(text: str) -> str:
    owner, _, name = text.partition("/")
    if not (OWNER.fullmatch(owner) and REPOSITORY.fullmatch(name)) or name in (".", ".."):
        raise BrokenDefinition(f"repository is OWNER/NAME, not {text[:100]!a}")
    return text


def _path(errand: Errand, text: str) -> tuple[str, ...]:
    """The names that lead to a place in the workspace."""
    sandbox = errand.stage.scene.sandbox
    full = posixpath.normpath(posixpath.join(sandbox.workspace, text))
    for top in (sandbox.workspace, BOX_WORKSPACE):
        if full == top or full.startswith(f"{top}/"):
            names = tuple(filter(None, full.removeprefix(top).split("/")))
            if ".git" in (name.lower() for name in names):
                break
            return names
    raise BrokenDefinition(f"path is a folder in the workspace, not {text[:200]!a}")


def _warn(errand: Errand, own: Route, foreign: bool) -> None:
    """Say of what is asked for that it is not done."""
    inputs, github = errand.inputs, errand.seen["github"]
    server = inputs.get("github-server-url", "").strip().rstrip("/")
    url = errand.stage.station.sources.url
    if foreign and server and server not in (url, str(github["server_url"]).rstrip("/")):
        raise BrokenDefinition(
            f"github-server-url: others are cloned from {url} (RUNNER_ACTIONS_URL), not {server[:200]!a}"
        )
    known = errand.stage.station.sources.is_shared(own, inputs.get("repository", "").strip())
    known = known or any(inputs.get(name, "").strip() for name in ("token", "ssh-key"))
    if foreign and not known and inputs.get("fetch-depth", "1").strip() not in ("", "1"):
        errand.say("##[warning]fetch-depth: of a repository that is not registered here there is one commit")


def _keep(errand: Errand) -> str:
    return errand.stage.scene.asked.run.delivery


def _seconds(errand: Errand) -> float:
    """How long one word with a repository may take."""
    return max(1.0, errand.until - monotonic())


@contextmanager
def _about(one: Submodule) -> Iterator[None]:
    try:
        yield
    except BrokenDefinition as error:
        raise BrokenDefinition(f"submodule {one.path[:200]}: {error}") from None


@contextmanager
def _patiently() -> Iterator[None]:
    """A repository that does not answer is asked again, with the step: it has done nothing yet."""
    try:
        yield
    except DatabaseUnavailable:
        raise
    except Unavailable as error:
        raise Halted(str(error)) from error
