"""Protect stage: hide every aligned face of one shard and store it with its nonce."""

import json
import time
from collections.abc import Hashable

import pandas as pd

from avih.atomic import write_json
from avih.errors import UsageError
from avih.evaluation.metrics import ssim
from avih.images import decode_png, encode_png
from avih.naming import ShardAddress
from avih.protection import Picture, Protected, Protector, recover
from avih.settings import ProtectSettings
from avih.shards import Sample, file_sha256, read_done, read_rows, shard_state, write_shard
from tasks import opened
from tasks.originals import aligned_address, in_batches, iter_originals
from tasks.progress import advance
from tasks.records import Place, ShardRecord


def protected_address(place: Place, key_id: str, number: int) -> ShardAddress:
    """Name a protected shard."""
    return ShardAddress("protected", place.gallery, place.version, number, key_id)


def protect_shard(*, place: Place, key_id: str, number: int, settings: ProtectSettings) -> ShardRecord:
    """Protect one shard unless it is done; needs an active key."""
    store, address = place.folder, protected_address(place, key_id, number)
    aligned = read_done(store, aligned_address(place, number))
    if aligned is None:
        raise UsageError(
            f"Expected aligned shard {number} of {place.gallery} {place.version}, got none. Run avih run first."
        )
    inputs = aligned.digest()
    recogniser = opened.recogniser(place.recogniser, store.root)
    if (
        shard_state(
            store, address, settings=settings, inputs_sha256=inputs, recogniser=recogniser.fingerprint
        )
        == "done"
    ):
        done = read_done(store, address)
        counts = dict(done.counts) if done else {}
        advance("protect", sum(counts.values()))
        return ShardRecord(number=number, counts=counts, made=False)
    key, generator = opened.key(store.root, key_id=key_id, purpose="protect")
    protector = Protector(key.secret.reveal(), generator, recogniser, settings, place.version)
    began = time.perf_counter()
    table, samples = _protect(place, key_id, number, protector)
    seconds = time.perf_counter() - began
    done = write_shard(
        store=store,
        address=address,
        samples=samples,
        rows=table,
        settings=settings,
        inputs_sha256=inputs,
        key_id=key_id,
        recogniser=recogniser.fingerprint,
    )
    # Kept apart: times differ between runs, and the same input must give the same shard bytes.
    write_json(store.shard(address, "timing.json"), {"seconds": seconds, "images": len(samples)})
    return ShardRecord(number=number, counts=dict(done.counts), made=True, seconds=seconds)


def _protect(
    place: Place, key_id: str, number: int, protector: Protector
) -> tuple[pd.DataFrame, list[Sample]]:
    found = read_rows(place.folder, aligned_address(place, number))
    rows = {row["image_id"]: dict(row) for row in found.to_dict("records")}
    samples = []
    size = protector.settings.batch_size
    for images, pictures in in_batches(iter_originals(place, number), size):
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
    columns = ("nonce", "file_sha256", "cos", "ssim_d", "steps")
    return table.reindex(columns=[*table.columns, *(c for c in columns if c not in table.columns)]), samples


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
