"""Read leaked pairs of a stored version: protected images from disk, originals from their seals; memory only."""

import hashlib

import numpy as np
import pandas as pd

from avih.attack.pairs import Pairs, lot
from avih.errors import IntegrityError, UsageError
from avih.evaluation.summary import COUNTED
from avih.images import decode_png
from avih.index_file import shard_sizes
from avih.shards import iter_samples, read_done, read_rows
from tasks.originals import aligned_address, iter_originals
from tasks.protect_shard import protected_address
from tasks.records import Place


def shards_digest(place: Place, key_id: str) -> str:
    """SHA-256 over the done files of all shards of a version: what an attack on it was made from."""
    digests = []
    for number in shards_of(place):
        done = read_done(place.folder, protected_address(place, key_id, number))
        if done is None:
            raise IntegrityError(
                f"Expected protected shard {number} of {place.gallery} {place.version} under {key_id}, got none. "
                "Run avih protect."
            )
        digests.append(done.digest())
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def read_pairs(*, place: Place, key_id: str, most: int, other: Place | None = None) -> Pairs:
    """Read the pairs of a version: all, or of a larger version whole persons by lot until there are ``most``.

    Args:
        place: the version.
        key_id: its key.
        most: most images.
        other: version whose sealed originals stand in where this one has none (rotation from recovered pictures).

    Raises:
        UsageError: the version holds no protected image.
        IntegrityError: a stored file is not the one that was written.
    """
    rows = whole_persons(_protected_rows(place, key_id), most)
    if not len(rows):
        raise UsageError(f"Expected protected images in {place.gallery} {place.version}, got none.")
    sealed_in = place if other is None or has_originals(place) else other
    persons = dict(zip(rows.image_id, rows.person.fillna(""), strict=True))
    images, originals, protected = [], [], []
    for number, group in rows.groupby("shard", sort=True):
        wanted, shard = set(group.image_id), int(str(number))
        samples = iter_samples(place.folder, protected_address(place, key_id, shard))
        stored = {sample.key: sample.files["png"] for sample in samples if sample.key in wanted}
        for name, original in iter_originals(sealed_in, shard):
            if name in stored:
                images.append(name)
                originals.append(original)
                protected.append(decode_png(stored[name]))
    return Pairs(
        images=tuple(images),
        persons=tuple(str(persons[name]) for name in images),
        originals=np.stack(originals),
        protected=np.stack(protected),
    )


def has_originals(place: Place) -> bool:
    """Tell whether a version still has its sealed originals."""
    return all(read_done(place.folder, aligned_address(place, number)) for number in shards_of(place))


def shards_of(place: Place) -> list[int]:
    """Return the numbers of a version's shards."""
    return list(shard_sizes(store=place.folder, gallery=place.gallery, version=place.version))


def _protected_rows(place: Place, key_id: str) -> pd.DataFrame:
    tables = []
    for number in shards_of(place):
        table = read_rows(place.folder, protected_address(place, key_id, number))
        tables.append(table[table.status.isin(COUNTED)][["image_id", "person"]].assign(shard=number))
    return pd.concat(tables, ignore_index=True)


def whole_persons(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """Take whole persons, in the order of their lots, up to ``most`` images (the first person in any case)."""
    if len(rows) <= most:
        return rows
    counts = rows.person.fillna("").value_counts()
    order = sorted(counts.index, key=lambda person: lot(str(person)))
    kept: list[str] = []
    left = most
    for person in order:
        if (
            counts[person] <= left or not kept
        ):  # whoever has too many photos is left out, and nobody else for it
            kept.append(person)
            left -= counts[person]
    return rows[rows.person.fillna("").isin(kept)].head(most)
