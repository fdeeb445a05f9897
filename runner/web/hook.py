"""The `post-receive` hook of a plain git repository.

A shell script that needs nothing but python3. The program comes in through a descriptor, so the key is on
no command line; stdin stays the list of refs that git sends. A hook must never fail a push: whatever goes
wrong is a warning that the pusher sees.
"""

from pathlib import Path
from string import Template

_SCRIPT = Template((Path(__file__).parent / "templates" / "post-receive.sh").read_text())


def hook_script(address: str, name: str, secret: str) -> str:
    """The script for one repository; whoever has it can sign deliveries."""
    return _SCRIPT.substitute(url=ascii(address), name=ascii(name), secret=ascii(secret))
