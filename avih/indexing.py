"""Index a source: which photos a gallery version holds, whom they show, what they contained, and their shard.

Within a version the index only grows: known photos keep their shard, new ones go into new shards, so that a
second run does only what is missing. A photo that changed or went away makes a new version, because a stored
picture must never stand for a photo that is no longer the source's.
"""

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from avih.atomic import atomic_file
from avih.datasets.base import Photo, PhotoSource
from avih.errors import ImageRefused, IntegrityError, UsageError
from avih.naming import Store, image_id, version_name, version_number
from avih.settings import IndexSettings

INDEX_FILE = "photos.parquet"
COLUMNS = ("image_id", "person", "path", "status", "reason", "content_mac", "shard")
PROBE_PERSONS = 12  # persons of the papers' protocol, who need many photos each


@dataclass(frozen=True)
class IndexRecord:
    """What indexing found: the version to work on, and how many photos it holds and gained."""

    gallery: str
    version: str
    photos: int
    added: int
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


def scan(
    source: PhotoSource,
    *,
    limit: int | None,
    mac_key: bytes,
    progress: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Read every photo of a source once and return one row each, unreadable and skipped entries included."""
    rows = []
    for photo in select_photos(list(source.photos()), limit):
        status, reason, mac = "indexed", "", ""
        try:
            mac = content_mac(source.read(photo), mac_key=mac_key)
        except ImageRefused as refusal:
            status, reason = "failed", refusal.reason
        rows.append((image_id(photo.path), photo.person, photo.path, status, reason, mac, -1))
        if progress:
            progress(1)
    if limit is None:
        rows += [(image_id(s.path), "", s.path, "skipped", s.reason, "", -1) for s in source.skipped()]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("image_id", ignore_index=True)
    twice = table[table.image_id.duplicated()]
    if len(twice):
        raise UsageError(f"Expected one photo per id, got {twice.path.iloc[0]!r} twice. Rename one of them.")
    return table


def update_index(
    *, store: Store, gallery: str, scanned: pd.DataFrame, settings: IndexSettings
) -> IndexRecord:
    """Put a scan into the store: extend the newest version, or begin the next one.

    Returns:
        The version, its photos, and how many are new to it.
    """
    versions = store.versions(gallery)
    known = read_index(store=store, gallery=gallery, version=versions[-1]) if versions else None
    version = versions[-1] if versions else version_name(1)
    if known is not None and not _contains(scanned, known):
        version, known = version_name(version_number(version) + 1), None
    fresh = scanned if known is None else scanned[~scanned.image_id.isin(known.image_id)]
    first = 0 if known is None or known.empty else int(known.shard.max()) + 1
    fresh = fresh.reset_index(drop=True)
    fresh = fresh.assign(shard=first + fresh.index // settings.shard_size)
    table = fresh if known is None else pd.concat([known, fresh], ignore_index=True)
    if len(fresh):
        folder = store.folder("index", gallery=gallery, version=version)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / INDEX_FILE, mode=0o600) as temporary:
            table.to_parquet(temporary, index=False)
    shards = tuple(sorted(int(number) for number in table.shard.unique()))
    return IndexRecord(gallery, version, len(table), len(fresh), shards)


def _contains(scanned: pd.DataFrame, known: pd.DataFrame) -> bool:
    """Are all known photos still in the source, unchanged?"""
    now = dict(zip(scanned.image_id, scanned.content_mac, strict=True))
    return all(now.get(name) == mac for name, mac in zip(known.image_id, known.content_mac, strict=True))


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
