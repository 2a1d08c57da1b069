"""The steps of the memory benchmark: each works on one synthetic gallery version of any number of photos.

The photos are a few bytes each: what is measured is what the size of a gallery costs, not what pictures cost.
Five in a hundred belong to persons with 20 photos each, all others to a person of their own: the hardest case.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from avih.datasets import open_source
from avih.datasets.base import Photo
from avih.evaluation.quality_plot import quality_distributions
from avih.evaluation.summary import summarise
from avih.gallery import Promotion
from avih.index_file import iter_index, read_index, shard_sizes
from avih.indexing import update_index
from avih.manifest import verify_gallery, write_manifest
from avih.naming import ShardAddress, Store
from avih.scanning import scan
from avih.settings import EvaluateSettings, IndexSettings
from avih.shards import Sample, file_sha256, write_shard
from tasks.evaluate_shard import evaluated_address
from tasks.measurements import Measurements
from tasks.promotion import what_became_of_pictures
from tasks.records import Place, RecogniserChoice
from tasks.summarise_gallery import condense

GALLERY, KEY_ID, MAC_KEY = "million", "0123456789abcdef", bytes(32)
FEATURE_SIZE = 128
PHOTOS_OF_MANY = 20
FOLDER_SIZE = 1000


class Made(BaseModel):
    """Stands for the settings of a shard."""

    step: str = "memory"


class NumberedPhotos:
    """A source whose photos follow from their numbers; ``later`` drops, changes and adds a few of them."""

    name, layout = "numbered", "image_folder"

    def __init__(self, rows: int, *, later: bool = False) -> None:
        self.rows, self.later = rows, later

    def photos(self) -> Iterator[Photo]:
        """Yield the photos, sorted by path."""
        for number in range(self.rows + self.rows // 100 * self.later):
            if not (self.later and number % 100 == 1):
                many = number < self.rows // 20
                person = f"person_{number // PHOTOS_OF_MANY if many else number:09d}"
                yield Photo(path=f"{person}/{person}_{number:09d}.jpg", person=person)

    def read(self, photo: Photo) -> bytes:
        """Return a few bytes."""
        return (photo.path + ("." if self.later and photo.path.endswith("00.jpg") else "")).encode()

    def skipped(self) -> tuple[()]:
        """Return nothing."""
        return ()

    def ignored(self) -> tuple[()]:
        """Return nothing."""
        return ()


def index(store: Store, rows: int, shard_size: int) -> None:
    """Scan a source and write the first index."""
    _index(store, NumberedPhotos(rows), shard_size, base=None)


def index_again(store: Store, rows: int, shard_size: int) -> None:
    """Scan a source that changed, compare it with the index, and begin the next version."""
    _index(store, NumberedPhotos(rows, later=True), shard_size, base="v0001")


def _index(store: Store, source: NumberedPhotos, shard_size: int, base: str | None) -> None:
    update_index(
        store=store, gallery=GALLERY, scanned=scan(source, limit=None, mac_key=MAC_KEY),
        settings=IndexSettings(shard_size=shard_size), base=base, newest="closed" if base else "open",
    )  # fmt: skip


def write_shards(store: Store, rows: int, shard_size: int) -> None:
    """Write the protected shards and the measurements with features, reading the index shard by shard."""
    generator = np.random.default_rng(0)
    for number in shard_sizes(store=store, gallery=GALLERY, version="v0001"):
        part = read_index(store=store, gallery=GALLERY, version="v0001", shard=number)
        files = {name: {"png": name.encode()} for name in part.image_id}
        table = part.drop(columns="shard").assign(
            status="protected", file_sha256=[file_sha256(content) for content in files.values()]
        )
        write_shard(
            store=store, address=ShardAddress("protected", GALLERY, "v0001", number, KEY_ID), rows=table,
            samples=[Sample(key=name, files=content) for name, content in files.items()], settings=Made(),
            inputs_sha256="0" * 64, key_id=KEY_ID, recogniser="none", mac_key=MAC_KEY,
        )  # fmt: skip
        _write_measurements(store, number, table, generator)


def _write_measurements(
    store: Store, number: int, table: pd.DataFrame, generator: np.random.Generator
) -> None:
    path = store.shard(evaluated_address(_place(store), KEY_ID, number), "parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    measured = {name: generator.uniform(0, 1, len(table)) for name in ("ssim_e", "ssim_d", "cos", "seconds")}
    missing = dict.fromkeys(("lpips_e", "lpips_d", "wrong_key_ssim_d"), np.nan)
    columns = pa.Table.from_pandas(table.assign(**measured, **missing), preserve_index=False)
    original = generator.normal(size=(len(table), FEATURE_SIZE))
    for name, noise in (("feature_original", 0.0), ("feature_protected", 0.1)):
        values = pa.array((original + noise * generator.normal(size=original.shape)).ravel())
        columns = columns.append_column(
            name, pa.ListArray.from_arrays(np.arange(len(table) + 1) * FEATURE_SIZE, values)
        )
    pq.write_table(columns, path)


def sign(store: Store, rows: int, shard_size: int) -> None:
    """Read the version back and sign its manifest."""
    write_manifest(
        **_version(store), numbers=list(shard_sizes(store=store, gallery=GALLERY, version="v0001")),
        recogniser="none", method="none", recovery="keyed", settings=Made(), mac_key=MAC_KEY,
    )  # fmt: skip


def verify(store: Store, rows: int, shard_size: int) -> None:
    """Compare the version with its manifest, as before each promotion."""
    problems = verify_gallery(**_version(store), mac_key=MAC_KEY)
    if problems:
        raise SystemExit(f"Expected a whole version, got: {problems[:3]}.")


def summarise_version(store: Store, rows: int, shard_size: int) -> None:
    """Add up the measurements, identify persons, choose a sample and draw the chart of qualities."""
    place, settings = _place(store), EvaluateSettings()
    shards = list(shard_sizes(store=store, gallery=GALLERY, version="v0001"))
    measured = Measurements(place=place, key_id=KEY_ID, shards=shards)
    tally, identification, _ = condense(measured, place=place, settings=settings)
    figures = summarise(tally, identification)
    if sum(tally.statuses.values()) != rows or figures["acc_original"] is None:
        raise SystemExit(f"Expected the figures of {rows} photos, got {tally.statuses} and {figures}.")
    quality_distributions(measured, limits=settings.limits).savefig(store.root / "quality.png")


def gate(store: Store, rows: int, shard_size: int) -> None:
    """Compare two versions' pictures, as the gate before a promotion does."""
    current = Promotion(
        version="v0001", key_id=KEY_ID, manifest_sha256="0" * 64, time="", actor="", reason=""
    )
    found = what_became_of_pictures(_place(store), KEY_ID, current)
    if (found.had, found.gone, found.lost) != (rows, 0, 0):
        raise SystemExit(f"Expected {rows} pictures that all stay, got {found}.")


def list_folder(store: Store, rows: int, shard_size: int) -> None:
    """List a folder of empty photos, a thousand to each folder in it."""
    if sum(1 for _ in open_source(source=str(store.root / "photos"), layout="image_folder").photos()) != rows:
        raise SystemExit(f"Expected {rows} photos.")


def make_folder(store: Store, rows: int, shard_size: int) -> None:
    """Make the folder that is listed; not a step of the program."""
    for number in range(rows):
        folder = store.root / "photos" / f"person_{number // FOLDER_SIZE:06d}"
        if number % FOLDER_SIZE == 0:
            folder.mkdir(parents=True)
        (folder / f"photo_{number:09d}.jpg").touch()


def read_pieces(store: Store, rows: int, shard_size: int) -> None:
    """Read the whole index in pieces."""
    if sum(len(piece) for piece in iter_index(store=store, gallery=GALLERY, version="v0001")) != rows:
        raise SystemExit(f"Expected {rows} rows.")


def _place(store: Store) -> Place:
    recogniser = RecogniserChoice(card="synthetic")
    return Place(store=str(store.root), gallery=GALLERY, version="v0001", recogniser=recogniser)


def _version(store: Store) -> dict[str, Any]:
    return {"store": store, "gallery": GALLERY, "version": "v0001", "key_id": KEY_ID}


# In the order in which they are run: later ones read what earlier ones wrote.
STEPS: dict[str, Callable[[Store, int, int], None]] = {
    "index": index,
    "index again": index_again,
    "read index": read_pieces,
    "write shards": write_shards,
    "sign": sign,
    "verify": verify,
    "summarise": summarise_version,
    "gate": gate,
    "make folder": make_folder,
    "list folder": list_folder,
}


def run(step: str, *, folder: Path, rows: int, shard_size: int) -> None:
    """Run one step on the store in a folder."""
    STEPS[step](Store(folder), rows, shard_size)
