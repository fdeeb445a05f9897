"""Content that an object store keeps."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Blob:
    """Under which key it is, how many bytes it has, and their SHA-256 in hexadecimal digits."""

    key: str
    size: int
    digest: str
