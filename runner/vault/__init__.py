"""Secrets and variables: sealed at rest, and opened for nobody but the jobs that may have them.

A secret is sealed with AES-GCM, 256 bits and a nonce of its own each time. The seal covers the forge, the
repository's registration and the secret's name, so that a row that somebody copies to another place opens
nowhere. The key is in a file, of this home or of everywhere alike, and never in the database, nor in the
environment, which every process hands on and many tools show: a backup of the database alone gives away
nothing. All secrets of a database are sealed with one key. Who lacks it makes no other, but says so.
"""

from runner.vault.keys import KeyFile
from runner.vault.memory import MemoryVault
from runner.vault.sealed import SealedVault

__all__ = ["KeyFile", "MemoryVault", "SealedVault"]
