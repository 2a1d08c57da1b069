"""A store of a few kilobytes with one of every record in it, to be damaged one file at a time."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final
from unittest import mock

import numpy as np
import pandas as pd
import torch

from avih.gallery import promote
from avih.images import encode_png
from avih.index_file import write_index
from avih.keys import Key, KeyStore, LeakBudget, Passphrase, ScryptCost, Vault, canonical_safetensors
from avih.manifest import write_manifest
from avih.naming import ShardAddress, Store
from avih.scanning import COLUMNS
from avih.settings import ProtectSettings, RunSettings
from avih.shards import Sample, file_sha256, write_shard
from tasks import opened
from tasks.audit_policy import PromotionPolicy, save_policy
from tasks.drill_record import LABEL, drill_path
from tasks.erased import remember_erased
from tasks.records import RecogniserChoice
from tasks.rotation_plan import RotationPlan, save_plan
from tasks.run_record import RunRecord, save_run
from tasks.signed_json import write_signed

GALLERY, VERSION = "people", "v0001"
WORDS: Final = "five small words for trying"
PASSPHRASE: Final = Passphrase(WORDS.encode())
CHEAP: Final = ScryptCost(log2_n=14)


@contextmanager
def with_passphrase() -> Iterator[None]:
    """Let the store's passphrase be found while the block runs."""
    with mock.patch.dict(os.environ, {"AVIH_PASSPHRASE": WORDS, "AVIH_KEY_FILE": ""}):
        opened.forget()
        yield
    opened.forget()


@cache
def store_files() -> dict[str, bytes]:
    """Return the files of the store by their path in it."""
    with tempfile.TemporaryDirectory() as folder, with_passphrase():
        store = Store(Path(folder))
        _fill(store)
        paths = [path for path in store.root.rglob("*") if path.is_file() and path.name != ".lock"]
        return {str(path.relative_to(store.root)): path.read_bytes() for path in paths}


@cache
def key_id() -> str:
    """Return the id of the store's first key."""
    return next(Path(name).stem for name in store_files() if name.endswith(".key") and "vault" not in name)


def write_store(folder: Path) -> Store:
    """Write the store into a folder."""
    for name, data in store_files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return Store(folder)


def _fill(store: Store) -> None:
    vault = Vault(store.keys, PASSPHRASE, cost=CHEAP)
    mac_key = vault.mac_key()
    keys = KeyStore(store.keys, PASSPHRASE, cost=CHEAP)
    generator = canonical_safetensors(
        {"a": torch.tensor([3.0, 1.5])}, {"architecture": "none", "options": "{}"}
    )
    key = Key.create(generator_bytes=generator, recipe={"architecture": "none"}, training_seed=None)
    keys.add(key, actor="trial", reason="trial", recovery="sealed")
    keys.transition(key.key_id, "active", actor="trial", reason="trial")
    LeakBudget(store.keys, key.key_id, PASSPHRASE).reserve(shard=f"{GALLERY}/{VERSION}/0", images=2)
    _gallery(store, key.key_id, mac_key)
    remember_erased(store=store, gallery=GALLERY, person_mac="0" * 32, mac_key=mac_key)
    save_policy(store, GALLERY, PromotionPolicy())
    plan = {"gallery": GALLERY, "old_version": VERSION, "old_key": key.key_id, "recovery": "sealed",
            "version": "v0002", "reason": "trial", "began": "2026-01-01T00:00:00+00:00"}  # fmt: skip
    save_plan(store, RotationPlan.model_validate(plan))
    drill = {"gallery": GALLERY, "version": VERSION, "key_id": key.key_id, "code_version": "0",
             "time": "2026-01-01T00:00:00+00:00", "threshold": 0.5, "protected": 2, "sample": 2, "compared": 2,
             "stand_ins": 0, "exact": True, "mean_ssim_d": 1.0, "lowest_ssim_d": 1.0, "passed": True}  # fmt: skip
    write_signed(drill_path(store, gallery=GALLERY, version=VERSION), drill, mac_key=mac_key, label=LABEL)
    record = RunRecord(gallery=GALLERY, version=VERSION, source="/photos", key_id=key.key_id,
                       recogniser=RecogniserChoice(card="synthetic"), settings=RunSettings())  # fmt: skip
    save_run(record, store=store)


def _gallery(store: Store, key: str, mac_key: bytes) -> None:
    """Write an index and a shard of two pictures, sign them, and let them go live."""
    names = [f"person__photo_{number}" for number in range(2)]
    rows = [(name, "person", f"person/{name}.jpg", "indexed", "", "0" * 32, 0) for name in names]
    write_index(
        store=store, gallery=GALLERY, version=VERSION, pieces=[pd.DataFrame(rows, columns=list(COLUMNS))]
    )
    picture = encode_png(np.zeros((8, 8, 3), np.uint8))
    samples = [Sample(name, {"json": b'{"nonce": "v0001/a/b"}', "png": picture}) for name in names]
    table = pd.DataFrame(
        {"image_id": name, "person": "person", "status": "protected", "reason": "",
         "file_sha256": file_sha256({"png": picture})} for name in names
    )  # fmt: skip
    settings = ProtectSettings()
    write_shard(store=store, address=ShardAddress("protected", GALLERY, VERSION, 0, key), samples=samples,
                rows=table, settings=settings, inputs_sha256="0" * 64, key_id=key, recogniser="face",
                mac_key=mac_key)  # fmt: skip
    manifest = write_manifest(store=store, gallery=GALLERY, version=VERSION, key_id=key, numbers=[0],
                              recogniser="face", method="avih", recovery="sealed", settings=settings,
                              mac_key=mac_key)  # fmt: skip
    promote(store=store, gallery=GALLERY, version=VERSION, key_id=key, manifest_sha256=manifest.digest(),
            actor="trial", reason="trial", mac_key=mac_key, expected=None)  # fmt: skip
