"""Indexing: known photos stay where they are, new ones are added, changed ones begin a new version."""

import tracemalloc
from pathlib import Path

import pandas as pd
import pytest

from avih import indexing, scanning
from avih.errors import IntegrityError, UsageError
from avih.index_file import index_path, read_index, rows_digest
from avih.indexing import IndexRecord
from avih.naming import Store
from avih.scanning import Row, scan
from avih.settings import IndexSettings
from memory_source import MAC_KEY, MemorySource, files

SETTINGS = IndexSettings(shard_size=4)


def index(
    store: Store,
    content: dict[str, bytes | None],
    base: str | None = None,
    newest: str = "open",
    **options: object,
) -> IndexRecord:
    scanned = scan(MemorySource(content), limit=None, mac_key=MAC_KEY)
    return indexing.update_index(
        store=store, gallery="lfw", scanned=scanned, settings=SETTINGS.model_copy(update=options), base=base,
        newest=newest,
    )  # fmt: skip


def table(store: Store, version: str = "v0001") -> pd.DataFrame:
    return read_index(store=store, gallery="lfw", version=version)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def record(version: str, photos: int, shards: tuple[int, ...], **counts: int) -> IndexRecord:
    return IndexRecord("lfw", version, photos=photos, shards=shards,
                       **({"added": 0, "changed": 0, "removed": 0} | counts))  # fmt: skip


def test_the_first_run_fills_shards_in_order(store: Store) -> None:
    assert index(store, files(10)) == record("v0001", 10, (0, 1, 2), added=10)
    rows = table(store)
    assert rows.shard.tolist() == [0] * 4 + [1] * 4 + [2] * 2
    assert rows.image_id.tolist() == [f"anna__{i:02d}" for i in range(10)]
    assert store.versions("lfw") == ["v0001"]


@pytest.mark.parametrize("base", [None, "v0001"], ids=["unfinished", "current"])
def test_a_second_run_adds_nothing_and_writes_nothing(store: Store, base: str | None) -> None:
    index(store, files(10))
    path = index_path(store=store, gallery="lfw", version="v0001")
    before = path.stat()
    assert index(store, files(10), base=base) == record("v0001", 10, (0, 1, 2))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_an_unfinished_version_grows_by_shards_of_their_own(store: Store) -> None:
    index(store, files(6))
    known = table(store)
    # The new photos sort before the known ones, and the last shard had room: neither moves a known photo.
    grown = index(store, files(6) | files(5, person="aaron"))
    assert grown == record("v0001", 11, (0, 1, 2, 3), added=5)
    rows = table(store)
    pd.testing.assert_frame_equal(rows[:6], known)
    assert rows[6:].shard.tolist() == [2, 2, 2, 2, 3]
    assert rows.image_id.is_unique


def test_another_shard_size_moves_no_known_photo(store: Store) -> None:
    index(store, files(6))
    index(store, files(9), shard_size=2)
    assert table(store).shard.tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("newest", ["open", "signed", "closed"])
def test_a_change_after_the_current_version_begins_the_next_and_nobody_moves(
    store: Store, newest: str
) -> None:
    index(store, files(10))
    old = table(store)
    after = files(10) | files(3, person="aaron")
    after["anna/02.jpg"] = b"another picture"
    del after["anna/05.jpg"]
    found = index(store, after, base="v0001", newest=newest)
    # Whatever is said of the newest version: this one is current, so it must not grow either.
    assert found == record("v0002", 12, (0, 1, 2, 3), added=3, changed=1, removed=1)
    pd.testing.assert_frame_equal(table(store), old)
    new = table(store, "v0002").set_index("image_id")
    for name, shard in old.set_index("image_id").shard.items():
        assert name == "anna__05" or new.shard[name] == shard
    # Shard 2 had room for two; the third newcomer begins the next one.
    assert [new.shard[f"aaron__0{i}"] for i in range(3)] == [2, 2, 3]
    assert index(store, after, base="v0002", newest=newest) == record("v0002", 12, (0, 1, 2, 3))
    more = after | files(1, person="zoe")
    assert index(store, more, base="v0002", newest=newest) == record("v0003", 13, (0, 1, 2, 3), added=1)


def test_a_begun_version_is_gone_on_with_and_a_signed_one_only_as_it_is(store: Store) -> None:
    index(store, files(6))
    index(store, files(7), base="v0001", newest="closed")
    assert index(store, files(7), base="v0001", newest="open").version == "v0002"
    assert index(store, files(7), base="v0001", newest="signed").version == "v0002"
    assert index(store, files(8), base="v0001", newest="open").version == "v0002"
    assert index(store, files(9), base="v0001", newest="signed").version == "v0003"
    assert index(store, files(8), base="v0001", newest="closed").version == "v0004"
    assert index(store, files(6), base="v0001", newest="open").version == "v0001"


@pytest.mark.parametrize("change", ["changed", "removed", "unreadable", "repaired"])
def test_a_photo_that_is_not_what_it_was_begins_a_version(store: Store, change: str) -> None:
    before, after = files(5), files(5)
    if change == "repaired":
        before["anna/02.jpg"] = None
    elif change == "removed":
        del after["anna/02.jpg"]
    else:
        after["anna/02.jpg"] = b"other" if change == "changed" else None
    index(store, before)
    old = table(store)
    assert index(store, after, base="v0001", newest="closed").version == "v0002"
    pd.testing.assert_frame_equal(table(store), old)
    assert len(table(store, "v0002")) == len(after)


def test_a_rotation_s_index_is_that_of_the_old_version(store: Store) -> None:
    index(store, files(6))
    copied = indexing.copy_index(store=store, gallery="lfw", version="v0002", like="v0001")
    assert copied == record("v0002", 6, (0, 1))
    pd.testing.assert_frame_equal(table(store, "v0002"), table(store))
    assert indexing.copy_index(store=store, gallery="lfw", version="v0002", like="v0001") == copied


def test_only_the_owner_may_read_the_index(store: Store) -> None:
    index(store, files(2))
    path = index_path(store=store, gallery="lfw", version="v0001")
    assert path.stat().st_mode & 0o777 == 0o600
    index(store, files(3))
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["photos.parquet"]


def test_a_missing_or_damaged_index_is_named(store: Store) -> None:
    with pytest.raises(UsageError, match="lfw v0001"):
        table(store)
    index(store, files(2))
    path = index_path(store=store, gallery="lfw", version="v0001")
    whole = path.read_bytes()
    table(store).drop(columns="shard").to_parquet(path)
    with pytest.raises(IntegrityError, match="columns"):
        table(store)
    for damaged in (b"", b"PAR1", whole[:-20], whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(IntegrityError, match="damaged"):
            table(store)


def test_the_digest_tells_ids_and_contents(store: Store) -> None:
    index(store, files(3))
    rows = table(store)
    digests = {rows_digest(rows), rows_digest(rows[:2]), rows_digest(rows.assign(content_mac="x"))}
    digests.add(rows_digest(rows.assign(image_id=rows.image_id + "x")))
    assert len(digests) == 4
    assert rows_digest(rows) == rows_digest(table(store).assign(shard=9))


def test_two_photos_with_one_id_are_refused_and_nothing_is_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "image_id", lambda path: path[:4])
    with pytest.raises(UsageError, match=r"'anna/01\.jpg' twice"):
        index(store, files(2))
    assert not [path for path in store.root.rglob("*") if path.is_file()]


def test_a_scan_in_any_order_gives_one_index(store: Store) -> None:
    rows = list(scan(MemorySource(files(9)), limit=None, mac_key=MAC_KEY))
    for gallery, scanned in (("forth", rows), ("back", rows[::-1])):
        indexing.update_index(store=store, gallery=gallery, scanned=iter(scanned), settings=SETTINGS)
    forth, back = (read_index(store=store, gallery=name, version="v0001") for name in ("forth", "back"))
    pd.testing.assert_frame_equal(forth, back)
    assert forth.image_id.is_monotonic_increasing


def test_indexing_takes_no_more_memory_for_more_photos(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("avih.index_file", "avih.photo_tables"):
        monkeypatch.setattr(f"{module}.PIECE", 256)

    def peak(count: int) -> int:
        """Bytes that Python objects and arrays take at most; they are what would grow."""
        rows = (
            Row(f"p{n:06d}", f"p{n:06d}", f"p{n:06d}.jpg", "indexed", "", f"{n:032x}") for n in range(count)
        )
        changed = (Row(f"p{n:06d}", "", f"p{n:06d}.jpg", "indexed", "", f"{n:032}") for n in range(1, count))
        at = {"store": store, "gallery": f"of-{count}", "settings": IndexSettings(shard_size=500)}
        tracemalloc.start()
        indexing.update_index(**at, scanned=rows)
        indexing.update_index(**at, scanned=changed, base="v0001", newest="closed")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1500)  # what is made once and kept
    assert peak(15000) < 1.5 * peak(1500)
