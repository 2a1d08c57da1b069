"""The store of veils: sealed in their own place, never overwritten, counted, and gone when they must be."""

import json
from pathlib import Path

import pytest
import torch

from avih.errors import IntegrityError, SettingsMismatch, UsageError
from avih.keys.key import Key
from avih.veils.store import VeilStore
from avih.veils.veil import NoiseVeils, Veil, veil_bytes
from small_keys import make_key

SHAPE = (8, 6, 3)
RECIPE = bytes(32)


def some_veil(level: float = 0.25) -> Veil:
    return Veil(d=torch.full((3, 8, 6), level), alpha=0.2, cosines=torch.tensor([0.9]), steps=7)


@pytest.fixture
def key() -> Key:
    return make_key()


@pytest.fixture
def store(tmp_path: Path, key: Key) -> VeilStore:
    return VeilStore(tmp_path / "3_keys", key, "people")


def files(store: VeilStore, ending: str) -> list[Path]:
    return sorted(store.folder.glob(f"*.{ending}"))


def test_a_veil_comes_back_as_it_was(store: VeilStore, key: Key) -> None:
    assert not store.has("ann", recipe=RECIPE)
    store.add("ann", some_veil(), recipe=RECIPE)
    assert store.has("ann", recipe=RECIPE)
    again = VeilStore(store.folder.parents[1], key, "people").of("ann", SHAPE)
    assert veil_bytes(again) == veil_bytes(some_veil())
    with pytest.raises(UsageError, match="crafted"):
        store.of("ann", (112, 96, 3))


def test_files_are_private_sealed_and_name_nobody(store: VeilStore) -> None:
    store.add("ann", some_veil(), recipe=RECIPE)
    store.admit("ann", ["a", "b"], most=1)
    for path in store.folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert b"ann" not in path.read_bytes() and "ann" not in path.name
    (sealed,) = files(store, "veil")
    assert veil_bytes(some_veil())[-64:] not in sealed.read_bytes()
    assert store.folder.stat().st_mode & 0o777 == store.folder.parent.stat().st_mode & 0o777 == 0o700


def test_a_veil_is_never_overwritten(store: VeilStore) -> None:
    store.add("ann", some_veil(0.25), recipe=RECIPE)
    (path,) = files(store, "veil")
    before = path.read_bytes()
    store.add("ann", some_veil(0.75), recipe=RECIPE)
    assert path.read_bytes() == before


def test_another_recipe_is_told(store: VeilStore) -> None:
    store.add("ann", some_veil(), recipe=RECIPE)
    with pytest.raises(SettingsMismatch, match="avih rotate"):
        store.has("ann", recipe=b"\1" * 32)


def test_the_same_name_in_another_gallery_or_under_another_key_is_another_person(
    store: VeilStore, key: Key, tmp_path: Path
) -> None:
    store.add("ann", some_veil(), recipe=RECIPE)
    others = VeilStore(tmp_path / "3_keys", key, "others")
    assert not others.has("ann", recipe=RECIPE)
    others.add("ann", some_veil(0.5), recipe=RECIPE)
    assert len(files(store, "veil")) == 2
    stranger = VeilStore(tmp_path / "3_keys", make_key(), "people")
    with pytest.raises(IntegrityError, match="do not come back"):
        stranger.of("ann", SHAPE)


@pytest.mark.parametrize("damage", ["altered", "cut", "exchanged", "empty", "gone", "format"])
def test_a_damaged_or_exchanged_veil_is_refused(store: VeilStore, key: Key, damage: str) -> None:
    store.add("ann", some_veil(), recipe=RECIPE)
    (path,) = files(store, "veil")
    data = path.read_bytes()
    store.add("bob", some_veil(0.5), recipe=RECIPE)
    other = next(file for file in files(store, "veil") if file != path)
    changed = {"altered": data[:-1] + bytes([data[-1] ^ 1]), "cut": data[:-5], "exchanged": other.read_bytes(),
               "empty": b"", "format": b"AVIV\x02" + data[5:]}  # fmt: skip
    path.unlink() if damage == "gone" else path.write_bytes(changed[damage])
    again = VeilStore(store.folder.parents[1], key, "people")
    with pytest.raises(IntegrityError, match="veil of this person"):
        again.of("ann", SHAPE)
    assert again.of("bob", SHAPE).pixels.max() == 0.5


def test_photos_are_counted_once_and_never_given_back(store: VeilStore) -> None:
    store.add("ann", some_veil(), recipe=RECIPE)
    assert store.admit("ann", ["a", "b", "c"], most=2) == ("a", "b")
    assert store.admit("ann", ["b", "a", "a"], most=2) == ("a", "b")
    assert store.admit("ann", ["c"], most=2) == ("a", "b")
    assert store.admit("ann", ["d", "c", "e"], most=3) == ("a", "b", "d")
    assert store.admit("ann", ["e"], most=1) == store.admitted("ann") == ("a", "b", "d")


def test_an_altered_or_lost_count_is_told(store: VeilStore) -> None:
    store.add("ann", some_veil(), recipe=RECIPE)
    store.admit("ann", ["a"], most=1)
    (path,) = files(store, "count.json")
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"photos": []}))
    with pytest.raises(IntegrityError, match="how many photos"):
        store.admit("ann", ["b"], most=1)
    path.unlink()
    with pytest.raises(IntegrityError, match="how many photos"):
        store.has("ann", recipe=RECIPE)


def test_a_forgotten_person_leaves_no_file(store: VeilStore) -> None:
    store.add("ann", some_veil(), recipe=RECIPE)
    store.add("bob", some_veil(), recipe=RECIPE)
    leftover = files(store, "veil")[0].with_name(f".{store._path('ann').name}.0123.part")
    leftover.write_bytes(b"half a veil")
    assert store.forget("ann") and not store.forget("ann")
    assert len(files(store, "veil")) == len(files(store, "count.json")) == 1 and not leftover.exists()
    assert store.of("bob", SHAPE).steps == 7
    with pytest.raises(IntegrityError):
        store.of("ann", SHAPE)


def test_a_photo_of_nobody_has_no_veil(store: VeilStore) -> None:
    with pytest.raises(UsageError, match="empty"):
        store.add("", some_veil(), recipe=RECIPE)


def test_noise_of_another_secret_has_the_share_of_the_veils_that_it_stands_for(store: VeilStore) -> None:
    store.add("ann", Veil(torch.zeros(3, 8, 6), 0.4, torch.zeros(1), 1), recipe=RECIPE)
    noise = NoiseVeils(bytes(32), alike=store).of("ann", SHAPE)
    assert noise.alpha == 0.4 and noise.pixels.shape == SHAPE and noise.pixels.std() > 0.2
    assert NoiseVeils(bytes(32)).of("ann", SHAPE).alpha == 0.2
