"""Frames counted by what they are and between whom. Values only; `scan` fills them."""

from typing import NamedTuple


class Traffic(NamedTuple):
    """Frames of one sort from one outer address to another.

    Attributes:
        what: which sort, for people.
        source: packed outer source address; empty if the frames are no IP packets.
        destination: packed outer destination address; empty likewise.
        frames: how many.
        first_frame: number of the first.
    """

    what: str
    source: bytes
    destination: bytes
    frames: int
    first_frame: int


class Tally:
    """Counts traffic as it comes."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, bytes, bytes], Traffic] = {}

    def add(self, what: str, source: bytes, destination: bytes, frames: int, frame: int) -> None:
        """Count `frames` more of a sort; `frame` is their number, if they are the first."""
        key = (what, source, destination)
        group = self._groups.get(key) or Traffic(*key, 0, frame)
        self._groups[key] = group._replace(frames=group.frames + frames)

    def groups(self) -> tuple[Traffic, ...]:
        """Everything counted, in the order in which it was first seen."""
        return tuple(self._groups.values())
