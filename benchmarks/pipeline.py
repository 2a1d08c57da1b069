"""Does the optimisation wait for the rest? ``python -m benchmarks.pipeline``: the protect stage, shard by shard.

Protects the same aligned gallery with one and with two shards at a time and reports seconds per image and the
share of time in which the optimisation computes; the rest is decoding, mixing, PNG encoding, measuring, writing.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.table import Table

from avih.naming import Store
from avih.recognisers import read_card
from avih.settings import AlignSettings, IndexSettings, KeySettings, ProtectSettings, preset
from benchmarks.machine import describe_machine, err, out
from benchmarks.options import WEIGHTS, default_recogniser, default_source
from tasks import opened, shared_batch
from tasks.align_shard import align_shard
from tasks.create_key import create_key
from tasks.index_source import index_source
from tasks.protect_shard import protect_shard
from tasks.records import Place, RecogniserChoice

GALLERY = "pipeline"


def prepare(store: Path, options: argparse.Namespace) -> tuple[Place, str, list[int]]:
    """Index and align a gallery and make a key: what the protect stage starts from."""
    weights = str(WEIGHTS.resolve()) if options.recogniser == "mobilefacenet" and WEIGHTS.is_file() else None
    recogniser = RecogniserChoice(card=options.recogniser, weights=weights)
    index = IndexSettings(limit=options.images, shard_size=options.shard_size)
    indexed = index_source(store=str(store), gallery=GALLERY, source=options.source, settings=index)
    place = Place(store=str(store), gallery=GALLERY, version=indexed.version, recogniser=recogniser)
    template = read_card(options.recogniser).template
    for number in indexed.shards:
        align_shard(
            place=place, number=number, source=options.source, layout="auto",
            settings=AlignSettings(template=template),
        )  # fmt: skip
    key = create_key(
        store=str(store), settings=KeySettings(steps=1), recovery="keyed", template=template, pictures=None,
        actor="benchmark", reason="benchmark", activate=True,
    )  # fmt: skip
    return place, key.key_id, list(indexed.shards)


@contextmanager
def counted_batches() -> Iterator[list[shared_batch.SharedBatch]]:
    """Begin without batches and give those that were made."""
    shared_batch.forget()
    made: list[shared_batch.SharedBatch] = []
    yield made
    made += shared_batch.current()


def protect(
    place: Place, key_id: str, numbers: list[int], *, settings: ProtectSettings, at_once: int
) -> dict[str, Any]:
    """Protect every shard anew and tell where the time went."""
    shutil.rmtree(Store.find(place.store).gallery_root("protected", GALLERY), ignore_errors=True)

    def one(number: int) -> int:
        done = protect_shard(place=place, key_id=key_id, number=number, settings=settings)
        return sum(done.counts.values())

    began = time.perf_counter()
    with counted_batches() as batches, ThreadPoolExecutor(at_once) as pool:
        images = sum(pool.map(one, numbers))
    wall = time.perf_counter() - began
    busy = sum(batch.busy_seconds for batch in batches)
    return {
        "shards_at_once": at_once,
        "images": images,
        "seconds_per_image": wall / images,
        "share_computing": busy / wall,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description=__doc__)
    parser.add_argument("--source", default=default_source())
    parser.add_argument("--recogniser", default=default_recogniser())
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--shard-size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("AVIH_PASSPHRASE", "a benchmark keeps no secret")
    settings = preset("fast").protect.model_copy(update={"batch_size": options.batch_size})
    with tempfile.TemporaryDirectory() as folder:
        err.print("Preparing: index, align, key.")
        place, key_id, numbers = prepare(Path(folder), options)
        opened.recogniser(place.recogniser, Path(folder))
        runs = []
        for repeat in range(options.repeats):
            for at_once in (1, 2):
                err.print(f"Repeat {repeat + 1}: {at_once} shards at a time.")
                runs.append(protect(place, key_id, numbers, settings=settings, at_once=at_once))
    if options.json:
        print(json.dumps({"runs": runs, "machine": describe_machine(), "source": options.source}, indent=1))
        return
    table = Table("shards at a time", "images", "seconds per image", "optimisation computes")
    for run in runs:
        table.add_row(
            str(run["shards_at_once"]), str(run["images"]), f"{run['seconds_per_image']:.3f}",
            f"{run['share_computing']:.1%}",
        )  # fmt: skip
    out().print(table)


if __name__ == "__main__":
    main()
