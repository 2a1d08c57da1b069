"""Comparing photos on disk gives what comparing them in memory gives, and leaves nothing behind."""

from pathlib import Path

import numpy as np
import pytest

from avih.errors import UsageError
from avih.naming import Store
from avih.photo_tables import KINDS, Pictures, photo_tables
from avih.scanning import Row


def row(name: str, mac: str, status: str = "indexed", shard: int = -1) -> Row:
    return Row(name, "p", f"{name}.jpg", status, "", mac, shard)


def photos(seed: int, count: int = 300) -> list[Row]:
    """Some of 300 photos in any order, some changed, some unreadable."""
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(300)[:count]
    return [
        row(f"é{n:03d}", f"m{n % 7 if generator.random() < 0.8 else 'other'}",
            "indexed" if generator.random() < 0.9 else "failed", int(generator.integers(0, 9)))
        for n in chosen
    ]  # fmt: skip


def slow_difference(before: list[Row], after: list[Row]) -> dict[str, list[str]]:
    then = {r.image_id: (r.content_mac, r.status) for r in before}
    now = {r.image_id: (r.content_mac, r.status) for r in after}
    both = then.keys() & now.keys()
    return {
        "added": sorted(now.keys() - then.keys()),
        "changed": sorted(name for name in both if then[name] != now[name]),
        "removed": sorted(then.keys() - now.keys()),
        "kept": sorted(name for name in both if then[name] == now[name]),
    }


@pytest.mark.parametrize("seed", range(4))
def test_against_comparing_in_memory(tmp_path: Path, seed: int) -> None:
    before, after = photos(seed, 250), photos(seed + 100, 200)
    expected = slow_difference(before, after)
    assert all(expected.values()), "the example should have photos of every kind"
    with photo_tables(store=Store(tmp_path), gallery="people") as tables:
        tables.load("before", photos(7))  # what is loaded again takes the place of what was there
        tables.load("before", before)
        tables.load("after", iter(after))
        assert {kind: list(tables.names(kind)) for kind in KINDS} == expected
        assert {kind: tables.count(kind) for kind in KINDS} == {k: len(v) for k, v in expected.items()}
        assert [r.image_id for r in tables.added()] == expected["added"]
        shards = {r.image_id: r.shard for r in before}
        assert list(tables.with_shards()) == [(r, shards.get(r.image_id)) for r in sorted(after)]
        kept = [shards[name] for name in expected["kept"] + expected["changed"]]
        assert tables.last_shard() == (max(kept), kept.count(max(kept)))


def test_the_same_photo_under_another_name_is_a_change(tmp_path: Path) -> None:
    with photo_tables(store=Store(tmp_path), gallery="people") as tables:
        then = [row("a", "1"), row("b", "2")]
        tables.load("before", [then[0]._replace(person="somebody else"), then[1]])
        tables.load("after", then)
        assert [*tables.names("changed")] == ["a"] and [*tables.names("kept")] == ["b"]


def test_placed_photos_come_by_shard(tmp_path: Path) -> None:
    placed = photos(3)
    with photo_tables(store=Store(tmp_path), gallery="people") as tables:
        tables.place(placed)
        (piece,) = tables.placed()
    assert [tuple(r) for r in piece.itertuples(index=False)] == sorted(
        placed, key=lambda r: (r.shard, r.image_id)
    )


@pytest.mark.parametrize("seed", range(3))
def test_what_became_of_the_pictures(tmp_path: Path, seed: int) -> None:
    before, after = photos(seed, 250), photos(seed + 100, 200)
    then, now = ({r.image_id: r.content_mac for r in rows} for rows in (before, after))
    had, has = {r.image_id for r in before if r.status == "indexed"}, {r.image_id for r in after[:150]}
    gone = sum(now.get(name) != then[name] for name in had)
    lost = had & {name for name, mac in now.items() if mac == then.get(name)} - has
    assert gone and lost
    with photo_tables(store=Store(tmp_path), gallery="people") as tables:
        tables.load("before", before)
        tables.load("after", after)
        tables.add_pictures("before", had)
        tables.add_pictures("after", has)
        assert tables.pictures() == Pictures(had=len(had), gone=gone, lost=len(lost))


def test_the_tables_are_the_owner_s_alone_and_gone_afterwards(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with (
        pytest.raises(UsageError, match=r"'a\.jpg' twice"),
        photo_tables(store=store, gallery="people") as tables,
    ):
        tables.load("before", photos(0))
        (file,) = tmp_path.rglob("*.part")
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent == store.gallery_root("index", "people").parent
        tables.load("after", [row("a", "1"), row("b", "1"), row("a", "2")])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert store.galleries() == []
