"""What every sandbox is made of: its folders, and the agent that works in them."""

import os
from dataclasses import dataclass
from pathlib import Path

AGENT = Path(__file__).with_name("agent.sh")
BASH = Path("/bin/bash").exists()
LAUNCH = ".launch-"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job's steps find themselves. `owner` is who they run as, seen from outside."""

    workspace: str
    temp: str
    host_temp: Path
    path: str
    owner: tuple[int, int] | None

    @property
    def home(self) -> str:
        return f"{self.temp}/home"

    def prepare(self) -> None:
        """Make the home folder, and hand the temporary folder to the owner."""
        home = self.host_temp / "home"
        home.mkdir(exist_ok=True)
        if self.owner:
            os.chown(self.host_temp, *self.owner)
            os.chown(home, *self.owner)


def agent(script: str, temp: str, processes: str, mark: str = "", sweep: str = "") -> list[str]:
    """How to start the agent where this machine's programs are; files of cgroups may follow.

    bash can give each step a process group of its own, which spares a step the start of setsid.
    """
    shell, grouping = ("/bin/bash", "-") if BASH else ("/bin/sh", "")
    return [shell, script, f"{temp}/{LAUNCH}", grouping, processes, mark, sweep]
