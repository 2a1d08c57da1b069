"""Load: what the engine adds to each shard, and how many images it holds at a time. Nothing may be lost in it."""

import json
import os
import time
from pathlib import Path
from random import Random
from typing import Any, Final, cast

from benchmarks.faults import works
from benchmarks.faults.bench import Bench
from benchmarks.faults.fault import Fault, require
from benchmarks.faults.gallery import Gallery

PERSONS, SHARD_SIZE = 16, 16  # of a gallery whose shards hold more images than may be in flight
SHARDS: Final = {"quick": 200, "full": 1000}


def many_shards(bench: Bench, _: Random) -> str:
    """Run shards that do nothing through the engine; every one must come back, in order."""
    gallery, count = bench.gallery("begun"), SHARDS[bench.profile]
    result = gallery.root / "result.json"
    ended = bench.forks.run(run_empty_shards, gallery.address, count, str(result))
    ended.require_code(0, what=f"{count} empty shards")
    found = json.loads(result.read_text())
    require(found["numbers"] == list(range(count)), "shards are missing, or come back in another order")
    each = found["seconds"] / count
    return f"{count} empty shards, {1 / each:.0f} shards/s, {1000 * each:.0f} ms each"


def images_in_flight(bench: Bench, _: Random) -> str:
    """Protect a gallery and count the pictures that are between reading and writing at a time."""
    gallery = Gallery(bench.folder / "copy-large")
    made = bench.forks.run(works.prepare, str(gallery.root), PERSONS, SHARD_SIZE, before=[works.cheap_keys])
    made.require_code(0, what="preparing a larger gallery")
    result = gallery.root / "result.json"
    ended = bench.forks.run(
        works.command, *gallery.command("protect"), before=[works.cheap_keys, CountInFlight(str(result))]
    )
    ended.require_code(0, what="protect")
    gallery.accounted()
    most = json.loads(result.read_text())
    allowed = 2 * 2 * works.BATCH  # two shards at a time, each two batches ahead
    require(0 < most <= allowed, f"{most} images in flight, at most {allowed} are meant to be")
    return f"at most {most} of {allowed} images in flight: batch of {works.BATCH}, two shards at a time"


def run_empty_shards(store: str, count: int, result: str) -> None:
    """In a forked process: run shards that do nothing, as a flow runs those that do something."""
    from prefect import flow

    from flows.shard_runs import TWO_AT_A_TIME, run_shards
    from tasks.records import Place, RecogniserChoice, ShardRecord

    def nothing(*, place: Place, number: int) -> ShardRecord:
        return ShardRecord(number=number, counts={}, made=False)

    @flow(name="empty-shards", task_runner=TWO_AT_A_TIME, log_prints=False)
    def empty_shards(place: Place) -> tuple[list[int], float]:
        began = time.monotonic()
        records = run_shards(nothing, stage="load", numbers=range(count), place=place)
        return [record.number for record in records], time.monotonic() - began

    place = Place(
        store=store, gallery=works.GALLERY, version="v0001", recogniser=RecogniserChoice(card=works.CARD)
    )
    numbers, seconds = empty_shards(place)
    Path(result).write_text(json.dumps({"numbers": numbers, "seconds": seconds}))


class CountInFlight:
    """Counts the images that shards have handed to the optimisation and not got back, and keeps the most."""

    def __init__(self, result: str) -> None:
        self.result = result

    def __call__(self) -> None:
        """Watch the batch that shards share."""
        from tasks.shared_batch import SharedBatch

        file = os.open(self.result, os.O_WRONLY | os.O_CREAT, 0o600)
        state = {"now": 0, "most": 0}
        hide: Any = SharedBatch.hide

        def watched(batch: SharedBatch, jobs: Any, *, ahead: int) -> Any:
            def counted() -> Any:
                for job in jobs:
                    state["now"] += 1
                    state["most"] = max(state["most"], state["now"])
                    os.pwrite(file, f"{state['most']:9d}".encode(), 0)
                    yield job

            for hidden in hide(batch, counted(), ahead=ahead):
                state["now"] -= 1
                yield hidden

        cast(Any, SharedBatch).hide = watched


FAULTS: Final = (
    Fault("load: empty shards", "the engine's fixed cost per shard", many_shards),
    Fault("load: images in flight", "protect: pictures held in memory at a time", images_in_flight),
)
