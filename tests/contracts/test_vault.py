"""What the engine needs of a vault, and what a server's keeps to itself, on every database."""

import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import select, update

from runner.engine.ports import Vault
from runner.errors import NotFound, Rejected
from runner.model.source import Repository
from runner.store import Database, SqlRepositories, SqlSecrets, SqlVariables
from runner.store.tables import metadata, repositories, secrets, variables
from runner.vault import KeyFile, MemoryVault, SealedVault
from runner.vault.keys import KeyUnfit, SealBroken

CANARY = "canary-Ω-in-the-vault"


@dataclass
class Bench:
    database: Database
    folder: Path
    repositories: SqlRepositories = field(init=False)
    secrets: SqlSecrets = field(init=False)
    variables: SqlVariables = field(init=False)
    vault: SealedVault = field(init=False)

    def __post_init__(self) -> None:
        self.repositories = SqlRepositories(self.database)
        self.secrets, self.variables = SqlSecrets(self.database), SqlVariables(self.database)
        self.vault = self.a_vault()

    def a_vault(self, file: str = "secret-key", ours: bool = True) -> SealedVault:
        """Another process's."""
        return SealedVault(self.secrets, self.variables, KeyFile(self.folder / file, ours))

    def a_repository(self, name: str = "octo/hello", forge: str = "git") -> Repository:
        self.repositories.add(Repository(forge, name, "/srv/hello.git"), "secret")
        return self.repositories.get(forge, name)

    @property
    def key(self) -> Path:
        return self.folder / "secret-key"


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Bench:
    return Bench(database, tmp_path)


# --- what every vault gives ------------------------------------------------------------------------


def memory(bench: Bench, repository: Repository) -> Vault:
    return MemoryVault({"TOKEN": CANARY}, {"REGION": "north"})


def sealed(bench: Bench, repository: Repository) -> Vault:
    bench.vault.keep_secret(repository, "TOKEN", CANARY)
    bench.vault.keep_variable(repository, "REGION", "north")
    return bench.vault


@pytest.mark.parametrize("make", [memory, sealed])
def test_a_vault_gives_what_it_was_given(bench: Bench, make: Callable[[Bench, Repository], Vault]) -> None:
    repository = bench.a_repository()

    vault = make(bench, repository)

    assert vault.secrets(repository) == {"TOKEN": CANARY}
    assert vault.variables(repository) == {"REGION": "north"}
    assert CANARY not in repr(vault)


# --- names and sizes -------------------------------------------------------------------------------


def test_names_are_the_same_whatever_their_case_and_the_newest_value_counts(bench: Bench) -> None:
    repository = bench.a_repository()

    new = [bench.vault.keep_secret(repository, name, name) for name in ("token", "TOKEN", "_a1")]
    variable = [bench.vault.keep_variable(repository, name, name) for name in ("Region", "region")]

    assert (new, variable) == ([True, False, True], [True, False])
    assert bench.vault.secrets(repository) == {"TOKEN": "TOKEN", "_A1": "_a1"}
    assert bench.vault.variables(repository) == {"REGION": "region"}
    first, second = bench.secrets.all(repository)
    assert (first.name, second.name) == ("TOKEN", "_A1")
    assert first.created_at < first.updated_at
    assert second.created_at == second.updated_at


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "Ä", "A\n", "GITHUB_TOKEN", "github_x", "A" * 256])
def test_what_cannot_be_a_name_is_refused(bench: Bench, name: str) -> None:
    repository = bench.a_repository()

    for keep in (bench.vault.keep_secret, bench.vault.keep_variable):
        with pytest.raises(Rejected, match="cannot"):
            keep(repository, name, CANARY)

    assert bench.vault.secrets(repository) == bench.vault.variables(repository) == {}
    assert not bench.key.exists()


def test_a_value_that_is_too_large_is_refused_with_its_size_and_the_limit(bench: Bench) -> None:
    repository = bench.a_repository()
    largest = "é" * (24 * 1024)

    for keep in (bench.vault.keep_secret, bench.vault.keep_variable):
        keep(repository, "A", largest)
        with pytest.raises(Rejected, match=r"has 49153 bytes; 49152 are the limit") as refused:
            keep(repository, "A", largest + "a")
        assert "é" not in str(refused.value)

    assert bench.vault.secrets(repository) == bench.vault.variables(repository) == {"A": largest}


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_a_value_that_no_environment_can_have_is_refused(bench: Bench, value: str) -> None:
    repository = bench.a_repository()

    for keep in (bench.vault.keep_secret, bench.vault.keep_variable):
        with pytest.raises(Rejected, match="base64 makes"):
            keep(repository, "A", value)


def test_an_empty_secret_is_refused_and_an_empty_variable_is_one(bench: Bench) -> None:
    repository = bench.a_repository()

    with pytest.raises(Rejected, match="is empty"):
        bench.vault.keep_secret(repository, "A", "")
    bench.vault.keep_variable(repository, "A", "")

    assert bench.vault.variables(repository) == {"A": ""}


def test_a_repository_has_at_most_100_secrets_and_others_have_theirs(bench: Bench) -> None:
    repository, other = bench.a_repository(), bench.a_repository("octo/other")
    for number in range(100):
        bench.vault.keep_secret(repository, f"S{number}", "x")

    with pytest.raises(Rejected, match="octo/hello has 100 secrets, and 100 are the limit"):
        bench.vault.keep_secret(repository, "ONE_MORE", "x")
    bench.vault.keep_secret(repository, "S7", "another value")
    bench.vault.keep_secret(other, "ONE_MORE", "x")

    assert len(bench.vault.secrets(repository)) == 100


def test_a_repository_has_at_most_500_variables_of_256_kib_together(bench: Bench) -> None:
    repository = bench.a_repository()
    for number in range(500):
        bench.vault.keep_variable(repository, f"V{number}", "")

    with pytest.raises(Rejected, match="octo/hello has 500 variables, and 500 are the limit"):
        bench.vault.keep_variable(repository, "ONE_MORE", "")
    for number in range(5):
        bench.vault.keep_variable(repository, f"V{number}", "x" * 48 * 1024)
    with pytest.raises(Rejected, match="would have 262145 bytes together; the limit is 262144"):
        bench.vault.keep_variable(repository, "V5", "x" * (16 * 1024 + 1))
    bench.vault.keep_variable(repository, "V5", "x" * 16 * 1024)


# --- whose they are --------------------------------------------------------------------------------


def test_what_is_removed_is_gone_and_what_is_not_there_is_named(bench: Bench) -> None:
    repository = bench.a_repository()
    sealed(bench, repository)

    bench.secrets.remove(repository, "TOKEN")
    bench.variables.remove(repository, "REGION")

    assert bench.vault.secrets(repository) == bench.vault.variables(repository) == {}
    with pytest.raises(NotFound, match="octo/hello has no secret TOKEN"):
        bench.secrets.remove(repository, "TOKEN")
    with pytest.raises(NotFound, match="octo/hello has no variable REGION"):
        bench.variables.remove(repository, "REGION")


def test_a_name_that_is_registered_again_sees_nothing_of_the_former(bench: Bench) -> None:
    former = bench.a_repository()
    sealed(bench, former)

    bench.repositories.remove(former)
    with bench.database.reading() as connection:
        left = [*connection.execute(select(secrets)), *connection.execute(select(variables))]
    again = bench.a_repository()

    assert left == []
    for one in (former, again):
        assert bench.vault.secrets(one) == bench.vault.variables(one) == {}
    for keep in (bench.vault.keep_secret, bench.vault.keep_variable):
        with pytest.raises(NotFound, match="no repository octo/hello any more"):
            keep(former, "TOKEN", CANARY)


def test_one_that_is_removed_while_it_is_given_secrets_takes_all_of_them_along(bench: Bench) -> None:
    for _ in range(5):
        repository = bench.a_repository()
        begin = threading.Barrier(2)

        def give(repository: Repository = repository, begin: threading.Barrier = begin) -> None:
            begin.wait()
            try:
                for number in range(20):
                    bench.vault.keep_secret(repository, f"S{number}", CANARY)
            except NotFound:
                return

        with ThreadPoolExecutor() as pool:
            giving = pool.submit(give)
            begin.wait()
            bench.repositories.remove(repository)
            giving.result()

    assert bench.secrets.keys() == {}


# --- the seal --------------------------------------------------------------------------------------


def test_nothing_of_a_secret_is_in_the_database_and_no_two_seals_are_alike(bench: Bench) -> None:
    repository = bench.a_repository()
    stored = set()

    for _ in range(3):
        bench.vault.keep_secret(repository, "TOKEN", CANARY)
        stored.add(bench.secrets.sealed(repository)["TOKEN"].data)

    assert len(stored) == 3
    assert len({data[:12] for data in stored}) == 3
    with bench.database.reading() as connection:
        rows = [row for table in metadata.sorted_tables for row in connection.execute(select(table))]
    assert not any(CANARY in str(row) for row in rows)
    assert not any(CANARY.encode() in data for data in stored)
    assert "data" not in repr(bench.secrets.sealed(repository)["TOKEN"])


@pytest.mark.parametrize("change", ["name", "repository", "forge", "registration", "bytes"])
def test_a_row_that_was_sealed_for_another_place_cannot_be_opened(bench: Bench, change: str) -> None:
    repository, other = bench.a_repository(), bench.a_repository("octo/other")
    bench.vault.keep_secret(repository, "TOKEN", CANARY)
    found = bench.secrets.sealed(repository)["TOKEN"]
    changes = {
        "name": update(secrets).values(name="OTHER"),
        "repository": update(secrets).values(repository=int(other.registration.split(".")[0])),
        "forge": update(repositories).values(forge="github"),
        "registration": update(repositories).values(created_at=1),
        "bytes": update(secrets).values(sealed=found.data[:-1] + bytes([found.data[-1] ^ 1])),
    }
    bench.database.writing(lambda connection: connection.execute(changes[change]))
    whose = {"repository": other, "forge": bench.repositories.named("octo/hello")}
    whose["registration"] = whose["forge"]

    with pytest.raises(SealBroken, match="set it again with `runner secret set`") as broken:
        bench.vault.secrets(whose.get(change, repository))

    assert CANARY not in str(broken.value)


# --- the key ---------------------------------------------------------------------------------------


def test_the_key_is_made_with_the_first_secret_and_is_ours_alone(bench: Bench) -> None:
    repository = bench.a_repository()
    bench.vault.secrets(repository)
    bench.vault.keep_variable(repository, "A", "b")
    assert not bench.key.exists()

    bench.vault.keep_secret(repository, "TOKEN", CANARY)

    assert stat.S_IMODE(bench.key.stat().st_mode) == 0o600
    assert len(bytes.fromhex(bench.key.read_text())) == 32
    assert [path for path in bench.folder.iterdir() if "secret-key" in path.name] == [bench.key]
    assert bench.vault.check().startswith("1 kept, sealed with the key ")


def test_many_who_make_the_key_at_once_make_one(bench: Bench) -> None:
    found = [bench.a_repository(f"octo/r{number}") for number in range(8)]
    vaults = [bench.a_vault() for _ in found]

    with ThreadPoolExecutor(len(found)) as pool:
        list(pool.map(lambda vault, one: vault.keep_secret(one, "TOKEN", one.name), vaults, found))

    assert len(bench.secrets.keys()) == 1
    assert [bench.vault.secrets(one) for one in found] == [{"TOKEN": one.name} for one in found]


def test_of_machines_with_keys_of_their_own_the_first_to_seal_has_the_word(bench: Bench) -> None:
    found = [bench.a_repository(f"octo/r{number}") for number in range(6)]
    vaults = [bench.a_vault(f"key-{number}") for number in range(6)]

    def keep(number: int) -> bool:
        try:
            return vaults[number].keep_secret(found[number], "TOKEN", CANARY)
        except KeyUnfit:
            return False

    with ThreadPoolExecutor(6) as pool:
        kept = list(pool.map(keep, range(6)))

    assert sum(kept) == 1
    assert len(bench.secrets.keys()) == 1


def test_whoever_lacks_the_key_says_which_one_it_is_and_makes_no_other(bench: Bench) -> None:
    repository = bench.a_repository()
    bench.vault.keep_secret(repository, "TOKEN", CANARY)
    (key,) = bench.secrets.keys()
    elsewhere, other = bench.a_vault("elsewhere"), bench.a_vault("other")
    (bench.folder / "other").write_text("ab" * 32)

    acts: tuple[Callable[[SealedVault], object], ...] = (
        lambda vault: vault.secrets(repository),
        lambda vault: vault.keep_secret(repository, "ANOTHER", CANARY),
        lambda vault: vault.rotate(),
        lambda vault: vault.check(),
    )
    for act in acts:
        with pytest.raises(KeyUnfit, match=f"sealed with the key {key}, and there is no .*/elsewhere; copy"):
            act(elsewhere)
        with pytest.raises(KeyUnfit, match=f"sealed with the key {key}, and .*/other has [0-9a-f]{{16}}; "):
            act(other)

    assert not (bench.folder / "elsewhere").exists()
    assert bench.vault.secrets(repository) == {"TOKEN": CANARY}
    assert elsewhere.variables(repository) == {}


def test_a_key_that_somebody_chose_the_place_of_is_never_made_by_us(bench: Bench) -> None:
    repository = bench.a_repository()
    chosen = bench.a_vault("chosen", ours=False)

    assert chosen.secrets(repository) == {}
    assert bench.vault.check() == f"none kept yet; their key is that of {bench.key}"
    for act in (lambda: chosen.keep_secret(repository, "TOKEN", CANARY), chosen.check, chosen.rotate):
        with pytest.raises(KeyUnfit, match=r"RUNNER_SECRET_KEY_FILE: there is no .*/chosen; make it once, "):
            act()

    assert not (bench.folder / "chosen").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; put its key back"),
        ("ab" * 32 + "\nhunter2\n", "line 2 of .* is no key"),
        ("AB" * 32, "line 1 of .* is no key"),
    ],
)
def test_a_file_that_holds_no_key_is_named_without_what_is_in_it(bench: Bench, text: str, said: str) -> None:
    bench.key.write_text(text)

    with pytest.raises(KeyUnfit, match=said) as unfit:
        bench.vault.keep_secret(bench.a_repository(), "TOKEN", CANARY)

    assert "hunter2" not in str(unfit.value)


def test_a_key_that_others_may_read_is_told(bench: Bench) -> None:
    bench.vault.keep_secret(bench.a_repository(), "TOKEN", CANARY)
    bench.key.chmod(0o640)

    with pytest.raises(KeyUnfit, match="may be read by others; chmod 600"):
        bench.vault.check()


# --- another key -----------------------------------------------------------------------------------


def test_with_another_key_all_is_as_before_and_the_former_opens_nothing(bench: Bench) -> None:
    found = [bench.a_repository(f"octo/r{number}") for number in range(3)]
    for one in found:
        bench.vault.keep_secret(one, "TOKEN", one.name)
    former, times = bench.key.read_text(), bench.secrets.all(found[0])
    (bench.folder / "former").write_text(former)

    done = bench.vault.rotate()

    assert (done.count, done.tidy) == (3, True)
    assert bench.secrets.keys() == {done.key: 3}
    assert [bench.vault.secrets(one) for one in found] == [{"TOKEN": one.name} for one in found]
    assert former.strip() not in bench.key.read_text()
    assert stat.S_IMODE(bench.key.stat().st_mode) == 0o600
    assert bench.secrets.all(found[0]) == times
    with pytest.raises(KeyUnfit):
        bench.a_vault("former").secrets(found[0])


def test_a_key_that_was_put_last_into_the_file_is_the_next_one(bench: Bench) -> None:
    repository = bench.a_repository()
    chosen = bench.a_vault("chosen", ours=False)
    (bench.folder / "chosen").write_text("ab" * 32 + "\n")
    chosen.keep_secret(repository, "TOKEN", CANARY)
    (bench.folder / "chosen").write_text("ab" * 32 + "\n" + "cd" * 32 + "\n")
    chosen.keep_secret(repository, "ANOTHER", CANARY)
    before = bench.secrets.keys()

    done = chosen.rotate()

    assert list(before.values()) == [2]
    assert done.key not in before
    assert (bench.folder / "chosen").read_text() == "cd" * 32 + "\n"
    assert chosen.secrets(repository) == {"TOKEN": CANARY, "ANOTHER": CANARY}


def test_a_secret_that_cannot_be_opened_keeps_all_as_they_are(bench: Bench) -> None:
    repository = bench.a_repository()
    for name in ("A", "B"):
        bench.vault.keep_secret(repository, name, CANARY)
    broken = update(secrets).where(secrets.c.name == "A").values(sealed=b"x" * 40)
    bench.database.writing(lambda connection: connection.execute(broken))
    before = bench.secrets.sealed(repository)

    with pytest.raises(SealBroken, match="the secret A "):
        bench.vault.rotate()

    assert bench.secrets.sealed(repository) == before
    bench.secrets.remove(repository, "A")
    assert bench.vault.secrets(repository) == {"B": CANARY}
    bench.vault.rotate()
    assert bench.vault.secrets(repository) == {"B": CANARY}
    assert len(bench.key.read_text().split()) == 1


def test_whoever_reads_and_sets_while_others_change_the_key_finds_all_of_them(bench: Bench) -> None:
    repository = bench.a_repository()
    bench.vault.keep_secret(repository, "TOKEN", CANARY)
    ended, looked = threading.Event(), threading.Event()

    def set_more() -> int:
        number = 0
        while not ended.is_set() and number < 90:
            bench.a_vault().keep_secret(repository, f"S{number}", CANARY)
            number += 1
        return number

    def read() -> int:
        number = 0
        while not ended.is_set():
            assert set(bench.a_vault().secrets(repository).values()) == {CANARY}
            number += 1
            looked.set()
        return number

    def rotate(_: int) -> None:
        assert looked.wait(30)
        for _ in range(5):
            bench.a_vault().rotate()

    with ThreadPoolExecutor(6) as pool:
        others = [pool.submit(set_more), pool.submit(read)]
        try:
            list(pool.map(rotate, range(2)))
        finally:
            ended.set()
        more, looks = (other.result() for other in others)

    assert looks > 0
    assert set(bench.vault.secrets(repository)) == {"TOKEN", *(f"S{number}" for number in range(more))}
    assert len(bench.secrets.keys()) == 1
