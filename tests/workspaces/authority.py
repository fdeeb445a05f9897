"""Authorities of a test's own, and the certificates that they give."""

import subprocess
from pathlib import Path

_MAKE = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
_FOR_LOCALHOST = "-addext subjectAltName=DNS:localhost -addext basicConstraints=CA:FALSE"


class Authority:
    """`file` has its own certificate, for whoever trusts it, and so has `folder`."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir()
        self.file = folder / "authority.pem"
        self._folder = folder
        self._key = folder / "authority-key.pem"
        _openssl("-subj", f"/CN={name}", "-keyout", self._key, "-out", self.file)
        self.folder = folder / "authorities"
        self.folder.mkdir()
        (self.folder / f"{name}.pem").write_bytes(self.file.read_bytes())
        subprocess.run(["openssl", "rehash", self.folder], check=True, capture_output=True)

    def certificate(self) -> Path:
        """For localhost, with its key in the same file."""
        made, key = self._folder / "localhost.pem", self._folder / "localhost-key.pem"
        by = "-CA", self.file, "-CAkey", self._key
        _openssl("-subj", "/CN=localhost", *by, *_FOR_LOCALHOST.split(), "-keyout", key, "-out", made)
        made.write_bytes(made.read_bytes() + key.read_bytes())
        return made


def _openssl(*arguments: str | Path) -> None:
    subprocess.run([*_MAKE.split(), *arguments], check=True, capture_output=True)
