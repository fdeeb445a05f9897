"""What `actions/checkout` leaves in a job, so that steps may push and fetch until it ends.

A `.git/config` has nothing but the path of a file in RUNNER_TEMP, and that file what is secret: the files of
a job are in its snapshots, its temporary folder is not. An attempt that goes on with those files has another
temporary folder, so there both are made again (`renew`).

The files are the job's own: steps may have changed them, and are read and written as such.
"""

import json
import re
import shlex
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from secrets import token_hex

from runner.engine.errands.errand import Errand, done
from runner.engine.ports import BOX_TEMP
from runner.engine.sources import over_http, over_ssh
from runner.errors import BrokenDefinition, NotFound
from runner.model.source import TOKEN_USER, Key
from runner.model.step import Outcome

CONFIG_BYTES = 1024 * 1024
"""A `.git/config` that is larger is left alone."""
PLACES, MARK, SERVER = "places", "mark", "server"
_BEGIN, _END = "# actions/checkout: what it may push and fetch with", "# actions/checkout: as far as this"
_SSH = re.compile(r"ssh://[^/]*/|[^/:]*@[^/:]*:")
_OURS = re.compile(rf"^{_BEGIN}\n.*?^{_END}\n", re.DOTALL | re.MULTILINE)


def persist(
    errand: Errand, key: Key, user: str, server: str, places: Iterable[Sequence[str]]
) -> Mapping[str, str]:
    """Let git in those folders of the workspace go to `server` with a key; says what is to be undone."""
    mark = token_hex(8)
    made = _made(errand, key, user, server, mark)
    if not made:
        errand.say("##[warning]persist-credentials: what is on this machine needs none, so none are kept")
        return {}
    written = []
    for place in places:
        try:
            _change(errand, place, lambda text: f"{_OURS.sub('', text).rstrip()}\n{_block(errand, mark)}")
            written.append(list(place))
        except NotFound:
            errand.say("##[warning]persist-credentials: there is no .git here, so none are kept")
    if not written:
        return {}
    for name, text in made.items():
        _write(errand, name, text)
    return {PLACES: json.dumps(written), MARK: mark, SERVER: server}


def renew(errand: Errand, key: Key | None, user: str, state: Mapping[str, str]) -> Outcome:
    """Do it again in an attempt that goes on after it; what steps have taken back stays so."""
    mark = state.get(MARK, "")
    left = []
    for place in json.loads(state.get(PLACES, "[]")):
        with suppress(NotFound):
            if _change(errand, place, lambda text: _renewed(text, _block(errand, mark), mark)):
                left.append(place)
    if not left:
        return done()
    if key is None:
        errand.say("##[warning]persist-credentials: no token or ssh-key is given any more, so none are kept")
        return done()
    for name, text in _made(errand, key, user, state.get(SERVER, ""), mark).items():
        _write(errand, name, text)
    return done()


def forget(errand: Errand, state: Mapping[str, str]) -> Outcome:
    """Take it back at the end of the job."""
    mark = state.get(MARK, "")
    for place in json.loads(state.get(PLACES, "[]")):
        try:
            _change(errand, place, lambda text: _OURS.sub("", text))
        except (NotFound, BrokenDefinition):
            errand.say(f"{'/'.join(place) or 'the workspace'} has no .git any more")
    for name in (_config(mark), _private(mark), _hosts(mark)):
        _write(errand, name, "")
    return done()


def _made(errand: Errand, key: Key, user: str, server: str, mark: str) -> dict[str, str]:
    """The files in RUNNER_TEMP with which git goes to `server`; none where it is no server."""
    text, files = "", {}
    if key.token and (url := over_http(server)):
        login = b64encode(f"{TOKEN_USER}:{key.token}".encode()).decode()
        text += f"[http {_quoted(url)}]\n\textraheader = AUTHORIZATION: basic {login}\n"
        if not key.private and (base := _SSH.match(server)):
            text += f"[url {_quoted(url)}]\n\tinsteadOf = {_quoted(base[0])}\n"
    if key.private and (url := over_ssh(server, user)):
        files = {_private(mark): key.private_file, _hosts(mark): key.known_hosts}
        text += f"[core]\n\tsshCommand = {_quoted(_ssh(errand, key, mark))}\n"
        text += f"[url {_quoted(url)}]\n\tinsteadOf = {_quoted(over_http(server))}\n"
    return {_config(mark): text, **files} if text else {}


def _ssh(errand: Errand, key: Key, mark: str) -> str:
    """The command that goes with an ssh key, as git's configuration has it."""
    temp = errand.stage.scene.sandbox.temp
    strict = "yes" if key.strict else "accept-new"
    known = f"UserKnownHostsFile={temp}/{_hosts(mark)} ~/.ssh/known_hosts"
    said = ("IdentitiesOnly=yes", f"StrictHostKeyChecking={strict}", "CheckHostIP=no", known)
    options = [word for one in said for word in ("-o", one)]
    return shlex.join(["ssh", "-i", f"{temp}/{_private(mark)}", *options])


def _config(mark: str) -> str:
    return f"git-credentials-{mark}.config"


def _private(mark: str) -> str:
    return f"ssh-key-{mark}"


def _hosts(mark: str) -> str:
    return f"known-hosts-{mark}"


def _block(errand: Errand, mark: str) -> str:
    """What a `.git/config` has: git reads past a file that is not there."""
    # Steps in containers of their own find the folder elsewhere.
    folders = dict.fromkeys((errand.stage.scene.sandbox.temp, BOX_TEMP))
    paths = "".join(f"\tpath = {_quoted(f'{folder}/{_config(mark)}')}\n" for folder in folders)
    return f"{_BEGIN}\n[include]\n{paths}{_END}\n"


def _renewed(text: str, block: str, mark: str) -> str | None:
    """With that block in the place of the one that was of the same mark; None where there is none."""
    found = _OURS.search(text)
    if found is None or _config(mark) not in found[0]:
        return None
    return text[: found.start()] + block + text[found.end() :]


def _quoted(text: str) -> str:
    """Text as git's configuration has it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _write(errand: Errand, name: str, text: str) -> None:
    folder, where = errand.place(f"{errand.stage.scene.sandbox.temp}/{name}")
    with folder.writing(where, 0o600) as file:
        file.write(text.encode())


def _change(errand: Errand, place: Sequence[str], change: Callable[[str], str | None]) -> bool:
    """Have a `.git/config` changed, but where that gives None. Raises `NotFound` where there is none."""
    folder, where = errand.place("/".join((".", *place, ".git", "config")))
    with folder.reading(where) as file:
        text = file.read(CONFIG_BYTES + 1).decode(errors="surrogateescape")
    if len(text) > CONFIG_BYTES:
        raise BrokenDefinition(f"{where[:200]!a} has more than {CONFIG_BYTES} bytes")
    changed = change(text)
    if changed is not None and changed != text:
        with folder.writing(where) as file:
            file.write(changed.encode(errors="surrogateescape"))
    return changed is not None
