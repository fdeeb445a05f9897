"""Artifacts as people list, download and delete them, on a real server."""

import stat
from pathlib import Path

import pytest

from tests.cli.conftest import Machine, Shell, run_of

REPOSITORY = ("-R", "octo/hello")
KEEPS = """
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - run: |
          mkdir -p dist/deep logs
          echo built > dist/deep/file
          echo 'echo ran' > dist/run.sh
          chmod +x dist/run.sh
          echo one > logs/one
      - {uses: actions/upload-artifact@v4, with: {name: dist, path: dist}}
      - {uses: actions/upload-artifact@v4, with: {name: log-one, path: logs}}
      - {uses: actions/upload-artifact@v4, with: {name: log-two, path: logs}}
"""


@pytest.fixture(scope="module")
def commit(machine: Machine) -> str:
    machine.push(KEEPS)
    return machine.git("rev-parse", "HEAD").strip()


@pytest.fixture
def run(on_machine: Shell, commit: str) -> str:
    found = str(run_of(on_machine, commit))
    assert on_machine("runs", "watch", found).status == 0
    return found


def there(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())


def test_artifacts_are_listed_by_run_and_by_repository(on_machine: Shell, run: str) -> None:
    listed = on_machine("artifacts", "list", run)

    assert listed.status == 0
    assert [line.split("\t")[1] for line in listed.out.splitlines()] == ["log-two", "log-one", "dist"]
    of_run = on_machine("artifacts", "list", run, "--json").json
    of_repository = on_machine("artifacts", "list", *REPOSITORY, "--json").json
    assert [one for one in of_repository if one["run"] == int(run)] == of_run
    named = on_machine("artifacts", "list", run, "--name", "dist", "--json", "name,run").json
    assert named == [{"name": "dist", "run": int(run)}]
    assert "no artifacts; a step with" in on_machine("artifacts", "list", *REPOSITORY, "-n", "none").err
    assert on_machine("artifacts", "list").status == 2


def test_artifacts_are_unpacked_each_in_a_folder_of_its_name(
    on_machine: Shell, run: str, tmp_path: Path
) -> None:
    made = on_machine("artifacts", "download", run, "-D", str(tmp_path / "in"))

    assert (made.status, made.out) == (0, "dist: 2 files\nlog-one: 1 file\nlog-two: 1 file\n")
    assert there(tmp_path / "in") == ["dist/deep/file", "dist/run.sh", "log-one/one", "log-two/one"]
    assert stat.S_IMODE((tmp_path / "in/dist/run.sh").stat().st_mode) == 0o755


def test_one_that_is_named_goes_straight_into_the_folder(on_machine: Shell, run: str, tmp_path: Path) -> None:
    assert on_machine("artifacts", "download", run, "--name", "dist", "-D", str(tmp_path)).status == 0

    assert there(tmp_path) == ["deep/file", "run.sh"]


def test_some_are_chosen_by_pattern(on_machine: Shell, run: str, tmp_path: Path) -> None:
    assert on_machine("artifacts", "download", run, "--pattern", "log-*", "-D", str(tmp_path)).status == 0

    assert there(tmp_path) == ["log-one/one", "log-two/one"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--name", "bist"), "has no artifact 'bist'; it has dist, log-one, log-two"),
        (("--pattern", "x*"), "has no artifact that is meant; it has dist, log-one, log-two"),
    ],
)
def test_what_is_not_there_is_named(
    on_machine: Shell, run: str, tmp_path: Path, given: tuple[str, ...], said: str
) -> None:
    made = on_machine("artifacts", "download", run, *given, "-D", str(tmp_path))

    assert (made.status, said in made.err) == (1, True)
    assert there(tmp_path) == []


def test_nothing_is_unpacked_through_a_link(on_machine: Shell, run: str, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in/deep").symlink_to(tmp_path / "outside")

    made = on_machine("artifacts", "download", run, "--name", "dist", "-D", str(tmp_path / "in"))

    assert (made.status, "leads out of the folder" in made.err) == (5, True)
    assert there(tmp_path / "outside") == []


def test_one_that_is_deleted_is_gone(machine: Machine, on_machine: Shell) -> None:
    machine.push(KEEPS)
    run = str(run_of(on_machine, machine.git("rev-parse", "HEAD").strip()))
    on_machine("runs", "watch", run)
    (found,) = on_machine("artifacts", "list", run, "-n", "dist", "--json", "id").json

    made = on_machine("artifacts", "delete", str(found["id"]), *REPOSITORY)

    assert made.out == f"deleted artifact {found['id']} of octo/hello\n"
    assert on_machine("artifacts", "list", run, "-n", "dist", "--json", "id").json == []
    again = on_machine("artifacts", "delete", str(found["id"]), *REPOSITORY)
    assert (again.status, f"no artifact {found['id']}; " in again.err) == (1, True)


def test_a_folder_that_cannot_be_made_is_named(on_machine: Shell, run: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for folder in ("file", "file/below"):
        made = on_machine("artifacts", "download", run, "-D", str(tmp_path / folder))
        assert (made.status, made.out) == (1, "")
        assert f"{folder} cannot be written to: " in made.err
