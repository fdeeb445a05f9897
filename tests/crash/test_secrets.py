"""A process is killed while it keeps a secret, or seals all with another key; none is lost, and no key."""

import stat

import pytest

from runner.model.source import Repository
from tests.crash.world import World

KEEPING = {
    "secrets.keep:1:before": {},
    "secrets.keep:1:within": {},
    # The key is there, and nothing is sealed with it.
    "key.made:1:before": {},
    "key.made:1:after": {},
    "secrets.keep:1:after": {"TOKEN": "of the victim"},
}
ROTATING = (
    "secrets.reseal:1:before",
    "secrets.reseal:1:within",
    "key.add:1:before",
    # The file has both keys, and all is sealed with the former one.
    "key.add:1:after",
    # All is sealed with the other one.
    "secrets.reseal:1:after",
    "key.keep_only:1:before",
    "key.keep_only:1:after",
    "secrets.reseal:2:after",
)


def repository(world: World) -> Repository:
    return world.services.repositories.get("git", "octo/hello")


@pytest.fixture(params=["embedded", "distributed"])
def world(request: pytest.FixtureRequest) -> World:
    found: World = request.getfixturevalue(request.param)
    return found


def test_a_process_that_is_killed_while_it_keeps_a_secret_leaves_all_of_it_or_nothing(world: World) -> None:
    vault, key = world.services.vault, world.settings.key_file
    for point, kept in KEEPING.items():
        world.killed(world.start("keep", point))

        assert vault.secrets(repository(world)) == kept
        assert all(len(line) == 64 for line in (key.read_text().split() if key.exists() else ()))

    made = key.read_text()
    world.killed(world.start("keep", "secrets.keep:1:after"))
    assert vault.keep_secret(repository(world), "ANOTHER", "of ours")
    assert vault.secrets(repository(world)) == {"TOKEN": "of the victim", "ANOTHER": "of ours"}
    assert (key.read_text(), stat.S_IMODE(key.stat().st_mode)) == (made, 0o600)


def test_a_process_that_is_killed_while_it_seals_all_anew_leaves_all_that_can_be_opened(world: World) -> None:
    vault, key = world.services.vault, world.settings.key_file
    kept = {f"S{number}": f"value {number}" for number in range(5)}
    for name, value in kept.items():
        vault.keep_secret(repository(world), name, value)

    for point in ROTATING:
        before = key.read_text()
        world.killed(world.start("rotate", point))

        assert vault.secrets(repository(world)) == kept
        assert len(world.services.secrets.keys()) == 1
        vault.keep_secret(repository(world), "S0", "value 0")
        done = vault.rotate()
        assert vault.secrets(repository(world)) == kept
        assert world.services.secrets.keys() == {done.key: 5}
        assert len(key.read_text().split()) == 1
        assert key.read_text() != before
