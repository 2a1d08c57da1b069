"""Read a source once: which photos there are, whom they show, and a keyed hash of what each file holds."""

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Sequence

import pandas as pd

from avih.datasets.base import Photo, PhotoSource
from avih.errors import ImageRefused, UsageError
from avih.naming import image_id

COLUMNS = ("image_id", "person", "path", "status", "reason", "content_mac", "shard")
PROBE_PERSONS = 12  # persons of the papers' protocol, who need many photos each


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
