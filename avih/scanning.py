"""Read a source once: which photos there are, whom they show, and a keyed hash of what each file holds."""

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from avih.datasets.base import Photo, PhotoSource
from avih.errors import ImageRefused
from avih.naming import image_id

PROBE_PERSONS = 12  # persons of the papers' protocol, who need many photos each


class Row(NamedTuple):
    """One photo of an index; its shard is -1 until it has one."""

    image_id: str
    person: str
    path: str
    status: str
    reason: str
    content_mac: str
    shard: int = -1


COLUMNS = Row._fields


def select_photos(photos: Callable[[], Iterable[Photo]], limit: int | None) -> Iterator[Photo]:
    """Take at most ``limit`` photos so that the evaluation protocol still finds its persons.

    Up to twelve persons with the most photos fill at most three quarters of the limit; the other photos
    follow in their order.

    Args:
        photos: lists all photos, sorted by path; it is called twice, so that no list need be kept.
        limit: most photos; all where not given.
    """
    if limit is None:
        yield from photos()
        return
    counts = Counter(photo.person for photo in photos())
    chosen: set[str] = set()
    taken = 0
    for person, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:PROBE_PERSONS]:
        if count > 1 and taken + count <= limit * 3 // 4:
            chosen.add(person)
            taken += count
    others = limit - taken
    for photo in photos():
        if photo.person not in chosen:
            others -= 1
        if photo.person in chosen or others >= 0:
            yield photo


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
) -> Iterator[Row]:
    """Read every photo of a source once and yield a row for each, then for each skipped entry.

    Args:
        source: the photos.
        limit: most photos to take.
        mac_key: key of the photos' hashes.
        erased: keyed hashes of persons who were erased (:func:`person_mac`); nothing of theirs is read.
        progress: called with 1 after each photo.
    """

    def is_erased(person: str) -> bool:
        return bool(erased) and person_mac(person, mac_key=mac_key) in erased

    def allowed() -> Iterator[Photo]:
        return (photo for photo in source.photos() if not is_erased(photo.person))

    for photo in select_photos(allowed, limit):
        status, reason, mac = "indexed", "", ""
        try:
            mac = content_mac(source.read(photo), mac_key=mac_key)
        except ImageRefused as refusal:
            status, reason = "failed", refusal.reason
        yield Row(image_id(photo.path), photo.person, photo.path, status, reason, mac)
        if progress:
            progress(1)
    for entry in source.skipped():
        if not is_erased(entry.path.split("/")[0]):
            yield Row(image_id(entry.path), "", entry.path, "skipped", entry.reason, "")
