"""One server per store: a lock that the kernel frees when its holder ends, however it ends."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from avih.errors import UsageError
from avih.naming import Store

LOCK_FILE = "avih-server.json"


@contextmanager
def only_one(store: Store) -> Iterator[IO[str]]:
    """Hold the store's server lock; the kernel frees it when the process ends. Yields the file to describe us in.

    Raises:
        UsageError: a server of this store runs already.
    """
    store.prefect.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (store.prefect / LOCK_FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise UsageError(
                f"Expected no server for this store yet, got one: {file.read().strip() or 'starting'}. "
                "Use that one, or stop it with Ctrl-C where it runs (or kill PID)."
            ) from None
        file.truncate(0)
        yield file
        file.truncate(0)


def describe(file: IO[str], *, prefect: str, mlflow: str) -> None:
    """Write down who we are, for the next one who tries to start."""
    file.write(json.dumps({"pid": os.getpid(), "prefect": prefect, "mlflow": mlflow}))
    file.flush()


def server_of(store: Store) -> dict[str, Any] | None:
    """Return what the server of a store said of itself: addresses and process; None where none runs."""
    try:
        with (store.prefect / LOCK_FILE).open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return dict(json.loads(file.read() or "{}"))
    except (OSError, ValueError):
        pass
    return None
