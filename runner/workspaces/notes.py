"""Small files that say something of the folder they are in."""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write(path: Path, said: Mapping[str, Any]) -> None:
    """Write one, whole or not at all."""
    aside = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    aside.write_text(json.dumps(said))
    aside.rename(path)


def read(path: Path) -> Any:
    """What one says; None where it is not there, or says nothing that can be understood."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
