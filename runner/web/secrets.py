"""/api/v1/repos/NAME/actions/secrets and /variables, at GitHub's addresses.

A value comes as it is, for TLS or the machine itself keeps it on its way; a secret never goes out again.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import APIRouter
from pydantic import Field, SecretStr
from starlette.responses import Response

from runner.errors import NotFound
from runner.model.secret import SECRET, VARIABLE, Kind, checked_name
from runner.model.source import Repository
from runner.store.read_models import SecretView, VariableView
from runner.web.access import Acting
from runner.web.audit import about
from runner.web.bodies import Asked
from runner.web.site import Site

Shown = TypeVar("Shown", SecretView, VariableView)
SET: dict[int | str, dict[str, Any]] = {
    201: {"description": "It is new."},
    204: {"description": "It took the place of the former."},
}


class SecretValue(Asked):
    """The value of a secret, not encrypted: send it over https. Text of at most 48 KiB, without NUL."""

    value: SecretStr = Field(json_schema_extra={"writeOnly": True})


class VariableValue(Asked):
    """The value of a variable: text of at most 48 KiB, all of a repository's of 256 KiB."""

    value: str


@dataclass(frozen=True, slots=True)
class SecretList:
    total_count: int
    secrets: list[SecretView]


@dataclass(frozen=True, slots=True)
class VariableList:
    total_count: int
    variables: list[VariableView]


def routes(site: Site) -> APIRouter:
    router = APIRouter(tags=["secrets and variables"])

    @router.get("/repos/{name:path}/actions/secrets")
    def list_secrets(name: str) -> SecretList:
        found = site.secrets.all(_repository(site, name))
        return SecretList(len(found), found)

    @router.get("/repos/{name:path}/actions/secrets/{secret}")
    def show_secret(name: str, secret: str) -> SecretView:
        """When it was set, and that it is there; its value is not shown to anybody."""
        return _named(SECRET, secret, name, site.secrets.all(_repository(site, name)))

    @router.put("/repos/{name:path}/actions/secrets/{secret}", status_code=204, responses=SET)
    def set_secret(name: str, secret: str, given: SecretValue, actor: Acting) -> Response:
        found = _repository(site, name)
        act = about(actor, "set-secret", found, secret=checked_name(SECRET, secret))
        new = site.vault.keep_secret(found, secret, given.value.get_secret_value(), act)
        return Response(status_code=201 if new else 204)

    @router.delete("/repos/{name:path}/actions/secrets/{secret}", status_code=204)
    def remove_secret(name: str, secret: str, actor: Acting) -> None:
        found, stored = _repository(site, name), checked_name(SECRET, secret)
        site.secrets.remove(found, stored, about(actor, "remove-secret", found, secret=stored))

    @router.get("/repos/{name:path}/actions/variables")
    def list_variables(name: str) -> VariableList:
        found = site.variables.all(_repository(site, name))
        return VariableList(len(found), found)

    @router.get("/repos/{name:path}/actions/variables/{variable}")
    def show_variable(name: str, variable: str) -> VariableView:
        return _named(VARIABLE, variable, name, site.variables.all(_repository(site, name)))

    @router.put("/repos/{name:path}/actions/variables/{variable}", status_code=204, responses=SET)
    def set_variable(name: str, variable: str, given: VariableValue, actor: Acting) -> Response:
        found = _repository(site, name)
        act = about(actor, "set-variable", found, variable=checked_name(VARIABLE, variable))
        new = site.vault.keep_variable(found, variable, given.value, act)
        return Response(status_code=201 if new else 204)

    @router.delete("/repos/{name:path}/actions/variables/{variable}", status_code=204)
    def remove_variable(name: str, variable: str, actor: Acting) -> None:
        found, stored = _repository(site, name), checked_name(VARIABLE, variable)
        site.variables.remove(found, stored, about(actor, "remove-variable", found, variable=stored))

    return router


def _repository(site: Site, name: str) -> Repository:
    return site.repositories.named(name)


def _named(kind: Kind, wanted: str, repository: str, found: list[Shown]) -> Shown:
    stored = checked_name(kind, wanted)
    for one in found:
        if one.name == stored:
            return one
    raise NotFound(f"{repository} has no {kind.word} {stored}")
