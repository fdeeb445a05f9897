"""Which files a local run means."""

from pathlib import Path

import pytest

from runner.cli.asking import workflow_files
from runner.errors import Rejected

OURS = ".runner/workflows"
PYTHON = 'from runner.sdk import workflow\n@workflow(on="push")\nasync def deploy(event, step): ...\n'


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / OURS).mkdir(parents=True)
    for name, text in {
        "deploy.py": "print('another deploy')\n",
        f"{OURS}/ci.yml": "on: push\n",
        f"{OURS}/deploy.py": PYTHON,
        f"{OURS}/shared.py": "x = 1\n",
    }.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_functions_in_python_are_among_the_workflows_and_modules_are_not(checkout: Path) -> None:
    assert workflow_files(checkout, None) == (f"{OURS}/ci.yml", f"{OURS}/deploy.py")
    assert workflow_files(checkout, OURS) == (f"{OURS}/ci.yml", f"{OURS}/deploy.py")


def test_one_in_python_is_named_by_its_file_with_and_without_its_ending(checkout: Path) -> None:
    assert workflow_files(checkout, "deploy") == (f"{OURS}/deploy.py",)
    assert workflow_files(checkout, f"{OURS}/deploy.py") == (f"{OURS}/deploy.py",)
    # What is written out is meant as it is.
    assert workflow_files(checkout, "deploy.py") == ("deploy.py",)


def test_python_in_githubs_folder_is_none(checkout: Path) -> None:
    (checkout / OURS).rename(checkout / "elsewhere")
    (checkout / ".github/workflows").mkdir(parents=True)
    (checkout / ".github/workflows/deploy.py").write_text(PYTHON)

    with pytest.raises(Rejected, match="no workflow files"):
        workflow_files(checkout, None)
