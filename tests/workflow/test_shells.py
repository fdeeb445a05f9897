"""What each shell runs."""

import pytest

from runner.workflow.shells import script_name, shell_argv, shell_problem


@pytest.mark.parametrize(
    ("shell", "argv"),
    [
        (None, ("bash", "-e", "/t/s")),
        ("bash", ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "/t/s")),
        ("sh", ("sh", "-e", "/t/s")),
        ("python", ("python3", "/t/s")),
        ("pwsh", ("pwsh", "-command", ". '/t/s'")),
        ("perl -w {0}", ("perl", "-w", "/t/s")),
        ("env 'A=b c' sh -c '. {0}' x", ("env", "A=b c", "sh", "-c", ". /t/s", "x")),
    ],
)
def test_a_shell_is_a_command_with_the_script_in_it(shell: str | None, argv: tuple[str, ...]) -> None:
    assert shell_argv(shell, "/t/s") == argv


@pytest.mark.parametrize(
    "shell", ["bash", "sh", "python", "pwsh", "cmd", "powershell", "node {0}", "a 'b {0}'"]
)
def test_a_shell_that_can_be_used_has_no_problem(shell: str) -> None:
    assert shell_problem(shell) is None


@pytest.mark.parametrize("shell", ["fish", "bash -e", "a '{0}", "{0}"])
def test_a_shell_that_cannot_be_used_has_one(shell: str) -> None:
    assert shell_problem(shell)


def test_a_script_is_called_as_its_shell_wants_it() -> None:
    assert [script_name(shell, "step") for shell in (None, "pwsh", "python", "node {0}")] == [
        "step.sh",
        "step.ps1",
        "step.py",
        "step.sh",
    ]
