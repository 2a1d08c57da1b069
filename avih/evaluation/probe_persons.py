"""Which persons are asked about when identification is measured, chosen without a list of all persons."""

import hashlib
import heapq
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from avih.errors import UsageError

PROBE_PERSONS: Final = 12
MINIMUM_PHOTOS: Final = 13  # "more than 12 facial images"


class PersonCounts:
    """How many photos each person has; counted in a database, which may be a file (:mod:`avih.scratch`).

    An empty name is somebody unknown, who can only be a distractor.
    """

    def __init__(self, database: sqlite3.Connection | None = None) -> None:
        self._database = database or sqlite3.connect(":memory:")
        self._database.execute("CREATE TABLE persons (person TEXT PRIMARY KEY, photos INTEGER) WITHOUT ROWID")
        self.unknown = False

    def add(self, persons: Iterable[str]) -> None:
        """Count more photos by the person on each."""
        counts = Counter(str(person) if person else "" for person in persons)
        self.unknown |= counts.pop("", 0) > 0
        self._database.executemany(
            "INSERT INTO persons VALUES (?, ?) "
            "ON CONFLICT (person) DO UPDATE SET photos = photos + excluded.photos",
            sorted(counts.items()),
        )

    @property
    def persons(self) -> int:
        """How many persons there are, unknown ones not counted."""
        return int(self._database.execute("SELECT count(*) FROM persons").fetchone()[0])

    def at_least(self, photos: int) -> Iterator[tuple[str, int]]:
        """Yield the persons who have so many photos, each with their number."""
        yield from self._database.execute("SELECT person, photos FROM persons WHERE photos >= ?", (photos,))


def choose_probe_persons(
    persons: Sequence[str] | PersonCounts,
    *,
    count: int = PROBE_PERSONS,
    minimum_photos: int = MINIMUM_PHOTOS,
    seed: int = 0,
) -> tuple[tuple[str, ...], str]:
    """Choose the probe persons and say what, if anything, differs from the papers' protocol.

    Where more persons qualify than are wanted, each draws a lot from ``seed`` and the name alone, so neither
    the photos' order nor a newcomer with few photos changes the choice. Where fewer than two qualify, the
    persons with the most photos (at least two) take their place. Where that leaves nobody as a distractor,
    half of them become distractors: without any, every answer would be right.

    Args:
        persons: the person on each photo, or the photos of each person; an empty text is somebody unknown,
            who can only be a distractor.
        count: how many probe persons at most.
        minimum_photos: how many photos a probe person should have.
        seed: which of the qualified persons are taken.

    Returns:
        The chosen persons in alphabetical order (none: impossible), and a note (empty: as in the papers).

    Raises:
        UsageError: ``count`` is below 1 or ``minimum_photos`` below 2.
    """
    if count < 1 or minimum_photos < 2:
        raise UsageError(f"Expected count >= 1 and minimum_photos >= 2, got {count} and {minimum_photos}.")
    counts = persons if isinstance(persons, PersonCounts) else _counted(persons)
    notes = []
    chosen = _first(counts.at_least(minimum_photos), most=max(count, 2), seed=seed)
    if len(chosen) < 2:
        chosen = _first(counts.at_least(2), most=count, seed=seed, by_photos=True)
        if not chosen:
            return (), "No person has 2 photos, so identification cannot be measured."
        notes.append(
            f"Fewer than 2 persons have at least {minimum_photos} photos each; instead the probe persons are "
            f"the {len(chosen)} with the most photos ({chosen[-1][1]} to {chosen[0][1]} each)."
        )
    names = [person for person, _ in chosen[:count]]
    if len(names) == counts.persons and not counts.unknown:
        if len(names) == 1:
            return (), "All photos show one person, so there is nobody to be confused with."
        notes.append(
            f"All {len(names)} persons could be probe persons; {len(names) - len(names) // 2} of them "
            "are distractors instead."
        )
        names = names[: len(names) // 2]
    return tuple(sorted(names)), " ".join(notes)


def _counted(persons: Sequence[str]) -> PersonCounts:
    counts = PersonCounts()
    counts.add(persons)
    return counts


def _first(
    persons: Iterable[tuple[str, int]], *, most: int, seed: int, by_photos: bool = False
) -> list[tuple[str, int]]:
    """Return the first persons in the order of their lots, or of their photos and then their lots."""

    def order(found: tuple[str, int]) -> tuple[int, bytes]:
        return -found[1] if by_photos else 0, _draw(found[0], seed=seed)

    return heapq.nsmallest(most, persons, key=order)


def _draw(person: str, *, seed: int) -> bytes:
    """Return a person's lot: the same in every gallery and with every version of numpy."""
    return hashlib.sha256(f"{seed}/{person}".encode()).digest()
