"""/api/v1/tokens: who may do what."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter
from pydantic import Field

from runner.errors import Rejected
from runner.model.access import Scope, Token, checked_person, checked_role, checked_token_name
from runner.model.audit import Act
from runner.store.read_models import TokenView
from runner.web.access import Acting
from runner.web.answers import Conflict
from runner.web.auth import digest_of, new_token
from runner.web.bodies import Asked
from runner.web.site import Site

LONGEST = 100 * 366 * 24 * 3600


class NewToken(Asked):
    """`repositories` by name, all if not given; `expires_in` is in seconds, for ever if not given.

    `person` is the login at the forges of whoever holds it: what that one started is then the token's own.
    """

    name: str
    role: str
    person: str | None = None
    repositories: list[str] | None = Field(default=None, min_length=1, max_length=1000)
    expires_in: int | None = Field(default=None, ge=1, le=LONGEST)


@dataclass(frozen=True, slots=True)
class MadeToken:
    """The token itself is not shown again."""

    name: str
    role: str
    repositories: tuple[str, ...] | None
    expires_at: datetime | None
    person: str | None
    token: str


def routes(site: Site) -> APIRouter:
    router = APIRouter(tags=["tokens"])

    @router.get("/tokens")
    def list_tokens() -> list[TokenView]:
        return site.tokens.all()

    @router.post("/tokens", status_code=201)
    def create_token(new: NewToken, actor: Acting) -> MadeToken:
        token, expires = new_token(), None
        if new.expires_in is not None:
            expires = datetime.now(UTC) + timedelta(seconds=new.expires_in)
        scope = _scope(site, new.repositories)
        name, role = checked_token_name(new.name), checked_role(new.role)
        person = None if new.person is None else checked_person(new.person)
        made = Token(name, role, scope, digest_of(token), expires, person or "")
        shown = None if scope is None else tuple(f"{forge}:{repo}" for forge, repo in sorted(scope))
        details = {"token": name, "role": role.value, "repositories": shown, "expires_in": new.expires_in}
        details |= {} if person is None else {"person": person}
        try:
            site.tokens.add(made, Act(actor.name, "create-token", details=details))
        except Rejected as error:
            raise Conflict(str(error)) from None
        return MadeToken(name, role.value, shown, expires, person, token)

    @router.delete("/tokens/{token}", status_code=204)
    def revoke_token(token: str, actor: Acting) -> None:
        site.tokens.revoke(token, Act(actor.name, "revoke-token", details={"token": token}))

    return router


def _scope(site: Site, names: list[str] | None) -> Scope:
    if names is None:
        return None
    found = [site.repositories.named(name) for name in names]
    return frozenset((one.forge, one.name) for one in found)
