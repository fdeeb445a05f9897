"""Secrets and variables that are kept in memory, and nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from runner.engine.ports import Vault
from runner.model.source import Repository


@dataclass(frozen=True, slots=True)
class MemoryVault(Vault):
    """What one person gives one run: the same whatever the repository. Gone with the process."""

    # A traceback that shows the vault must not show what is in it.
    given_secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    given_variables: Mapping[str, str] = field(default_factory=dict)

    def secrets(self, repository: Repository) -> Mapping[str, str]:
        return self.given_secrets

    def variables(self, repository: Repository) -> Mapping[str, str]:
        return self.given_variables
