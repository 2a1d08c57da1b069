"""Prefect's temporary servers: one that a killed process left behind would run on for ever, with its store open.

Each inherits the number of the process that it was started for; the next process of the same store ends it when
that one is gone.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

from avih.atomic import runs_here
from flows.server.processes import running_numbers

OWNER: Final = "AVIH_PROCESS"
EPHEMERAL: Final = "PREFECT__SERVER_EPHEMERAL=1"  # Prefect's own mark of such a server


def claim() -> None:
    """Leave our number to whatever this process starts."""
    os.environ[OWNER] = str(os.getpid())


def end_ownerless_servers(home: Path) -> list[int]:
    """End the temporary servers of a Prefect home whose process is gone; return their numbers."""
    ended = []
    for number in running_numbers():
        owner = owner_of(number, home)
        if owner is not None and not runs_here(owner):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(number, signal.SIGTERM)
                ended.append(number)
    return ended


def owner_of(number: int, home: Path) -> int | None:
    """Return whose server a process is; None for all that are no temporary server of this home."""
    try:
        texts = Path(f"/proc/{number}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None  # it ended just now, or belongs to someone else
    found = dict(text.partition("=")[::2] for text in texts)
    if EPHEMERAL not in texts or found.get("PREFECT_HOME") != str(home):
        return None
    return int(owner) if (owner := found.get(OWNER, "")).isdecimal() else None
