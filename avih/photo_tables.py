"""Photos of two versions side by side, compared on disk: a gallery of any size takes the same memory."""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal

import pandas as pd

from avih.errors import UsageError
from avih.index_file import PIECE
from avih.naming import Store
from avih.scanning import COLUMNS, Row
from avih.scratch import scratch_database

Side = Literal["before", "after"]
Kind = Literal["added", "changed", "removed", "kept"]
KINDS: Final[tuple[Kind, ...]] = ("added", "changed", "removed", "kept")

_FIELDS: Final = ", ".join(COLUMNS)
_MARKS: Final = ", ".join("?" * len(COLUMNS))
_BOTH: Final = "after AS photo JOIN before AS other USING (image_id)"
# Whom a photo shows is compared too: an unfinished version's index carries no signature, and is gone on with.
_SAME: Final = (
    "(photo.content_mac, photo.status) = (other.content_mac, other.status) AND photo.person IS other.person"
)
# What follows FROM for each kind of photo; ``photo`` is the row that is meant.
_FROM: Final[dict[Kind, str]] = {
    "added": "after AS photo LEFT JOIN before AS other USING (image_id) WHERE other.image_id IS NULL",
    "changed": f"{_BOTH} WHERE NOT ({_SAME})",
    "removed": "before AS photo LEFT JOIN after AS other USING (image_id) WHERE other.image_id IS NULL",
    "kept": f"{_BOTH} WHERE {_SAME}",
}


@dataclass(frozen=True)
class Pictures:
    """What became of the photos that had a protected picture before.

    Attributes:
        had: how many there were.
        gone: those that are gone now or show something else.
        lost: those that are the same photo still, but have no protected picture now.
    """

    had: int
    gone: int
    lost: int


class PhotoTables:
    """Two lists of photos in a scratch database, ``before`` and ``after``, and the new places of photos."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        for side in ("before", "after"):
            self._create(side, "image_id")
            self._database.execute(f"CREATE TABLE pictures_{side} (image_id TEXT PRIMARY KEY) WITHOUT ROWID")
        self._create("placed", "shard, image_id")

    def load(self, side: Side, rows: Iterable[Row]) -> None:
        """Fill one side, in place of what was there.

        Raises:
            UsageError: two photos have one id.
        """
        self._database.execute(f"DELETE FROM {side}")
        self._insert(side, rows)

    def count(self, kind: Kind) -> int:
        """Count the photos that were added, changed, removed or kept from ``before`` to ``after``."""
        return self._number(f"SELECT count(*) FROM {_FROM[kind]}")

    def names(self, kind: Kind) -> Iterator[str]:
        """Yield the ids of these photos, sorted."""
        found = f"SELECT photo.image_id FROM {_FROM[kind]} ORDER BY photo.image_id"
        return (name for (name,) in self._database.execute(found))

    def added(self) -> Iterator[Row]:
        """Yield the photos of ``after`` that ``before`` lacks, sorted by id."""
        return self._rows(f"SELECT photo.* FROM {_FROM['added']} ORDER BY photo.image_id")

    def before(self) -> Iterator[Row]:
        """Yield the photos of ``before``, sorted by id."""
        return self._rows("SELECT * FROM before ORDER BY image_id")

    def last_shard(self) -> tuple[int, int]:
        """Return the last shard that photos of both sides have in ``before``, and how many of them are in it."""
        kept = "SELECT max(other.shard) FROM after JOIN before AS other USING (image_id)"
        number = self._number(kept)
        same = f"SELECT count(*) FROM {_BOTH} WHERE other.shard = {number}"
        return number, self._number(same)

    def with_shards(self) -> Iterator[tuple[Row, int | None]]:
        """Yield the photos of ``after``, sorted by id, each with the shard it has in ``before``, if any."""
        joined = "after AS photo LEFT JOIN before AS other USING (image_id) ORDER BY photo.image_id"
        for *row, shard in self._database.execute(f"SELECT photo.*, other.shard FROM {joined}"):
            yield _row(row), shard

    def place(self, rows: Iterable[Row]) -> None:
        """Keep rows whose shard is settled.

        Raises:
            UsageError: two photos have one id.
        """
        self._insert("placed", rows)

    def sizes(self) -> dict[int, int]:
        """Return how many placed photos each shard has, by its number."""
        return dict(
            self._database.execute("SELECT shard, count(*) FROM placed GROUP BY shard ORDER BY shard")
        )

    def placed(self) -> Iterator[pd.DataFrame]:
        """Yield the placed photos in pieces, sorted by shard and then by id."""
        rows = self._database.execute("SELECT * FROM placed ORDER BY shard, image_id")
        while piece := rows.fetchmany(PIECE):
            yield pd.DataFrame(piece, columns=list(COLUMNS))

    def add_pictures(self, side: Side, names: Iterable[str]) -> None:
        """Note photos of one side that have a protected picture."""
        self._database.executemany(
            f"INSERT OR IGNORE INTO pictures_{side} VALUES (?)", ((str(n),) for n in names)
        )

    def pictures(self) -> Pictures:
        """Say what became of the pictures of ``before``."""
        joined = "pictures_before AS had JOIN before AS other USING (image_id)"
        gone = "LEFT JOIN after AS photo USING (image_id) WHERE photo.content_mac IS NOT other.content_mac"
        lost = (
            "JOIN after AS photo USING (image_id) LEFT JOIN pictures_after AS has USING (image_id) "
            "WHERE photo.content_mac = other.content_mac AND has.image_id IS NULL"
        )
        return Pictures(
            had=self._number("SELECT count(*) FROM pictures_before"),
            gone=self._number(f"SELECT count(*) FROM {joined} {gone}"),
            lost=self._number(f"SELECT count(*) FROM {joined} {lost}"),
        )

    def _create(self, table: str, key: str) -> None:
        self._database.execute(
            f"CREATE TABLE {table} (image_id TEXT, person TEXT, path TEXT, status TEXT, reason TEXT, "
            f"content_mac TEXT, shard INTEGER, PRIMARY KEY ({key})) WITHOUT ROWID"
        )

    def _insert(self, table: str, rows: Iterable[Row]) -> None:
        last: Row | None = None

        def noted() -> Iterator[Row]:
            nonlocal last
            for row in rows:
                last = row
                yield row

        try:
            self._database.executemany(f"INSERT INTO {table} ({_FIELDS}) VALUES ({_MARKS})", noted())
        except sqlite3.IntegrityError:
            path = last.path if last else ""
            raise UsageError(f"Expected one photo per id, got {path!r} twice. Rename one of them.") from None

    def _rows(self, question: str) -> Iterator[Row]:
        return (_row(found) for found in self._database.execute(question))

    def _number(self, question: str) -> int:
        return int(self._database.execute(question).fetchone()[0] or 0)


def _row(values: Iterable[Any]) -> Row:
    return Row(*values)


def rows_of(pieces: Iterable[pd.DataFrame]) -> Iterator[Row]:
    """Yield the rows of pieces of an index one by one."""
    for piece in pieces:
        yield from map(_row, zip(*(piece[name].tolist() for name in COLUMNS), strict=True))


def in_pieces(rows: Iterable[Row]) -> Iterator[pd.DataFrame]:
    """Group rows into the pieces in which an index is written."""
    iterator = iter(rows)
    while piece := list(islice(iterator, PIECE)):
        yield pd.DataFrame(piece, columns=list(COLUMNS))


@contextlib.contextmanager
def photo_tables(*, store: Store, gallery: str, in_memory: bool = False) -> Iterator[PhotoTables]:
    """Open empty tables for photos of a gallery; they lie in the store's index folder while they are open."""
    with scratch_database(None if in_memory else store.gallery_root("index", gallery)) as database:
        yield PhotoTables(database)
