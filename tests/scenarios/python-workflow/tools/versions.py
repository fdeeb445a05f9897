from pathlib import Path


def read():
    return Path("version").read_text().strip()
