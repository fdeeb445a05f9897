"""Running git: an environment from scratch, an argv list, a deadline, and no way to run anything else."""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from pathlib import Path
from time import monotonic

from runner.errors import Unavailable
from runner.workspaces.authorities import told_to_git

_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "credential.helper=",
    "safe.bareRepository=explicit",
    "protocol.ext.allow=never",
    "protocol.version=2",
    "gc.auto=0",
    "maintenance.auto=false",
    "fetch.recurseSubmodules=false",
    # Loose objects of a fetch that was killed could be a commit without its trees, which would
    # pass for fetched. A pack appears whole or not at all.
    "fetch.unpackLimit=1",
    "transfer.unpackLimit=1",
    "http.followRedirects=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
)
_DEFAULTS = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=30 -oControlPath=none",
}
_FIXED = {
    "HOME": "/nonexistent",
    "XDG_CONFIG_HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS": "",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
}
CHECK_SECONDS = 0.2
"""How often whoever runs git looks whether it is to go on."""
TRUST = "a file with its authority's certificate, and all others to trust, is named by SSL_CERT_FILE"
_UNTRUSTED = re.compile(
    r"unable to access '\w+://(?:[^/']*@)?([^/']*)[^']*': "
    r"(.*(?:server certificate|certificate problem|certificate subject).*)"
)
_UNREADABLE = re.compile("SSL CA cert|setting certificate (verify locations|file)")
_ADVICE = re.compile(r"^(please make sure|and the repository exists|hint:|warning:)|^\s*$", re.IGNORECASE)


class GitFailed(Exception):
    """Git said no; `said` is its own last words in one line."""

    def __init__(self, stderr: bytes) -> None:
        self.stderr = stderr.decode(errors="replace")
        lines = [re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", line) for line in self.stderr.splitlines()]
        lines = [re.sub(r"^(fatal|error): ", "", line).strip() for line in lines if not _ADVICE.match(line)]
        self.said = "; ".join(lines[-2:])[:500] or "git failed without a word"
        if "dubious ownership" in self.stderr:
            # Git's own advice is about configuration that we do not read.
            self.said = "git does not trust a local repository of another user; give it to the user we run as"
        if untrusted := _UNTRUSTED.search(self.said):
            # Whoever is asked may have said that, so it may be no address.
            self.said = f"the certificate of {untrusted[1]} is not trusted ({untrusted[2]}); {TRUST}"
        elif _UNREADABLE.search(self.said):
            self.said = "no certificates can be read from what SSL_CERT_FILE or SSL_CERT_DIR names"
        super().__init__(self.said)


class Git:
    """Git for one server: which protocols it may speak and what its network needs.

    `environment` is for what reaches the network (proxies, certificates, an ssh agent or command, PATH);
    it cannot loosen the rest.
    """

    def __init__(self, protocols: str, environment: Mapping[str, str]) -> None:
        self._environment = {**_DEFAULTS, **environment, **_FIXED, "GIT_ALLOW_PROTOCOL": protocols}

    def run(
        self,
        arguments: Sequence[str],
        git_dir: Path | None = None,
        settings: Mapping[str, str] | None = None,
        timeout: float = 600,
        *,
        input: bytes | None = None,
        check: Callable[[], None] | None = None,
    ) -> bytes:
        """What git printed. Raises `GitFailed`, and `Unavailable` where its time was up.

        `check` is called now and then, and ends git by raising.
        """
        process = self.start(arguments, git_dir, settings, stderr=subprocess.PIPE)
        return _output(process, f"git {arguments[0]}", timeout, input, check)

    def over_ssh(
        self, target: Sequence[str], command: str, timeout: float, check: Callable[[], None] | None = None
    ) -> bytes:
        """What a command prints on the machine that `target` leads ssh to, as git would go there.

        Errors as of `run`.
        """
        environment = self._environment
        program = shlex.split(environment["GIT_SSH_COMMAND"])
        try:
            process = subprocess.Popen(
                [*program, *target, command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/",
                env=environment,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise Unavailable("ssh is not installed on this machine, or not on its PATH") from None
        return _output(process, "ssh", timeout, None, check)

    def beside(self, environment: Mapping[str, str]) -> "Git":
        """The same with more in its environment."""
        other = copy(self)
        other._environment = {**self._environment, **environment}
        return other

    def start(
        self,
        arguments: Sequence[str],
        git_dir: Path | None = None,
        settings: Mapping[str, str] | None = None,
        stderr: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        """Start git in its own process group, reading a pipe and writing one."""
        command = ["git", *(part for setting in _SETTINGS for part in ("-c", setting))]
        if git_dir is not None:
            command.append(f"--git-dir={git_dir}")
        try:
            return subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd="/",
                env={
                    **self._environment,
                    **told_to_git(self._environment),
                    **_as_environment(settings or {}),
                },
                start_new_session=True,
                bufsize=1 << 16,
            )
        except FileNotFoundError:
            raise Unavailable("git is not installed on this machine, or not on its PATH") from None


def _output(
    process: subprocess.Popen[bytes],
    name: str,
    timeout: float,
    input: bytes | None,
    check: Callable[[], None] | None,
) -> bytes:
    until = monotonic() + timeout
    try:
        while True:
            left = max(0.0, until - monotonic())
            try:
                wait = left if check is None else min(left, CHECK_SECONDS)
                output, stderr = process.communicate(input, timeout=wait)
                break
            except subprocess.TimeoutExpired:
                if monotonic() >= until:
                    raise
            if check is not None:
                check()
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{name} did not finish in {timeout:g} seconds") from None
    finally:
        _end(process)
    if process.returncode:
        raise GitFailed(stderr)
    return output


def _as_environment(settings: Mapping[str, str]) -> dict[str, str]:
    environment = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings.items()):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    return environment


def _end(process: subprocess.Popen[bytes]) -> None:
    """End git with all it started, where it is not over yet."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    # Not read to their end: what left the process group may hold them open.
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
