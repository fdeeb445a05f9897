"""What every implementation of `Workspaces` and `Workspace` promises the engine."""

import os
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from runner.engine.ports import Workspaces
from runner.errors import BrokenDefinition, Rejected, SnapshotGone, Unavailable
from runner.model.source import Repository, Route
from runner.workspaces import WORKFLOW_BYTES, GitWorkspaces
from tests.workspaces.origin import FORGE, NAME, Origin, git

NOWHERE = "9" * 40


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path / "origin")


@pytest.fixture(params=["overlays", "copies"])
def workspaces(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspaces]:
    why = None if request.param == "overlays" else "a test"
    with GitWorkspaces(tmp_path / "home", protocols="file", hindrance=lambda: why) as opened:
        if os.geteuid() == 0:
            assert opened.overlay_problem() == why
        yield opened


def test_a_branch_a_tag_head_and_a_commit_id_resolve_to_the_commit(
    workspaces: Workspaces, origin: Origin
) -> None:
    commit = origin.commit({"a": "1"})
    git(origin.path, "tag", "light")
    git(origin.path, "tag", "-a", "heavy", "-m", "a tag object")

    refs = ["main", "refs/heads/main", "light", "heavy", "refs/tags/heavy", "HEAD", commit]

    assert [workspaces.resolve(origin.repository, ref) for ref in refs] == [commit] * len(refs)


def test_a_branch_wins_over_a_tag_of_the_same_name(workspaces: Workspaces, origin: Origin) -> None:
    origin.commit({"a": "1"})
    git(origin.path, "tag", "both")
    branch = origin.commit({"a": "2"}, branch="both")

    assert workspaces.resolve(origin.repository, "both") == branch


def test_a_tag_wins_over_a_branch_where_that_is_asked_for(workspaces: Workspaces, origin: Origin) -> None:
    tag = origin.commit({"a": "1"})
    git(origin.path, "tag", "both")
    branch = origin.commit({"a": "2"}, branch="both")

    found = [workspaces.resolve(origin.repository, ref, tag_first=True) for ref in ("both", "main", "HEAD")]

    assert found == [tag, branch, branch]


def test_a_missing_ref_is_rejected_with_some_that_exist(workspaces: Workspaces, origin: Origin) -> None:
    origin.commit({"a": "1"}, branch="release")

    with pytest.raises(Rejected, match=r"octo/hello has no ref 'relaese'; it has release, main"):
        workspaces.resolve(origin.repository, "relaese")


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "--upload-pack=touch x",
        "-x",
        "refs/heads/-x",
        "a b",
        "a..b",
        "a\nb",
        "a.lock",
        "/a",
        "a//b",
        "@{u}",
    ],
)
def test_what_is_no_ref_name_is_rejected(workspaces: Workspaces, origin: Origin, ref: str) -> None:
    origin.commit({"a": "1"})

    with pytest.raises(Rejected, match="is no ref name"):
        workspaces.resolve(origin.repository, ref)


def test_a_commit_that_does_not_exist_is_rejected(workspaces: Workspaces, origin: Origin) -> None:
    origin.commit({"a": "1"})

    with pytest.raises(Rejected, match=f"octo/hello at .* has no commit {NOWHERE}"):
        workspaces.fetch(origin.repository, origin.route(NOWHERE), "run-1")


def test_a_repository_that_does_not_answer_is_unavailable(workspaces: Workspaces, origin: Origin) -> None:
    gone = Repository(FORGE, NAME, str(origin.path / "gone"))

    with pytest.raises(Unavailable, match="does not appear to be a git repository"):
        workspaces.fetch(gone, origin.route(NOWHERE), "run-1")
    with pytest.raises(Unavailable, match="does not appear to be a git repository"):
        workspaces.resolve(gone, "main")


def test_the_files_directly_in_a_folder_are_read(workspaces: Workspaces, origin: Origin) -> None:
    commit = origin.commit({"ci/a.yml": "a", "ci/b.py": "b", "ci/deeper/c.yml": "c", "d.yml": "d"})
    route = origin.route(commit)
    workspaces.fetch(origin.repository, route, "run-1")

    assert workspaces.read(route, "ci") == {"ci/a.yml": b"a", "ci/b.py": b"b"}
    assert workspaces.read(route, "ci/missing") == {}
    assert workspaces.read(route, "d.yml") == {}
    assert set(workspaces.listed(route, "ci")) == {"a.yml", "b.py", "deeper"}
    assert set(workspaces.listed(route, "")) == {"ci", "d.yml"}
    assert set(workspaces.listed(route, "ci/missing")) == set()
    assert set(workspaces.listed(route, "d.yml")) == set()


def test_of_a_folder_only_what_is_asked_for_is_read(workspaces: Workspaces, origin: Origin) -> None:
    files = {"action.yml": "a", "big": "b" * (WORKFLOW_BYTES + 1), "in/action.yml": "c", "in/b": "d"}
    (origin.path / "link").symlink_to("/etc/passwd")
    route = origin.route(origin.commit(files))
    workspaces.fetch(origin.repository, route, "run-1")

    assert workspaces.read(route, "", ("action.yml", "action.yaml")) == {"action.yml": b"a"}
    assert workspaces.read(route, "in", ("action.yml", "action.yaml")) == {"in/action.yml": b"c"}
    assert workspaces.read(route, "", ()) == {}


def test_a_file_is_read_up_to_the_limit(workspaces: Workspaces, origin: Origin) -> None:
    commit = origin.commit({"ci/a.yml": "a" * WORKFLOW_BYTES, "big/b.yml": "b" * (WORKFLOW_BYTES + 1)})
    route = origin.route(commit)
    workspaces.fetch(origin.repository, route, "run-1")

    assert len(workspaces.read(route, "ci")["ci/a.yml"]) == WORKFLOW_BYTES
    with pytest.raises(BrokenDefinition, match=r"big/b\.yml has 524289 bytes.*at most 524288"):
        workspaces.read(route, "big")
    assert len(workspaces.read(route, "ci")) == 1


def test_a_symlink_is_not_read(workspaces: Workspaces, origin: Origin) -> None:
    (origin.path / "ci").mkdir()
    (origin.path / "ci/a.yml").symlink_to("/etc/passwd")
    (origin.path / "elsewhere").symlink_to("/etc")
    route = origin.route(origin.commit_all())
    workspaces.fetch(origin.repository, route, "run-1")

    with pytest.raises(BrokenDefinition, match=r"ci/a\.yml is a symlink"):
        workspaces.read(route, "ci")
    with pytest.raises(BrokenDefinition, match="elsewhere is a symlink"):
        workspaces.read(route, "elsewhere")


def test_the_message_of_a_commit_is_read(workspaces: Workspaces, origin: Origin) -> None:
    origin.commit({"a": "1"})
    said = "Stra\u00dfe [skip ci]\n\nskip-checks: true\n"
    git(origin.path, "commit", "--quiet", "--amend", "--message", said)
    route = origin.route(git(origin.path, "rev-parse", "HEAD"))
    workspaces.fetch(origin.repository, route, "run-1")

    assert workspaces.message(route) == said


def test_what_changed_is_told_by_path(workspaces: Workspaces, origin: Origin) -> None:
    before = origin.commit({"same": "1", "edited": "1", "removed": "1", "old/name": "long enough"})
    after = origin.commit({"same": "1", "edited": "2", "added\nline": "1", "new/name": "long enough"})
    workspaces.fetch(origin.repository, origin.route(after), "run-1")

    changed = ["added\nline", "edited", "new/name", "old/name", "removed"]
    assert workspaces.changed(origin.route(after), before) == changed
    assert workspaces.changed(origin.route(after), None) == ["added\nline", "edited", "new/name", "same"]


def test_a_merge_tells_what_it_was_made_from_and_two_branches_where_they_parted(
    workspaces: Workspaces, origin: Origin
) -> None:
    first = origin.commit({"a": "1"})
    parted = origin.commit({"a": "2"})
    git(origin.path, "checkout", "--quiet", "-b", "topic")
    topic = origin.commit({"a": "2", "b": "1"})
    git(origin.path, "checkout", "--quiet", "main")
    main = origin.commit({"a": "3"})
    git(origin.path, "merge", "--quiet", "--no-edit", "topic")
    merge = git(origin.path, "rev-parse", "HEAD")
    git(origin.path, "checkout", "--quiet", "--orphan", "stranger")
    stranger = origin.commit({"c": "1"})
    workspaces.fetch(origin.repository, origin.route(merge), "run-1")

    assert list(workspaces.parents(origin.route(merge))) == [main, topic]
    assert list(workspaces.parents(origin.route(parted))) == [first]
    assert list(workspaces.parents(origin.route(first))) == []
    assert workspaces.parting(origin.route(topic), main) == parted
    assert workspaces.parting(origin.route(merge), main) == main
    assert workspaces.parting(origin.route(topic), stranger) is None
    assert workspaces.parting(origin.route(topic), NOWHERE) is None


def test_the_commit_before_a_force_push_is_compared_with(workspaces: Workspaces, origin: Origin) -> None:
    origin.commit({"a": "1", "b": "1"})
    before = origin.commit({"a": "2", "b": "1"})
    git(origin.path, "reset", "--quiet", "--hard", "HEAD^")
    after = origin.commit({"a": "1", "b": "2"})
    workspaces.fetch(origin.repository, origin.route(after), "run-1")

    assert workspaces.changed(origin.route(after), before) == ["a", "b"]


def test_every_file_counts_as_changed_where_the_commit_before_is_gone(
    workspaces: Workspaces, origin: Origin
) -> None:
    after = origin.commit({"a": "1", "b": "2"})
    workspaces.fetch(origin.repository, origin.route(after), "run-1")

    assert workspaces.changed(origin.route(after), NOWHERE) == ["a", "b"]
    assert workspaces.changed(origin.route(after), "0" * 40) == ["a", "b"]


def test_a_job_gets_exactly_the_commits_files(workspaces: Workspaces, origin: Origin) -> None:
    route = origin.route(origin.commit({"a": "1", "b/c": "2"}))
    origin.commit({"a": "later"})
    workspaces.fetch(origin.repository, route, "run-1")

    opened = workspaces.open(route, "17", 1, None)

    files = {str(path.relative_to(opened.path)) for path in opened.path.rglob("*")}
    assert files == {"a", "b", "b/c"}
    assert (opened.path / "a").read_text() == "1"


def test_a_snapshot_is_restored_in_a_later_attempt(workspaces: Workspaces, origin: Origin) -> None:
    route = origin.route(origin.commit({"a": "1", "b": "1"}))
    workspaces.fetch(origin.repository, route, "run-1")
    first = workspaces.open(route, "17", 1, None)
    untouched = first.save()
    (first.path / "a").write_text("2")
    (first.path / "b").unlink()
    edited = first.save()
    (first.path / "c").write_text("3")

    second = workspaces.open(route, "17", 2, edited)

    assert {path.name: path.read_text() for path in second.path.iterdir()} == {"a": "2"}
    assert second.save() == edited
    assert not first.path.exists()
    third = workspaces.open(route, "17", 3, untouched)
    assert {path.name: path.read_text() for path in third.path.iterdir()} == {"a": "1", "b": "1"}


def test_an_unchanged_workspace_keeps_its_snapshots_name(workspaces: Workspaces, origin: Origin) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    workspaces.fetch(origin.repository, route, "run-1")
    opened = workspaces.open(route, "17", 1, None)

    names = [opened.save(), opened.save()]
    (opened.path / "a").write_text("2")
    names += [opened.save(), opened.save()]

    assert names[0] == names[1] != names[2] == names[3]


def test_folders_that_link_to_each_other_are_looked_at_no_longer_than_is_allowed(
    workspaces: Workspaces, origin: Origin
) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    workspaces.fetch(origin.repository, route, "run-1")
    opened = workspaces.open(route, "17", 1, None)
    for folder in range(12):
        (opened.path / f"f{folder}").mkdir()
        for other in range(12):
            (opened.path / f"f{folder}" / f"to{other}").symlink_to(f"../f{other}")
    looked = 0

    def spend(entries: int, read: int) -> None:
        nonlocal looked
        looked += entries
        if looked > 1000:
            raise TimeoutError("enough")

    with pytest.raises(TimeoutError):
        list(opened.paths(spend))
    assert looked == 1001


def test_a_file_is_hashed_piece_by_piece(workspaces: Workspaces, origin: Origin) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    workspaces.fetch(origin.repository, route, "run-1")
    opened = workspaces.open(route, "17", 1, None)
    (opened.path / "large").write_bytes(b"x" * 3_000_000)
    read: list[int] = []

    found = opened.digest("large", lambda entries, bytes: read.append(bytes))

    assert found == sha256(b"x" * 3_000_000).digest()
    assert (sum(read), len(read) > 1) == (3_000_000, True)


def two_snapshots(workspaces: Workspaces, origin: Origin) -> tuple[Route, str, str]:
    """Those of job `17`, which has ended: one with a file, and then one with another file."""
    route = origin.route(origin.commit({"a": "1"}))
    workspaces.fetch(origin.repository, route, "run-1")
    opened = workspaces.open(route, "17", 1, None)
    (opened.path / "b").write_text("2")
    first = opened.save()
    (opened.path / "c").write_text("3")
    second = opened.save()
    opened.close()
    return route, first, second


def texts_in(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_of_a_job_that_has_ended_only_the_snapshots_stay(
    workspaces: Workspaces, origin: Origin, tmp_path: Path
) -> None:
    route, _, snapshot = two_snapshots(workspaces, origin)

    workspaces.retire("17")
    workspaces.retire("17")

    assert list((tmp_path / "home/workspaces").glob("17*")) == []
    opened = workspaces.open(route, "17", 2, snapshot)
    assert texts_in(opened.path) == {"a": "1", "b": "2", "c": "3"}


def test_who_goes_on_from_a_job_has_its_snapshots_whatever_becomes_of_that_one(
    workspaces: Workspaces, origin: Origin, tmp_path: Path
) -> None:
    route, first, second = two_snapshots(workspaces, origin)

    workspaces.inherit("18", ["17"], first)
    workspaces.inherit("18", ["17"], first)
    shutil.rmtree(tmp_path / "home/snapshots/17")

    opened = workspaces.open(route, "18", 2, first)
    assert texts_in(opened.path) == {"a": "1", "b": "2"}
    (opened.path / "d").write_text("own")
    own = opened.save()
    assert own not in (first, second)
    workspaces.inherit("19", ["17", "18"], own)
    assert texts_in(workspaces.open(route, "19", 3, own).path) == {"a": "1", "b": "2", "d": "own"}


def test_what_no_job_of_the_line_has_any_more_is_gone(
    workspaces: Workspaces, origin: Origin, tmp_path: Path
) -> None:
    route, first, second = two_snapshots(workspaces, origin)
    (tmp_path / "home/snapshots/17" / first).unlink()

    with pytest.raises(SnapshotGone, match="is not on this machine"):
        workspaces.inherit("18", ["17", "16"], second)
    with pytest.raises(SnapshotGone):
        workspaces.open(route, "18", 1, second)


@pytest.mark.parametrize("snapshot", ["../17/1.1", "", "1.1/../../x"])
def test_no_snapshot_leads_out_of_the_folders_of_the_jobs(workspaces: Workspaces, snapshot: str) -> None:
    with pytest.raises(SnapshotGone):
        workspaces.inherit("18", ["17"], snapshot)


def test_releasing_what_was_never_kept_is_fine(workspaces: Workspaces, origin: Origin) -> None:
    workspaces.release(origin.route(NOWHERE), "run-1")


# --- the files of another repository ----------------------------------------------------------


def test_files_are_placed_where_their_names_lead_to(
    workspaces: Workspaces, origin: Origin, tmp_path: Path
) -> None:
    (origin.path / "inside").symlink_to("a/b")
    (origin.path / "outside").symlink_to("/etc")
    origin.path.joinpath("a").mkdir()
    origin.path.joinpath("a/b").write_text("b")
    route = origin.route(origin.commit_all())
    workspaces.fetch(origin.repository, route, "run-1")
    root = tmp_path / "temp"
    root.mkdir()

    workspaces.place(route, "job-1", root, ("actions", "octo", "hello", "v1"))

    assert (root / "actions/octo/hello/v1/inside").read_text() == "b"
    assert (root / "actions/octo/hello/v1/outside").readlink() == Path("/etc")


@pytest.mark.parametrize("where", ["actions", "actions/octo", "actions/octo/v1"])
@pytest.mark.parametrize("what", ["link", "file", "folder"])
def test_what_a_step_put_in_the_way_is_not_followed(
    workspaces: Workspaces, origin: Origin, tmp_path: Path, where: str, what: str
) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    workspaces.fetch(origin.repository, route, "run-1")
    root, elsewhere = tmp_path / "temp", tmp_path / "elsewhere"
    elsewhere.joinpath("octo/v1").mkdir(parents=True)
    elsewhere.joinpath("kept").write_text("kept")
    in_the_way = root / where
    in_the_way.parent.mkdir(parents=True)
    match what:
        case "link":
            in_the_way.symlink_to(elsewhere)
        case "file":
            in_the_way.write_text("in the way")
        case _:
            in_the_way.mkdir()
            (in_the_way / "left").symlink_to(elsewhere)

    workspaces.place(route, "job-1", root, ("actions", "octo", "v1"))

    assert (root / "actions/octo/v1/a").read_text() == "1"
    assert not (root / "actions/octo/v1/left").is_symlink()
    assert sorted(path.name for path in elsewhere.iterdir()) == ["kept", "octo"]
    assert list(elsewhere.joinpath("octo/v1").iterdir()) == []


def test_a_place_that_cannot_be_is_the_definitions_fault(
    workspaces: Workspaces, origin: Origin, tmp_path: Path
) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    workspaces.fetch(origin.repository, route, "run-1")

    with pytest.raises(BrokenDefinition, match=r"no files can be put at octo/vvv.*: File name too long"):
        workspaces.place(route, "job-1", tmp_path, ("octo", "v" * 300))


def test_nothing_of_what_was_placed_is_left_beside_the_job(
    workspaces: Workspaces, origin: Origin, tmp_path: Path
) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    workspaces.fetch(origin.repository, route, "run-1")
    root = tmp_path / "temp"
    root.mkdir()
    workspaces.place(route, "job-1", root, ("one",))
    workspaces.place(route, "job-1", root, ("one",))

    assert [path.name for path in root.iterdir()] == ["one"]
    workspaces.retire("job-1")
    assert list((tmp_path / "home/workspaces").glob("job-1*")) == []


@pytest.mark.parametrize("name", ["..", ".", "", "../elsewhere"])
def test_files_are_placed_nowhere_else(
    workspaces: Workspaces, origin: Origin, tmp_path: Path, name: str
) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    workspaces.fetch(origin.repository, route, "run-1")
    root = tmp_path / "temp"
    root.mkdir()

    with pytest.raises(BrokenDefinition, match="is no place for files"):
        workspaces.place(route, "job-1", root, ("one", name, "two"))

    assert list(root.iterdir()) == []
