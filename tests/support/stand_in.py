"""A shard that takes as long as a test wants."""

import threading
from pathlib import Path

from tasks.records import Place, ShardRecord


def wait_for(*, place: Place, number: int, file: str) -> ShardRecord:
    """Say that it waits, and wait until there is a file, or its process is ended."""
    Path(f"{file}.waits").touch()
    while not Path(file).exists():
        threading.Event().wait(0.05)
    return ShardRecord(number=number, counts={}, made=True)
