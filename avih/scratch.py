"""A database for intermediate rows that need not fit into memory: private, beside the data, gone afterwards."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from avih.atomic import partial_file, remove_leftovers

# Nothing in it is worth keeping: no journal, no waiting for the disk. What passes the cache goes to the file.
_PRAGMAS: Final = (
    "journal_mode = OFF",
    "synchronous = OFF",
    "locking_mode = EXCLUSIVE",
    "temp_store = MEMORY",
    "cache_size = -16384",  # KiB
)


@contextlib.contextmanager
def scratch_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open an empty database under a temporary name beside ``path``, readable by its owner alone.

    It holds names of persons, so it lies in the store and not in the system's folder of temporary files; what
    a killed run left there goes first. Everything is one transaction that is never ended.
    """
    remove_leftovers(path.parent)
    with partial_file(path.absolute()) as file:
        # No other process knows the file, so no lock is asked for: shared folders often have none.
        database = sqlite3.connect(f"{file.as_uri()}?nolock=1", uri=True, isolation_level=None)
        try:
            for pragma in _PRAGMAS:
                database.execute(f"PRAGMA {pragma}")
            database.execute("BEGIN")
            yield database
        finally:
            database.close()
