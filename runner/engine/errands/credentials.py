"""What `actions/checkout` leaves in a `.git/config`, so that steps may push and fetch until the job ends.

The files are the job's own: steps may have changed them, and are read and written as such.
"""

import json
import re
import shlex
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from secrets import token_hex

from runner.engine.errands.errand import Errand, done
from runner.engine.sources import over_http, over_ssh
from runner.errors import BrokenDefinition, NotFound
from runner.model.source import TOKEN_USER, Key
from runner.model.step import Outcome

CONFIG_BYTES = 1024 * 1024
"""A `.git/config` that is larger is left alone."""
PLACES, FILES = "places", "files"
_BEGIN, _END = "# actions/checkout: what it may push and fetch with", "# actions/checkout: as far as this"
_SSH = re.compile(r"ssh://[^/]*/|[^/:]*@[^/:]*:")
_OURS = re.compile(rf"^{_BEGIN}\n.*?^{_END}\n", re.DOTALL | re.MULTILINE)


def persist(
    errand: Errand, key: Key, user: str, server: str, places: Iterable[Sequence[str]]
) -> Mapping[str, str]:
    """Let git in those folders of the workspace go to `server` with a key; says what is to be undone."""
    files: list[str] = []
    text = ""
    if key.token and (url := over_http(server)):
        login = b64encode(f"{TOKEN_USER}:{key.token}".encode()).decode()
        text += f"[http {_quoted(url)}]\n\textraheader = AUTHORIZATION: basic {login}\n"
        if not key.private and (base := _SSH.match(server)):
            text += f"[url {_quoted(url)}]\n\tinsteadOf = {_quoted(base[0])}\n"
    if key.private and (url := over_ssh(server, user)):
        command, files = _with_key(errand, key)
        text += f"[core]\n\tsshCommand = {_quoted(command)}\n"
        text += f"[url {_quoted(url)}]\n\tinsteadOf = {_quoted(over_http(server))}\n"
    if not text:
        errand.say("##[warning]persist-credentials: what is on this machine needs none, so none are kept")
        return {}
    written = []
    for place in places:
        try:
            _change(errand, place, f"{_BEGIN}\n{text}{_END}\n")
            written.append(list(place))
        except NotFound:
            errand.say("##[warning]persist-credentials: there is no .git here, so none are kept")
    return {PLACES: json.dumps(written), FILES: json.dumps(files)}


def forget(errand: Errand, state: Mapping[str, str]) -> Outcome:
    """Take it back at the end of the job."""
    for place in json.loads(state.get(PLACES, "[]")):
        try:
            _change(errand, place, "")
        except (NotFound, BrokenDefinition):
            errand.say(f"{'/'.join(place) or 'the workspace'} has no .git any more")
    for path in json.loads(state.get(FILES, "[]")):
        _write(errand, f"{errand.stage.scene.sandbox.temp}/{path}", "")
    return done()


def _with_key(errand: Errand, key: Key) -> tuple[str, list[str]]:
    """The command that goes with an ssh key, as git's configuration has it, and the files that it needs."""
    mark, temp = token_hex(8), errand.stage.scene.sandbox.temp
    private, hosts = f"ssh-key-{mark}", f"known-hosts-{mark}"
    _write(errand, f"{temp}/{private}", key.private_file)
    _write(errand, f"{temp}/{hosts}", key.known_hosts)
    strict = "yes" if key.strict else "accept-new"
    known = f"UserKnownHostsFile={temp}/{hosts} ~/.ssh/known_hosts"
    said = ("IdentitiesOnly=yes", f"StrictHostKeyChecking={strict}", "CheckHostIP=no", known)
    options = [word for one in said for word in ("-o", one)]
    return shlex.join(["ssh", "-i", f"{temp}/{private}", *options]), [private, hosts]


def _quoted(text: str) -> str:
    """Text as git's configuration has it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _write(errand: Errand, path: str, text: str) -> None:
    folder, where = errand.place(path)
    with folder.writing(where, 0o600) as file:
        file.write(text.encode())


def _change(errand: Errand, place: Sequence[str], ours: str) -> None:
    """Have `ours` and nothing else of ours in a `.git/config`. Raises `NotFound` where there is none."""
    folder, where = errand.place("/".join((".", *place, ".git", "config")))
    with folder.reading(where) as file:
        text = file.read(CONFIG_BYTES + 1).decode(errors="surrogateescape")
    if len(text) > CONFIG_BYTES:
        raise BrokenDefinition(f"{where[:200]!a} has more than {CONFIG_BYTES} bytes")
    changed = _OURS.sub("", text)
    if ours:
        changed = f"{changed.rstrip()}\n{ours}"
    if changed != text:
        with folder.writing(where) as file:
            file.write(changed.encode(errors="surrogateescape"))
