"""Index a source: which photos a gallery version holds, whom they show, what they contained, and their shard.

A version whose manifest is signed never changes: any change of the source begins the next version. A photo keeps
its shard from version to version, so that whole shards carry over; new photos fill up the last shard. An
unfinished version may grow, so that a second run does only what is missing.
"""

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from avih.atomic import atomic_file
from avih.datasets.base import Photo, PhotoSource
from avih.errors import ImageRefused, IntegrityError, UsageError
from avih.naming import Store, image_id, version_name, version_number
from avih.settings import IndexSettings

INDEX_FILE = "photos.parquet"
COLUMNS = ("image_id", "person", "path", "status", "reason", "content_mac", "shard")
CHANGES = ("added", "changed", "removed")
PROBE_PERSONS = 12  # persons of the papers' protocol, who need many photos each

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


def select_photos(photos: Sequence[Photo], limit: int | None) -> list[Photo]:
    """Take at most ``limit`` photos so that the evaluation protocol still finds its persons.

    Up to twelve persons with the most photos fill at most three quarters of the limit; the other photos
    follow in their order.
    """
    if limit is None or len(photos) <= limit:
        return list(photos)
    counts = Counter(photo.person for photo in photos)
    chosen: set[str] = set()
    taken = 0
    for person, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:PROBE_PERSONS]:
        if count > 1 and taken + count <= limit * 3 // 4:
            chosen.add(person)
            taken += count
    first = [photo for photo in photos if photo.person in chosen]
    rest = [photo for photo in photos if photo.person not in chosen]
    return sorted(first + rest[: limit - len(first)], key=lambda photo: photo.path)


def content_mac(data: bytes, *, mac_key: bytes) -> str:
    """Keyed hash of a photo's bytes; a plain one would let a thief of the index confirm known photos."""
    return hmac.new(mac_key, b"photo\0" + data, hashlib.sha256).hexdigest()[:32]


def person_mac(person: str, *, mac_key: bytes) -> str:
    """Keyed hash of a person's name, to recognise who was erased without keeping the name."""
    return hmac.new(mac_key, b"person\0" + person.encode(), hashlib.sha256).hexdigest()[:32]


def scan(
    source: PhotoSource,
    *,
    limit: int | None,
    mac_key: bytes,
    erased: frozenset[str] = frozenset(),
    progress: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Read every photo of a source once and return one row each, unreadable and skipped entries included.

    Args:
        source: the photos.
        limit: most photos to take.
        mac_key: key of the photos' hashes.
        erased: keyed hashes of persons who were erased (:func:`person_mac`); nothing of theirs is read.
        progress: called with 1 after each photo.
    """
    rows = []
    allowed = [
        p for p in source.photos() if not erased or person_mac(p.person, mac_key=mac_key) not in erased
    ]
    for photo in select_photos(allowed, limit):
        status, reason, mac = "indexed", "", ""
        try:
            mac = content_mac(source.read(photo), mac_key=mac_key)
        except ImageRefused as refusal:
            status, reason = "failed", refusal.reason
        rows.append((image_id(photo.path), photo.person, photo.path, status, reason, mac, -1))
        if progress:
            progress(1)
    rows += [
        (image_id(s.path), "", s.path, "skipped", s.reason, "", -1)
        for s in source.skipped()
        if not erased or person_mac(s.path.split("/")[0], mac_key=mac_key) not in erased
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("image_id", ignore_index=True)
    twice = table[table.image_id.duplicated()]
    if len(twice):
        raise UsageError(f"Expected one photo per id, got {twice.path.iloc[0]!r} twice. Rename one of them.")
    return table


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
        scanned: what :func:`scan` found.
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
