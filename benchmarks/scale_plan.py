"""How long, how dear, how large: ``python -m benchmarks.scale_plan`` plans for millions of images by simulation.

Shards go to workers as the flow hands them out: one after the other, each with a fixed cost in the flow (the
engine, which is one process) and a fixed and a per-image cost on the worker. Workers die and come back; what a
dead one had not finished is done again. Per-image costs differ from shard to shard. Give measured figures:
seconds per image of ``avih plan``, the engine's cost of ``benchmarks.scale_out``.
"""

import argparse
import heapq
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from rich.table import Table

from benchmarks.machine import out

HOUR, DAY = 3600.0, 86400.0
GIB = 2**30


@dataclass(frozen=True)
class Costs:
    """What was measured, in seconds and bytes.

    Args:
        image: seconds per image on one worker.
        spread: standard deviation of a shard's seconds, as a share of its mean.
        shard: fixed seconds per shard on the worker: reading, writing, verifying.
        engine: seconds per shard in the flow, which no number of workers makes shorter.
        lifetime: mean hours until a worker dies.
        back: seconds until a dead worker is replaced.
        bytes_aligned: of one sealed original.
        bytes_protected: of one protected picture.
        bytes_rows: of an image's rows and measurements.
    """

    image: float = 1.5
    spread: float = 0.1
    shard: float = 0.5
    engine: float = 0.05
    lifetime: float = 1000.0
    back: float = 120.0
    bytes_aligned: float = 9_600.0
    bytes_protected: float = 34_100.0
    bytes_rows: float = 7_000.0


@dataclass(frozen=True)
class Plan:
    """What came out.

    Attributes:
        efficiency: seconds of images over seconds of workers, in percent.
        engine_share: how busy the flow's process was with handing out shards, in percent; it bounds the workers.
        deaths: workers that died; each costs half a shard on average.
        last_alone: seconds at the end in which fewer than half of the workers had anything to do.
        stored_gib: of one version with its sealed originals.
    """

    images: int
    workers: int
    shards: int
    hours: float
    worker_hours: float
    efficiency: float
    engine_share: float
    deaths: int
    last_alone: float
    stored_gib: float
    price: float


def simulate(
    *, images: int, workers: int, shard_size: int, costs: Costs, price: float = 0.0, seed: int = 0
) -> Plan:
    """Hand shards to workers in order, each to whoever is free first.

    Args:
        images: of the gallery.
        workers: at work at once.
        shard_size: images per shard; the last one may have fewer.
        costs: measured.
        price: of one worker's hour.
        seed: start of what is random.
    """
    shards, draw = math.ceil(images / shard_size), np.random.default_rng(seed)
    sizes = np.full(shards, float(shard_size))
    sizes[-1] = images - shard_size * (shards - 1)
    work = costs.shard + sizes * costs.image * draw.normal(1, costs.spread, shards).clip(0.1)
    free = [0.0] * min(workers, shards)
    dies = draw.exponential(costs.lifetime * HOUR, len(free)).tolist()
    heap = [(at, number) for number, at in enumerate(free)]
    given, deaths, ends = 0.0, 0, np.empty(shards)
    for number, seconds in enumerate(work.tolist()):
        given += costs.engine
        at, worker = heapq.heappop(heap)
        began = max(at, given)
        while began + seconds > dies[worker]:  # what it had of the shard is lost
            deaths += 1
            began = max(began, dies[worker]) + costs.back
            dies[worker] = began + float(draw.exponential(costs.lifetime * HOUR))
        ends[number] = began + seconds
        heapq.heappush(heap, (ends[number], worker))
    total = float(ends.max())
    finished = np.sort([at for at, _ in heap])
    used = total * len(free)
    return Plan(
        images=images, workers=workers, shards=shards, hours=total / HOUR, worker_hours=used / HOUR,
        efficiency=100 * images * costs.image / used, engine_share=100 * shards * costs.engine / total,
        deaths=deaths, last_alone=total - float(finished[len(finished) // 2]),
        stored_gib=images * (costs.bytes_aligned + costs.bytes_protected + costs.bytes_rows) / GIB,
        price=used / HOUR * price,
    )  # fmt: skip


def most_workers(*, shard_size: int, costs: Costs) -> int:
    """How many workers one flow can keep busy: a shard's time on a worker over its time in the flow."""
    return max(1, math.floor((costs.shard + shard_size * costs.image) / costs.engine))


def as_table(plans: Sequence[Plan]) -> Table:
    """Lay plans out for people."""
    table = Table("images", "workers", "shards", "hours", "efficiency", "engine busy", "deaths", "tail", "store",
                  "price")  # fmt: skip
    for one in plans:
        cells = (
            f"{one.images:,}", one.workers, f"{one.shards:,}", f"{one.hours:,.1f}", f"{one.efficiency:.0f} %",
            f"{one.engine_share:.1f} %", one.deaths, f"{one.last_alone:,.0f} s", f"{one.stored_gib:,.0f} GiB",
            f"{one.price:,.0f}",
        )  # fmt: skip
        table.add_row(*map(str, cells))
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Print plans; return 0."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0], prog="benchmarks.scale_plan")
    parser.add_argument("--images", type=float, nargs="+", default=[1e6, 1e7, 1e8])
    parser.add_argument("--workers", type=int, nargs="+", default=[8, 64, 512])
    parser.add_argument("--shard-size", type=int, default=1000)
    parser.add_argument("--price", type=float, default=0.0, help="of one worker's hour")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    for name, value in asdict(Costs()).items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=float, default=value, help=f"default {value:g}"
        )
    given = parser.parse_args(arguments)
    costs = Costs(**{name: getattr(given, name) for name in asdict(Costs())})
    plans = [
        simulate(images=int(images), workers=workers, shard_size=given.shard_size, costs=costs, price=given.price,
                 seed=given.seed)
        for images in given.images for workers in given.workers
    ]  # fmt: skip
    most = most_workers(shard_size=given.shard_size, costs=costs)
    if given.json:
        shown = {"costs": asdict(costs), "most_workers": most, "plans": [asdict(one) for one in plans]}
        print(json.dumps(shown, indent=2))
    else:
        out().print(as_table(plans), f"One flow keeps at most {most:,} such workers busy.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
