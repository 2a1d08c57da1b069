"""Drills as tests ask for them, and galleries whose pictures do not come back."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from typer.testing import CliRunner, Result

from avih.images import decode_png, encode_png
from avih.shards import Sample, file_sha256, iter_samples, read_done, read_rows, write_shard
from flows.cli import drill as commands  # noqa: F401  # it registers its command
from flows.cli.main import app
from small_methods import Gallery
from tasks import opened
from tasks.drill_gallery import drill_gallery
from tasks.drill_record import LABEL, DrillRecord, drill_path, parse_drill
from tasks.protect_shard import protected_address
from tasks.signed_json import read_signed

PHOTOS = 8


def call(gallery: Gallery, *more: str) -> Result:
    """Run the command."""
    opened.forget()
    return CliRunner().invoke(app, ["drill", "people", *more, "--store", str(gallery.store.root)])


def kept(gallery: Gallery, version: str = "v0001") -> DrillRecord | None:
    """The record in the store, its signature checked."""
    path = drill_path(gallery.store, gallery="people", version=version)
    content = read_signed(path, mac_key=opened.vault(gallery.store.root).mac_key(), label=LABEL)
    return content and parse_drill(content, gallery="people", version=version)


def drill(gallery: Gallery, **more: object) -> DrillRecord:
    """Drill without the flow around it."""
    given = {"place": gallery.place(), "key_id": gallery.key_id, "recovery": "inverse", "sample": PHOTOS,
             "threshold": 0.88}  # fmt: skip
    return drill_gallery(**given | more)


def flip(path: Path, at: int) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def replace_pictures(
    gallery: Gallery, change: Callable[[Sample], Sample | None], *, shard: int = 0
) -> list[str]:
    """Write a shard anew with other samples, and rows that name them; return the ids of what changed."""
    address = protected_address(gallery.place(), gallery.key_id, shard)
    store, done, rows = gallery.store, read_done(gallery.store, address), read_rows(gallery.store, address)
    samples = list(iter_samples(store, address))
    changed = [change(sample) or sample for sample in samples]
    digests = {sample.key: file_sha256(sample.files) for sample in changed}
    write_shard(
        store=store, address=address, samples=changed, rows=rows.assign(file_sha256=rows.image_id.map(digests)),
        settings=gallery.settings.protect, inputs_sha256=done.inputs_sha256, recogniser=done.recogniser,
        key_id=gallery.key_id, mac_key=opened.vault(store.root).mac_key(),
    )  # fmt: skip
    opened.forget()
    return [new.key for old, new in zip(samples, changed, strict=True) if new.files != old.files]


def with_noise(sample: Sample) -> Sample | None:
    """Another picture in place of every second one."""
    if "_0001-" in sample.key:
        return None
    noise = np.random.default_rng(1).integers(0, 256, decode_png(sample.files["png"]).shape, dtype=np.uint8)
    return replace(sample, files={**sample.files, "png": encode_png(noise)})
