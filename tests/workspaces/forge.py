"""A forge on this machine: git's own smart HTTP over its repositories, and Git LFS beside it."""

import hashlib
import json
import os
import re
import ssl
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

from tests.workspaces.origin import git


def basic(login: str) -> str:
    return f"Basic {b64encode(login.encode()).decode()}"


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def a_pointer(content: bytes) -> str:
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest_of(content)}\nsize {len(content)}\n"
    )


@dataclass
class Forge:
    """Its repositories are below `root`. Where there is a `login`, nothing is given without it."""

    root: Path
    login: str = ""
    others: dict[str, str] = field(default_factory=dict)
    """What some repositories take too, by how their paths begin."""
    contents: dict[str, bytes] = field(default_factory=dict)
    """What is in LFS, by digest."""
    elsewhere: "Forge | None" = None
    """Where contents are fetched from."""
    failures: list[int] = field(default_factory=list)
    """What the next downloads are answered with."""
    answer: dict[str, Any] | None = None
    """What every question for contents is answered with."""
    redirect: str = ""
    held: Event | None = None
    """What a download waits for in its midst."""
    begun: Event = field(default_factory=Event)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Each request: its method, path and authorization."""
    url: str = ""

    def keep(self, content: bytes) -> str:
        """Have it in LFS; gives its pointer."""
        self.contents[digest_of(content)] = content
        return a_pointer(content)

    def a_repository(self, name: str) -> Path:
        """A bare one that can be pushed to."""
        path = self.root / f"{name}.git"
        path.mkdir(parents=True)
        git(path, "init", "--quiet", "--bare", "--initial-branch=main")
        git(path, "config", "http.receivepack", "true")
        git(path, "config", "uploadpack.allowAnySHA1InWant", "true")
        return path

    def logins_for(self, path: str) -> list[str]:
        others = [login for start, login in self.others.items() if path.startswith(start)]
        return [basic(login) for login in (self.login, *others)]

    def paths(self, ending: str) -> list[str]:
        return [path for _, path, _ in self.asked if path.endswith(ending)]


class _Handler(BaseHTTPRequestHandler):
    forge: Forge
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        # Who takes us for a proxy says the whole address.
        self.path = re.sub(r"^https?://[^/]*", "", self.path)
        forge, path = self.forge, self.path.partition("?")[0]
        given = self.headers.get("Authorization", "").replace("basic ", "Basic ")
        forge.asked.append((self.command, path, given))
        body = self._body()
        if path.startswith("/contents/"):
            # As with a signed address: whoever has it may read.
            self._content(path.rpartition("/")[2])
        elif forge.login and given not in forge.logins_for(path):
            self._send(401, b"who are you?", {"WWW-Authenticate": 'Basic realm="git"'})
        elif path.endswith("/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        else:
            self._git(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _batch(self, question: dict[str, Any]) -> None:
        forge = self.forge
        objects: list[dict[str, Any]] = []
        for one in question["objects"]:
            if one["oid"] not in forge.contents:
                objects.append({**one, "error": {"code": 404, "message": "not here"}})
                continue
            href = f"{(forge.elsewhere or forge).url}/contents/{one['oid']}"
            objects.append({**one, "actions": {"download": {"href": href}}})
        answer = forge.answer or {"transfer": "basic", "objects": objects}
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/vnd.git-lfs+json"})

    def _content(self, digest: str) -> None:
        forge = self.forge
        if forge.redirect:
            self._send(302, b"", {"Location": f"{forge.redirect}/contents/{digest}"})
            return
        if forge.failures:
            self._send(forge.failures.pop(0), b"not now")
            return
        content = forge.contents[digest]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        half = len(content) // 2
        self.wfile.write(content[:half])
        self.wfile.flush()
        forge.begun.set()
        if forge.held is not None:
            forge.held.wait(60)
        self.wfile.write(content[half:])

    def _git(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.forge.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REMOTE_USER": "octo",
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(
            ["git", "http-backend"], input=body, env=environment, capture_output=True, check=True
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self._send(int(headers.pop("Status", "200").split()[0]), content, headers)

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who does not trust our certificate goes away in the midst of a word."""
        if not isinstance(sys.exc_info()[1], ssl.SSLError):
            super().handle_error(request, client_address)


@contextmanager
def a_forge(root: Path, login: str = "", certificate: Path | None = None) -> Iterator[Forge]:
    """With TLS where there is a `certificate`, whose key is in the same file; that is for localhost."""
    forge = Forge(root, login)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"forge": forge}))
    forge.url = f"http://127.0.0.1:{server.server_port}"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        # Not at once: nobody else would be let in meanwhile.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        forge.url = f"https://localhost:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield forge
    finally:
        if forge.held is not None:
            forge.held.set()
        server.shutdown()
        server.server_close()
        thread.join()
