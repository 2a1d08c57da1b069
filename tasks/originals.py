"""Open the sealed originals of aligned shards, in memory only."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from avih.images import decode_png
from avih.naming import ShardAddress
from avih.shards import iter_samples, read_rows
from tasks import opened
from tasks.align_shard import sealed_name
from tasks.records import Place


def aligned_address(place: Place, number: int) -> ShardAddress:
    """Name the aligned shard that feeds shard ``number`` of the later stages."""
    return ShardAddress("aligned", place.gallery, place.version, number)


def iter_originals(
    place: Place, number: int, *, images: frozenset[str] | None = None
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield image id and aligned original ``(H, W, 3)`` of every sealed face of a shard, or of the named ones."""
    address = aligned_address(place, number)
    vault = opened.vault(place.folder.root).for_gallery(place.gallery)
    macs = read_rows(place.folder, address).set_index("image_id").content_mac.to_dict()
    for sample in iter_samples(place.folder, address):
        if images is not None and sample.key not in images:
            continue
        blob = sample.files["sealed"]
        yield sample.key, decode_png(vault.open(blob, name=sealed_name(macs[sample.key], sample.key)))


def in_batches(
    pictures: Iterator[tuple[str, NDArray[np.uint8]]], size: int
) -> Iterator[tuple[Sequence[str], Sequence[NDArray[np.uint8]]]]:
    """Group pictures into batches of at most ``size``."""
    names: list[str] = []
    batch: list[NDArray[np.uint8]] = []
    for name, picture in pictures:
        names.append(name)
        batch.append(picture)
        if len(names) == size:
            yield names, batch
            names, batch = [], []
    if names:
        yield names, batch
