"""The index of a gallery version: which photos it holds, whom they show, and in which shard they are.

A version whose manifest is signed never changes: any change of the source begins the next version. A photo keeps
its shard from version to version, so that whole shards carry over; new photos fill up the last shard. An
unfinished version may grow, so that a second run does only what is missing.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from avih.atomic import atomic_file
from avih.errors import IntegrityError, UsageError
from avih.naming import Store, version_name, version_number
from avih.scanning import COLUMNS
from avih.settings import IndexSettings

INDEX_FILE = "photos.parquet"
CHANGES = ("added", "changed", "removed")

Newest = Literal["open", "signed", "closed"]


@dataclass(frozen=True)
class IndexRecord:
    """What indexing found: the version to work on, how many photos it holds, and what differs from before.

    Attributes:
        added, changed, removed: photos, against the current version (or the unfinished one that goes on).
    """

    gallery: str
    version: str
    photos: int
    added: int
    changed: int
    removed: int
    shards: tuple[int, ...]


def update_index(
    *,
    store: Store,
    gallery: str,
    scanned: pd.DataFrame,
    settings: IndexSettings,
    base: str | None = None,
    newest: Newest = "open",
) -> IndexRecord:
    """Put a scan into the store: keep what is there, go on with an unfinished version, or begin the next one.

    Args:
        store: where.
        gallery: its name.
        scanned: what :func:`avih.scanning.scan` found.
        settings: shard size.
        base: the current version, whose shards photos keep; None before the first promotion.
        newest: may the newest version be gone on with: ``open`` (it may grow), ``signed`` (only as it is), or
            ``closed`` (it is current, was current, or belongs to another key).
    """
    versions = store.versions(gallery)
    known = read_index(store=store, gallery=gallery, version=base) if base else None
    difference = compare_indexes(before=known, after=scanned) if known is not None else {}
    if base and known is not None and not any(difference[kind] for kind in CHANGES):
        return _record(gallery, base, known, difference)
    if newest != "closed" and versions and versions[-1] != base:
        begun = read_index(store=store, gallery=gallery, version=versions[-1])
        since = compare_indexes(before=begun, after=scanned)
        if not (since["changed"] or since["removed"] or (newest == "signed" and since["added"])):
            # Shards of an unfinished version may be done already: what is new goes into shards of its own.
            fresh = scanned[~scanned.image_id.isin(begun.image_id)]
            shards = int(begun.shard.max()) + 1 + np.arange(len(fresh)) // settings.shard_size
            table = pd.concat([begun, fresh.assign(shard=shards)], ignore_index=True)
            if len(fresh):
                write_index(store=store, gallery=gallery, version=versions[-1], table=table)
            return _record(gallery, versions[-1], table, difference or since)
    version = next_version(store=store, gallery=gallery)
    table = _placed(scanned, known, settings)
    write_index(store=store, gallery=gallery, version=version, table=table)
    return _record(gallery, version, table, difference or {"added": list(scanned.image_id)})


def next_version(*, store: Store, gallery: str) -> str:
    """Name the version that comes after the newest one."""
    versions = store.versions(gallery)
    return version_name(version_number(versions[-1]) + 1 if versions else 1)


def copy_index(*, store: Store, gallery: str, version: str, like: str) -> IndexRecord:
    """Begin ``version`` with the photos of version ``like`` in the same shards: the index of a rotation."""
    table = read_index(store=store, gallery=gallery, version=like)
    if not index_path(store=store, gallery=gallery, version=version).exists():
        write_index(store=store, gallery=gallery, version=version, table=table)
    return _record(gallery, version, table, {})


def compare_indexes(*, before: pd.DataFrame, after: pd.DataFrame) -> dict[str, list[str]]:
    """Name the photos that were added, changed, removed and kept, by image id."""
    then = dict(zip(before.image_id, zip(before.content_mac, before.status, strict=True), strict=True))
    now = dict(zip(after.image_id, zip(after.content_mac, after.status, strict=True), strict=True))
    both = then.keys() & now.keys()
    return {
        "added": sorted(now.keys() - then.keys()),
        "changed": sorted(name for name in both if then[name] != now[name]),
        "removed": sorted(then.keys() - now.keys()),
        "kept": sorted(name for name in both if then[name] == now[name]),
    }


def _placed(scanned: pd.DataFrame, known: pd.DataFrame | None, settings: IndexSettings) -> pd.DataFrame:
    """Give every photo its shard: the one it had; new photos fill the last shard, then begin others."""
    shards = {} if known is None else dict(zip(known.image_id, known.shard, strict=True))
    kept = {name: int(shards[name]) for name in scanned.image_id if name in shards}
    number = max(kept.values(), default=0)
    filled = sum(shard == number for shard in kept.values())
    placed = []
    for name in scanned.image_id:
        if name not in kept:
            if filled == settings.shard_size:
                number, filled = number + 1, 0
            filled += 1
        placed.append(kept.get(name, number))
    return scanned.assign(shard=placed)


def write_index(*, store: Store, gallery: str, version: str, table: pd.DataFrame) -> None:
    """Write the index of a version whole, readable by its owner alone."""
    path = index_path(store=store, gallery=gallery, version=version)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path, mode=0o600) as temporary:
        table.to_parquet(temporary, index=False)


def _record(gallery: str, version: str, table: pd.DataFrame, difference: dict[str, list[str]]) -> IndexRecord:
    counts = {kind: len(difference.get(kind, [])) for kind in CHANGES}
    return IndexRecord(
        gallery=gallery, version=version, photos=len(table), shards=shard_numbers(table), **counts
    )


def shard_numbers(table: pd.DataFrame) -> tuple[int, ...]:
    """Return the numbers of the shards that an index names, in order."""
    return tuple(sorted(int(number) for number in table["shard"].unique()))


def index_path(*, store: Store, gallery: str, version: str) -> Path:
    """Name the file that holds the index of a gallery version."""
    return store.folder("index", gallery=gallery, version=version) / INDEX_FILE


def read_index(*, store: Store, gallery: str, version: str) -> pd.DataFrame:
    """Read the index of a gallery version.

    Raises:
        UsageError: there is none.
        IntegrityError: the file is damaged.
    """
    path = index_path(store=store, gallery=gallery, version=version)
    if not path.exists():
        raise UsageError(
            f"Expected gallery {gallery} {version} in {store.root}, got no index. Run avih run first."
        )
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise IntegrityError(
            f"Expected an index at {path}, got a damaged file ({error}). Restore it."
        ) from None
    if tuple(table.columns) != COLUMNS:
        raise IntegrityError(f"Expected the columns {COLUMNS} in {path}, got {tuple(table.columns)}.")
    return table


def rows_digest(rows: pd.DataFrame) -> str:
    """SHA-256 of the ids and keyed hashes of some rows: what the next stage is made from."""
    text = "\n".join(f"{name}\t{mac}" for name, mac in zip(rows.image_id, rows.content_mac, strict=True))
    return hashlib.sha256(text.encode()).hexdigest()
