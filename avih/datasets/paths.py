"""A long list of paths in little memory: a million of them take about as many bytes as their letters."""

from array import array
from collections.abc import Iterator


class PackedPaths:
    """Paths in the order in which they were added; a Python list of strings would take three times the memory."""

    def __init__(self) -> None:
        self._letters = bytearray()
        self._ends = array("Q", [0])

    def append(self, path: str) -> None:
        """Add a path, which must be valid UTF-8."""
        self._letters += path.encode()
        self._ends.append(len(self._letters))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, place: int) -> str:
        if not 0 <= place < len(self):
            raise IndexError(f"Expected a place from 0 to {len(self) - 1}, got {place}.")
        return self._letters[self._ends[place] : self._ends[place + 1]].decode()

    def __iter__(self) -> Iterator[str]:
        return (self[place] for place in range(len(self)))
