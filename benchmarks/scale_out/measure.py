"""Rounds of stand-in shards on more and more workers, and what their times say of the engine."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import flow

from avih.index_file import write_index
from avih.naming import Store
from avih.scanning import COLUMNS
from avih.settings import RunnerSettings
from benchmarks.scale_out.cluster import Cluster
from benchmarks.scale_out.stand_in import stand_in
from flows.shard_runs import run_shards
from tasks.records import Place, RecogniserChoice

GALLERY, VERSION = "stand-in", "v0001"
LONGER = 3  # the second round of a count of workers has so many times the shards of the first


@dataclass(frozen=True)
class Round:
    """One run of so many shards: seconds from its begin to its end, and processor seconds of each part."""

    workers: int
    shards: int
    seconds: float
    processor: dict[str, float]


@dataclass(frozen=True)
class Figures:
    """What two rounds of the same workers say.

    Attributes:
        workers: how many.
        shards_per_second: while they work, the begin of a run left out.
        speedup: how many times the rate of one worker.
        efficiency: that rate, as a share of what the work alone would allow.
        overhead_ms: per shard, beyond the work, on each worker's clock.
        begin_ms: of a run: preflight, connection, artifacts.
        processor_ms: per shard, in this process, the scheduler and the workers.
    """

    workers: int
    shards_per_second: float
    speedup: float
    efficiency: float
    overhead_ms: float
    begin_ms: float
    processor_ms: dict[str, float]


@flow(name="stand-in", log_prints=False)
def stand_ins(*, place: Place, shards: int, seconds: float, runner: RunnerSettings) -> int:
    """Run stand-in shards as every stage runs its shards."""
    records = run_shards(
        stand_in, stage="stand-in", numbers=range(shards), place=place, runner=runner, seconds=seconds
    )
    return len(records)


def rounds(
    cluster: Cluster,
    *,
    folder: Path,
    counts: Sequence[int],
    shards: int,
    seconds: float,
    say: Callable[[str], None],
) -> list[Round]:
    """Run two rounds for every count of workers, after one that nobody measures.

    Args:
        cluster: grows as it is needed.
        folder: of a store.
        counts: of workers, rising.
        shards: of the shorter round, per worker.
        seconds: that a shard takes.
        say: gets a line for people at each step.
    """
    place = _store(folder, most=max(counts) * shards * LONGER)
    done = []
    for count in counts:
        cluster.grow(count)
        # The first task of a process imports Prefect and torch, which is no cost of a shard.
        stand_ins(place=place, shards=2 * count, seconds=0.05, runner=cluster.runner())
        for number in (count * shards, count * shards * LONGER):
            say(f"{count} workers, {number} shards of {seconds:g} s")
            before, began = cluster.processor_seconds(), time.perf_counter()
            stand_ins(place=place, shards=number, seconds=seconds, runner=cluster.runner())
            wall, after = time.perf_counter() - began, cluster.processor_seconds()
            used = {name: after[name] - before[name] for name in after}
            done.append(Round(workers=count, shards=number, seconds=wall, processor=used))
    return done


def figures(done: Sequence[Round], *, seconds: float) -> list[Figures]:
    """Tell the cost of a shard from the cost of a run, by two rounds of the same workers.

    Args:
        done: two rounds for each count of workers, the shorter one first.
        seconds: that a shard takes.
    """
    found: list[Figures] = []
    for short, long in zip(done[::2], done[1::2], strict=True):
        more = long.shards - short.shards
        each = (long.seconds - short.seconds) / more  # seconds between two shards that are finished
        rate, workers = 1 / each, short.workers
        first = found[0].shards_per_second / found[0].workers if found else rate / workers
        found.append(Figures(
            workers=workers,
            shards_per_second=round(rate, 3),
            speedup=round(rate / first, 3),
            efficiency=round(seconds / (each * workers), 4),
            overhead_ms=round((each * workers - seconds) * 1000, 1),
            begin_ms=round((long.seconds - each * long.shards) * 1000, 1),
            processor_ms={
                name: round((long.processor[name] - short.processor[name]) / more * 1000, 1)
                for name in long.processor
            },
        ))  # fmt: skip
    return found


def report(done: Sequence[Round], *, seconds: float, machine: dict[str, Any]) -> dict[str, Any]:
    """Return everything that was measured as plain values."""
    return {
        "seconds_per_shard": seconds,
        "figures": [asdict(one) for one in figures(done, seconds=seconds)],
        "rounds": [asdict(one) for one in done],
        "machine": machine | {"cores": os.cpu_count()},
    }


def _store(folder: Path, *, most: int) -> Place:
    """Write an index of shards with one photo each."""
    values: dict[str, Any] = {name: "" for name in COLUMNS}
    rows = pd.DataFrame([values | {"shard": number, "image_id": f"image-{number}"} for number in range(most)])
    write_index(store=Store(folder), gallery=GALLERY, version=VERSION, pieces=[rows])
    return Place(
        store=str(folder), gallery=GALLERY, version=VERSION, recogniser=RecogniserChoice(card="synthetic")
    )
