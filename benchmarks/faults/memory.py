"""A graphics card that is too small for the batch, played by a stand-in: the batch halves and goes on."""

from random import Random
from typing import Final

import pandas as pd

from benchmarks.faults import works
from benchmarks.faults.bench import PROTECT, Bench, given
from benchmarks.faults.fault import Fault, require
from benchmarks.faults.gallery import Gallery
from benchmarks.faults.hooks import LittleDeviceMemory
from benchmarks.faults.works import BATCH

# Kernels for another number of images add up in another order, and a step further some values round otherwise.
CLOSE: Final = 1e-3


def out_of_memory(bench: Bench, draw: Random) -> str:
    """Protect on a device that holds fewer images than the batch has."""
    undisturbed = bench.undisturbed("protect", "begun", works.command, *PROTECT)
    gallery, most = bench.gallery("begun"), draw.randint(1, BATCH - 1)
    little = LittleDeviceMemory(most)
    ended = bench.forks.run(works.command, *given(PROTECT, gallery), before=[works.cheap_keys, little])
    ended.require_code(0, what=f"room for {most} images")
    gallery.accounted()
    gallery.whole()
    ours, theirs = rows(gallery), rows(undisturbed.gallery)
    require((ours.status == theirs.status).all(), "another status than with enough memory")
    difference = float((ours.cos - theirs.cos).abs().max())
    require(difference < CLOSE, f"features differ by {difference}")
    same = gallery.protected() == undisturbed.gallery.protected()
    return f"protected in smaller portions, {'the same bytes' if same else f'cosines equal within {CLOSE}'}"


def alone_too_large(bench: Bench, _: Random) -> str:
    """Protect on a device that does not hold a single image: said, and right once there is memory."""
    undisturbed = bench.undisturbed("protect", "begun", works.command, *PROTECT)
    gallery = bench.gallery("begun")
    ended = bench.forks.run(
        works.command, *given(PROTECT, gallery), before=[works.cheap_keys, LittleDeviceMemory(0)]
    )
    ended.require_code(1, what="room for no image")
    require("OutOfMemoryError" in ended.said, f"not told: {ended.last_line}")
    gallery.nothing_half()
    bench.command(gallery, "protect").require_code(0, what="the rerun")
    gallery.same_bytes(undisturbed.gallery)
    gallery.whole()
    return "told, exit code 1; with memory the bytes of an undisturbed run"


def rows(gallery: Gallery) -> pd.DataFrame:
    """Return the rows of the first version, by image."""
    (key_id,) = gallery.store.keys_of(works.GALLERY, "v0001")
    tables = [
        pd.read_parquet(gallery.store.shard(address, "parquet"))
        for address in gallery.shards("protected", "v0001", key_id)
    ]
    return pd.concat(tables).set_index("image_id").sort_index()


FAULTS: Final = (
    Fault("GPU out of memory (stand-in)", "protect: the batch halves and goes on", out_of_memory, full=5),
    Fault(
        "GPU too small for one image (stand-in)",
        "protect: told, and right afterwards",
        alone_too_large,
        quick=0,
    ),
)
