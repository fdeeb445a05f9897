"""What a step prints: its workflow commands are obeyed, secrets are hidden, and what is to be seen goes on.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from runner.engine.commands import FILE_BYTES
from runner.engine.masks import LONGEST_VALUE, WITHHELD, Masks
from runner.engine.matchers import Matchers
from runner.engine.outcomes import MOST_ANNOTATIONS, TooMuch
from runner.errors import BrokenDefinition
from runner.model.step import Annotation

LONGEST_LINE = 64 * 1024
"""Bytes after which a line is shown though it has not ended; a secret across such a border is not seen."""

MOST_LETTERS = 4096
"""Of an annotation's message, title and file."""

COMMANDS = frozenset(
    [
        "add-mask",
        "add-matcher",
        "add-path",
        "debug",
        "echo",
        "endgroup",
        "error",
        "group",
        "notice",
        "remove-matcher",
        "save-state",
        "set-env",
        "set-output",
        "stop-commands",
        "warning",
    ]
)
LEVELS = ("error", "warning", "notice")
REPLACED = {"set-output": "GITHUB_OUTPUT", "save-state": "GITHUB_STATE"}
UNSAFE = {"set-env": "GITHUB_ENV", "add-path": "GITHUB_PATH"}
ALLOWED_UNSAFE = "ACTIONS_ALLOW_UNSECURE_COMMANDS"

_DATA = {"%0D": "\r", "%0A": "\n", "%25": "%"}
_PROPERTY = _DATA | {"%3A": ":", "%2C": ","}
_FORMER_ESCAPES = _DATA | {"%3B": ";", "%5D": "]"}


@dataclass(frozen=True, slots=True)
class WorkflowCommand:
    """`::name key=value,key=value::data`"""

    name: str
    data: str
    properties: Mapping[str, str] = field(default_factory=dict)


def parse_command(line: str, known: frozenset[str] = COMMANDS) -> WorkflowCommand | None:
    """The command that a line is; also in the former style, `##[name key=value;]data`, anywhere in it."""
    text = line.lstrip()
    if text.startswith("::"):
        head, mark, data = text[2:].partition("::")
        found = _command(head, ",", _PROPERTY, known) if mark else None
        if found is not None:
            return replace(found, data=_unescaped(data, _DATA))
    head, mark, data = line.partition("##[")[2].partition("]")
    found = _command(head, ";", _FORMER_ESCAPES, known) if mark else None
    return None if found is None else replace(found, data=_unescaped(data, _FORMER_ESCAPES))


def _command(
    head: str, between: str, escapes: Mapping[str, str], known: frozenset[str]
) -> WorkflowCommand | None:
    """What stands before a command's data; None where it is no name of a command."""
    name, _, rest = head.partition(" ")
    if name.lower() not in known:
        return None
    pairs = (pair.strip().partition("=") for pair in rest.split(between))
    given = {key.strip(): _unescaped(value, escapes) for key, _, value in pairs if key and value}
    return WorkflowCommand(name.lower(), "", given)


def _unescaped(text: str, escapes: Mapping[str, str]) -> str:
    return re.sub("|".join(escapes), lambda found: escapes[found[0]], text)


class StepOutput:
    """Takes what one step prints, in pieces of any size; `show` gets what people may see of it.

    What the commands said is in the fields when the step has ended and `end` was called. `failure` is why
    the step failed although its process did not.
    """

    def __init__(
        self,
        show: Callable[[bytes], None],
        masks: Masks,
        matchers: Matchers,
        read: Callable[[str], bytes],
        *,
        debug: bool = False,
        unsafe: bool = False,
    ) -> None:
        """`read` gives the file at a path as the step names it, and raises `BrokenDefinition`."""
        self._show = show
        self._masks = masks
        self._matchers = matchers
        self._read = read
        self._debug = debug
        self._unsafe = unsafe
        self._rest = b""
        self._withheld = False
        self._echo = debug
        self._resume: str | None = None
        self._replaced: set[str] = set()
        self._said: dict[str, int] = {}
        self.outputs: dict[str, str] = {}
        self.state: dict[str, str] = {}
        self.env: dict[str, str] = {}
        self.path: list[str] = []
        self.annotations: list[Annotation] = []
        self.failure = ""

    def __call__(self, chunk: bytes) -> None:
        data = self._rest + chunk
        whole = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if len(data) - whole > LONGEST_LINE:
            whole = len(data)
        self._rest = data[whole:]
        if whole:
            self._take(data[:whole])

    def end(self) -> None:
        """The step has ended: what it left without an end of line counts too."""
        rest, self._rest = self._rest, b""
        if rest:
            self._take(rest)
        self._matchers.pause()

    def _take(self, lines: bytes) -> None:
        if self._masks.withheld:
            self._withhold()
            return
        if b"::" not in lines and b"##[" not in lines and not self._matchers:
            self._show(self._masks.hide(lines))
            return
        shown, said = bytearray(), bytearray()
        for line in lines.splitlines(keepends=True):
            if b"add-mask" in line:
                # What was said before is hidden as it was then; each line by itself would take too long.
                shown += self._masks.hide(bytes(said))
                said.clear()
            heard = self._heard(line) if b"::" in line or b"##[" in line else None
            if self._masks.withheld:
                if shown:
                    self._show(bytes(shown))
                self._withhold()
                return
            if heard is None and self._matchers:
                self._matched(line)
            said += line if heard is None else heard
        shown += self._masks.hide(bytes(said))
        if shown:
            self._show(bytes(shown))

    def _withhold(self) -> None:
        """Show nothing of what comes now, as nobody knows what of it was to be hidden; say so once."""
        if not self._withheld:
            self._withheld = True
            self._show(f"##[error]{WITHHELD}\n".encode())

    def _heard(self, line: bytes) -> bytes | None:
        """Obey a line if it is a command; what is to be shown instead of it, None where it is none."""
        text = line.rstrip(b"\r\n").decode(errors="surrogateescape")
        if self._resume is not None:
            command = parse_command(text, frozenset([self._resume.lower()]))
            if command is None:
                return None
            self._resume = None
            return line
        command = parse_command(text)
        if command is None:
            return None
        if command.name == "add-mask" and len(line) > LONGEST_LINE:
            # The value may be longer than the line, which was taken though it had not ended.
            command = replace(command, data="x" * (LONGEST_VALUE + 1))
        said = self._obey(command)
        if said is None:
            return line if self._echo else b""
        return said.encode(errors="surrogateescape") + b"\n"

    def _obey(self, command: WorkflowCommand) -> str | None:
        """Do what a command says; the line to show for it, or None for itself where commands are echoed."""
        match command.name:
            case "error" | "warning" | "notice":
                return self._annotate(command.name, command.data, command.properties)
            case "group" | "endgroup":
                return f"##[{command.name}]{command.data}"
            case "debug":
                return f"##[debug]{command.data}" if self._debug else None
            case "add-mask":
                return self._mask(command.data)
            case "echo":
                return self._switch_echo(command.data)
            case "stop-commands":
                return self._stop(command.data)
            case "set-output" | "save-state":
                kept = self.outputs if command.name == "set-output" else self.state
                return self._set(kept, command, REPLACED[command.name])
            case "set-env" | "add-path":
                return self._change_environment(command)
            case "add-matcher" | "remove-matcher":
                return self._change_matchers(command)
            case _:
                return None

    def _annotate(self, level: str, message: str, said: Mapping[str, str]) -> str:
        self._keep(
            Annotation(
                level,
                message,
                title=said.get("title", ""),
                file=said.get("file", ""),
                line=_number(said, "line"),
                end_line=_number(said, "endLine"),
                col=_number(said, "col"),
                end_col=_number(said, "endColumn"),
            )
        )
        return f"##[{level}]{message}"

    def _keep(self, annotation: Annotation) -> None:
        if sum(one.level == annotation.level for one in self.annotations) < MOST_ANNOTATIONS:
            message, title, file = map(self._hidden, (annotation.message, annotation.title, annotation.file))
            self.annotations.append(replace(annotation, message=message, title=title, file=file))

    def _hidden(self, text: str) -> str:
        return self._masks.hide(text.encode(errors="surrogateescape")).decode(errors="replace")[:MOST_LETTERS]

    def _matched(self, line: bytes) -> None:
        found = self._matchers.match(line.rstrip(b"\r\n").decode(errors="surrogateescape"))
        if found is not None:
            self._keep(found)

    def _change_matchers(self, command: WorkflowCommand) -> str | None:
        if command.name == "remove-matcher":
            self._matchers.remove(command.properties.get("owner", ""))
            return None
        try:
            self._matchers.add(self._read(command.data))
        except BrokenDefinition as problem:
            return self._annotate("warning", f"{command.data}: {problem}", {})
        return None

    def _mask(self, secret: str) -> str:
        if not secret.strip():
            return self._annotate(
                "warning", "Can't add secret mask for empty string in ##[add-mask] command.", {}
            )
        self._masks.add(secret)
        if self._masks.withheld:
            self.failure = self.failure or WITHHELD
        return "::add-mask::***"

    def _switch_echo(self, word: str) -> str | None:
        if word.strip().lower() not in ("on", "off"):
            return self._fail(f"::echo:: takes on or off, not {word!r}")
        self._echo = word.strip().lower() == "on"
        return None

    def _stop(self, token: str) -> str | None:
        if not token or token.lower() in COMMANDS or token == "pause-logging":
            return self._fail(f"{token!r} cannot be the token of ::stop-commands::; use a random one")
        self._resume = token
        return None

    def _set(self, kept: dict[str, str], command: WorkflowCommand, instead: str) -> str | None:
        name = command.properties.get("name")
        if not name:
            return self._fail(f"::{command.name}:: needs a name, as in ::{command.name} name=NAME::VALUE")
        if problem := self._too_much(command):
            return problem
        kept[name] = command.data
        if command.name in self._replaced:
            return None
        self._replaced.add(command.name)
        return self._annotate(
            "warning",
            f"The `{command.name}` command is deprecated; write NAME=VALUE to ${instead} instead",
            {},
        )

    def _too_much(self, command: WorkflowCommand) -> str | None:
        """Why no more is taken of what such commands hand on; None where it is."""
        said = len(command.data) + len(command.properties.get("name", ""))
        self._said[command.name] = self._said.get(command.name, 0) + said
        if self._said[command.name] <= FILE_BYTES:
            return None
        return self._fail(str(TooMuch(f"what ::{command.name}:: gives", self._said[command.name])))

    def _change_environment(self, command: WorkflowCommand) -> str | None:
        if not self._unsafe:
            return self._fail(
                f"The `{command.name}` command is disabled; write to ${UNSAFE[command.name]} instead, or set "
                f"{ALLOWED_UNSAFE} to true where all that is printed can be trusted"
            )
        if problem := self._too_much(command):
            return problem
        if command.name == "add-path":
            self.path.append(command.data)
        elif name := command.properties.get("name"):
            self.env[name] = command.data
        else:
            return self._fail("::set-env:: needs a name, as in ::set-env name=NAME::VALUE")
        return None

    def _fail(self, reason: str) -> str:
        self.failure = self.failure or reason
        return self._annotate("error", reason, {})


def _number(said: Mapping[str, str], name: str) -> int | None:
    value = said.get(name, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None
