"""The vault of a server: what its database keeps, and the key to it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from runner.engine.ports import Vault
from runner.model.audit import Act
from runner.model.secret import SECRET, VARIABLE, Place, Sealed, checked_name, checked_value
from runner.model.source import Repository
from runner.vault.keys import SETTING, Key, KeyFile, KeyUnfit

Sealeds = Mapping[Place, Sealed]


class Secrets(Protocol):
    """Where secrets are kept, sealed."""

    def sealed(self, repository: Repository) -> Mapping[str, Sealed]: ...

    def keys(self) -> Mapping[str, int]: ...

    def keep(
        self,
        repository: Repository,
        name: str,
        seal: Callable[[Collection[str]], Sealed],
        act: Act | None = None,
    ) -> bool: ...

    def reseal(self, change: Callable[[Sealeds], Sealeds]) -> None: ...


class Variables(Protocol):
    def values(self, repository: Repository) -> Mapping[str, str]: ...

    def keep(self, repository: Repository, name: str, value: str, act: Act | None = None) -> bool: ...


@dataclass(frozen=True, slots=True)
class Rotated:
    """How many secrets are sealed with the key `key` now. `tidy`: the file has no other key any more."""

    count: int
    key: str
    tidy: bool


class SealedVault(Vault):
    """The key is read each time it is needed: a server that runs takes up another one at once."""

    def __init__(self, secrets: Secrets, variables: Variables, file: KeyFile) -> None:
        self._secrets = secrets
        self._variables = variables
        self._file = file

    def secrets(self, repository: Repository) -> Mapping[str, str]:
        """What the repository has now, opened. Raises `KeyUnfit`, `SealBroken`."""
        try:
            return self._opened(repository)
        except KeyUnfit:
            # They may have been sealed anew between a look at them and one at the key.
            return self._opened(repository)

    def _opened(self, repository: Repository) -> Mapping[str, str]:
        found = self._secrets.sealed(repository)
        if not found:
            return {}
        keys = self._fitting({sealed.key for sealed in found.values()})
        return {
            name: keys[sealed.key].open(_place(repository, name), sealed) for name, sealed in found.items()
        }

    def variables(self, repository: Repository) -> Mapping[str, str]:
        return self._variables.values(repository)

    def keep_secret(self, repository: Repository, name: str, value: str, act: Act | None = None) -> bool:
        """Seal a secret and store it; False where it takes the place of another.

        Errors: `Rejected` for what cannot be one, `NotFound` where the repository is gone, `KeyUnfit`.
        """
        name = checked_name(SECRET, name)
        value = checked_value(SECRET, name, value)

        def seal(used: Collection[str]) -> Sealed:
            # With a second key in use, every machine would lack one of them.
            key = next(iter(self._fitting(used).values())) if used else self._file.made()
            return key.seal(_place(repository, name), value)

        return self._secrets.keep(repository, name, seal, act)

    def keep_variable(self, repository: Repository, name: str, value: str, act: Act | None = None) -> bool:
        """As `keep_secret`."""
        name = checked_name(VARIABLE, name)
        return self._variables.keep(repository, name, checked_value(VARIABLE, name, value), act)

    def rotate(self) -> Rotated:
        """Seal all secrets with another key: the file's last, or a new one where that is in use.

        Until all of them are sealed anew the file has both, so that whoever dies in between leaves nothing
        that cannot be opened; doing it again then ends it.
        """
        done: list[Rotated] = []

        def change(before: Sealeds) -> Sealeds:
            used = {sealed.key for sealed in before.values()}
            old = self._fitting(used)
            new = self._file.made()
            if new.id in used:
                new = self._file.add()[-1]
            done.append(Rotated(len(before), new.id, tidy=False))
            return {
                place: new.seal(place, old[sealed.key].open(place, sealed))
                for place, sealed in before.items()
            }

        self._secrets.reseal(change)
        return Rotated(done[-1].count, done[-1].key, tidy=self._tidied())

    def check(self) -> str:
        """What there is, and whether it can be opened here; raises `KeyUnfit` where it cannot."""
        counts = self._secrets.keys()
        keys = self._fitting(counts)
        if self._file.open_to_others():
            raise KeyUnfit(f"{self._file.path} may be read by others; chmod 600 {self._file.path}")
        if not counts:
            return f"none kept yet; their key is that of {self._file.path}"
        return f"{sum(counts.values())} kept, sealed with the key {next(iter(keys))} in {self._file.path}"

    def _tidied(self) -> bool:
        """Leave nothing in the file but the key that is in use, while nobody begins to use another."""
        done: list[bool] = []

        def change(before: Sealeds) -> Sealeds:
            used = {sealed.key for sealed in before.values()}
            keys = self._file.read()
            left = [key for key in keys if key.id in used] or keys[-1:]
            try:
                if len(left) < len(keys):
                    self._file.keep_only(left)
                done.append(True)
            except KeyUnfit:
                # A file that others see to is theirs to tidy; it opens everything as it is.
                done.append(False)
            return {}

        self._secrets.reseal(change)
        return done[-1]

    def _fitting(self, used: Collection[str]) -> Mapping[str, Key]:
        """The keys that are in use, by their ids. Raises `KeyUnfit`."""
        here = {key.id: key for key in self._file.read()}
        missing = sorted(set(used) - set(here))
        if missing:
            what = f"{self._file.path} has {', '.join(here)}" if here else f"there is no {self._file.path}"
            raise KeyUnfit(
                f"secrets are sealed with the key {', '.join(missing)}, and {what}; copy the file from where "
                f"they were set, or from a backup, or let {SETTING} name the same file everywhere"
            )
        return {one: here[one] for one in used}


def _place(repository: Repository, name: str) -> Place:
    return Place(repository.forge, repository.registration, name)
