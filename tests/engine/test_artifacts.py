"""The actions of artifacts, done by the engine on what fake steps left."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast
from zipfile import ZipFile

import pytest
from sqlalchemy import Connection, update

from runner.engine.control import rerun
from runner.engine.perform import perform
from runner.engine.ports import Command, Entry, Exit, Objects, Store
from runner.errors import BrokenDefinition, Unavailable
from runner.model.artifact import LONGEST_PATH, Artifact, checked_path, newest
from runner.model.blob import Blob
from runner.model.reruns import failed_jobs
from runner.model.run import Run
from runner.model.step import Outcome, Result
from runner.objects import FolderObjects
from runner.store.tables import deliveries
from runner.vault import MemoryVault
from runner.workspaces.reach import Held, Reach
from tests.engine.conftest import Bench
from tests.fakes import FakeWorkspaces, Troubled

HEAD = """\
on: push
jobs:
  one:
    runs-on: linux
    steps:
"""


@pytest.fixture
def files(bench: Bench) -> Path:
    """The workspace of every job."""
    bench.workspaces.folder = bench.workspaces.folder / "files"
    bench.workspaces.folder.mkdir()
    return bench.workspaces.folder


def written(folder: Path, *names: str, text: str = "text") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def upload(version: str = "v4", **inputs: str) -> str:
    return _use("actions/upload-artifact", version, inputs)


def download(version: str = "v4", **inputs: str) -> str:
    return _use("actions/download-artifact", version, inputs)


def _use(action: str, version: str, inputs: dict[str, str]) -> str:
    given = "".join(
        f"          {name.replace('_', '-')}: {value!r}\n".replace("\\n", "\n            ")
        if "\n" not in value
        else f"          {name.replace('_', '-')}: |\n"
        + "".join(f"            {line}\n" for line in value.split("\n"))
        for name, value in inputs.items()
    )
    return f"      - uses: {action}@{version}\n" + (f"        with:\n{given}" if given else "")


def done(bench: Bench, *steps: str, guid: str = "guid") -> Run:
    run = bench.a_run(HEAD + "".join(steps), guid)
    bench.work()
    return bench.store.load(run.id)


def outcome(bench: Bench, run: Run, step: str, job: int = 0) -> Outcome:
    return bench.store.recall(run.jobs[job])[step].outcome


def log(bench: Bench, run: Run, step: str, job: int = 0) -> str:
    one = run.jobs[job]
    return b"".join(
        text for (id, _, key), text in bench.logs.printed.items() if (id, key) == (one.id, step)
    ).decode()


def kept(bench: Bench, run: Run) -> dict[str, Artifact]:
    found = bench.station.artifacts.of_run(run.route, run.id)
    return {one.name: one for one in newest(found)}


def content(bench: Bench, artifact: Artifact) -> dict[str, bytes]:
    with bench.station.objects.open(artifact.blob) as file, ZipFile(file) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def names(bench: Bench, run: Run, name: str = "artifact") -> list[str]:
    return sorted(content(bench, kept(bench, run)[name]))


# --- what is uploaded ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("dist", ["a.txt", "deep/b.txt"]),
        ("dist/", ["a.txt", "deep/b.txt"]),
        ("./dist/a.txt", ["a.txt"]),
        ("/workspace/dist/a.txt", ["a.txt"]),
        ("/github/workspace/dist", ["a.txt", "deep/b.txt"]),
        ("dist/*", ["a.txt", "deep/b.txt"]),
        ("dist/*.txt", ["a.txt"]),
        ("**/*.txt", ["dist/a.txt", "dist/deep/b.txt", "other/c.txt"]),
        ("dist/**/b.???", ["deep/b.txt"]),
        ("dist\nother", ["dist/a.txt", "dist/deep/b.txt", "other/c.txt"]),
        ("dist\nother/c.txt", ["dist/a.txt", "dist/deep/b.txt", "other/c.txt"]),
        ("dist\n!dist/deep", ["a.txt"]),
        ("dist\n!**/*.txt\ndist/deep/*", ["deep/b.txt"]),
        ("# a comment\ndist/[ab].txt", ["a.txt"]),
        ("dist/deep\nnowhere", ["dist/deep/b.txt"]),
    ],
)
def test_patterns_mean_what_they_mean_on_github(
    bench: Bench, files: Path, path: str, wanted: list[str]
) -> None:
    written(files, "dist/a.txt", "dist/deep/b.txt", "other/c.txt", "dist/.hidden/d.txt", ".git/e.txt")

    run = done(bench, upload(path=path))

    assert names(bench, run) == wanted


def test_an_artifact_is_a_zip_file_that_people_are_told_of(bench: Bench, files: Path) -> None:
    written(files, "dist/a.txt", "dist/run.sh")
    (files / "dist/run.sh").chmod(0o755)
    os.utime(files / "dist/a.txt", (1_000_000_000, 1_000_000_000))

    run = done(bench, upload(name="built", path="dist"))

    made = kept(bench, run)["built"]
    url = f"http://runner.test/api/v1/runs/{run.id}/artifacts/{made.id}/zip"
    said = {"artifact-id": str(made.id), "artifact-digest": made.blob.digest, "artifact-url": url}
    assert outcome(bench, run, "1").outputs == said
    assert log(bench, run, "1").splitlines() == [
        "With the provided path, there will be 2 files uploaded",
        f"SHA256 digest of uploaded artifact zip is {made.blob.digest}",
        f"Artifact built has been successfully uploaded! Final size is {made.blob.size} bytes. "
        f"Artifact ID is {made.id}",
        f"Artifact download URL: {url}",
    ]
    with bench.station.objects.open(made.blob) as file, ZipFile(file) as archive:
        modes = {one.filename: one.external_attr >> 16 for one in archive.infolist()}
        assert modes == {"a.txt": stat.S_IFREG | 0o644, "run.sh": stat.S_IFREG | 0o755}
        assert archive.getinfo("a.txt").date_time == (2001, 9, 9, 1, 46, 40)
    assert (made.files, made.run_attempt, made.trusted) == (2, 1, True)
    assert made.expires_at is None


def test_hidden_files_are_uploaded_where_that_is_asked_for(bench: Bench, files: Path) -> None:
    written(files, "dist/a", "dist/.env", ".next/b")

    run = done(
        bench,
        upload(path="dist", include_hidden_files="true"),
        upload(name="none", path=".next"),
        upload(name="next", path=".next", include_hidden_files="true"),
    )

    assert names(bench, run) == [".env", "a"]
    assert names(bench, run, "next") == ["b"]
    assert "none" not in kept(bench, run)


@pytest.mark.parametrize(
    ("setting", "result", "said"),
    [
        ("warn", "success", "##[warning]No files were found with the provided path: no here. No artifacts"),
        ("ignore", "success", "No files were found with the provided path: no here. No artifacts"),
        ("error", "failure", "##[error]actions/upload-artifact: No files were found with the provided path"),
        (
            "maybe",
            "failure",
            "##[error]actions/upload-artifact: Unrecognized if-no-files-found input. Provided",
        ),
    ],
)
def test_what_becomes_of_no_files_is_said(
    bench: Bench, files: Path, setting: str, result: str, said: str
) -> None:
    run = done(bench, upload(path="no\nhere", if_no_files_found=setting))

    assert (str(run.result), log(bench, run, "1").splitlines()[-1][: len(said)]) == (result, said)
    assert kept(bench, run) == {}


def test_links_are_followed_to_what_is_the_jobs_own(bench: Bench, files: Path) -> None:
    written(files, "src/a", "src/deep/b", text="mine")
    (files / "dist").mkdir()
    for name, target in {
        "file": "../src/a",
        "folder": "../src/deep",
        "absolute": "/workspace/src/a",
        "twice": "file",
        "broken": "nowhere",
        "round": "..",
        "itself": "itself",
        "out": "/etc/passwd",
        "above": "../../../../../../../../etc",
    }.items():
        (files / "dist" / name).symlink_to(target)
    (files / "dist/round2").symlink_to("../dist")

    run = done(bench, upload(path="dist"))

    there = content(bench, kept(bench, run)["artifact"])
    assert {name for name in there if not name.startswith("round")} == {
        "file",
        "folder/b",
        "absolute",
        "twice",
    }
    assert set(there.values()) == {b"mine"}
    said = log(bench, run, "1")
    assert "##[warning]'/workspace/dist/out' is left out, as it is a link that leads out: " in said
    assert "##[warning]'/workspace/dist/above' is left out" in said


def test_a_link_out_of_the_job_is_no_way_to_its_files(bench: Bench, files: Path) -> None:
    (files / "dist").symlink_to("/etc")

    run = done(bench, upload(path="dist/passwd"))

    assert kept(bench, run) == {}
    assert "'/etc/passwd' is in no folder of the job" in outcome(bench, run, "1").reason


@pytest.mark.parametrize("path", ["/etc/passwd", "../../etc", "**/../../../etc", "/workspace/../etc", "/**"])
def test_a_path_out_of_the_job_is_named(bench: Bench, files: Path, path: str) -> None:
    run = done(bench, upload(path=path))

    assert "is in no folder of the job" in outcome(bench, run, "1").reason
    assert kept(bench, run) == {}


def test_the_temporary_folder_and_home_are_the_jobs_own(bench: Bench, files: Path) -> None:
    def act(command: Command) -> Exit:
        written(bench.executor.sandboxes[-1].host_temp, "out/a", "home/b", "home/in/c")
        return Exit(0)

    bench.executor.act = act
    temp = "${{ runner.temp }}/out"

    run = done(bench, "      - run: x\n", upload(name="temp", path=temp), upload(name="home", path="~/in"))

    assert (names(bench, run, "temp"), names(bench, run, "home")) == (["a"], ["c"])


@pytest.mark.parametrize("letter", list('":<>|*?\\/'))
def test_a_name_that_file_systems_do_not_take_is_named(bench: Bench, files: Path, letter: str) -> None:
    written(files, "a")

    run = done(
        bench, f"      - uses: actions/upload-artifact@v4\n        with: {{path: a, name: 'x{letter}y'}}\n"
    )

    reason = outcome(bench, run, "1").reason
    assert reason.startswith("actions/upload-artifact: The artifact name is not valid: ")
    assert "Contains the following character: " in reason


@pytest.mark.parametrize("name", ["new\nline", "a:b", 'say "x"', b"\xff".decode(errors="surrogateescape")])
def test_a_file_whose_name_zip_files_do_not_take_is_named(bench: Bench, files: Path, name: str) -> None:
    written(files, f"dist/{name}")

    run = done(bench, upload(path="dist"))

    assert "The path for one of the files in artifact is not valid: " in outcome(bench, run, "1").reason
    assert kept(bench, run) == {}
    assert list(bench.station.objects.kept("artifacts")) == []


def test_a_path_is_no_longer_than_zip_files_take() -> None:
    assert checked_path("a" * LONGEST_PATH)
    with pytest.raises(BrokenDefinition, match="longer than 65535 bytes"):
        checked_path("a" * (LONGEST_PATH + 1))


@pytest.mark.parametrize("at", [-1, 10**12], ids=["before the first", "when years have five digits"])
def test_a_file_of_any_time_is_uploaded(bench: Bench, files: Path, at: int) -> None:
    written(files, "a")
    bench.workspaces.reach = lambda root: _OfTime(root, at)  # type: ignore[method-assign]

    run = done(bench, upload(path="a"))

    assert names(bench, run) == ["a"]


class _OfTime(Reach):
    """A folder of a file system that keeps any time."""

    def __init__(self, root: Path, at: int) -> None:
        super().__init__(root, None)
        self._at = at

    def look(self, path: str) -> Entry | None:
        found = super().look(path)
        return found and replace(found, mtime_ns=self._at * 10**9)


def test_a_secret_is_no_name_of_what_all_may_see(bench: Bench, files: Path) -> None:
    written(files, "a")
    bench.station = replace(bench.station, vault=MemoryVault({"TOKEN": "hunter2"}, {}))

    run = done(bench, upload(path="a", name="of-${{ secrets.TOKEN }}"), upload(path="a", name="of-hunter2"))

    assert "`name` has a secret in it" in outcome(bench, run, "1").reason
    assert kept(bench, run) == {}


def test_files_whose_names_differ_by_case_are_both_kept_with_a_word(bench: Bench, files: Path) -> None:
    written(files, "dist/Readme", "dist/README")

    run = done(bench, upload(path="dist"))

    assert names(bench, run) == ["README", "Readme"]
    assert "##[warning]'Readme' and 'README' differ in their case alone" in log(bench, run, "1")


def test_unknown_inputs_are_named(bench: Bench, files: Path) -> None:
    written(files, "a")

    run = done(bench, upload(path="a", colour="red"), download(name="artifact", colour="red"))

    assert "##[warning]the action has no input 'colour'; it has name, path, if-no-f" in log(bench, run, "1")
    assert "##[warning]the action has no input 'colour'; it has name, artifact-ids, " in log(bench, run, "2")


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"compression_level": "10"}, "Invalid compression-level: it is a number from 0 to 9, not '10'"),
        ({"retention_days": "-1"}, "Invalid retention-days: it is a number of days up to 36500, not '-1'"),
        ({"overwrite": "perhaps"}, "overwrite is true or false, not 'perhaps'"),
        ({"path": " "}, "Input required and not supplied: path"),
        ({"path": "!a"}, "`path` names no file; give a file, a folder or a pattern such as dist/**"),
    ],
)
def test_an_input_that_cannot_be_is_named(
    bench: Bench, files: Path, inputs: dict[str, str], said: str
) -> None:
    written(files, "a")

    run = done(bench, upload(**({"path": "a"} | inputs)))

    assert outcome(bench, run, "1").reason == f"actions/upload-artifact: {said}"


def test_what_is_not_compressed_has_its_bytes_in_the_archive(bench: Bench, files: Path) -> None:
    written(files, "a", text="x" * 100_000)

    run = done(
        bench,
        upload(name="stored", path="a", compression_level="0"),
        upload(name="deflated", path="a", compression_level="9"),
    )

    found = kept(bench, run)
    assert found["stored"].blob.size > 100_000 > found["deflated"].blob.size


class Died(BaseException):
    """A worker that is killed."""


class Dying:
    """A store whose worker dies as it writes a checkpoint down."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def record(self, *_: object) -> None:
        raise Died

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


# --- names that are taken --------------------------------------------------------------------


def test_a_name_is_taken_once_unless_it_is_overwritten(bench: Bench, files: Path) -> None:
    written(files, "a", "b", "c")

    run = done(
        bench,
        upload(path="a"),
        "      - {uses: actions/upload-artifact@v4, with: {path: b}, continue-on-error: true}\n",
        upload(path="c", overwrite="true"),
    )

    refused = outcome(bench, run, "2").reason
    assert "Conflict: an artifact with this name already exists on the workflow run: artifact" in refused
    assert names(bench, run) == ["c"]
    assert len(list(bench.station.objects.kept("artifacts"))) == 1
    assert outcome(bench, run, "1").outputs["artifact-id"] != outcome(bench, run, "3").outputs["artifact-id"]


def test_the_old_version_adds_files_to_what_has_the_name(bench: Bench, files: Path) -> None:
    written(files, "a", "b", text="old")

    run = done(bench, upload("v3", path="a\nb"), "      - run: x\n", upload("v3.1.2", path="b\nnew/c"))
    assert names(bench, run) == ["a", "b"]

    written(files, "b", "new/c", text="new")
    again = done(bench, upload("v3", path="a"), upload("v3", path="b\nnew/c"), guid="2")

    assert content(bench, kept(bench, again)["artifact"]) == {"a": b"old", "b": b"new", "new/c": b"new"}
    assert kept(bench, again)["artifact"].files == 3
    assert len(list(bench.station.objects.kept("artifacts"))) == 2


def test_a_step_that_runs_again_takes_the_place_of_what_it_made(bench: Bench, files: Path) -> None:
    written(files, "a")
    run = bench.a_run(HEAD + upload(path="a"))
    (ring,) = bench.bell.rung
    with pytest.raises(Died):
        perform(ring, replace(bench.station, store=cast(Store, Dying(bench.store))))
    first = kept(bench, run)["artifact"]
    bench.store.stranded(everything=True)
    written(files, "a", text="again")

    perform(ring, bench.station)

    run = bench.store.load(run.id)
    again = kept(bench, run)["artifact"]
    assert str(run.result) == "success"
    assert content(bench, again) == {"a": b"again"}
    assert again.id != first.id
    assert [one.key for one in bench.station.objects.kept("artifacts")] == [again.blob.key]


# --- what is downloaded ----------------------------------------------------------------------


def test_files_come_back_as_they_were_where_they_are_asked_for(bench: Bench, files: Path) -> None:
    written(files, "dist/a", "dist/deep/run.sh")
    (files / "dist/deep/run.sh").chmod(0o750)

    run = done(bench, upload(name="built", path="dist"), download(name="built", path="in/there"))

    assert (files / "in/there/a").read_text() == "text"
    assert stat.S_IMODE((files / "in/there/deep/run.sh").stat().st_mode) == 0o755
    assert stat.S_IMODE((files / "in/there/a").stat().st_mode) == 0o644
    assert outcome(bench, run, "2").outputs == {"download-path": "/workspace/in/there"}
    made = kept(bench, run)["built"]
    assert log(bench, run, "2").splitlines() == [
        "Downloading single artifact",
        "Preparing to download the following artifacts:",
        f"- built (ID: {made.id}, Size: {made.blob.size}, Expected Digest: sha256:{made.blob.digest})",
        "Total of 1 artifact(s) downloaded",
        "Download artifact has finished successfully",
    ]


def three(*steps: str) -> tuple[str, ...]:
    return (*(upload(name=name, path=name) for name in ("log-a", "log-b", "bin")), *steps)


@pytest.mark.parametrize(
    ("inputs", "wanted"),
    [
        ({}, ["bin/bin", "log-a/log-a", "log-b/log-b"]),
        ({"merge_multiple": "true"}, ["bin", "log-a", "log-b"]),
        ({"pattern": "log-*"}, ["log-a/log-a", "log-b/log-b"]),
        ({"pattern": "log-?", "merge_multiple": "true"}, ["log-a", "log-b"]),
        ({"pattern": "{bin,log-a}", "merge_multiple": "true"}, ["bin", "log-a"]),
        ({"pattern": "!log-*"}, ["bin/bin"]),
        ({"pattern": "nothing"}, []),
        ({"name": "bin", "pattern": "log-*"}, ["bin"]),
    ],
)
def test_several_are_chosen_by_pattern_and_merged_where_that_is_asked_for(
    bench: Bench, files: Path, inputs: dict[str, str], wanted: list[str]
) -> None:
    written(files, "log-a", "log-b", "bin")

    done(bench, *three(download(path="in", **inputs)))

    assert (
        sorted(str(one.relative_to(files / "in")) for one in (files / "in").rglob("*") if one.is_file())
        == wanted
    )


@pytest.mark.parametrize(
    ("version", "wanted"), [("v4", "in/bin/bin"), ("v5", "in/bin"), ("v4.3.0", "in/bin/bin")]
)
def test_one_by_its_id_goes_straight_into_the_folder_since_version_5(
    bench: Bench, files: Path, version: str, wanted: str
) -> None:
    written(files, "bin")
    step = download(version, path="in", artifact_ids="${{ steps.up.outputs.artifact-id }},999")
    up = upload(path="bin", name="bin").replace("- uses", "- id: up\n        uses", 1)

    run = done(bench, up, step)

    assert (files / wanted).is_file()
    assert "##[warning]Could not find the following artifact IDs: 999" in log(bench, run, "2")


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"name": "bim"}, "Artifact not found for name: 'bim'; there are bin, log-a, log-b"),
        ({"name": "bin", "artifact_ids": "1"}, "Inputs 'name' and 'artifact-ids' cannot be used together"),
        ({"artifact_ids": "one"}, "Invalid artifact ID: 'one'. Must be a number."),
        ({"artifact_ids": "999"}, "None of the provided artifact IDs were found"),
        ({"artifact_ids": ","}, "No valid artifact IDs provided in 'artifact-ids' input"),
        ({"name": "bin", "repository": "octo/other"}, "artifacts of another repository cannot be downloaded"),
        ({"name": "bin", "run_id": "999"}, "octo/hello has no run 999"),
        ({"name": "bin", "path": "/etc"}, "'/etc' is in no folder of the job"),
        ({"pattern": "{a,b}" * 9}, "`pattern` stands for more than 100 patterns"),
    ],
)
def test_what_cannot_be_downloaded_is_named(
    bench: Bench, files: Path, inputs: dict[str, str], said: str
) -> None:
    written(files, "log-a", "log-b", "bin")

    run = done(bench, *three(download(**inputs)))

    assert said in outcome(bench, run, "4").reason


def test_nothing_is_written_through_a_link_out_of_the_job(bench: Bench, files: Path, tmp_path: Path) -> None:
    written(files, "dist/in/a")
    outside = tmp_path / "outside"
    outside.mkdir()
    (files / "there").mkdir()
    (files / "there/in").symlink_to(outside)

    run = done(bench, upload(path="dist"), download(name="artifact", path="there"))

    assert "leads out of the folder" in outcome(bench, run, "2").reason
    assert list(outside.iterdir()) == []


def test_a_damaged_artifact_is_named_and_nothing_of_it_is_used(
    bench: Bench, files: Path, tmp_path: Path
) -> None:
    written(files, "a")

    def act(command: Command) -> Exit:
        (stored,) = (one for one in (tmp_path / "objects").rglob("*") if one.is_file())
        stored.write_bytes(stored.read_bytes()[:-1])
        return Exit(0)

    bench.executor.act = act
    run = done(bench, upload(path="a"), "      - run: x\n", download(name="artifact", path="in"))

    assert "actions/download-artifact: artifact artifact (ID: " in outcome(bench, run, "3").reason
    assert "is damaged" in outcome(bench, run, "3").reason
    assert not (files / "in").exists()


def test_a_file_in_the_way_of_a_folder_is_named(bench: Bench, files: Path) -> None:
    written(files, "dist/in/a", "there/in")

    run = done(bench, upload(path="dist"), download(name="artifact", path="there"))

    assert "cannot be unpacked: " in outcome(bench, run, "2").reason
    assert (files / "there/in").read_text() == "text"


# --- merge -----------------------------------------------------------------------------------


def merge(**inputs: str) -> str:
    return _use("actions/upload-artifact/merge", "v4", inputs)


def test_artifacts_are_merged_into_one(bench: Bench, files: Path) -> None:
    written(files, "log-a", "log-b", "bin")

    run = done(bench, *three(merge(pattern="log-*"), merge(name="apart", separate_directories="true")))

    assert names(bench, run, "merged-artifacts") == ["log-a", "log-b"]
    assert names(bench, run, "apart") == [
        *("bin/bin", "log-a/log-a", "log-b/log-b"),
        *("merged-artifacts/log-a", "merged-artifacts/log-b"),
    ]
    assert "The 2 artifact(s) have been successfully merged!" in log(bench, run, "4")


def test_what_was_merged_is_gone_where_that_is_asked_for(bench: Bench, files: Path) -> None:
    written(files, "log-a", "log-b", "bin")

    run = done(bench, *three(merge(pattern="log-*", name="logs", delete_merged="true")))

    assert sorted(kept(bench, run)) == ["bin", "logs"]
    assert names(bench, run, "logs") == ["log-a", "log-b"]
    assert len(list(bench.station.objects.kept("artifacts"))) == 2


# --- attempts and runs -----------------------------------------------------------------------

TWO_JOBS = """\
on: push
jobs:
  make:
    runs-on: linux
    steps:
      - {uses: actions/upload-artifact@v4, with: {name: made, path: made}}
  take:
    needs: make
    runs-on: linux
    steps:
      - run: may fail
      - {uses: actions/download-artifact@v4, with: {name: made, path: in}}
"""


def again(bench: Bench, run: Run, chosen: Callable[[Run], frozenset[int] | None]) -> Run:
    rerun(run.id, chosen=chosen, store=bench.store, dispatcher=bench.bell)
    bench.work()
    return bench.store.load(run.id)


def test_jobs_that_run_again_see_what_those_made_that_did_not(bench: Bench, files: Path) -> None:
    written(files, "made", text="first")
    bench.executor.act = lambda command: Exit(1)
    run = bench.a_run(TWO_JOBS)
    bench.work()
    bench.executor.act = lambda command: Exit(0)

    run = again(bench, bench.store.load(run.id), failed_jobs)

    assert (run.attempt, str(run.result)) == (2, "success")
    assert (files / "in/made").read_text() == "first"


def test_a_new_attempt_has_artifacts_of_its_own_and_those_count(bench: Bench, files: Path) -> None:
    written(files, "made", text="first")
    run = bench.a_run(TWO_JOBS)
    bench.work()
    written(files, "made", text="second")

    run = again(bench, bench.store.load(run.id), lambda run: None)

    assert (run.attempt, str(run.result)) == (2, "success")
    found = bench.station.artifacts.of_run(run.route, run.id)
    assert [one.run_attempt for one in found] == [1, 2]
    assert [content(bench, one) for one in found] == [{"made": b"first"}, {"made": b"second"}]
    assert (files / "in/made").read_text() == "second"


def test_another_run_of_the_repository_is_read_by_its_id(bench: Bench, files: Path) -> None:
    written(files, "a")
    former = done(bench, upload(path="a"))

    run = done(bench, download(name="artifact", path="in", run_id=str(former.id), github_token="t"), guid="2")

    assert str(run.result) == "success"
    assert (files / "in/a").is_file()


# --- forks -----------------------------------------------------------------------------------


def of_a_fork(bench: Bench, *steps: str, guid: str) -> Run:
    """A run whose code is a fork's, as its delivery says."""
    run = bench.a_run(HEAD + "".join(steps), guid)
    sides = {
        side: {"repo": {"full_name": name}} for side, name in (("head", "eve/x"), ("base", "octo/hello"))
    }

    def work(connection: Connection) -> None:
        mine = update(deliveries).where(deliveries.c.id == run.delivery)
        connection.execute(mine.values(kind="pull_request", payload={"pull_request": sides}))

    bench.database.writing(work)
    bench.work()
    return bench.store.load(run.id)


def test_what_a_fork_made_is_marked_and_whoever_reads_it_is_told(bench: Bench, files: Path) -> None:
    written(files, "a")
    forked = of_a_fork(bench, upload(path="a"), guid="1")

    assert kept(bench, forked)["artifact"].trusted is False
    step = download(name="artifact", path="in", run_id=str(forked.id))
    run = done(bench, step, guid="2")

    assert "##[warning]artifact artifact was made by the code of a fork: " in log(bench, run, "1")


def test_a_fork_reads_no_artifacts_of_other_runs(bench: Bench, files: Path) -> None:
    written(files, "a")
    former = done(bench, upload(path="a"))

    own = of_a_fork(bench, upload(path="a"), download(name="artifact", path="own"), guid="2")
    step = download(name="artifact", path="in", run_id=str(former.id))
    forked = of_a_fork(bench, step, guid="3")

    assert str(own.result) == "success"
    reason = outcome(bench, forked, "1").reason
    assert f"the code of a fork cannot read artifacts of other runs, such as {former.id}" in reason
    assert not (files / "in").exists()


# --- trouble ---------------------------------------------------------------------------------


class Swapping(Held):
    """A folder in which a step puts another folder in the place of each file that is about to be read."""

    def __init__(self, root: Path) -> None:
        self._closing = ExitStack()
        super().__init__(root, None, self._closing)
        self._real_root = root

    @contextmanager
    def held(self) -> Iterator[Held]:
        with self._closing:
            yield self

    def reading(self, path: str) -> Any:
        (self._real_root / path).unlink()
        (self._real_root / path / "passwd").mkdir(parents=True)
        return super().reading(path)


@dataclass
class SwappingWorkspaces(FakeWorkspaces):
    def reach(self, root: Path) -> Reach:
        return Swapping(root)


def test_a_file_that_is_replaced_by_a_folder_while_it_is_read_is_named(bench: Bench, files: Path) -> None:
    written(files, "dist/a", "dist/b")
    workspaces = SwappingWorkspaces({}, files)
    bench.station = replace(bench.station, workspaces=workspaces)
    run = bench.a_run(HEAD + upload(path="dist"))
    workspaces.files = bench.workspaces.files
    bench.work()

    reason = outcome(bench, bench.store.load(run.id), "1").reason
    assert "'/workspace/dist/a' went away, or became something else, while it was read" in reason
    assert kept(bench, run) == {}
    assert list(bench.station.objects.kept("artifacts")) == []


class Full(FolderObjects):
    """A disk that is full once a file is being written."""

    def put(self, place: str, write: Callable[[BinaryIO], None]) -> Blob:
        def fill(file: BinaryIO) -> None:
            write(file)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return super().put(place, fill)


class Away(FolderObjects):
    """A store that does not answer."""

    def put(self, place: str, write: Callable[[BinaryIO], None]) -> Blob:
        raise Unavailable("the store does not answer")


@pytest.mark.parametrize(
    ("trouble", "said"), [(Full, "No space left on device"), (Away, "the store does not answer")]
)
def test_what_this_machine_cannot_keep_now_is_tried_again_by_a_job_that_goes_on(
    bench: Bench, files: Path, tmp_path: Path, trouble: type[FolderObjects], said: str
) -> None:
    written(files, "a")
    station = bench.station
    bench.station = replace(station, objects=trouble(tmp_path / "objects"))
    run = bench.a_run(HEAD + upload(path="a"))
    bench.work()

    waiting = bench.store.load(run.id)
    assert waiting.result is None
    assert "the job cannot go on: " in log(bench, waiting, "end")
    assert said in log(bench, waiting, "end")
    assert list(station.objects.kept("artifacts")) == []


def test_a_store_that_lets_go_of_nothing_now_is_no_reason_to_fail(bench: Bench, files: Path) -> None:
    written(files, "a", "b")
    stuck = Troubled(bench.station.objects, "remove", 99, Unavailable("the store does not answer"))
    bench.station = replace(bench.station, objects=cast(Objects, stuck))

    run = done(bench, upload(path="a"), upload(path="b", overwrite="true"))

    assert (run.result, names(bench, run)) == (Result.SUCCESS, ["b"])


def test_time_runs_out_in_the_middle_of_a_large_file_too(bench: Bench, files: Path) -> None:
    with (files / "large").open("wb") as file:
        file.truncate(1024**3)

    step = "      - {uses: actions/upload-artifact@v4, timeout-minutes: 0.002, with: {path: large}}\n"
    run = done(bench, step)

    assert str(outcome(bench, run, "1").result) == "timed_out"
    assert kept(bench, run) == {}
    assert list(bench.station.objects.kept("artifacts")) == []
