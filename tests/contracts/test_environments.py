"""The protection rules of environments, on both databases."""

from dataclasses import replace

import pytest

from runner.errors import NotFound, Rejected
from runner.model.environment import Environment
from runner.model.source import Repository
from runner.store import Database, SqlEnvironments, SqlRepositories
from runner.store.environments import MOST

RULES = Environment("Production", ("anna", "bert"), 30, ("main", "refs/tags/v*"), prevent_self_review=True)


def registered(database: Database, name: str = "octo/hello") -> Repository:
    repositories = SqlRepositories(database)
    repositories.add(Repository("git", name, "/srv/hello.git"), "secret")
    return repositories.get("git", name)


def test_rules_come_back_as_they_were_kept_whatever_the_case_of_the_name(database: Database) -> None:
    repository, environments = registered(database), SqlEnvironments(database)

    assert environments.keep(repository, RULES)
    assert environments.rules(repository, "PRODUCTION") == RULES
    assert not environments.keep(repository, replace(RULES, name="production", wait_timer=0))

    assert environments.rules(repository, "Production") == replace(RULES, name="production", wait_timer=0)
    assert [one.name for one in environments.all(repository)] == ["production"]
    assert environments.rules(repository, "staging") is None


def test_rules_are_those_of_one_registration(database: Database) -> None:
    first, second = registered(database), registered(database, "octo/other")
    environments = SqlEnvironments(database)
    environments.keep(first, RULES)

    SqlRepositories(database).remove(first)
    again = registered(database)

    assert environments.rules(second, "production") is None
    assert environments.rules(again, "production") is None
    with pytest.raises(NotFound, match="no repository octo/hello any more"):
        environments.keep(first, RULES)


def test_what_is_removed_is_gone_and_what_is_not_there_is_named(database: Database) -> None:
    repository, environments = registered(database), SqlEnvironments(database)
    environments.keep(repository, RULES)

    environments.remove(repository, "pRoduction")

    assert environments.all(repository) == []
    for ask in (environments.remove, environments.named):
        with pytest.raises(NotFound, match="octo/hello has no rules for an environment 'production'"):
            ask(repository, "production")


def test_a_repository_has_at_most_100_environments(database: Database) -> None:
    repository, environments = registered(database), SqlEnvironments(database)
    for number in range(MOST):
        environments.keep(repository, Environment(f"review/{number}"))

    with pytest.raises(Rejected, match="has 100 environments, and 100 are the limit"):
        environments.keep(repository, RULES)
    assert not environments.keep(repository, Environment("review/7", ("anna",)))
