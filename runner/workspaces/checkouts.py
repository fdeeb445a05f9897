"""A checkout as somebody is working on it, as a commit that their repository never hears of.

What is changed, and what is new and not ignored, is part of the commit. It is made in a mirror that borrows
the checkout's objects and keeps all new ones: with an index that is a copy, so that no file of the checkout
is written and git hashes only what changed. (Of an object that it has already git renews the time.) A folder
without git has a commit too, of all that it holds.

This is the one place where our git runs in somebody's own folder, and it does there what `git status` and
`git add` would do for them, with their configuration: their ignore files and filters decide what is seen.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from runner.errors import Rejected, Unavailable
from runner.model.source import FULL_COMMIT_ID
from runner.workspaces.refs import ORIGIN

QUIET = (
    *("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"),
    # A split index would leave its other half in the repository.
    *("-c", "core.splitIndex=false", "-c", "core.untrackedCache=false"),
    *("-c", "core.safecrlf=false", "-c", "advice.addEmbeddedRepo=false"),
)
ELSEWHERE = (
    "DIR",
    "WORK_TREE",
    "INDEX_FILE",
    "OBJECT_DIRECTORY",
    "ALTERNATE_OBJECT_DIRECTORIES",
    "COMMON_DIR",
)
"""What git's own hooks have in their environment: which repository they are about."""
IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "runner"), ("EMAIL", "runner@localhost"))
}
FIRST_BRANCH = "refs/heads/main"
_REFS = ("for-each-ref", f"--format=%(objectname) {ORIGIN}%(refname:lstrip=1)", "refs/heads", "refs/tags")
_NAME = re.compile(r"([^/:]+)/([^/:]+?)(?:\.git)?/?")


@dataclass(frozen=True, slots=True)
class Checkout:
    """What a folder says of itself. `commit` is its newest, None where there is none yet."""

    folder: Path
    ref: str = FIRST_BRANCH
    commit: str | None = None
    before: str | None = None
    """What a push would be compared with: what is published, else the commit before."""
    changed: tuple[str, ...] = ()
    """Paths of which `commit` knows nothing, or something else."""
    name: str = ""
    """What its origin calls it, as `owner/name`."""
    person: str = ""
    git: bool = True
    index: Path | None = None
    objects: Path | None = None


def look(folder: Path, environment: Mapping[str, str]) -> Checkout:
    """What is checked out there, or above it; writes nothing. Raises `Rejected`."""
    git = _Git(folder, environment)
    found = git.answer("rev-parse", "--path-format=absolute", "--show-toplevel", *_paths("index", "objects"))
    if found.returncode:
        said = _last_words(found.stderr)
        if "not a git repository" in said:
            return Checkout(folder.resolve(), name=_local(folder), git=False)
        if "must be run in a work tree" in said:
            raise Rejected(f"{folder} is a repository without a checkout; give a folder with files in it")
        raise Rejected(f"{folder}: {said}")
    top, index, objects = (Path(line) for line in os.fsdecode(found.stdout).splitlines())
    status = git.run(
        "status", "--porcelain=v2", "--branch", "-z", "--no-renames", "--ignore-submodules=dirty"
    )
    heads, changed = _status(os.fsdecode(status))
    commit = heads.get("oid", "")
    if commit != "(initial)" and not FULL_COMMIT_ID.fullmatch(commit):
        raise Rejected(f"{top} has commits of {len(commit)} digits (SHA-256); they must have 40 (SHA-1)")
    url, person = _configured(git)
    checkout = Checkout(
        folder=top,
        commit=None if commit == "(initial)" else commit,
        changed=changed,
        name=_named(url) or _local(top),
        person=person,
        index=index,
        objects=objects,
    )
    branch = heads.get("head", "(detached)")
    ref = _ref_at(git, commit) if branch == "(detached)" else f"refs/heads/{branch}"
    return replace(checkout, ref=ref, before=_before(git, checkout, "upstream" in heads))


def commit(checkout: Checkout, mirror: Path, environment: Mapping[str, str]) -> tuple[str, str]:
    """Make `mirror`, a bare repository with the checkout's state as a commit in it.

    Gives the commit's id, and git's words about what could not be read and so is not part of it.
    """
    _make(mirror, checkout.objects)
    if checkout.git:
        (mirror / "packed-refs").write_bytes(_Git(checkout.folder, environment).run(*_REFS))
    if checkout.commit is not None and not checkout.changed:
        return checkout.commit, ""
    index = f"{mirror}/index.checkout"
    own = {"GIT_INDEX_FILE": index, "GIT_OBJECT_DIRECTORY": f"{mirror}/objects", **IDENTITY}
    if not checkout.git:
        own |= {"GIT_DIR": str(mirror), "GIT_WORK_TREE": str(checkout.folder)}
    if checkout.index is not None:
        with suppress(FileNotFoundError):
            # With its time: git looks again at files that were changed when the index was.
            shutil.copy2(checkout.index, index)
    git = _Git(checkout.folder, environment, own)
    added = git.answer("add", "--all", "--ignore-errors", "--", ".", *_without(mirror, checkout.folder))
    if added.returncode not in (0, 1):
        raise Rejected(f"{checkout.folder}: {_last_words(added.stderr)}")
    tree = git.run("write-tree").decode().strip()
    parent: tuple[str, ...] = ()
    if checkout.commit is not None:
        if tree == git.run("rev-parse", f"{checkout.commit}^{{tree}}").decode().strip():
            return checkout.commit, ""
        parent = ("-p", checkout.commit)
    made = git.run("commit-tree", *parent, "-m", "what is not committed yet", tree).decode().strip()
    return made, _last_words(added.stderr) if added.returncode else ""


class _Git:
    """git in somebody's own folder: as if they had typed it, but for where it writes."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], own: Mapping[str, str] | None = None
    ) -> None:
        misleading = {f"GIT_{name}" for name in ELSEWHERE}
        inherited = {name: value for name, value in environment.items() if name not in misleading}
        fixed = {
            "LC_ALL": "C",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_NO_LAZY_FETCH": "1",
        }
        self._environment = {**inherited, **fixed, **(own or {})}
        self._folder = folder

    def answer(self, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        command = ["git", *QUIET, *arguments]
        try:
            return subprocess.run(
                command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
        except FileNotFoundError:
            if not self._folder.is_dir():
                raise Rejected(f"there is no folder {self._folder}") from None
            raise Unavailable("git is not installed on this machine, or not on its PATH") from None
        except NotADirectoryError:
            raise Rejected(f"{self._folder} is no folder") from None
        except PermissionError:
            raise Rejected(f"{self._folder} may not be entered by you") from None

    def run(self, *arguments: str) -> bytes:
        done = self.answer(*arguments)
        if done.returncode:
            raise Rejected(f"{self._folder}: git {arguments[0]}: {_last_words(done.stderr)}")
        return done.stdout


def _paths(*names: str) -> Sequence[str]:
    return [part for name in names for part in ("--git-path", name)]


def _status(text: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """What `git status --porcelain=v2 --branch -z` says of the branch, and the paths that changed."""
    heads: dict[str, str] = {}
    changed = []
    for line in text.split("\0"):
        kind, _, rest = line.partition(" ")
        match kind:
            case "#":
                name, _, value = rest.partition(" ")
                heads[name.removeprefix("branch.")] = value
            case "1":
                changed.append(rest.split(" ", 7)[7])
            case "u":
                changed.append(rest.split(" ", 9)[9])
            case "?":
                changed.append(rest)
    return heads, tuple(changed)


def _configured(git: _Git) -> tuple[str, str]:
    """The URL of origin and the user's name, where they are said."""
    said = git.answer("config", "-z", "--get-regexp", r"^(remote\.origin\.url|user\.name)$").stdout
    values = dict(part.partition("\n")[::2] for part in os.fsdecode(said).split("\0"))
    return values.get("remote.origin.url", ""), values.get("user.name", "")


def _named(url: str) -> str:
    found = _NAME.fullmatch("/".join(re.split(r"[/:]", url.rstrip("/"))[-2:]))
    return f"{found[1]}/{found[2]}" if found else ""


def _local(folder: Path) -> str:
    return f"local/{folder.resolve().name or 'folder'}"


def _ref_at(git: _Git, commit: str) -> str:
    """A branch or a tag that is where HEAD is, though HEAD names none."""
    asked = ("for-each-ref", "--count=1", "--format=%(refname)", f"--points-at={commit}")
    return os.fsdecode(git.run(*asked, "refs/heads", "refs/tags")).strip() or FIRST_BRANCH


def _before(git: _Git, checkout: Checkout, published: bool) -> str | None:
    """What a push of the checkout would come after; where there is nothing to push, what the last one did."""

    def found(name: str) -> str | None:
        return git.answer("rev-parse", "--verify", "--quiet", name).stdout.decode().strip() or None

    if checkout.commit is None or not published:
        return None
    upstream = found("@{upstream}")
    all_published = upstream == checkout.commit and not checkout.changed
    return found(f"{checkout.commit}^") if all_published else upstream


def _make(mirror: Path, objects: Path | None) -> None:
    """A bare repository as gitrepository-layout describes it; `git init` would be one more process."""
    for folder in ("objects/info", "refs/heads"):
        (mirror / folder).mkdir(parents=True, mode=0o700)
    (mirror / "HEAD").write_text(f"ref: {FIRST_BRANCH}\n")
    (mirror / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = true\n")
    if objects is not None:
        path = str(objects)
        if path.startswith(("#", '"')) or "\n" in path:
            path = json.dumps(path, ensure_ascii=False)
        (mirror / "objects/info/alternates").write_bytes(os.fsencode(path) + b"\n")


def _without(mirror: Path, folder: Path) -> Sequence[str]:
    """What keeps our own files out of a folder that they are in."""
    home = mirror.parent.parent.resolve()
    return [f":(exclude,literal){home.relative_to(folder)}"] if home.is_relative_to(folder) else []


def _last_words(stderr: bytes) -> str:
    lines = [
        re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", line) for line in stderr.decode(errors="replace").splitlines()
    ]
    said = [re.sub(r"^(fatal|error|warning): ", "", line) for line in lines if not line.startswith("hint:")]
    return "; ".join(line for line in said if line.strip())[-500:] or "git failed without a word"
