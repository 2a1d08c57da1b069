"""How a source differs from a version in the store, without writing anything: by names, or by what files hold."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from avih.datasets import PhotoSource
from avih.index_file import iter_index
from avih.naming import Store, image_id
from avih.scanning import scan, select_photos

_COLUMNS: Final = ("image_id", "status", "content_mac", "shard")


@dataclass(frozen=True)
class SourceChanges:
    """What a source holds, against what is protected of it.

    Attributes:
        photos: all that a run would take.
        new: not protected yet.
        changed: another content under the same name; None where only names were compared.
        removed: protected, and gone from the source.
        compared: ``nothing`` (there is no version), ``names`` or ``content``.
    """

    photos: int
    new: int
    changed: int | None
    removed: int
    compared: Literal["nothing", "names", "content"]


@dataclass(frozen=True)
class ProtectedVersion:
    """What of a gallery version is protected: its finished shards."""

    store: Store
    gallery: str
    version: str
    shards: frozenset[int]

    def photos(self) -> Iterator[pd.DataFrame]:
        """Yield the index rows of protected photos; entries that are no photos have nothing to protect."""
        pieces = iter_index(store=self.store, gallery=self.gallery, version=self.version, columns=_COLUMNS)
        for piece in pieces:
            yield piece[piece["shard"].isin(self.shards) & (piece["status"] != "skipped")]


def compare_names(*, source: PhotoSource, limit: int | None, protected: ProtectedVersion) -> SourceChanges:
    """Compare the ids of a source's photos with those that are protected; reads no photo.

    Args:
        source: the photos.
        limit: most photos to take.
        protected: what to compare with.
    """
    # Hashes in place of ids: a million photos take 8 MB.
    now = _hashes(image_id(photo.path) for photo in select_photos(source.photos, limit))
    before = _hashes(str(name) for piece in protected.photos() for name in piece["image_id"])
    new, removed = len(np.setdiff1d(now, before)), len(np.setdiff1d(before, now))
    return SourceChanges(len(now), new, None, removed, "names")


def compare_content(
    *,
    source: PhotoSource,
    limit: int | None,
    protected: ProtectedVersion,
    mac_key: bytes,
    erased: frozenset[str] = frozenset(),
) -> SourceChanges:
    """Compare the keyed hash of every photo of a source with those that are protected; reads every photo.

    Args:
        source: the photos.
        limit: most photos to take.
        protected: what to compare with.
        mac_key: key of the photos' hashes.
        erased: keyed hashes of persons who were erased; nothing of theirs is read or counted.
    """
    before: dict[str, tuple[str, str]] = {}
    for piece in protected.photos():
        before |= zip(piece["image_id"], zip(piece["status"], piece["content_mac"], strict=True), strict=True)
    photos = new = changed = 0
    for row in scan(source, limit=limit, mac_key=mac_key, erased=erased):
        if row.status == "skipped":
            continue
        then = before.pop(row.image_id, None)
        photos += 1
        new += then is None
        changed += then is not None and then != (row.status, row.content_mac)
    return SourceChanges(photos, new, changed, len(before), "content")


def _hashes(names: Iterator[str]) -> NDArray[np.int64]:
    return np.unique(np.fromiter((hash(name) for name in names), np.int64))
