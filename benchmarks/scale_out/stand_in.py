"""A shard that takes a fixed time and no processor: what a run takes beyond it is the engine's."""

import time

from tasks.records import Place, ShardRecord


def stand_in(*, place: Place, number: int, seconds: float) -> ShardRecord:
    """Sleep."""
    time.sleep(seconds)
    return ShardRecord(number=number, counts={"stand_in": 1}, made=True, seconds=seconds)
