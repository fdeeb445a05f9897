"""What each shell's name means as a command."""

import shlex

from runner.expr.values import shown

SCRIPT = "{0}"

COMMANDS: dict[str | None, tuple[str, ...]] = {
    None: ("bash", "-e", SCRIPT),
    "bash": ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail", SCRIPT),
    "sh": ("sh", "-e", SCRIPT),
    "python": ("python3", SCRIPT),
    "pwsh": ("pwsh", "-command", f". '{SCRIPT}'"),
    "powershell": ("powershell", "-command", f". '{SCRIPT}'"),
    "cmd": ("cmd", "/D", "/E:ON", "/V:OFF", "/S", "/C", f'CALL "{SCRIPT}"'),
}
ON_WINDOWS = ("cmd", "powershell")
NAMES = tuple(name for name in COMMANDS if name is not None and name not in ON_WINDOWS)

EXTENSIONS = {"python": ".py", "pwsh": ".ps1", "powershell": ".ps1", "cmd": ".cmd"}


def shell_argv(shell: str | None, script: str) -> tuple[str, ...]:
    """The command that runs the file `script` under a shell that a workflow may name.

    Where a step names none, bash stops at the first failure but not inside a pipe; as on GitHub.
    """
    words = COMMANDS[shell] if shell in COMMANDS else tuple(shlex.split(shell or ""))
    return tuple(word.replace(SCRIPT, script) for word in words)


def script_name(shell: str | None, stem: str) -> str:
    """A name for the script's file; pwsh runs nothing that does not end in `.ps1`."""
    return stem + EXTENSIONS.get(shell or "", ".sh")


def shell_template(shell: str | None) -> str:
    """The command line of a shell, with {0} for the script."""
    return " ".join(COMMANDS[shell]) if shell in COMMANDS else shell or ""


def shell_problem(shell: str) -> str | None:
    """Why a workflow cannot use such a shell."""
    if shell in COMMANDS:
        return None
    if SCRIPT not in shell:
        names = ", ".join((*NAMES, "or a command with {0} for the script"))
        return f"unknown shell {shown(shell)}; here you can use {names}"
    try:
        words = shlex.split(shell)
    except ValueError as error:
        return f"the shell {shown(shell)} cannot be split into words: {error}"
    return "a command must stand before {0}" if words[:1] == [SCRIPT] else None
