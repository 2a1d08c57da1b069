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
def scratch_database(path: Path | None) -> Iterator[sqlite3.Connection]:
    """Open an empty database under a temporary name beside ``path``, readable by its owner alone.

    It holds names of persons, so it lies in the store and not in the system's folder of temporary files; what
    a killed run left there goes first. Without a path it is in memory, for what must change nothing. Everything
    is one transaction that is never ended.
    """
    with contextlib.ExitStack() as files:
        address = ":memory:"
        if path is not None:
            remove_leftovers(path.parent)
            file = files.enter_context(partial_file(path.absolute()))
            # No other process knows the file, so no lock is asked for: shared folders often have none.
            address = f"{file.as_uri()}?nolock=1"
        database = sqlite3.connect(address, uri=path is not None, isolation_level=None)
        try:
            for pragma in _PRAGMAS:
                database.execute(f"PRAGMA {pragma}")
            database.execute("BEGIN")
            yield database
        finally:
            database.close()
