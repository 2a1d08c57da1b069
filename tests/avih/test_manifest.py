"""The signed manifest: what is signed, and what is read back only as it was signed."""

import hashlib
import hmac
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from avih.atomic import temporary_name
from avih.errors import IntegrityError, UsageError
from avih.manifest import MANIFEST_FILE
from avih.naming import Store
from small_manifest import (
    MAC_KEY,
    Settings,
    edit,
    place,
    read,
    sign,
    signed_store,
    verify,
)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return signed_store(tmp_path_factory.mktemp("store"))


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


def test_what_a_killed_signer_left_goes_with_the_next(store: Store) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    name = temporary_name(place(store) / MANIFEST_FILE).name
    left = place(store) / name.replace(f"-{os.getpid()}-", f"-{dead.pid}-")
    left.write_bytes(b"half a manifest")
    sign(store, numbers=(0, 1, 2))
    assert not left.exists()


def test_the_signature_is_hmac_sha256_over_the_stored_form(store: Store) -> None:
    content = json.loads((place(store) / MANIFEST_FILE).read_text())
    stored = json.dumps(content["manifest"], sort_keys=True, indent=2, ensure_ascii=False) + "\n"
    expected = hmac.new(MAC_KEY, b"avih manifest v1\0" + stored.encode(), "sha256").hexdigest()
    assert content["hmac_sha256"] == expected


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
