"""What a verification finds: what was checked, every problem by name, and what could not be checked.

A problem never stops a verification: the rest is looked at, and may be fine.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from avih.errors import AvihError, UsageError
from avih.naming import ShardAddress

MOST_NAMED: Final = 3  # of the things that are unchecked for one reason
_PART = re.compile(r"(\d+)/(\d+)")


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        what: kind of file.
        where: its path in the store.
        says: what was expected, what is there, and what to do.
    """

    what: str
    where: str
    says: str


@dataclass(frozen=True)
class Part:
    """One of several parts of all shards; which part a shard is in follows from its address and never changes."""

    number: int
    parts: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Read ``2/7``: the second of seven parts.

        Raises:
            UsageError: it is no such part.
        """
        match = _PART.fullmatch(text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(
                f"Expected a part like 2/7, the second of seven (n/t with n from 1 to t), got {text!r}."
            )
        return cls(int(match[1]), int(match[2]))

    def holds(self, address: ShardAddress) -> bool:
        """Tell whether a shard is in this part."""
        digest = hashlib.sha256(f"{address.folder}/{address.name}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.parts == self.number - 1


class Findings:
    """What was found so far in one store.

    Attributes:
        checked: files or things that were looked at, by kind, whatever came out.
        problems: in the order they were found.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checked: Counter[str] = Counter()
        self.problems: list[Problem] = []
        self._skipped: dict[tuple[str, str, str], list[str]] = {}
        self._seen: set[str] = set()

    def count(self, what: str, *files: Path) -> None:
        """Count one thing as looked at; its files are accounted for."""
        self.checked[what] += 1
        self._seen.update(map(str, files))

    def problem(self, what: str, path: Path, says: str) -> None:
        """Name a problem."""
        self.problems.append(Problem(what, self._place(path), says))

    def skip(self, what: str, path: Path, says: str, *files: Path) -> None:
        """Name what cannot be checked; what has the same reason is told together for each folder of the store."""
        place = self._place(path)
        self._skipped.setdefault((what, says, place.partition("/")[0]), []).append(place)
        self._seen.update(map(str, (path, *files)))

    def is_known(self, path: Path) -> bool:
        """Tell whether a file is accounted for."""
        return str(path) in self._seen

    @property
    def unchecked(self) -> list[Problem]:
        """What could not be checked, and why."""
        return [Problem(what, _together(where), says) for (what, says, _), where in self._skipped.items()]

    @contextmanager
    def looking(self, what: str, path: Path, *, advice: str = "") -> Iterator[None]:
        """Count one file and name whatever the block raises."""
        self.count(what, path)
        try:
            yield
        except AvihError as error:
            self.problem(what, path, " ".join(filter(None, (str(error), advice))))
        except OSError as error:
            self.problem(what, path, f"cannot be read: {error.strerror or error}. {advice}".strip())
        except Exception as error:  # damaged bytes may raise anything, and the other files want checking too
            self.problem(what, path, f"cannot be read ({type(error).__name__}: {error}). {advice}".strip())

    def _place(self, path: Path) -> str:
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)


def _together(places: list[str]) -> str:
    names = list(dict.fromkeys(places))
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
