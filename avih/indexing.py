"""The index of a gallery version: which photos it holds, whom they show, and in which shard they are.

A version whose manifest is signed never changes: any change of the source begins the next version. A photo keeps
its shard from version to version, so that whole shards carry over; new photos fill up the last shard. An
unfinished version may grow, so that a second run does only what is missing. Photos are compared and placed on
disk (:mod:`avih.photo_tables`), so that a million of them take no more memory than a thousand.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from avih.index_file import index_path, iter_index, shard_sizes, write_index
from avih.naming import Store, version_name, version_number
from avih.photo_tables import Kind, PhotoTables, photo_tables, rows_of
from avih.scanning import Row
from avih.settings import IndexSettings

CHANGES: Final[tuple[Kind, ...]] = ("added", "changed", "removed")

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
    scanned: Iterable[Row],
    settings: IndexSettings,
    base: str | None = None,
    newest: Newest = "open",
    look: Callable[[PhotoTables], None] | None = None,
) -> IndexRecord:
    """Put a scan into the store: keep what is there, go on with an unfinished version, or begin the next one.

    Args:
        store: where.
        gallery: its name.
        scanned: what :func:`avih.scanning.scan` finds, in any order.
        settings: shard size.
        base: the current version, whose shards photos keep; None before the first promotion.
        newest: may the newest version be gone on with: ``open`` (it may grow), ``signed`` (only as it is), or
            ``closed`` (it is current, was current, or belongs to another key).
        look: for a dry run: nothing is written, and this sees the photos of ``base`` and of the scan instead.

    Raises:
        UsageError: two photos have one id.
    """
    versions = store.versions(gallery)
    with photo_tables(store=store, gallery=gallery, in_memory=look is not None) as tables:
        tables.load("after", scanned)
        differs: dict[Kind, int] = {}
        if base:
            _load_before(tables, store, gallery, base)
            differs = _changes(tables)
            if look:
                look(tables)
            if not any(differs.values()):
                return _record(store, gallery, base, differs)
        if newest != "closed" and versions and versions[-1] != base:
            begun = versions[-1]
            _load_before(tables, store, gallery, begun)
            since = _changes(tables)
            if not (since["changed"] or since["removed"] or (newest == "signed" and since["added"])):
                if since["added"]:
                    sizes = shard_sizes(store=store, gallery=gallery, version=begun)
                    _grow(tables, settings, last=max(sizes, default=-1))
                    if look:
                        return _placed_record(tables, gallery, begun, differs or since)
                    write_index(store=store, gallery=gallery, version=begun, pieces=tables.placed())
                return _record(store, gallery, begun, differs or since)
            tables.load("before", ())
            if base:
                _load_before(tables, store, gallery, base)
        version = next_version(store=store, gallery=gallery)
        tables.place(_placed(tables, settings))
        differs = differs or {"added": tables.count("added")}
        if look:
            return _placed_record(tables, gallery, version, differs)
        write_index(store=store, gallery=gallery, version=version, pieces=tables.placed())
        return _record(store, gallery, version, differs)


def next_version(*, store: Store, gallery: str) -> str:
    """Name the version that comes after the newest one."""
    versions = store.versions(gallery)
    return version_name(version_number(versions[-1]) + 1 if versions else 1)


def copy_index(*, store: Store, gallery: str, version: str, like: str) -> IndexRecord:
    """Begin ``version`` with the photos of version ``like`` in the same shards: the index of a rotation."""
    if not index_path(store=store, gallery=gallery, version=version).exists():
        pieces = iter_index(store=store, gallery=gallery, version=like)
        write_index(store=store, gallery=gallery, version=version, pieces=pieces)
    return _record(store, gallery, version, {})


def _load_before(tables: PhotoTables, store: Store, gallery: str, version: str) -> None:
    tables.load("before", rows_of(iter_index(store=store, gallery=gallery, version=version)))


def _changes(tables: PhotoTables) -> dict[Kind, int]:
    return {kind: tables.count(kind) for kind in CHANGES}


def _grow(tables: PhotoTables, settings: IndexSettings, *, last: int) -> None:
    """Place what is new behind a begun version: its shards may be done already, so new ones take it."""
    tables.place(tables.before())
    tables.place(
        row._replace(shard=last + 1 + place // settings.shard_size)
        for place, row in enumerate(tables.added())
    )


def _placed(tables: PhotoTables, settings: IndexSettings) -> Iterator[Row]:
    """Give every photo its shard: the one it had; new photos fill the last shard, then begin others."""
    number, filled = tables.last_shard()
    for row, shard in tables.with_shards():
        if shard is None:
            if filled == settings.shard_size:
                number, filled = number + 1, 0
            filled += 1
        yield row._replace(shard=number if shard is None else shard)


def _record(store: Store, gallery: str, version: str, differs: dict[Kind, int]) -> IndexRecord:
    return _described(gallery, version, shard_sizes(store=store, gallery=gallery, version=version), differs)


def _placed_record(tables: PhotoTables, gallery: str, version: str, differs: dict[Kind, int]) -> IndexRecord:
    """Return what would be written."""
    return _described(gallery, version, tables.sizes(), differs)


def _described(gallery: str, version: str, sizes: dict[int, int], differs: dict[Kind, int]) -> IndexRecord:
    counts = {str(kind): differs.get(kind, 0) for kind in CHANGES}
    return IndexRecord(
        gallery=gallery, version=version, photos=sum(sizes.values()), shards=tuple(sizes), **counts
    )
