"""The `.git` of a job's folder, written without git: what is checked out, and all that came before it.

Its objects are those of the mirror, which it borrows. Whatever a step writes into it is the step's own:
nothing of ours ever reads it.
"""

import re
import time
from collections.abc import Mapping
from itertools import islice

from runner.engine.ports import History
from runner.errors import Rejected
from runner.model.refs import checked_ref
from runner.workspaces.folders import File, Folder, Given, Node
from runner.workspaces.sparse import Sparse

MOST_REFS = 50_000
"""How many branches and tags a job sees."""
_FOLDERS = ("", "/info", "/objects", "/objects/info", "/objects/pack", "/refs", "/refs/heads", "/refs/tags")
_BRANCH, _TAG, _PULL = "refs/heads/", "refs/tags/", "refs/pull/"
CONFIG = """\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = false
\tlogallrefupdates = true
\tcheckStat = minimal
\ttrustctime = false
[gc]
\tauto = 0
"""
"""Of the looks of a file only its size and its time are compared, which are the same on every machine."""


def nodes(
    history: History,
    commit: str,
    origin: Mapping[str, str],
    objects: str,
    index: bytes,
    *,
    shallow: bool = False,
    sparse: Sparse | None = None,
    submodules: Mapping[str, str] | None = None,
) -> dict[str, Node]:
    """Its files by path.

    `origin` are the branches and tags of the repository, as `heads/main`; `objects` is where it borrows them
    from, as steps see it. `submodules`: the URLs of those that are checked out in it, by name.
    """
    ref = _checked(history.ref)
    files = {
        "HEAD": f"ref: {ref}\n" if ref.startswith(_BRANCH) else f"{commit}\n",
        "config": _config(history, ref, sparse, submodules or {}),
        "packed-refs": _refs(ref, commit, origin),
        "objects/info/alternates": f"{objects}\n",
    }
    if shallow:
        files["shallow"] = f"{commit}\n"
    if sparse is not None:
        files["info/sparse-checkout"] = sparse.file
    now = time.time_ns()
    made: dict[str, Node] = {f".git{folder}": Folder(0o755) for folder in _FOLDERS}
    for name, text in files.items():
        made[f".git/{name}"] = File(0o644, now, Given(text.encode(errors="surrogateescape")))
    made[".git/index"] = File(0o644, now, Given(index))
    return made


def wanted_tag(history: History) -> str | None:
    """The tag that is checked out, as `tags/v1`."""
    return history.ref.removeprefix("refs/") if history.ref.startswith(_TAG) else None


def _checked(ref: str) -> str:
    try:
        return checked_ref(ref)
    except Rejected:
        return ""


def _refs(ref: str, commit: str, origin: Mapping[str, str]) -> str:
    found = {}
    for name, id in islice(origin.items(), MOST_REFS):
        kind, _, rest = name.partition("/")
        found[f"refs/remotes/origin/{rest}" if kind == "heads" else f"refs/{name}"] = id
    if ref.startswith(_BRANCH):
        found[ref] = found[f"refs/remotes/origin/{ref.removeprefix(_BRANCH)}"] = commit
    elif ref.startswith(_TAG):
        found.setdefault(ref, commit)
    elif ref.startswith(_PULL):
        found[f"refs/remotes/{ref.removeprefix('refs/')}"] = commit
    lines = sorted((name.encode(errors="surrogateescape"), id) for name, id in found.items())
    text = b"".join(id.encode() + b" " + name + b"\n" for name, id in lines)
    return "# pack-refs with: sorted \n" + text.decode(errors="surrogateescape")


def _config(history: History, ref: str, sparse: Sparse | None, submodules: Mapping[str, str]) -> str:
    text = CONFIG
    if sparse is not None:
        text += f"[core]\n\tsparseCheckout = true\n\tsparseCheckoutCone = {str(sparse.cone).lower()}\n"
    if history.url:
        text += _section("remote", "origin", url=history.url, fetch="+refs/heads/*:refs/remotes/origin/*")
        if ref.startswith(_BRANCH):
            text += _section("branch", ref.removeprefix(_BRANCH), remote="origin", merge=ref)
    for name, url in submodules.items():
        text += _section("submodule", name, active="true", url=url)
    return text


def _section(kind: str, name: str, **values: str) -> str:
    lines = "".join(f"\t{key} = {_quoted(value)}\n" for key, value in values.items())
    return f"[{kind} {_quoted(name)}]\n{lines}"


def _quoted(text: str) -> str:
    """Text as git's configuration has it; what no line of it can hold is left out."""
    return '"' + re.sub(r'(["\\])', r"\\\1", re.sub(r"[\x00-\x1f\x7f]", "", text)) + '"'
