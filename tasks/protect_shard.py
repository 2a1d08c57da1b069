"""Protect stage: hide every aligned face of one shard and store it with its nonce."""

import json
import time
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from avih.atomic import write_json
from avih.carry_over import Carried, carry_over, earlier_shard, made_alike
from avih.errors import UsageError
from avih.evaluation.metrics import ssim
from avih.images import decode_png, encode_png
from avih.keys import LeakBudget
from avih.naming import ShardAddress
from avih.protection import Picture, Protected, Protector, recover
from avih.settings import ProtectSettings
from avih.shards import DoneRecord, Sample, file_sha256, read_done, read_rows, shard_state, write_shard
from tasks import opened
from tasks.originals import aligned_address, in_batches, iter_originals
from tasks.progress import advance
from tasks.records import Place, ShardRecord

COLUMNS = ("nonce", "file_sha256", "cos", "ssim_d", "steps")  # what protecting adds to an aligned row


def protected_address(place: Place, key_id: str, number: int) -> ShardAddress:
    """Name a protected shard."""
    return ShardAddress("protected", place.gallery, place.version, number, key_id)


def nonce_of(files: Mapping[str, bytes]) -> str:
    """Read the nonce that is stored beside a protected picture, from the files of its sample."""
    return str(json.loads(files["json"])["nonce"])


def protect_shard(*, place: Place, key_id: str, number: int, settings: ProtectSettings) -> ShardRecord:
    """Protect one shard unless it is done; needs an active key with enough of its leak budget left.

    What an earlier version holds of the same photo under the same key is taken over byte for byte.
    """
    store, address = place.folder, protected_address(place, key_id, number)
    aligned = read_done(store, aligned_address(place, number))
    if aligned is None:
        raise UsageError(
            f"Expected aligned shard {number} of {place.gallery} {place.version}, got none. Run avih run first."
        )
    inputs = aligned.digest()
    recogniser = opened.recogniser(place.recogniser, store.root)
    made_with: dict[str, Any] = {
        "settings": settings,
        "inputs_sha256": inputs,
        "recogniser": recogniser.fingerprint,
    }
    if shard_state(store, address, **made_with) == "done":
        done = read_done(store, address)
        counts = dict(done.counts) if done else {}
        advance("protect", sum(counts.values()))
        return ShardRecord(number=number, counts=counts, made=False)
    rows = read_rows(store, aligned_address(place, number))
    carried = _carried(place, address, aligned, rows, settings, recogniser.fingerprint)
    key, generator = opened.key(store.root, key_id=key_id, purpose="protect")
    _reserve(place, key_id, number, images=aligned.samples - len(carried.files))
    protector = Protector(key.secret.reveal(), generator, recogniser, settings, place.version)
    began = time.perf_counter()
    table, samples = _protect(place, key_id, number, rows, protector, carried)
    seconds = time.perf_counter() - began
    done = write_shard(store=store, address=address, samples=samples, rows=table, key_id=key_id, **made_with)
    # Kept apart: times differ between runs, and the same input must give the same shard bytes.
    images = len(samples) - len(carried.files)
    write_json(store.shard(address, "timing.json"), {"seconds": seconds, "images": images})
    return ShardRecord(number=number, counts=dict(done.counts), made=True, seconds=seconds)


def _carried(
    place: Place,
    address: ShardAddress,
    aligned: DoneRecord,
    rows: pd.DataFrame,
    settings: ProtectSettings,
    recogniser: str,
) -> Carried:
    """Take over pictures that an earlier version protected in the same way from the same aligned faces."""
    store, alike = place.folder, made_alike(settings, recogniser)

    def fits(candidate: ShardAddress, record: DoneRecord) -> bool:
        before = read_done(store, replace(candidate, stage="aligned", key_id=None))
        return alike(record) and before is not None and before.settings_sha256 == aligned.settings_sha256

    now = dict(zip(rows.image_id, zip(rows.content_mac, rows.status, strict=True), strict=True))
    return carry_over(
        store,
        earlier_shard(store, address, fits=fits),
        same=lambda row: now.get(row["image_id"]) == (row["content_mac"], "aligned"),
    )


def _reserve(place: Place, key_id: str, number: int, *, images: int) -> None:
    """Count the shard's new images against the key's leak budget before any of them is made."""
    shard = f"{place.gallery}/{place.version}/{number:05d}"
    LeakBudget(place.folder.keys, key_id).reserve(shard=shard, images=images)


def _protect(
    place: Place, key_id: str, number: int, aligned: pd.DataFrame, protector: Protector, carried: Carried
) -> tuple[pd.DataFrame, list[Sample]]:
    rows = {row["image_id"]: dict(row) for row in aligned.to_dict("records")}
    samples = [Sample(key=name, files=files) for name, files in carried.files.items()]
    for name in carried.files:
        rows[name] |= {field: carried.rows[name][field] for field in ("status", "reason", *COLUMNS)}
    fresh = ((name, x) for name, x in iter_originals(place, number) if name not in carried.files)
    advance("protect", len(carried.files))
    for images, pictures in in_batches(fresh, protector.settings.batch_size):
        finished = protector.protect(
            pictures=pictures, images=images, progress=lambda done: advance("protect", done)
        )
        for image, picture, hidden in zip(images, pictures, finished, strict=True):
            png = encode_png(hidden.pixels)
            label = {"gallery": place.gallery, "version": place.version, "key_id": key_id, "nonce": hidden.nonce,
                     "recovery": protector.settings.recovery, "person": rows[image]["person"]}  # fmt: skip
            files = {"png": png, "json": json.dumps(label, sort_keys=True).encode()}
            samples.append(Sample(key=image, files=files))
            rows[image] |= _judged(protector, picture, hidden, png)
    advance("protect", len(rows) - len(samples))
    table = pd.DataFrame(list(rows.values())).drop(columns=["confidence"])
    return table.reindex(columns=[*table.columns, *(c for c in COLUMNS if c not in table.columns)]), samples


def _judged(protector: Protector, picture: Picture, hidden: Protected, png: bytes) -> dict[Hashable, object]:
    """Return the row fields of one protected image, measured on the bytes that are stored."""
    recovered = recover(
        stored=[decode_png(png)],
        nonces=[hidden.nonce],
        secret=protector.secret,
        generator=protector.generator,
        recovery=protector.settings.recovery,
    )[0]
    similarity = ssim(picture, recovered)
    settings = protector.settings
    reasons = []
    if hidden.cosine < settings.minimum_cosine:
        reasons.append(f"cos {hidden.cosine:.3f} below {settings.minimum_cosine}")
    if similarity < settings.minimum_ssim_d:
        reasons.append(f"SSIM_d {similarity:.3f} below {settings.minimum_ssim_d}")
    return {
        "status": "below_quality" if reasons else "protected",
        "reason": "; ".join(reasons),
        "nonce": hidden.nonce,
        "file_sha256": file_sha256({"png": png}),
        "cos": hidden.cosine,
        "ssim_d": similarity,
        "steps": hidden.steps,
    }
