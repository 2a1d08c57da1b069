"""Rotate stage without sealed originals: what the old key recovers becomes the originals of the new version."""

from typing import Any

import pandas as pd

from avih.errors import IntegrityError
from avih.images import encode_png
from avih.index_file import read_index, rows_digest
from avih.naming import ShardAddress
from avih.settings import AlignSettings, Recovery
from avih.shards import Sample, iter_samples, read_rows, write_shard
from avih.trusted import read_trusted, trusted_state
from tasks import opened
from tasks.align_shard import sealed_name
from tasks.originals import aligned_address
from tasks.progress import advance
from tasks.protect_shard import COLUMNS, protected_address
from tasks.records import Place, ShardRecord
from tasks.stored import stored_of

NOTE = "recovered from a protected picture"
EXACT: tuple[Recovery, ...] = ("sealed", "inverse")
EXACT_NOTE = "opened from the sealed copy of an earlier version: exact"


def seal_recovered(
    *, place: Place, old: Place, old_key: str, number: int, recovery: Recovery, settings: AlignSettings
) -> ShardRecord:
    """Write one aligned shard of version ``place`` from what ``old_key`` recovers of version ``old``.

    The loss is that of one recovery, none for sealed ones; the row of each picture says so and keeps its SSIM_d.

    Raises:
        IntegrityError: the old shard holds other photos, is damaged, or nothing proves that this store made it.
    """
    store = place.folder
    address: ShardAddress = aligned_address(place, number)
    rows = read_index(store=store, gallery=place.gallery, version=place.version, shard=number)
    mac_key = opened.vault(store.root).mac_key()
    made_from: dict[str, Any] = {"settings": settings, "inputs_sha256": rows_digest(rows), "mac_key": mac_key}
    if trusted_state(store, address, **made_from) == "done":
        advance("align", len(rows))
        return ShardRecord(number=number, counts=rows.status.value_counts().to_dict(), made=False)
    source = protected_address(old, old_key, number)
    record = read_trusted(store, source, mac_key=mac_key)
    if record is None:
        raise IntegrityError(
            f"Expected protected shard {number} of {old.gallery} {old.version} as this store made it, got none. "
            "Verify the old version; bring the shard back from a backup, then rotate again."
        )
    before = read_rows(store, source, record=record)
    if set(before.image_id) != set(rows.image_id):
        raise IntegrityError(
            f"Expected the photos of {place.version} shard {number} in {old.version}, got others. "
            "Verify the old version; rotate again."
        )
    key = opened.opening(old, key_id=old_key, recovery=recovery, purpose="recover")
    vault = opened.vault(store.root).for_gallery(place.gallery)
    macs = before.set_index("image_id").content_mac.to_dict()
    samples = []
    for sample in iter_samples(store, source, record=record):
        (picture,) = key.recover([stored_of(sample.key, sample.files)], recovery)
        blob = vault.seal(encode_png(picture), name=sealed_name(macs[sample.key], sample.key))
        samples.append(Sample(key=sample.key, files={"sealed": blob}))
        advance("align")
    table = _aligned_rows(before, {sample.key for sample in samples}, exact=recovery in EXACT)
    done = write_shard(store=store, address=address, samples=samples, rows=table, **made_from)
    return ShardRecord(number=number, counts=dict(done.counts), made=True)


def _aligned_rows(before: pd.DataFrame, recovered: set[str], *, exact: bool) -> pd.DataFrame:
    """Turn rows of a protected shard back into rows of an aligned one."""
    table = before.drop(columns=list(COLUMNS)).assign(confidence=float("nan"))
    back = table.image_id.isin(recovered)
    loss = before.ssim_d.map(lambda value: EXACT_NOTE if exact else f"{NOTE}, SSIM_d {value:.3f}")
    table.loc[back, "status"] = "aligned"
    table.loc[back, "reason"] = ""
    table.loc[back, "note"] = loss[back]
    return table
