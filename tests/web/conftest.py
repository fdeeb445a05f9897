"""A real site on a real SQLite database, served by the real server or called as an ASGI app."""

import asyncio
import base64
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from runner.engine.caches import CacheStore
from runner.engine.ports import Dispatcher
from runner.errors import Unavailable
from runner.forges import FORGES
from runner.forges.git import sign
from runner.logs import FileLogs
from runner.model.limits import NONE
from runner.model.run import Envelope, Run
from runner.model.source import Repository
from runner.objects import FolderObjects
from runner.settings import Settings
from runner.store import (
    Database,
    SqlArtifacts,
    SqlAudit,
    SqlCaches,
    SqlEnvironments,
    SqlRepositories,
    SqlSecrets,
    SqlStandings,
    SqlStops,
    SqlStore,
    SqlTokens,
    SqlVariables,
)
from runner.store.views import Views
from runner.vault import KeyFile, SealedVault
from runner.web.app import App
from runner.web.auth import Guard, admin_token
from runner.web.bell import Bell
from runner.web.server import Server, TimedProtocol
from runner.web.site import Site
from runner.workspaces import GitWorkspaces
from tests.builders import COMMIT, LENGTH
from tests.servers import migrated_sqlite

SECRET = "a secret of the hook"
PATIENCE = 60.0
Headers = Mapping[str, str]


class RecordingDispatcher(Dispatcher):
    """Keeps what it was told; `away` makes it a broker that does not answer."""

    def __init__(self) -> None:
        self.admitted: list[str] = []
        self.performed: list[Envelope] = []
        self.away = False
        self.rung = threading.Event()

    def admit(self, delivery_id: str, forge: str, repo: str) -> None:
        self.check()
        self.admitted.append(delivery_id)
        self.rung.set()

    def plan(self, envelope: Envelope) -> None:
        self.check()

    def perform(self, envelope: Envelope) -> None:
        self.check()
        self.performed.append(envelope)

    def report(self, run: Run) -> None:
        self.check()

    def check(self) -> None:
        if self.away:
            self.rung.set()
            raise Unavailable("the broker does not answer: it is away")


@dataclass(frozen=True, slots=True)
class Web:
    """A site and what is behind it."""

    site: Site
    app: App
    dispatcher: RecordingDispatcher
    logs: FileLogs
    token: str
    listener: socket.socket

    @property
    def url(self) -> str:
        return self.site.settings.address

    def add(self, name: str = "octo/hello", forge: str = "git") -> None:
        self.site.repositories.add(Repository(forge, name, f"https://example.org/{name}.git"), SECRET)

    def call(self, method: str, path: str, content: Any = None, **given: Any) -> httpx2.Response:
        """One request to the app, without a server; as the admin unless `headers` say otherwise."""

        async def ask() -> httpx2.Response:
            transport = httpx2.ASGITransport(app=self.app)
            async with httpx2.AsyncClient(transport=transport, base_url=self.url) as client:
                return await client.request(method, path, **given)

        given.setdefault("headers", self.admin)
        if content is not None:
            # As any program may write it: the client's own way refuses what is no text.
            given["content"] = json.dumps(content).encode()
            given["headers"] = {"content-type": "application/json"} | given["headers"]
        return asyncio.run(ask())

    def api(self, method: str, path: str, content: Any = None) -> Any:
        answer = self.call(method, f"/api/v1{path}", content)
        assert answer.is_success, answer.text
        return answer.json()

    def post(self, forge: str, body: bytes, headers: Headers) -> httpx2.Response:
        async def ask() -> httpx2.Response:
            transport = httpx2.ASGITransport(app=self.app)
            async with httpx2.AsyncClient(transport=transport, base_url=self.url) as client:
                return await client.post(f"/hooks/{forge}", content=body, headers=headers)

        return asyncio.run(ask())

    @property
    def admin(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}


def lookup(host: str) -> list[str]:
    """The addresses of the hosts in these tests, as no name server has to be asked for."""
    return {"localhost": ["127.0.0.1"], "169.254.169.254": [host]}.get(host, ["93.184.215.14"])


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = Settings(home=tmp_path, port=listener.getsockname()[1], git_protocols="https:ssh:file")
        database = Database(migrated_sqlite(tmp_path / "runner.db"), patience=1)
        dispatcher, logs = RecordingDispatcher(), FileLogs(tmp_path / "logs")
        bell, token = Bell(dispatcher), admin_token(settings)
        caches = SqlCaches(database, NONE)
        secrets, variables = SqlSecrets(database), SqlVariables(database)
        workspaces = GitWorkspaces(tmp_path, settings.git_protocols, lookup=lookup)
        site = Site(
            settings=settings,
            database=database,
            store=SqlStore(database, LENGTH),
            repositories=SqlRepositories(database),
            views=Views(database, read=logs.read),
            standings=SqlStandings(database),
            secrets=secrets,
            variables=variables,
            stops=SqlStops(database),
            tokens=SqlTokens(database),
            audit=SqlAudit(database),
            environments=SqlEnvironments(database),
            artifacts=SqlArtifacts(database),
            objects=FolderObjects(tmp_path / "objects"),
            caches=caches,
            discard=CacheStore(caches, FolderObjects(tmp_path / "objects")).remove,
            vault=SealedVault(secrets, variables, KeyFile(settings.key_file, ours=True)),
            logs=logs,
            forges=FORGES,
            executors=("host", "sandbox", "docker"),
            dispatcher=bell,
            check_broker=dispatcher.check,
            check_address=workspaces.check,
            default_branch=lambda repository: "trunk" if repository.name == "octo/told" else None,
            guard=Guard(token, settings.address, SqlTokens(database)),
        )
        app = App(site, bell.close)
        yield Web(site, app, dispatcher, logs, token, listener)
        app.close()
        database.close()


@contextmanager
def serving(web: Web, protocol: type[TimedProtocol] = TimedProtocol) -> Iterator[None]:
    """The real server at `web.url`."""
    ready = threading.Event()
    server = Server(web.app, ready=ready.set, ending=web.app.end, protocol=protocol)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [web.listener]})
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def served(web: Web) -> Iterator[Web]:
    """The same, behind the real server."""
    with serving(web):
        yield web


def a_push(repo: str = "octo/hello", **given: Any) -> bytes:
    payload = {
        "id": str(uuid4()),
        "repository": {"full_name": repo, "default_branch": "main"},
        "ref": "refs/heads/main",
        "before": "0" * 40,
        "after": COMMIT,
        "pusher": {"name": "octo"},
    }
    return json.dumps(payload | given).encode()


def signed(body: bytes, secret: str = SECRET, guid: str | None = None) -> dict[str, str]:
    """Headers of a delivery from plain git."""
    guid, at = guid or str(uuid4()), str(int(time.time()))
    return {
        "content-type": "application/json",
        "webhook-id": guid,
        "webhook-timestamp": at,
        "webhook-signature": sign(secret, guid, at, body),
    }


def a_key() -> str:
    return "whsec_" + base64.b64encode(b"k" * 24).decode()
