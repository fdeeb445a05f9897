"""What of a job's log is kept as one object, and where in it each step's text is."""

from collections.abc import Sequence
from dataclasses import dataclass

from runner.model.blob import Blob


@dataclass(frozen=True, slots=True)
class Section:
    """What one step printed: so many bytes, after those of the sections before it."""

    step: str
    size: int


@dataclass(frozen=True, slots=True)
class Frame:
    """A piece of the text, whichever sections it is of, that can be unpacked by itself.

    `begin` and `size` are in the text; `at` and `packed` where it is in the object; `digest` the SHA-256 of
    what is there.
    """

    begin: int
    size: int
    at: int
    packed: int
    digest: str

    @property
    def end(self) -> int:
        return self.begin + self.size


@dataclass(frozen=True, slots=True)
class StoredLog:
    """All that an attempt of a job printed: in an object, or where it is little those bytes themselves."""

    sections: tuple[Section, ...]
    frames: tuple[Frame, ...]
    content: Blob | bytes

    def span(self, step: str) -> tuple[int, int]:
        """Where in the text what a step printed begins and ends."""
        begin = 0
        for section in self.sections:
            if section.step == step:
                return begin, begin + section.size
            begin += section.size
        return 0, 0

    def within(self, begin: int, end: int) -> Sequence[Frame]:
        """The frames that have something of the text between these two."""
        return [frame for frame in self.frames if frame.begin < end and frame.end > begin]
