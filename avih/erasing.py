"""Take a person out of stored shards, and sign what is left."""

from typing import Any

import pandas as pd
from pydantic import RootModel

from avih.atomic import remove
from avih.errors import IntegrityError
from avih.manifest import read_manifest, write_manifest
from avih.naming import ShardAddress, Store
from avih.shards import DoneRecord, iter_samples, read_done, read_rows, write_shard
from avih.trusted import read_trusted

SHARD_FILES = ("done.json", "tar", "parquet", "timing.json")


class AsStored(RootModel[dict[str, Any]]):
    """Settings as a done file holds them: writing a shard again with them keeps their digest."""


def belongs_to(rows: pd.DataFrame, person: str) -> "pd.Series[bool]":
    """Mark the rows of a person, entries that were skipped in the person's folder included."""
    return (rows.person == person) | rows.path.str.startswith(f"{person}/")


def rewrite_shard(
    *, store: Store, into: Store, address: ShardAddress, person: str, inputs_sha256: str, mac_key: bytes
) -> DoneRecord:
    """Write a shard again without a person, into another store; the shard itself stays as it is.

    Args:
        store: where the shard is.
        into: where it is written.
        address: which shard.
        person: whom to leave out.
        inputs_sha256: digest of what the shard is made from once the person is left out.
        mac_key: signs the new shard if this store made the old one; of another's nothing is vouched for.

    Raises:
        IntegrityError: there is no such shard, or it is damaged.
    """
    before = read_done(store, address)
    if before is None:
        raise IntegrityError(
            f"Expected shard {address.name} of {address.version}, got none. Verify the gallery."
        )
    ours = read_trusted(store, address, mac_key=mac_key) == before
    rows = read_rows(store, address, record=before)
    others = rows[~belongs_to(rows, person)].reset_index(drop=True)
    names = set(others.image_id)
    return write_shard(
        store=into, address=address, rows=others, settings=AsStored(before.settings),
        samples=[sample for sample in iter_samples(store, address, record=before) if sample.key in names],
        inputs_sha256=inputs_sha256, key_id=before.key_id, recogniser=before.recogniser,
        mac_key=mac_key if ours else None,
    )  # fmt: skip


def is_interrupted(store: Store, address: ShardAddress) -> bool:
    """Tell whether there are files of a shard that do not make up a shard: a writer of it was cut short."""
    there = any(store.shard(address, ending).exists() for ending in ("done.json", "tar", "parquet"))
    return there and read_done(store, address) is None


def remove_shard(*, store: Store, address: ShardAddress) -> None:
    """Remove a shard's files, the done file first: without it the shard does not exist."""
    for ending in SHARD_FILES:
        remove(store.shard(address, ending))


def sign_again(
    *, store: Store, gallery: str, version: str, key_id: str, numbers: list[int], mac_key: bytes
) -> str:
    """Sign a version anew over the shards that are left, and return the new manifest's digest."""
    at: dict[str, Any] = {"store": store, "gallery": gallery, "version": version, "key_id": key_id}
    before = read_manifest(**at, mac_key=mac_key)
    first = read_done(store, ShardAddress("protected", gallery, version, numbers[0], key_id))
    if first is None:
        raise IntegrityError(
            f"Expected shard {numbers[0]} of {gallery} {version}, got none. Verify the gallery."
        )
    manifest = write_manifest(
        **at, mac_key=mac_key, numbers=numbers, recogniser=before.recogniser, method=before.method,
        recovery=before.recovery, settings=AsStored(first.settings),
    )  # fmt: skip
    return manifest.digest()
