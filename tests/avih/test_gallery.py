"""Promotions: one version is current, the switch is whole, and nobody forges or rolls it back unseen."""

import json
import multiprocessing
from pathlib import Path

import pytest

from avih import gallery
from avih.errors import IntegrityError, UsageError
from avih.gallery import History, read_history, version_before
from avih.naming import Store

MAC_KEY = bytes(range(32))
KEY = "0123456789abcdef"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def promote(store: Store, version: str, expected: str | None, digit: str = "a") -> History:
    return gallery.promote(
        store=store, gallery="staff", version=version, key_id=KEY, manifest_sha256=digit * 64, actor="ada",
        reason="test", mac_key=MAC_KEY, expected=expected,
    )  # fmt: skip


def read(store: Store, mac_key: bytes | None = MAC_KEY) -> History:
    return read_history(store=store, gallery="staff", mac_key=mac_key)


def test_the_last_promotion_is_current_and_all_are_kept(store: Store) -> None:
    assert read(store).current is None
    promote(store, "v0001", None)
    promote(store, "v0002", "v0001")
    assert [entry.version for entry in read(store).promotions] == ["v0001", "v0002"]
    assert read(store).current.version == "v0002"
    assert version_before(read(store)).version == "v0001"


def test_promoting_the_current_version_again_changes_no_byte(store: Store) -> None:
    promote(store, "v0001", None)
    before = store.current("staff").read_bytes()
    promote(store, "v0001", "v0001")
    assert store.current("staff").read_bytes() == before


def test_who_expects_another_current_version_is_refused(store: Store) -> None:
    promote(store, "v0001", None)
    before = store.current("staff").read_bytes()
    for wrong in (None, "v0002"):
        with pytest.raises(UsageError, match="got v0001"):
            promote(store, "v0003", wrong)
    assert store.current("staff").read_bytes() == before


def test_rolling_back_twice_goes_back_and_forth(store: Store) -> None:
    with pytest.raises(UsageError, match="roll back"):
        version_before(promote(store, "v0001", None))
    promote(store, "v0002", "v0001")
    back = promote(store, "v0001", "v0002")
    assert back.current.version == "v0001" and version_before(back).version == "v0002"


@pytest.mark.parametrize("field", ["version", "key_id", "manifest_sha256", "time", "actor", "reason"])
def test_an_edited_promotion_is_found(store: Store, field: str) -> None:
    promote(store, "v0001", None)
    path = store.current("staff")
    content = json.loads(path.read_text())
    value = content["history"]["promotions"][0][field]
    content["history"]["promotions"][0][field] = value[:-1] + ("b" if value[-1] != "b" else "c")
    path.write_text(json.dumps(content))
    with pytest.raises(IntegrityError, match="altered"):
        read(store)
    assert read(store, mac_key=None).current is not None  # without the key nothing can be proved


def test_the_promotions_of_another_gallery_or_store_do_not_count(store: Store) -> None:
    promote(store, "v0001", None)
    other = store.current("others")
    other.parent.mkdir(parents=True)
    other.write_bytes(store.current("staff").read_bytes())
    with pytest.raises(IntegrityError):
        read_history(store=store, gallery="others", mac_key=MAC_KEY)
    with pytest.raises(IntegrityError):
        read(store, mac_key=bytes(32))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff\xfe", b'{"history": {}, "hmac_sha256": ""}'])
def test_a_damaged_file_is_named(store: Store, data: bytes) -> None:
    promote(store, "v0001", None)
    store.current("staff").write_bytes(data)
    with pytest.raises(IntegrityError, match=r"current\.json"):
        read(store)


def _race(folder: str, version: str, start: object, results: object) -> None:
    start.wait()
    try:
        promote(Store(Path(folder)), version, "v0001")
        results.put(version)
    except UsageError:
        results.put(None)


def test_of_two_processes_that_promote_at_once_one_wins(store: Store) -> None:
    promote(store, "v0001", None)
    context = multiprocessing.get_context("fork")
    start, results = context.Event(), context.Queue()
    racers = [
        context.Process(target=_race, args=(str(store.root), f"v000{i}", start, results)) for i in (2, 3)
    ]
    for racer in racers:
        racer.start()
    start.set()
    outcome = [results.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join()
    winners = [version for version in outcome if version]
    assert len(winners) == 1
    assert [entry.version for entry in read(store).promotions] == ["v0001", winners[0]]
