"""Folders as deep as a step can make them."""

import os
from pathlib import Path

DEPTH = 1500


def nested(folder: Path) -> Path:
    """A new folder with folders in it, more than any call can name."""
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir("deep", dir_fd=here)
        deeper = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    return folder
