"""Signed galleries of a few bytes, and ways to change them."""

import hashlib
import json
import shutil
from pathlib import Path

import pandas as pd
from pydantic import BaseModel

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
    mac_key: bytes | None = MAC_KEY,
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
        mac_key=mac_key,
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


def edit(store: Store, **changes: object) -> None:
    path = place(store) / MANIFEST_FILE
    content = json.loads(path.read_text())
    content["manifest"] |= changes
    path.write_text(json.dumps(content, sort_keys=True, indent=2) + "\n")


def signed_store(root: Path) -> Store:
    """A signed gallery, and beside it an older state, another version, another key and another gallery."""
    store = Store(root)
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
