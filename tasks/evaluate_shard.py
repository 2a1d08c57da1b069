"""Evaluate stage: measure every protected image of one shard from its stored file."""

import hashlib
import secrets
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from avih.atomic import atomic_file
from avih.errors import AvihError, IntegrityError, KeyRefused
from avih.evaluation.lpips_metric import Lpips, Unavailable
from avih.evaluation.metrics import ssim
from avih.images import to_tensor
from avih.json_text import read_json
from avih.keys import KeyStore
from avih.mirror.seam import local
from avih.naming import ShardAddress, Store
from avih.recovery import Picture, Stored, recover
from avih.settings import Recovery
from avih.shards import iter_samples, read_done, read_rows
from avih.veils.veil import NoiseVeils, Veils
from tasks import opened
from tasks.originals import in_batches, iter_originals
from tasks.progress import advance
from tasks.protect_shard import protected_address
from tasks.records import Place, ShardRecord
from tasks.signed_json import MEASURED_LABEL, read_signed, write_signed
from tasks.stored import stored_of

BATCH = 32
METRICS = ("ssim_e", "ssim_d", "lpips_e", "lpips_d", "cos", "wrong_key_ssim_d", "seconds", "steps")


def evaluated_address(place: Place, key_id: str, number: int) -> ShardAddress:
    """Name the measurements of a protected shard."""
    return ShardAddress("evaluated", place.gallery, place.version, number, key_id)


def evaluate_shard(
    *, place: Place, key_id: str, number: int, recovery: Recovery, lpips_backbone: str | None
) -> ShardRecord:
    """Measure one shard unless its measurements are there and belong to the stored shard."""
    store = place.folder
    done = read_done(store, protected_address(place, key_id, number))
    if done is None:
        raise IntegrityError(
            f"Expected protected shard {number} of {place.gallery} {place.version}, got none. Run avih protect."
        )
    address = evaluated_address(place, key_id, number)
    lpips = Lpips.load(Path(lpips_backbone) if lpips_backbone else None)
    inputs = f"{done.digest()} lpips={lpips.backbone_sha256 if isinstance(lpips, Lpips) else None}"
    mac_key = opened.vault(store.root).mac_key()
    if measured_from(store, address, mac_key=mac_key) == inputs:
        advance("evaluate", done.rows)
        return ShardRecord(number=number, counts=dict(done.counts), made=False)
    table = _measure(place, key_id, number, recovery, lpips)
    write_measured(store, address, table, inputs=inputs, mac_key=mac_key)
    return ShardRecord(number=number, counts=dict(done.counts), made=True)


def _measure(
    place: Place, key_id: str, number: int, recovery: Recovery, lpips: Lpips | Unavailable
) -> pd.DataFrame:
    store, address = place.folder, protected_address(place, key_id, number)
    rows = {row["image_id"]: dict(row) for row in read_rows(store, address).to_dict("records")}
    stored = {sample.key: sample.files for sample in iter_samples(store, address)}
    gauge = _Gauge(place, key_id, recovery, lpips)
    seconds = _seconds_per_image(store.shard(address, "timing.json"))
    originals = ((name, picture) for name, picture in iter_originals(place, number) if name in stored)
    for names, pictures in in_batches(originals, BATCH):
        samples = [stored_of(name, stored[name]) for name in names]
        for name, measured in zip(names, gauge.measure(pictures, samples), strict=True):
            rows[name] |= measured | {"seconds": seconds}
            advance("evaluate")
    advance("evaluate", len(rows) - len(stored))
    table = pd.DataFrame(list(rows.values()))
    wanted = [*METRICS, "feature_original", "feature_protected"]
    return table.reindex(columns=[*table.columns, *(c for c in wanted if c not in table.columns)])


def write_measured(
    store: Store, address: ShardAddress, table: pd.DataFrame, *, inputs: str, mac_key: bytes
) -> None:
    """Write the measurements of a shard, then the signed record that says what is in them and of what."""
    path = store.shard(address, "parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path, mode=0o600) as temporary:
        table.to_parquet(temporary, index=False)
    content = {"inputs": inputs, "rows": len(table), "sha256": _sha256(path)}
    write_signed(store.shard(address, "done.json"), content, mac_key=mac_key, label=MEASURED_LABEL)


def measured_from(store: Store, address: ShardAddress, *, mac_key: bytes) -> str | None:
    """Return what a shard was measured from; None where nothing that this store signed says so of its file.

    Such a shard is measured again: figures decide whether a version goes live, and anybody may write a file.
    """
    try:
        content = read_signed(store.shard(address, "done.json"), mac_key=mac_key, label=MEASURED_LABEL) or {}
        fits = content.get("sha256") == _sha256(store.shard(address, "parquet"))
    except (OSError, IntegrityError):
        return None
    return str(content.get("inputs")) if fits else None


def _sha256(path: Path) -> str:
    with local(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _seconds_per_image(path: Path) -> float | None:
    """Read the shard's timing: None if a kill cost it, or if all was taken over."""
    try:
        timing = read_json(path.read_bytes())
        return float(timing["seconds"]) / int(timing["images"])
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError):
        return None


class _Gauge:
    """Measures batches of stored files of one key."""

    def __init__(self, place: Place, key_id: str, recovery: Recovery, lpips: Lpips | Unavailable) -> None:
        root = place.folder.root
        self.key = opened.opening(place, key_id=key_id, recovery=recovery, purpose="recover")
        self.recovery, self.lpips = recovery, lpips
        self.recogniser = opened.recogniser(place.recogniser, root)
        self.wrong = wrong_key(root, key_id=key_id, recovery=recovery, generator=self.key.generator)

    def measure(self, originals: Sequence[Picture], stored: Sequence[Stored]) -> list[dict[Hashable, object]]:
        """Return the fields of each image, from its bytes on disk."""
        protected = [one.pixels for one in stored]
        recovered = self.key.recover(stored, self.recovery)
        wrong: Sequence[Picture | None] = [None] * len(stored)
        if self.wrong:
            wrong = guess(stored, key=self.wrong, recovery=self.recovery, veils=self.key.veils)
        first, second = self._features(originals), self._features(protected)
        results: list[dict[Hashable, object]] = []
        for i, original in enumerate(originals):
            guessed = wrong[i]
            fields: dict[Hashable, object] = {
                "ssim_e": ssim(original, protected[i]),
                "ssim_d": ssim(original, recovered[i]),
                "cos": float(first[i] @ second[i]),
                "wrong_key_ssim_d": None if guessed is None else ssim(original, guessed),
                "feature_original": first[i],
                "feature_protected": second[i],
            }
            if isinstance(self.lpips, Lpips):
                fields["lpips_e"] = self.lpips(original, protected[i])
                fields["lpips_d"] = self.lpips(original, recovered[i])
            results.append(fields)
        return results

    def _features(self, pictures: Sequence[Picture]) -> np.ndarray:
        with torch.no_grad():
            return self.recogniser(to_tensor(list(pictures))).double().numpy()


def wrong_key(
    root: Path, *, key_id: str, recovery: Recovery, generator: nn.Module
) -> tuple[bytes, nn.Module] | None:
    """Choose a wrong key: the store's other generator for unmixed recovery, a fresh secret for every other.

    Returns:
        Secret and generator, or None when unmixed recovery has no second generator to try.
    """
    if recovery != "unmixed":
        return secrets.token_bytes(32), generator
    keys = KeyStore(Store(root).keys)
    for record in reversed(keys.list()):
        if record.key_id != key_id and record.recovery == recovery:
            try:
                other, network = opened.key(root, key_id=record.key_id, purpose="recover")
            except AvihError:
                continue
            return other.secret.reveal(), network
    return None


def guess(
    stored: Sequence[Stored],
    *,
    key: tuple[bytes, nn.Module],
    recovery: Recovery,
    veils: Veils | None = None,
) -> Sequence[Picture | None]:
    """Recover with a wrong key; None where it is refused, as every sealed copy refuses it.

    Another secret opens no veil: what is taken off is the noise that a veil of that secret begins with, in the
    share that ``veils`` have.
    """
    secret, generator = key
    if recovery != "sealed":
        return recover(
            stored,
            secret=secret,
            generator=generator,
            recovery=recovery,
            veils=NoiseVeils(secret, alike=veils),
        )
    guessed: list[Picture | None] = []
    for one in stored:
        try:
            guessed += recover([one], secret=secret, generator=generator, recovery=recovery)
        except KeyRefused:
            guessed.append(None)
    return guessed
