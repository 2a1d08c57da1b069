"""What is new, changed and gone in a source, by names and by content, without a trace in the store."""

from pathlib import Path

from avih.indexing import update_index
from avih.naming import Store
from avih.scanning import person_mac, scan
from avih.settings import IndexSettings
from avih.source_changes import ProtectedVersion, SourceChanges, compare_content, compare_names
from memory_source import MAC_KEY, MemorySource, files

ALL = frozenset(range(10))


def indexed(root: Path, source: MemorySource, shards: frozenset[int] = ALL) -> ProtectedVersion:
    store = Store(root)
    scanned = scan(source, limit=None, mac_key=MAC_KEY)
    made = update_index(store=store, gallery="people", scanned=scanned, settings=IndexSettings(shard_size=3))
    return ProtectedVersion(store, "people", made.version, shards)


def by_names(source: MemorySource, protected: ProtectedVersion, limit: int | None = None) -> SourceChanges:
    return compare_names(source=source, limit=limit, protected=protected)


def by_content(source: MemorySource, protected: ProtectedVersion, **more: frozenset[str]) -> SourceChanges:
    return compare_content(source=source, limit=None, protected=protected, mac_key=MAC_KEY, **more)


def test_an_unchanged_source(tmp_path: Path) -> None:
    source = MemorySource(files(7) | {"bad/1.jpg": None}, skipped=("link",))
    protected = indexed(tmp_path, source)
    before = sorted(tmp_path.rglob("*"))
    assert by_names(source, protected) == SourceChanges(8, 0, None, 0, "names")
    assert by_content(source, protected) == SourceChanges(8, 0, 0, 0, "content")
    assert sorted(tmp_path.rglob("*")) == before


def test_new_changed_and_removed_photos(tmp_path: Path) -> None:
    protected = indexed(tmp_path, MemorySource(files(7)))
    now = files(7) | files(2, "berta") | {"anna/03.jpg": b"another photo", "anna/04.jpg": None}
    del now["anna/05.jpg"]
    source = MemorySource(now)
    assert by_content(source, protected) == SourceChanges(8, 2, 2, 1, "content")
    # Names alone do not tell that two photos changed.
    assert by_names(source, protected) == SourceChanges(8, 2, None, 1, "names")


def test_what_is_in_unfinished_shards_is_new(tmp_path: Path) -> None:
    source = MemorySource(files(7))  # shards of 3, 3 and 1
    protected = indexed(tmp_path, source, shards=frozenset({0, 2}))
    assert by_names(source, protected) == SourceChanges(7, 3, None, 0, "names")
    assert by_content(source, protected) == SourceChanges(7, 3, 0, 0, "content")


def test_the_limit_counts(tmp_path: Path) -> None:
    source = MemorySource(files(7))
    assert by_names(source, indexed(tmp_path, source), limit=5) == SourceChanges(5, 0, None, 2, "names")


def test_photos_of_erased_persons_are_neither_read_nor_counted(tmp_path: Path) -> None:
    protected = indexed(tmp_path, MemorySource(files(4)))
    source = MemorySource(files(4) | files(3, "berta"))
    erased = frozenset({person_mac("berta", mac_key=MAC_KEY)})
    assert by_content(source, protected, erased=erased) == SourceChanges(4, 0, 0, 0, "content")
