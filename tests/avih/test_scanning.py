"""Scanning: every entry of a source is a row, whole persons come first, hashes are keyed."""

from collections import Counter

import pandas as pd
import pytest

from avih.datasets.base import Photo
from avih.scanning import COLUMNS, content_mac, person_mac, scan, select_photos
from memory_source import MAC_KEY, MemorySource, files


def photos(**counts: int) -> list[Photo]:
    return [Photo(f"{name}/{i:03d}.jpg", name) for name in sorted(counts) for i in range(counts[name])]


@pytest.mark.parametrize("limit", [None, 6, 7])
def test_without_need_nothing_is_left_out(limit: int | None) -> None:
    everything = photos(a=3, b=3)
    assert list(select_photos(lambda: everything, limit)) == everything


def test_whole_persons_with_many_photos_come_first() -> None:
    everything = photos(**{f"single{i:02d}": 1 for i in range(40)}, zoe=12, yan=9, xia=8)
    chosen = list(select_photos(lambda: everything, 32))
    counts = Counter(photo.person for photo in chosen)
    # Three quarters of 32 is 24: zoe and yan fill 21 of it, xia would be too much.
    assert (counts["zoe"], counts["yan"], counts["xia"]) == (12, 9, 0)
    assert [person for person in counts if person.startswith("single")] == [
        f"single{i:02d}" for i in range(11)
    ]
    assert len(chosen) == 32
    assert chosen == sorted(chosen, key=lambda photo: photo.path)


@pytest.mark.parametrize("limit", [1, 2, 5, 13, 50, 99, 150])
def test_the_limit_holds_and_no_photo_comes_twice(limit: int) -> None:
    everything = photos(**{f"p{i:02d}": 1 + i % 9 for i in range(30)})
    chosen = list(select_photos(lambda: everything, limit))
    assert len(chosen) == len(set(chosen)) == min(limit, len(everything))
    counts, full = Counter(p.person for p in chosen), Counter(p.person for p in everything)
    # Some twelve persons are chosen whole; then the others in order, so at most one more person is cut.
    assert sum(counts[person] != full[person] for person in counts) <= 1


def test_the_hash_is_keyed() -> None:
    first = content_mac(b"photo", mac_key=MAC_KEY)
    assert first == content_mac(b"photo", mac_key=MAC_KEY)
    assert len({first, content_mac(b"photo", mac_key=bytes(32)), content_mac(b"photp", mac_key=MAC_KEY)}) == 3


def test_a_scan_has_one_row_per_entry_whatever_its_fate() -> None:
    counted: list[int] = []
    source = MemorySource(files(2) | {"bert/1.jpg": None}, skipped=("bert/link.jpg",))
    rows = pd.DataFrame(scan(source, limit=None, mac_key=MAC_KEY, progress=counted.append))
    assert tuple(rows.columns) == COLUMNS
    assert rows.image_id.is_unique
    found = {row.path: (row.status, row.reason, row.person) for row in rows.itertuples()}
    assert found == {
        "anna/00.jpg": ("indexed", "", "anna"),
        "anna/01.jpg": ("indexed", "", "anna"),
        "bert/1.jpg": ("failed", "no_permission", "bert"),
        "bert/link.jpg": ("skipped", "link_to_folder", ""),
    }
    macs = dict(zip(rows.path, rows.content_mac, strict=True))
    assert macs["anna/00.jpg"] == content_mac(b"anna 0", mac_key=MAC_KEY)
    assert macs["bert/1.jpg"] == macs["bert/link.jpg"] == ""
    assert len(counted) == 3


def test_a_scan_reads_photos_only_as_its_rows_are_asked_for() -> None:
    counted: list[int] = []
    rows = scan(MemorySource(files(5)), limit=None, mac_key=MAC_KEY, progress=counted.append)
    assert counted == []
    assert [next(rows).image_id, next(rows).image_id] == ["anna__00", "anna__01"]
    assert len(counted) == 1


def test_erased_persons_are_left_out_unread() -> None:
    everybody = files(2) | files(2, person="bert")
    erased = frozenset({person_mac("bert", mac_key=MAC_KEY)})
    rows = list(scan(MemorySource(everybody), limit=None, mac_key=MAC_KEY, erased=erased))
    assert {row.person for row in rows} == {"anna"}
    assert person_mac("bert", mac_key=bytes(32)) not in erased
