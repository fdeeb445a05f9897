"""The keys of secrets, and the file that they are in: one to a line, in hexadecimal digits, the newest last.

There is one but while secrets are sealed anew. Nothing that is raised here says what is in the file.
"""

import hashlib
import json
import re
import secrets
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from runner.errors import Unavailable
from runner.model.secret import Place, Sealed
from runner.private import create, replace

NONCE_BYTES = 12
VERSION = "runner secret 1"
SETTING = "RUNNER_SECRET_KEY_FILE"
_KEY = re.compile(r"[0-9a-f]{64}")
_MAKE = "(umask 077; openssl rand -hex 32 > {})"


class KeyUnfit(Unavailable):
    """The key that is here is not the one that secrets are sealed with, or there is none."""


class SealBroken(Unavailable):
    """A secret was changed since it was sealed, or comes from elsewhere."""


@dataclass(frozen=True, slots=True)
class Key:
    """256 bits. `id` tells it from others and gives nothing of it away."""

    bits: bytes = field(repr=False)

    @property
    def id(self) -> str:
        return hashlib.sha256(b"runner secret key\0" + self.bits).hexdigest()[:16]

    @property
    def line(self) -> str:
        return f"{self.bits.hex()}\n"

    def seal(self, place: Place, value: str) -> Sealed:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return Sealed(self.id, nonce + AESGCM(self.bits).encrypt(nonce, value.encode(), _about(place)))

    def open(self, place: Place, sealed: Sealed) -> str:
        """Raises `SealBroken`."""
        nonce, data = sealed.data[:NONCE_BYTES], sealed.data[NONCE_BYTES:]
        try:
            return AESGCM(self.bits).decrypt(nonce, data, _about(place)).decode()
        except (InvalidTag, ValueError):
            raise SealBroken(
                f"the secret {place.name} was not sealed for where it is stored, or was changed since; "
                "set it again with `runner secret set`"
            ) from None


def _about(place: Place) -> bytes:
    """What a seal is about, in letters that no two places share."""
    return json.dumps([VERSION, place.forge, place.registration, place.name]).encode()


class KeyFile:
    """`ours`: it lies in the home, where it is made when it is first needed; else who chose it makes it."""

    def __init__(self, path: Path, ours: bool) -> None:
        self.path = path
        self._ours = ours

    def read(self) -> Sequence[Key]:
        """What is in it; nothing where it may be made and is not there yet. Raises `KeyUnfit`."""
        try:
            lines = self.path.read_text().split()
        except FileNotFoundError:
            if self._ours:
                return ()
            raise KeyUnfit(
                f"{SETTING}: there is no {self.path}; make it once, with {_MAKE.format(self.path)}, and have "
                "the same file on every machine"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise KeyUnfit(f"the key of the secrets, {self.path}, cannot be read: {why}") from None
        for number, line in enumerate(lines, start=1):
            if not _KEY.fullmatch(line):
                raise KeyUnfit(
                    f"line {number} of {self.path} is no key: 64 hexadecimal digits are, as "
                    "`openssl rand -hex 32` prints them"
                )
        if not lines:
            raise KeyUnfit(f"{self.path} is empty; put its key back, from where you keep it")
        return tuple(Key(bytes.fromhex(line)) for line in lines)

    def made(self) -> Key:
        """The newest key, of a file that is made now where there is none."""
        if not self.read():
            self._put(create, (_new_key(),))
        return self.read()[-1]

    def add(self) -> Sequence[Key]:
        """What is in it, with a new key at its end."""
        keys = (*self.read(), _new_key())
        self._put(replace, keys)
        return keys

    def keep_only(self, keys: Sequence[Key]) -> None:
        self._put(replace, keys)

    def open_to_others(self) -> bool:
        return self.path.exists() and bool(stat.S_IMODE(self.path.stat().st_mode) & 0o077)

    def _put(self, how: Callable[[Path, str], None], keys: Sequence[Key]) -> None:
        try:
            how(self.path, "".join(key.line for key in keys))
        except OSError as error:
            raise KeyUnfit(
                f"the key of the secrets cannot be written to {self.path}: {error.strerror}"
            ) from None


def _new_key() -> Key:
    return Key(secrets.token_bytes(32))
