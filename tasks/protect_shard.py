"""Protect stage: hide every aligned face of one shard by the gallery's method and store it with its nonce."""

import json
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from avih.atomic import write_json
from avih.carry_over import Carried, carry_over, earlier_shard, made_alike
from avih.errors import UsageError
from avih.evaluation.metrics import ssim
from avih.images import decode_png, encode_png
from avih.keys import LeakBudget
from avih.loop import Hidden, Job
from avih.methods.pipeline import Build, Entry, Finished, Hider, Portrait, Work
from avih.methods.registry import pipeline_of
from avih.naming import ShardAddress
from avih.recognisers import Recogniser
from avih.recovery import Opening, Stored, check_recovery
from avih.settings import ProtectSettings
from avih.shards import DoneRecord, Sample, file_sha256, read_done, read_rows, write_shard
from avih.trusted import read_trusted, trusted_state
from tasks import opened
from tasks.originals import aligned_address, iter_originals
from tasks.progress import advance
from tasks.records import Place, ShardRecord
from tasks.shared_batch import shared_batch

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
    mac_key = opened.vault(store.root).mac_key()
    aligned = read_trusted(store, aligned_address(place, number), mac_key=mac_key)
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
        "mac_key": mac_key,
    }
    if trusted_state(store, address, **made_with) == "done":
        done = read_done(store, address)
        counts = dict(done.counts) if done else {}
        advance("protect", sum(counts.values()))
        return ShardRecord(number=number, counts=counts, made=False)
    rows = read_rows(store, aligned_address(place, number), record=aligned)
    carried = _carried(place, address, aligned, rows, settings, recogniser.fingerprint, mac_key)
    bench = _bench(place, key_id, recogniser, settings)
    refused = bench.hider.refused(_entries(rows, carried))
    _reserve(place, key_id, number, images=aligned.samples - len(carried.files) - len(refused))
    table, samples, seconds = _protect(place, key_id, number, rows, bench, carried, refused)
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
    mac_key: bytes,
) -> Carried:
    """Take over pictures that an earlier version protected in the same way from the same aligned faces."""
    store, alike = place.folder, made_alike(settings, recogniser)

    def fits(candidate: ShardAddress, record: DoneRecord) -> bool:
        before = read_done(store, replace(candidate, stage="aligned", key_id=None))
        return alike(record) and before is not None and before.settings_sha256 == aligned.settings_sha256

    # Whom it shows is part of the photo: the label beside the picture names the person, and so may the veil.
    named = zip(rows.content_mac, rows.person.fillna(""), rows.status, strict=True)
    now = dict(zip(rows.image_id, named, strict=True))
    return carry_over(
        store,
        earlier_shard(store, address, fits=fits, mac_key=mac_key),
        same=lambda row: (
            now.get(row["image_id"])
            == (row["content_mac"], "" if pd.isna(row["person"]) else row["person"], "aligned")
        ),
    )


@dataclass(frozen=True, repr=False)
class _Bench:
    """The method at work, what brings its pictures back, and its settings."""

    hider: Hider
    key: Opening
    settings: ProtectSettings


def _bench(place: Place, key_id: str, recogniser: Recogniser, settings: ProtectSettings) -> _Bench:
    """Open an active key and put the method to work with it."""
    key = opened.opening(place, key_id=key_id, recovery=settings.recovery, purpose="protect")
    check_recovery(settings.recovery, key.generator)
    same = (place.store, place.recogniser, key_id, settings.digest())

    def shared(build: Build, jobs: Iterator[Job], *, ahead: int) -> Iterator[Hidden]:
        """Hide in the batch that this process's shards share."""
        return shared_batch(same, build).hide(jobs, ahead=ahead)

    work = Work(
        key.secret, key.generator, recogniser, settings, place.version, veils=key.veils, optimise=shared
    )
    return _Bench(pipeline_of(settings.method).hider(work), key, settings)


def _entries(rows: pd.DataFrame, carried: Carried) -> list[Entry]:
    """Return the rows of the faces that nothing is taken over of."""
    fresh = rows[(rows.status == "aligned") & ~rows.image_id.isin(list(carried.files))]
    named = zip(fresh.image_id, fresh.person.fillna(""), fresh.content_mac, strict=True)
    return [Entry(str(image), str(person), str(mac)) for image, person, mac in named]


def _reserve(place: Place, key_id: str, number: int, *, images: int) -> None:
    """Count the shard's new images against the key's leak budget before any of them is made."""
    shard = f"{place.gallery}/{place.version}/{number:05d}"
    LeakBudget(place.folder.keys, key_id).reserve(shard=shard, images=images)


def _protect(
    place: Place,
    key_id: str,
    number: int,
    aligned: pd.DataFrame,
    bench: _Bench,
    carried: Carried,
    refused: Mapping[str, str],
) -> tuple[pd.DataFrame, list[Sample], float]:
    """Return the shard's rows, its samples, and the seconds that its images took of the method."""
    rows = {row["image_id"]: dict(row) for row in aligned.to_dict("records")}
    samples = [Sample(key=name, files=files) for name, files in carried.files.items()]
    for name in carried.files:
        rows[name] |= {field: carried.rows[name][field] for field in ("status", "reason", *COLUMNS)}
    for name, reason in refused.items():
        rows[name] |= {"status": "skipped", "reason": reason}
    advance("protect", len(carried.files))
    left_out = {*carried.files, *refused}
    fresh = (
        Portrait(name, str(rows[name]["person"] or ""), picture)
        for name, picture in iter_originals(place, number)
        if name not in left_out
    )
    seconds = 0.0
    for done in bench.hider.hide(fresh):
        image, protected = done.portrait.image, done.protected
        png = encode_png(protected.pixels)
        label = {"gallery": place.gallery, "version": place.version, "key_id": key_id, "nonce": protected.nonce,
                 "method": bench.settings.method, "recovery": bench.settings.recovery,
                 "person": rows[image]["person"]}  # fmt: skip
        files = {"png": png, "json": json.dumps(label, sort_keys=True).encode()}
        if protected.sealed is not None:
            files["sealed"] = protected.sealed
        samples.append(Sample(key=image, files=files))
        rows[image] |= _judged(bench, done, png)
        seconds += done.seconds
        advance("protect")
    advance("protect", len(rows) - len(samples))
    table = pd.DataFrame(list(rows.values())).drop(columns=["confidence"])
    table = table.reindex(columns=[*table.columns, *(c for c in COLUMNS if c not in table.columns)])
    return table, samples, seconds


def _judged(bench: _Bench, done: Finished, png: bytes) -> dict[Hashable, object]:
    """Return the row fields of one protected image, measured on the bytes that are stored."""
    portrait, protected, settings = done.portrait, done.protected, bench.settings
    stored = Stored(portrait.image, decode_png(png), protected.nonce, protected.sealed, portrait.person)
    (recovered,) = bench.key.recover([stored], settings.recovery)
    similarity = ssim(portrait.pixels, recovered)
    reasons = []
    # Asked this way round, NaN is below both.
    if not protected.cosine >= settings.minimum_cosine:
        reasons.append(f"cos {protected.cosine:.3f} below {settings.minimum_cosine}")
    if not similarity >= settings.minimum_ssim_d:
        reasons.append(f"SSIM_d {similarity:.3f} below {settings.minimum_ssim_d}")
    return {
        "status": "below_quality" if reasons else "protected",
        "reason": "; ".join(reasons),
        "nonce": protected.nonce,
        "file_sha256": file_sha256({"png": png}),
        "cos": protected.cosine,
        "ssim_d": similarity,
        "steps": protected.steps,
    }
