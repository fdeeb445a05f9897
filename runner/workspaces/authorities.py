"""Whose certificates are trusted: those of the authorities that are named and of no others, where any are.

Git and we read the same variables, and each has a file and a folder of the machine's where they say nothing.
The one of the two that is not named would still be read beside the one that is, by git as its curl was built.
"""

import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path

from runner.errors import Unavailable

FILE, FOLDER = "GIT_SSL_CAINFO", "GIT_SSL_CAPATH"
NOWHERE = "/nonexistent"
_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")
"""What a certificate is called in such a folder: others are found by nobody there."""


def told_to_git(environment: Mapping[str, str]) -> Mapping[str, str]:
    """What git has to be told besides its environment."""
    file, folder = environment.get(FILE), environment.get(FOLDER)
    if file and not folder:
        return {FOLDER: NOWHERE}
    if folder and not file:
        # One of those that it trusts anyhow: some are not content with a file that has none.
        return {FILE: _one_of(Path(folder))}
    return {}


def _one_of(folder: Path) -> str:
    try:
        hashed = sorted(one for one in folder.iterdir() if _HASHED.fullmatch(one.name))
    except OSError:
        return NOWHERE
    # A link whose certificate was removed stays until the folder is hashed anew.
    return next((str(one) for one in hashed if _can_be_read(one)), NOWHERE)


def _can_be_read(file: Path) -> bool:
    return os.access(file, os.R_OK) and file.is_file()


def trusted(environment: Mapping[str, str]) -> ssl.SSLContext:
    """The same for our own connections, by git's environment. Raises `Unavailable`."""
    file, folder = environment.get(FILE) or None, environment.get(FOLDER) or None
    if not file and not folder:
        file, folder = _of_the_machine()
    try:
        return ssl.create_default_context(cafile=file, capath=folder)
    except OSError as error:
        named = " or ".join(one for one in (file, folder) if one)
        raise Unavailable(
            f"no certificates can be read from {named} (SSL_CERT_FILE, SSL_CERT_DIR): "
            f"{error.strerror or error}"
        ) from error


def _of_the_machine() -> tuple[str | None, str]:
    """The file, where there is one, and the folder that OpenSSL was built with."""
    # Left to itself it would look where this process's variables say, and nowhere where they are empty.
    built = ssl.get_default_verify_paths()
    return built.openssl_cafile if _can_be_read(Path(built.openssl_cafile)) else None, built.openssl_capath
