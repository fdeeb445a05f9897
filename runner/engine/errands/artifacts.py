"""`actions/upload-artifact`, its `merge`, and `actions/download-artifact`.

A step that runs again, as its worker died before it was written down, takes the place of what it made before:
it never stands in its own way.
"""

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runner.engine.errands.errand import Errand, done
from runner.engine.errands.search import search
from runner.engine.errands.shelf import Shelf, named
from runner.engine.errands.zips import DEFAULT_LEVEL, unpack
from runner.errors import BrokenDefinition
from runner.expr.hashing import MAX_PATTERN, name_matches
from runner.model.artifact import Artifact, checked_name, newest
from runner.model.step import Outcome

UPLOADS = (
    *("name", "path", "if-no-files-found", "retention-days", "compression-level", "overwrite"),
    "include-hidden-files",
)
MERGES = (
    *("name", "pattern", "separate-directories", "retention-days", "compression-level", "delete-merged"),
    "include-hidden-files",
)
DOWNLOADS = (
    *("name", "artifact-ids", "path", "pattern", "merge-multiple", "github-token", "repository", "run-id"),
)
NO_FILES = ("warn", "error", "ignore")
MOST_BRACES = 100
_OLD = re.compile(r"v?[123](\..*)?")
_WITH_FOLDERS = re.compile(r"v?4(\..*)?")
_LONGEST_DAYS = 36500


def upload(errand: Errand) -> Outcome:
    _warn_of_unknown(errand, UPLOADS)
    given = _Given(errand)
    name = given.name("artifact")
    none_found = given.text("if-no-files-found") or "warn"
    if none_found not in NO_FILES:
        raise BrokenDefinition(
            f"Unrecognized if-no-files-found input. Provided: {none_found[:100]}. Available options: "
            f"{', '.join(NO_FILES)}"
        )
    days, level, overwrite = given.days(), given.level(), given.flag("overwrite")
    finds = search(errand, given.needed("path"), given.flag("include-hidden-files"))
    if not finds.files:
        return _nothing(errand, none_found, given.text("path"))
    count = len(finds.files)
    errand.say(f"With the provided path, there will be {count} file{'' if count == 1 else 's'} uploaded")
    _warn_of_cases(errand, [path for path, _ in finds.named()])
    shelf = Shelf(errand)
    if _OLD.fullmatch(errand.version):
        made = shelf.add_to(name, finds, level, days)
    else:
        made = shelf.keep(name, shelf.packed(finds, level), count, days, None if overwrite else ())
    return _kept(errand, made, days)


def merge(errand: Errand) -> Outcome:
    _warn_of_unknown(errand, MERGES)
    given, shelf = _Given(errand), Shelf(errand)
    name = given.name("merged-artifacts")
    pattern = given.text("pattern") or "*"
    days, level, apart = given.days(), given.level(), given.flag("separate-directories")
    wanted = matching(newest(shelf.there()), pattern)
    former = [one for one in wanted if shelf.is_own(one) and one.name == name]
    others = [one for one in wanted if one not in former]
    if not others and not former:
        errand.say(f"##[warning]No artifacts were found with the provided pattern: {pattern}.")
        return done()
    if not others:
        # What was merged was removed with it.
        return _kept(errand, former[0], days)
    _list(errand, others)
    gone = [one.id for one in others] if given.flag("delete-merged") else []
    # What this step has merged before, and removed, is nowhere else.
    sources = [
        *([(one, "") for one in former] if gone else []),
        *((one, one.name if apart else "") for one in others),
    ]
    blob, count = shelf.merged(sources, level)
    made = shelf.keep(name, blob, count, days, gone)
    errand.say(f"The {len(others)} artifact(s) have been successfully merged!")
    if gone:
        errand.say(f"The {len(others)} artifact(s) have been deleted")
    return _kept(errand, made, days)


def download(errand: Errand) -> Outcome:
    _warn_of_unknown(errand, DOWNLOADS)
    given, shelf = _Given(errand), Shelf(errand)
    path = given.text("path") or errand.stage.scene.sandbox.workspace
    folder, below = errand.place(path)
    found = shelf.there(_run_meant(errand, given))
    wanted, straight = _wanted(errand, given, found)
    if wanted:
        _list(errand, wanted)
    flat = straight or given.flag("merge-multiple")
    for one in wanted:
        place = below if flat else posixpath.join(below, one.name)
        if not flat:
            folder.make(place)
        with named(one), shelf.opened(one.blob) as file:
            unpack(file, folder, place, errand.check)
    errand.say(f"Total of {len(wanted)} artifact(s) downloaded")
    errand.say("Download artifact has finished successfully")
    if path.startswith("~"):
        path = errand.stage.scene.sandbox.home + path[1:]
    where = posixpath.normpath(posixpath.join(errand.stage.scene.sandbox.workspace, path))
    return done({"download-path": where})


# --- what is said ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Given:
    """The inputs of a step, each as it is meant."""

    errand: Errand

    def text(self, name: str) -> str:
        return self.errand.inputs.get(name, "").strip()

    def needed(self, name: str) -> str:
        if not self.text(name):
            raise BrokenDefinition(f"Input required and not supplied: {name}")
        return self.text(name)

    def name(self, otherwise: str) -> str:
        """What an artifact is called, which is shown to all who read runs."""
        name = checked_name(self.text("name") or otherwise)
        if self.errand.stage.masks.covers(name):
            raise BrokenDefinition("`name` has a secret in it, and is shown to all who read runs")
        return name

    def flag(self, name: str) -> bool:
        value = self.text(name)
        if value.lower() not in ("", "true", "false"):
            raise BrokenDefinition(f"{name} is true or false, not {value[:100]!a}")
        return value.lower() == "true"

    def number(self, name: str, most: int, what: str) -> int | None:
        value = self.text(name)
        if not value:
            return None
        if not re.fullmatch(r"[0-9]{1,18}", value, re.ASCII) or int(value) > most:
            raise BrokenDefinition(f"Invalid {name}: {what}, not {value[:100]!a}")
        return int(value)

    def days(self) -> int | None:
        """As on GitHub, 0 is what the repository has."""
        return (
            self.number("retention-days", _LONGEST_DAYS, f"it is a number of days up to {_LONGEST_DAYS}")
            or None
        )

    def level(self) -> int:
        found = self.number("compression-level", 9, "it is a number from 0 to 9")
        return DEFAULT_LEVEL if found is None else found


def _warn_of_unknown(errand: Errand, known: Sequence[str]) -> None:
    for name in sorted(set(errand.inputs) - set(known)):
        errand.say(f"##[warning]the action has no input {name!r}; it has {', '.join(known)}")


def _warn_of_cases(errand: Errand, paths: Iterable[str]) -> None:
    met = dict[str, str]()
    for path in paths:
        if (other := met.setdefault(path.casefold(), path)) != path:
            errand.say(
                f"##[warning]{path!a} and {other!a} differ in their case alone: where that makes no "
                "difference, only one of them can be unpacked"
            )


def _nothing(errand: Errand, none_found: str, path: str) -> Outcome:
    where = " ".join(path.split())
    text = f"No files were found with the provided path: {where}. No artifacts will be uploaded."
    if none_found == "error":
        raise BrokenDefinition(text)
    errand.say(f"##[warning]{text}" if none_found == "warn" else text)
    return done()


def _kept(errand: Errand, made: Artifact, days: int | None) -> Outcome:
    station = errand.stage.station
    url = f"{station.server}/api/v1/runs/{made.run}/artifacts/{made.id}/zip" if station.answers else ""
    if made.expires_at is not None:
        stays = round((made.expires_at - made.created_at).total_seconds() / 86400)
        if days is not None and stays < days:
            errand.say(
                "##[warning]Retention days cannot be greater than the maximum allowed retention set within "
                f"the repository. Using {stays} instead."
            )
    errand.say(f"SHA256 digest of uploaded artifact zip is {made.blob.digest}")
    errand.say(
        f"Artifact {made.name} has been successfully uploaded! Final size is {made.blob.size} bytes. "
        f"Artifact ID is {made.id}"
    )
    if url:
        errand.say(f"Artifact download URL: {url}")
    return done({"artifact-id": str(made.id), "artifact-digest": made.blob.digest, "artifact-url": url})


def _list(errand: Errand, found: Iterable[Artifact]) -> None:
    errand.say("Preparing to download the following artifacts:")
    for one in found:
        errand.say(
            f"- {one.name} (ID: {one.id}, Size: {one.blob.size}, Expected Digest: sha256:{one.blob.digest})"
        )


# --- what is meant ---------------------------------------------------------------------------


def _run_meant(errand: Errand, given: _Given) -> int:
    """The run that a download is from. Raises `BrokenDefinition` for what the step may not read."""
    asked = errand.stage.scene.asked
    own = asked.run.route.repo
    wanted = given.text("repository")
    if wanted and wanted.lower() != own.lower():
        raise BrokenDefinition(
            f"artifacts of another repository cannot be downloaded: {wanted[:100]!a}; only those of {own}"
        )
    run = given.number("run-id", 2**63 - 1, "it is the id of a run")
    if run is None or run == asked.run.id:
        return asked.run.id
    if not asked.event.trusted:
        raise BrokenDefinition(f"the code of a fork cannot read artifacts of other runs, such as {run}")
    return run


def _wanted(errand: Errand, given: _Given, found: Sequence[Artifact]) -> tuple[Sequence[Artifact], bool]:
    """What is to be downloaded, and whether it goes straight into the folder, being one alone."""
    name, ids, pattern = (given.text(one) for one in ("name", "artifact-ids", "pattern"))
    if name and ids:
        raise BrokenDefinition(
            "Inputs 'name' and 'artifact-ids' cannot be used together. Please specify only one."
        )
    counting = newest(found)
    if name:
        errand.say("Downloading single artifact")
        named = [one for one in counting if one.name == name]
        if not named:
            there = ", ".join(one.name for one in counting[:20]) or "none"
            raise BrokenDefinition(
                "Unable to download artifact(s): Artifact not found for name: "
                f"{name[:100]!a}; there are {there}. Each is there until it expires"
            )
        return _told_of_trust(errand, named), True
    if ids:
        errand.say("Downloading artifacts by ID")
        chosen = _by_id(errand, ids, found)
        alone = len(chosen) == 1 and not _WITH_FOLDERS.fullmatch(errand.version)
        return _told_of_trust(errand, chosen), alone
    if pattern:
        errand.say(f"Filtering artifacts by pattern '{pattern}'")
        return _told_of_trust(errand, matching(counting, pattern)), False
    errand.say("No input name, artifact-ids or pattern filtered specified, downloading all artifacts")
    if not given.flag("merge-multiple"):
        errand.say("An extra directory with the artifact name will be created for each download")
    return _told_of_trust(errand, counting), False


def _by_id(errand: Errand, ids: str, found: Sequence[Artifact]) -> Sequence[Artifact]:
    wanted = list(filter(None, (one.strip() for one in ids.split(","))))
    if not wanted:
        raise BrokenDefinition("No valid artifact IDs provided in 'artifact-ids' input")
    for one in wanted:
        if not re.fullmatch(r"[0-9]{1,18}", one, re.ASCII):
            raise BrokenDefinition(f"Invalid artifact ID: {one[:100]!a}. Must be a number.")
    by_id = {one.id: one for one in found}
    chosen = [by_id[int(one)] for one in dict.fromkeys(wanted) if int(one) in by_id]
    if not chosen:
        raise BrokenDefinition("None of the provided artifact IDs were found")
    if missing := [one for one in wanted if int(one) not in by_id]:
        errand.say(f"##[warning]Could not find the following artifact IDs: {', '.join(missing)}")
    return chosen


def _told_of_trust(errand: Errand, found: Sequence[Artifact]) -> Sequence[Artifact]:
    """Says of what a fork made that it did, to whoever is given more than a fork is."""
    if errand.stage.scene.asked.event.trusted:
        for one in found:
            if not one.trusted:
                errand.say(
                    f"##[warning]artifact {one.name} was made by the code of a fork: whatever is in it is "
                    "its author's; run none of it"
                )
    return found


def matching(found: Sequence[Artifact], pattern: str) -> list[Artifact]:
    """Those whose names match as `minimatch` has it: with `*`, `?`, `[]`, `{a,b}`, and `!` in front.

    Raises `BrokenDefinition`.
    """
    if len(pattern) > MAX_PATTERN:
        raise BrokenDefinition(f"`pattern` has up to {MAX_PATTERN} letters, not {len(pattern)}")
    body = pattern.lstrip("!")
    negative = (len(pattern) - len(body)) % 2 == 1
    names = _braces(body)

    def matches(name: str) -> bool:
        return any(
            name_matches(one, name) and (one.startswith(".") or not name.startswith(".")) for one in names
        )

    return [one for one in found if matches(one.name) is not negative]


def _braces(pattern: str) -> list[str]:
    """Without its innermost `{a,b}`, again and again, until there are none. Raises `BrokenDefinition`."""
    ready, left = [], [pattern]
    while left:
        one = left.pop(0)
        found = re.search(r"\{([^{}]*,[^{}]*)\}", one)
        if found is None:
            ready.append(one)
        else:
            left += [one[: found.start()] + choice + one[found.end() :] for choice in found[1].split(",")]
        if len(ready) + len(left) > MOST_BRACES:
            raise BrokenDefinition(f"`pattern` stands for more than {MOST_BRACES} patterns")
    return ready
