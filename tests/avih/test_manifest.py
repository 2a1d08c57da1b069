"""The signed manifest: every way to slip something into a protected gallery is found and named."""

import hashlib
import hmac
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from pydantic import BaseModel

from avih.errors import IntegrityError, UsageError
from avih.manifest import MANIFEST_FILE, Manifest, read_manifest, verify_gallery, write_manifest
from avih.naming import ShardAddress, Store
from avih.shards import Sample, write_shard

KEY_ID = "0123456789abcdef"
OTHER_KEY_ID = "fedcba9876543210"
MAC_KEY = hashlib.sha256(b"test").digest()
NUMBERS = (0, 1, 2)


class Settings(BaseModel):
    method: str = "avih"
    steps: int = 200


def write_one(
    store: Store,
    number: int,
    *,
    gallery: str = "lfw-gray",
    version: str = "v0001",
    key_id: str = KEY_ID,
    content: bytes = b"1",
    settings: BaseModel | None = None,
) -> None:
    name = f"p__{number:04d}"
    rows = [
        {"image_id": name, "person": "p", "status": "protected", "reason": ""},
        {"image_id": f"bad{number}", "person": "q", "status": "failed", "reason": "truncated"},
    ]
    write_shard(
        store=store,
        address=ShardAddress("protected", gallery, version, number, key_id),
        samples=[Sample(name, {"png": content, "json": b"{}"})],
        rows=pd.DataFrame(rows),
        settings=settings or Settings(),
        inputs_sha256="in",
        key_id=key_id,
        recogniser="face",
    )


def sign(
    store: Store,
    *,
    gallery: str = "lfw-gray",
    version: str = "v0001",
    key_id: str = KEY_ID,
    **changes: object,
) -> Manifest:
    arguments: dict[str, object] = {
        "numbers": NUMBERS, "recogniser": "face", "method": "avih", "recovery": "keyed", "settings": Settings(),
        "mac_key": MAC_KEY,
    }  # fmt: skip
    return write_manifest(
        store=store, gallery=gallery, version=version, key_id=key_id, **(arguments | changes)
    )


def verify(store: Store, mac_key: bytes | None = MAC_KEY) -> list[str]:
    return verify_gallery(store=store, gallery="lfw-gray", version="v0001", key_id=KEY_ID, mac_key=mac_key)


def read(store: Store, mac_key: bytes | None = MAC_KEY) -> Manifest:
    return read_manifest(store=store, gallery="lfw-gray", version="v0001", key_id=KEY_ID, mac_key=mac_key)


def place(store: Store, *, gallery: str = "lfw-gray", version: str = "v0001", key_id: str = KEY_ID) -> Path:
    return store.folder("protected", gallery=gallery, version=version, key_id=key_id)


def copy_shard(source: Path, number: int, target: Path, to: int) -> None:
    for ending in ("tar", "parquet", "done.json"):
        shutil.copyfile(source / f"{number:05d}.{ending}", target / f"{to:05d}.{ending}")


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A signed gallery, and beside it an older state, another version, another key and another gallery."""
    store = Store(tmp_path_factory.mktemp("store"))
    for number in NUMBERS:
        write_one(store, number, content=b"older")
    sign(store)
    shutil.copytree(place(store), store.root / "older")
    for number in NUMBERS:
        write_one(store, number)
        write_one(store, number, version="v0002")
        write_one(store, number, gallery="orl")
        write_one(store, number, key_id=OTHER_KEY_ID)
    sign(store)
    sign(store, version="v0002")
    sign(store, gallery="orl")
    sign(store, key_id=OTHER_KEY_ID)
    return store


@pytest.fixture
def store(signed: Store, tmp_path: Path) -> Store:
    shutil.copytree(signed.root, tmp_path / "store")
    return Store(tmp_path / "store")


def test_a_whole_gallery_has_no_problem(store: Store) -> None:
    assert verify(store) == []
    manifest = read(store)
    assert manifest.counts == {"failed": 3, "protected": 3}
    assert [shard.number for shard in manifest.shards] == [0, 1, 2]
    done = (place(store) / "00001.done.json").read_bytes()
    assert manifest.shards[1].done_sha256 == hashlib.sha256(done).hexdigest()


def test_signing_twice_gives_the_same_bytes(store: Store) -> None:
    before = (place(store) / MANIFEST_FILE).read_bytes()
    assert sign(store, numbers=(2, 0, 1)) == read(store)
    assert (place(store) / MANIFEST_FILE).read_bytes() == before
    assert MAC_KEY.hex().encode() not in before


def test_the_signature_is_hmac_sha256_over_the_stored_form(store: Store) -> None:
    content = json.loads((place(store) / MANIFEST_FILE).read_text())
    stored = json.dumps(content["manifest"], sort_keys=True, indent=2, ensure_ascii=False) + "\n"
    expected = hmac.new(MAC_KEY, b"avih manifest v1\0" + stored.encode(), "sha256").hexdigest()
    assert content["hmac_sha256"] == expected


def edit(store: Store, **changes: object) -> None:
    path = place(store) / MANIFEST_FILE
    content = json.loads(path.read_text())
    content["manifest"] |= changes
    path.write_text(json.dumps(content, sort_keys=True, indent=2) + "\n")


@pytest.mark.parametrize(
    "changes",
    [
        {"recogniser": "other"}, {"method": "lie"}, {"recovery": "unmixed"}, {"settings_sha256": "0" * 64},
        {"counts": {"protected": 6}}, {"shards": []}, {"code_version": "9"},
    ],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_an_edited_manifest_is_not_opened(store: Store, changes: dict[str, object]) -> None:
    edit(store, **changes)
    with pytest.raises(IntegrityError, match="signature"):
        read(store)
    assert "signature" in verify(store)[0]
    assert read(store, mac_key=None).model_dump()[next(iter(changes))] == next(iter(changes.values()))


def test_every_flipped_byte_of_the_manifest_is_found(store: Store) -> None:
    path = place(store) / MANIFEST_FILE
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(IntegrityError):
            read(store)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"manifest": {}, "hmac_sha256": "é"}', "[" * 5000])
def test_a_manifest_that_is_none_says_so(store: Store, text: str) -> None:
    (place(store) / MANIFEST_FILE).write_text(text)
    with pytest.raises(IntegrityError, match="Expected a manifest"):
        read(store)
    assert len(verify(store)) == 1


def test_another_signing_key_is_refused(store: Store) -> None:
    with pytest.raises(IntegrityError, match="signature"):
        read(store, mac_key=bytes(32))
    assert len(verify(store, mac_key=bytes(32))) == 1
    with pytest.raises(UsageError, match="32 bytes"):
        read(store, mac_key=b"short")


def swap(store: Store) -> None:
    folder = place(store)
    copy_shard(folder, 0, folder, 9)
    copy_shard(folder, 1, folder, 0)
    copy_shard(folder, 9, folder, 1)
    for path in folder.glob("00009.*"):
        path.unlink()


def rename(store: Store) -> None:
    for path in list(place(store).glob("00002.*")):
        path.rename(path.with_name(path.name.replace("00002", "00007")))


def delete(store: Store) -> None:
    for path in list(place(store).glob("00001.*")):
        path.unlink()


def add(store: Store) -> None:
    write_one(store, 3)


def add_only_a_tar(store: Store) -> None:
    shutil.copyfile(place(store) / "00000.tar", place(store) / "extra.tar")


def roll_back_one(store: Store) -> None:
    copy_shard(store.root / "older", 1, place(store), 1)


def splice_version(store: Store) -> None:
    copy_shard(place(store, version="v0002"), 1, place(store), 1)


def splice_gallery(store: Store) -> None:
    copy_shard(place(store, gallery="orl"), 1, place(store), 1)


def splice_key(store: Store) -> None:
    copy_shard(place(store, key_id=OTHER_KEY_ID), 1, place(store), 1)


def splice_tar(store: Store) -> None:
    # The same length as the true one, so that sizes tell nothing.
    shutil.copyfile(place(store, version="v0002") / "00000.tar", place(store) / "00001.tar")


def protect_again(store: Store) -> None:
    """Slip a picture in with a perfect shard around it, as somebody without the signing key could."""
    write_one(store, 1, content=b"intruder")


def foreign_manifest(store: Store) -> None:
    shutil.copyfile(place(store, version="v0002") / MANIFEST_FILE, place(store) / MANIFEST_FILE)


def no_manifest(store: Store) -> None:
    (place(store) / MANIFEST_FILE).unlink()


@pytest.mark.parametrize(
    ("attack", "named"),
    [
        (swap, ("shard 00000: holds what was signed as shard 00001", "shard 00001: holds what was signed")),
        (rename, ("shard 00002: signed in the manifest, but not there", "00007.tar: not in the manifest")),
        (delete, ("shard 00001: signed in the manifest, but not there",)),
        (add, ("00003.done.json: not in the manifest", "00003.tar: not in the manifest")),
        (add_only_a_tar, ("extra.tar: not in the manifest",)),
        (roll_back_one, ("shard 00001: not the shard that was signed",)),
        (splice_version, ("shard 00001: not the shard that was signed", "that of 4_protected/lfw-gray")),
        (splice_gallery, ("shard 00001: not the shard that was signed", "that of 4_protected/orl")),
        (splice_key, ("shard 00001: not the shard that was signed", f"{OTHER_KEY_ID}/v0001/00001")),
        (splice_tar, ("00001.tar: expected SHA-256",)),
        (protect_again, ("shard 00001: not the shard that was signed",)),
        (foreign_manifest, ("Expected the manifest of lfw-gray v0001",)),
        (no_manifest, ("Expected a manifest",)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_every_attack_is_found_and_named(
    store: Store, attack: Callable[[Store], None], named: tuple[str, ...]
) -> None:
    attack(store)
    problems = verify(store)
    for text in named:
        assert any(text in problem for problem in problems), problems
    untouched = {"shard 00002"} - {text[:11] for text in named}
    assert not any(problem.startswith(tuple(untouched)) for problem in problems if untouched)


def test_all_problems_are_named_at_once(store: Store) -> None:
    edit(store, recogniser="other")
    add_only_a_tar(store)
    (place(store) / "00000.tar").unlink()
    (place(store) / "00001.parquet").write_bytes(b"1")
    problems = verify(store)
    for text in ("signature", "00000.tar: cannot be read", "00001.parquet: expected SHA-256", "extra.tar"):
        assert any(text in problem for problem in problems), problems


def test_without_a_manifest_the_shards_are_still_read(store: Store) -> None:
    no_manifest(store)
    (place(store) / "00002.tar").write_bytes(b"1")
    problems = verify(store)
    assert "Expected a manifest" in problems[0]
    assert all("00002" in problem for problem in problems[1:])
    assert len(problems) > 1


def test_a_whole_older_gallery_shows_in_the_digest_alone(store: Store) -> None:
    current = read(store).digest()
    shutil.rmtree(place(store))
    shutil.copytree(store.root / "older", place(store))
    assert verify(store) == []
    assert read(store).digest() != current


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"numbers": (0, 1)}, "00002.tar: not in the manifest"),
        ({"numbers": (0, 1, 2, 3)}, "00003: no done file"),
        ({"recogniser": "other"}, "another key, recogniser or settings"),
        ({"settings": Settings(steps=1)}, "another key, recogniser or settings"),
    ],
)
def test_what_is_not_as_asked_is_not_signed(store: Store, changes: dict[str, object], named: str) -> None:
    before = (place(store) / MANIFEST_FILE).read_bytes()
    with pytest.raises(IntegrityError, match=named):
        sign(store, **changes)
    assert (place(store) / MANIFEST_FILE).read_bytes() == before


def test_a_damaged_shard_is_not_signed(store: Store) -> None:
    path = place(store) / "00001.tar"
    damaged = bytearray(path.read_bytes())
    damaged[600] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(IntegrityError, match=r"00001\.tar"):
        sign(store)


def test_signing_needs_a_whole_key(store: Store) -> None:
    for mac_key in (b"", bytes(31), bytes(33)):
        with pytest.raises(UsageError, match="32 bytes"):
            sign(store, mac_key=mac_key)
    with pytest.raises(UsageError, match="each shard once"):
        sign(store, numbers=(0, 0, 1, 2))
