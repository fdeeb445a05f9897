"""SqlTokens: who holds which token. A token itself is nowhere: it is known again by its SHA-256."""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from runner.errors import NotFound, Rejected, Unavailable
from runner.model.access import Role, Scope, Token
from runner.model.audit import Act
from runner.store.audit import note
from runner.store.database import Database, micros, moment
from runner.store.read_models import TokenView
from runner.store.tables import tokens

USE = timedelta(hours=1)
"""How exactly it is kept when a token was used last."""


class SqlTokens:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, token: Token, act: Act) -> None:
        """Raises `Rejected` where the name is taken, also by one that has expired."""
        row = {
            "name": token.name,
            "role": token.role.value,
            "repositories": _stored(token.scope),
            "digest": token.digest,
            "person": token.person or None,
            "created_by": act.actor,
            "expires_at": None if token.expires_at is None else micros(token.expires_at),
        }

        def work(connection: Connection) -> None:
            now = micros(self._database.now(connection))
            connection.execute(insert(tokens), row | {"created_at": now})
            note(connection, act, now)

        try:
            self._database.writing(work)
        except IntegrityError:
            raise Rejected(
                f"there is a token {token.name} already; `runner token revoke {token.name}` makes room for "
                "another"
            ) from None

    def revoke(self, name: str, act: Act) -> None:
        """End a token and all sessions begun with it. Raises `NotFound`."""
        gone = delete(tokens).where(tokens.c.name == name).execution_options(preserve_rowcount=True)

        def work(connection: Connection) -> None:
            if not connection.execute(gone).rowcount:
                raise NotFound(f"no token {name}; `runner token list` shows those there are")
            note(connection, act, micros(self._database.now(connection)))

        self._database.writing(work)

    def all(self) -> list[TokenView]:
        with self._database.reading() as connection:
            return [_view(row) for row in connection.execute(select(tokens).order_by(tokens.c.name))]

    def view(self, name: str) -> TokenView:
        """Raises `NotFound`."""
        with self._database.reading() as connection:
            row = connection.execute(select(tokens).where(tokens.c.name == name)).one_or_none()
        if row is None:
            raise NotFound(f"no token {name}; `runner token list` shows those there are")
        return _view(row)

    def by_digest(self, digest: str) -> Token | None:
        """The token with that SHA-256, while it is good; it counts as used."""
        row, now = self._good(tokens.c.digest == digest)
        if row is None:
            return None
        long_ago = micros(now - USE)
        if row.last_used_at is None or row.last_used_at <= long_ago:
            used = update(tokens).where(tokens.c.name == row.name).values(last_used_at=micros(now))
            # Whoever may come in does so without it.
            with suppress(Unavailable):
                self._database.writing(lambda connection: connection.execute(used), durable=False)
        return _token(row)

    def by_name(self, name: str) -> Token | None:
        """The token that is called so, while it is good."""
        row, _ = self._good(tokens.c.name == name)
        return None if row is None else _token(row)

    def _good(self, mine: ColumnElement[bool]) -> tuple[Row[Any] | None, datetime]:
        with self._database.reading() as connection:
            row = connection.execute(select(tokens).where(mine)).one_or_none()
            now = self._database.now(connection)
        expired = row is not None and row.expires_at is not None and row.expires_at <= micros(now)
        return (None if expired else row), now


def _token(row: Row[Any]) -> Token:
    expires = None if row.expires_at is None else moment(row.expires_at)
    return Token(row.name, Role(row.role), _scope(row.repositories), row.digest, expires, row.person or "")


def _stored(scope: Scope) -> list[str] | None:
    return None if scope is None else [f"{forge}:{name}" for forge, name in sorted(scope)]


def _scope(stored: list[str] | None) -> Scope:
    if stored is None:
        return None
    parted = (one.partition(":") for one in stored)
    return frozenset((forge, name) for forge, _, name in parted)


def _view(row: Row[Any]) -> TokenView:
    return TokenView(
        row.name,
        row.role,
        None if row.repositories is None else tuple(row.repositories),
        row.created_by,
        moment(row.created_at),
        None if row.expires_at is None else moment(row.expires_at),
        None if row.last_used_at is None else moment(row.last_used_at),
        row.person,
    )
