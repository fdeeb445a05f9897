"""What each shell's name means as a command."""

import shlex

from runner.workflow.schema import SHELLS, cut

SCRIPT = "{0}"

COMMANDS: dict[str | None, tuple[str, ...]] = {
    None: ("bash", "-e", SCRIPT),
    "bash": ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail", SCRIPT),
    "sh": ("sh", "-e", SCRIPT),
    "python": ("python3", SCRIPT),
    "pwsh": ("pwsh", "-command", f". '{SCRIPT}'"),
}

EXTENSIONS = {"python": ".py", "pwsh": ".ps1"}


def shell_argv(shell: str | None, script: str) -> tuple[str, ...]:
    """The command that runs the file `script` under a shell that a workflow may name.

    Where a step names none, bash stops at the first failure but not inside a pipe; as on GitHub.
    """
    words = COMMANDS[shell] if shell in COMMANDS else tuple(shlex.split(shell or ""))
    return tuple(word.replace(SCRIPT, script) for word in words)


def script_name(shell: str | None, stem: str) -> str:
    """A name for the script's file; pwsh runs nothing that does not end in `.ps1`."""
    return stem + EXTENSIONS.get(shell or "", ".sh")


def shell_problem(shell: str) -> str | None:
    """Why a workflow cannot use such a shell."""
    if shell in COMMANDS:
        return None
    if shell in SHELLS.later:
        return f'the shell "{shell}" is not supported yet; here you can use {", ".join(SHELLS.now)}'
    if SCRIPT not in shell:
        names = ", ".join((*SHELLS.now, "or a command with {0} for the script"))
        return f'unknown shell "{cut(shell)}"; here you can use {names}'
    try:
        words = shlex.split(shell)
    except ValueError as error:
        return f'the shell "{cut(shell)}" cannot be split into words: {error}'
    return "a command must stand before {0}" if words[:1] == [SCRIPT] else None
