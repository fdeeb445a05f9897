"""What lies in the home of a server that may be at work."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def files_in(folder: Path) -> Iterator[Path]:
    """Every file under a folder, without links; what goes away meanwhile is passed over."""
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            if path.is_file() and not path.is_symlink():
                yield path


def contents(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """What is in each of them."""
    for path in files_in(folder):
        with suppress(FileNotFoundError):
            yield path, path.read_bytes()


def files_with(home: Path, *forms: bytes) -> set[Path]:
    """In which files of the folders of a home one of these is, from the home on.

    Those of the database are not read: whoever closes one takes this process's locks off it.
    """
    folders = (folder for folder in home.iterdir() if folder.is_dir())
    read = (one for folder in folders for one in contents(folder))
    return {path.relative_to(home) for path, data in read if any(form in data for form in forms)}
