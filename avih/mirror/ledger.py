"""What a working copy knows of the store elsewhere: which state of each object it saw last, and what it owes.

A small SQLite database beside the copy, shared by all processes of this machine that work on it. Every change
of a file here and of its row happens under the database's write lock, so that one process' look at the store
never overwrites what another has just written.
"""

import contextlib
import os
import secrets
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from avih.errors import IntegrityError
from avih.mirror.makers import Makers

PATIENCE: Final = 60.0  # seconds that one process waits for another's change, which takes a moment
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS objects (
    name TEXT PRIMARY KEY, etag TEXT NOT NULL, size INTEGER NOT NULL,
    stamp TEXT NOT NULL, here INTEGER NOT NULL, change INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS owed (
    number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL,
    process INTEGER NOT NULL, failed INTEGER NOT NULL
);
"""


@dataclass(frozen=True)
class Known:
    """An object as it was last seen.

    Attributes:
        etag: which state of it.
        size: bytes.
        stamp: size, time and inode of the file here that stands for it; another one means: written since.
        here: whether that file holds the object's bytes; if not, it holds nothing but zeros of the same
        length. change: number of the row's last change.
    """

    etag: str
    size: int
    stamp: str
    here: bool
    change: int


@dataclass(frozen=True)
class Owed:
    """A change that was begun here and that the store elsewhere may not have yet.

    Attributes:
        process: who began it; earlier releases wrote a process id.
    """

    number: int
    name: str
    process: str | int
    failed: bool


def stamp_of(path: Path) -> str:
    """Describe a file so that any writing shows; empty where there is none."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return ""
    return f"{facts.st_size}-{facts.st_mtime_ns}-{facts.st_ino}"


class Ledger:
    """The database of one working copy.

    Args:
        path: its file; made when it is not there.
        address: what the copy is of.
        makers: the processes that work on the copy.

    Raises:
        IntegrityError: the file is damaged, or belongs to the copy of another store.
    """

    def __init__(self, path: Path, *, address: str, makers: Makers) -> None:
        self.path, self._makers = path, makers
        with self.change() as database:
            for name, value in (("address", address), ("copy", secrets.token_hex(8))):
                database.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, value))
        if (found := self.fact("address")) != address:
            raise IntegrityError(f"Expected {path} to belong to {address}, got the ledger of {found}.")

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(
                sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
            ) as opened:
                yield opened
        except sqlite3.OperationalError as error:  # a full disk, say; what is written stays whole
            raise OSError(f"The ledger {self.path} could not be written or read: {error}.") from error
        except sqlite3.DatabaseError as error:
            raise IntegrityError(
                f"Expected the ledger of a working copy at {self.path}, got: {error}. Remove the folder it "
                "lies in: what the store has is fetched anew, what was never sent to it is lost."
            ) from error

    @contextlib.contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Hold the write lock; what the block wrote stays only if it ends without an error."""
        with self._open() as database:
            if not self._has_tables(database):
                os.chmod(self.path, 0o600)  # noqa: PTH101  # before anything is in it
                with contextlib.suppress(sqlite3.OperationalError):  # another process is at it just now
                    database.execute("PRAGMA journal_mode = WAL")
                database.executescript(_TABLES)
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    @staticmethod
    def _has_tables(database: sqlite3.Connection) -> bool:
        return bool(database.execute("SELECT 1 FROM sqlite_master WHERE name = 'owed'").fetchone())

    def fact(self, name: str) -> str | None:
        """Return one of the facts about the copy: ``address``, ``copy`` or ``store``."""
        with self._open() as database:
            row = database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def set_fact(self, name: str, value: str) -> None:
        """Write down a fact."""
        with self.change() as database:
            database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def known(self, name: str) -> Known | None:
        """Return what is known of one object."""
        with self._open() as database:
            return _known(database, name)

    def all_known(self, prefix: str) -> dict[str, Known]:
        """Return what is known of all objects whose names begin with a prefix."""
        query = "SELECT name, etag, size, stamp, here, change FROM objects WHERE name >= ? AND name < ?"
        with self._open() as database:
            rows = database.execute(query, (prefix, prefix + chr(sys.maxunicode))).fetchall()
        return {name: Known(etag, size, stamp, bool(here), change)
                for name, etag, size, stamp, here, change in rows}  # fmt: skip

    def owe(self, name: str) -> int:
        """Write down, before a file is changed here, that the store elsewhere is to be told; number it."""
        maker = self._makers.me()
        with self.change() as database:
            row = database.execute("INSERT INTO owed (name, process, failed) VALUES (?, ?, 0)", (name, maker))
            return int(row.lastrowid or 0)

    def failed(self, number: int) -> None:
        """Write down that a change could not be sent: whoever comes next may try."""
        with self.change() as database:
            database.execute("UPDATE owed SET failed = 1 WHERE number = ?", (number,))

    def owed(self) -> list[Owed]:
        """Return what is owed, in the order in which it was begun."""
        with self._open() as database:
            rows = database.execute(
                "SELECT number, name, process, failed FROM owed ORDER BY number"
            ).fetchall()
        return [Owed(number, name, process, bool(failed)) for number, name, process, failed in rows]


def _known(database: sqlite3.Connection, name: str) -> Known | None:
    row = database.execute(
        "SELECT etag, size, stamp, here, change FROM objects WHERE name = ?", (name,)
    ).fetchone()
    return Known(row[0], row[1], row[2], bool(row[3]), row[4]) if row else None


def remember(
    database: sqlite3.Connection, name: str, *, etag: str, size: int, stamp: str, here: bool = True
) -> None:
    """Write down an object's state, inside of a change."""
    known = _known(database, name)
    change = known.change + 1 if known else secrets.randbelow(2**40)  # a row that came back is no old row
    database.execute(
        "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?)",
        (name, etag, size, stamp, int(here), change),
    )


def forget(database: sqlite3.Connection, name: str) -> None:
    """Write down that there is no such object, inside of a change."""
    database.execute("DELETE FROM objects WHERE name = ?", (name,))


def unchanged(database: sqlite3.Connection, name: str, known: Known | None) -> bool:
    """Tell, inside of a change, whether a row is as it was and nothing of that name is owed."""
    if database.execute("SELECT 1 FROM owed WHERE name = ? LIMIT 1", (name,)).fetchone():
        return False
    now = _known(database, name)
    return (now.change if now else None) == (known.change if known else None)


def settled(database: sqlite3.Connection, name: str, number: int) -> None:
    """Write down, inside of a change, that a change was sent, and with it those before that had failed."""
    database.execute(
        "DELETE FROM owed WHERE number = ? OR (name = ? AND number < ? AND failed = 1)",
        (number, name, number),
    )
