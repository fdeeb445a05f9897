"""Forges by the name under which `POST /hooks/NAME` and a Route know them.

A forge is believed only after its signature over the raw bytes; where a repository is fetched from
never comes out of a payload.
"""

from runner.engine.ports import Forge
from runner.forges.git import PlainGit
from runner.forges.github import GitHub

FORGES: dict[str, Forge] = {"github": GitHub(), "git": PlainGit()}
