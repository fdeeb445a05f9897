"""`actions/cache`, with `restore` and `save`: files that later runs of the repository find again.

https://github.com/actions/cache

What goes wrong with a cache never fails a job: it is done without.
"""

import hashlib
import posixpath
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import BinaryIO

from runner.engine.caches import CacheStore
from runner.engine.commands import FOLDER
from runner.engine.errands.archive import MOST_BYTES, Member, pack, unpack
from runner.engine.errands.chosen import HOME, TEMP, WORKSPACE, Line, chosen, read_line
from runner.engine.errands.errand import Errand, done
from runner.engine.errands.patterns import lines_of
from runner.engine.ports import Folder
from runner.errors import BrokenDefinition, Damaged, NotFound, Unavailable
from runner.model.cache import BadKey, Cache, Scope, checked_keys, scopes_of
from runner.model.step import Outcome, Post, Result

INPUTS = (
    *("path", "key", "restore-keys", "upload-chunk-size", "enablecrossosarchive"),
    *("fail-on-cache-miss", "lookup-only", "save-always"),
)
COMPRESSION = "zstd"
SHOWN_LEFT_OUT = 5
TROUBLE = (BrokenDefinition, NotFound, Unavailable, OSError)
"""What keeps a cache from being restored or saved, by no fault of whoever waits for the job."""
PRIMARY, MATCHED = "key", "matched"
"""What the end of a job is told of its begin: the key may be made of files that have changed since."""


def cache(errand: Errand) -> Outcome:
    """Restore now, and save when the job has ended well."""
    asked = _Asked(errand)
    outcome, found = _restore(asked)
    state = {PRIMARY: asked.key, MATCHED: found.key if found else ""}
    return Outcome(outcome.result, outcome.conclusion, 0, outcome.outputs, posts=(Post(errand.path, state),))


def cache_at_end(errand: Errand, state: Mapping[str, str]) -> Outcome:
    if errand.seen["job"]["status"] != "success":
        return Outcome(Result.SKIPPED, Result.SKIPPED)
    key = state.get(PRIMARY, "")
    if state.get(MATCHED) == key:
        errand.say(f"there is a cache with the key {key} already, so none is saved")
        return done()
    # Not so the paths: the job's folders are elsewhere where another worker went on.
    return _save(_Asked(errand, {**errand.inputs, "key": key}))


def restore(errand: Errand) -> Outcome:
    outcome, _ = _restore(_Asked(errand))
    return outcome


def save(errand: Errand) -> Outcome:
    return _save(_Asked(errand))


class _Asked:
    """What an action is asked for. Raises `BrokenDefinition`."""

    def __init__(self, errand: Errand, inputs: Mapping[str, str] | None = None) -> None:
        self.errand = errand
        self._inputs = errand.inputs if inputs is None else inputs
        self.paths = lines_of(self._given("path"))
        self.key = self._given("key")
        for name in ("path", "key"):
            if not self._given(name):
                raise BrokenDefinition(f"`{name}` is needed")
        try:
            self.keys = checked_keys((self.key, *lines_of(self._given("restore-keys"))))
        except BadKey as error:
            raise BrokenDefinition(str(error)) from None
        for name in sorted(set(self._inputs) - set(INPUTS)):
            self.warn(f"there is no input {name[:100]!a}; there are {', '.join(INPUTS)}")
        if self.says("save-always"):
            self.warn(
                "save-always does nothing, as on GitHub: save with actions/cache/save in a step of its own, "
                "with `if: always()`"
            )

    def _given(self, name: str) -> str:
        return self._inputs.get(name, "").strip()

    def says(self, name: str) -> bool:
        return self._given(name).lower() == "true"

    @property
    def store(self) -> CacheStore:
        return self.errand.stage.station.caches

    @property
    def scopes(self) -> tuple[Scope, ...]:
        return scopes_of(self.errand.stage.scene.asked.event)

    @property
    def version(self) -> str:
        """Caches of other paths are none of this. Where a job's folders are is another place for each job."""
        said = (*map(str, self.lines), COMPRESSION)
        return hashlib.sha256("\n".join(said).encode(errors="surrogatepass")).hexdigest()

    def warn(self, what: str) -> None:
        self.errand.say(f"##[warning]{what}")

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """What the paths mean; of one that cannot be kept it is said."""
        found = []
        for path in self.paths:
            try:
                found.append(read_line(path, self.errand.stage.scene.sandbox))
            except BrokenDefinition as error:
                self.warn(str(error))
        return tuple(found)

    @contextmanager
    def places(self) -> Iterator[Mapping[str, tuple[Folder, str]]]:
        """Where the job's folders are, by their names in an archive."""
        sandbox, found = self.errand.stage.scene.sandbox, {}
        with ExitStack() as held:
            for root, inside in ((WORKSPACE, sandbox.workspace), (HOME, sandbox.home), (TEMP, sandbox.temp)):
                folder, path = self.errand.place(inside)
                found[root] = held.enter_context(folder.held()), path
            yield found


# --- restoring -------------------------------------------------------------------------------


def _restore(asked: _Asked) -> tuple[Outcome, Cache | None]:
    errand = asked.errand
    found = _found(asked)
    outputs = {"cache-primary-key": asked.key}
    if found is None:
        what = f"there is no cache for {', '.join(asked.keys)}"
        if asked.says("fail-on-cache-miss"):
            raise BrokenDefinition(f"{what} (fail-on-cache-miss)")
        errand.say(what)
        return done(outputs), None
    hit = found.key == asked.key
    outputs |= {"cache-hit": str(hit).lower(), "cache-matched-key": found.key}
    return done(outputs), found


def _found(asked: _Asked) -> Cache | None:
    """The cache that is there now, with its files where they belong, if those were asked for."""
    try:
        found = asked.store.find(asked.errand.stage.repository, asked.scopes, asked.keys, asked.version)
        if found is not None and asked.says("lookup-only"):
            asked.errand.say(f"there is a cache with the key {found.key} of {found.scope.ref}")
        elif found is not None:
            _unpack(asked, found)
    except TROUBLE as error:
        asked.warn(f"no cache was restored: {error}")
        return None
    return found


def _unpack(asked: _Asked, found: Cache) -> None:
    count = _laid(asked, found)
    if count is None:
        with asked.places() as places:
            count = _unpacked(asked, found, places)
    size = _shown(found.blob.size)
    asked.errand.say(
        f"restored {count} files and folders ({size}) with the key {found.key} of {found.scope.ref}"
    )


def _laid(asked: _Asked, found: Cache) -> int | None:
    """Have it as this machine has it from an earlier job; None where it is to be unpacked."""
    if any(line.root != WORKSPACE for line in asked.lines):
        return None

    def fill(folder: Folder) -> int:
        return _unpacked(asked, found, {WORKSPACE: (folder, "")})

    return asked.errand.stage.workspace.lay(found.blob.digest, fill, asked.errand.check)


def _unpacked(asked: _Asked, found: Cache, places: Mapping[str, tuple[Folder, str]]) -> int:
    def place(path: str) -> tuple[Folder, str]:
        root, _, rest = path.partition("/")
        ours = root == TEMP and rest.startswith(FOLDER)
        if root not in places or ours or not rest or {"", ".", ".."} & {*rest.split("/")}:
            raise Damaged(f"the archive has {path[:200]!a} in it, which is in no folder of a job")
        folder, above = places[root]
        return folder, posixpath.join(above, rest)

    with asked.store.reading(found) as file:
        return unpack(file, place, asked.errand.check)


# --- saving ----------------------------------------------------------------------------------


def _save(asked: _Asked) -> Outcome:
    repository, scope = asked.errand.stage.repository, asked.scopes[0]
    there = f"there is a cache with the key {asked.key} already, so none is saved"
    try:
        if asked.errand.stage.masks.covers(asked.key):
            raise BrokenDefinition("`key` has a secret in it, and is shown to all who see the caches")
        if asked.store.there(repository, scope, asked.key, asked.version):
            asked.errand.say(there)
            return done()
        packing = _Packing(asked)
        if not asked.store.keep(repository, scope, asked.key, asked.version, packing.write):
            asked.errand.say(there)
            return done()
    except TROUBLE as error:
        asked.warn(f"no cache was saved: {error}")
        return done()
    packing.tell()
    return done()


class _Packing:
    """The archive of what is asked for, as it is written."""

    def __init__(self, asked: _Asked) -> None:
        self._asked = asked
        self._said = ""

    def write(self, file: BinaryIO) -> None:
        asked, errand = self._asked, self._asked.errand
        with asked.places() as places:
            packed = pack(_members(asked, places, errand.check), file, MOST_BYTES, errand.check)
        if not packed.entries:
            raise BrokenDefinition(f"there is nothing at {', '.join(asked.paths)[:200]}")
        self._said = (
            f"saved {packed.entries} files and folders ({_shown(packed.size)}, compressed "
            f"{_shown(packed.compressed)}) with the key {asked.key} for {asked.scopes[0].ref}"
        )
        for path in packed.left_out[:SHOWN_LEFT_OUT]:
            asked.warn(f"{path[:200]!a} is not in it: it went away, or is no file, folder or link")
        if len(packed.left_out) > SHOWN_LEFT_OUT:
            asked.warn(f"{len(packed.left_out) - SHOWN_LEFT_OUT} more are not in it")

    def tell(self) -> None:
        self._asked.errand.say(self._said)


def _members(
    asked: _Asked, places: Mapping[str, tuple[Folder, str]], check: Callable[[], None]
) -> Iterator[Member]:
    for root, path, folder, entry in chosen(asked.lines, places, check):
        yield Member(f"{root}/{path}", folder, entry)


def _shown(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB" if size >= 1024**2 else f"{size / 1024:.1f} KiB"
