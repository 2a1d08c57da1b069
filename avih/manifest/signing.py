"""Signing a version: only whole shards, and only those that belong to it."""

from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel

from avih import __version__
from avih.atomic import remove_leftovers, write_bytes
from avih.errors import IntegrityError, UsageError
from avih.manifest.record import MANIFEST_FILE, Manifest, SignedShard, file_bytes, read_manifest
from avih.manifest.verifying import unlisted
from avih.naming import ShardAddress, Store
from avih.shards import read_done, settings_sha256, verify_shard


def write_manifest(
    *,
    store: Store,
    gallery: str,
    version: str,
    key_id: str,
    numbers: Sequence[int],
    recogniser: str,
    method: str,
    recovery: str,
    settings: BaseModel,
    mac_key: bytes,
) -> Manifest:
    """Read a version's shards back, and sign them if they are whole and no other is there.

    A version that was signed by an earlier release and did not change keeps its manifest: it may be promoted.

    Args:
        store: where.
        gallery: its name.
        version: the version's name.
        key_id: the key it was protected with.
        numbers: the shards it must consist of, from the index.
        recogniser: fingerprint of the service model.
        method: protection method.
        recovery: how the originals come back.
        settings: what every shard was made with.
        mac_key: 32 secret bytes.

    Raises:
        IntegrityError: a shard is missing, damaged, made otherwise or by somebody else, or does not belong there.
        UsageError: the key is not 32 bytes long, or a number is given twice.
    """
    if len(set(numbers)) != len(numbers):
        raise UsageError(f"Expected each shard once, got {sorted(numbers)}.")
    folder = store.folder("protected", gallery=gallery, version=version, key_id=key_id)
    remove_leftovers(folder)  # no writer of a shard comes after this
    problems = unlisted(folder, set(numbers))
    before = _signed_before(store=store, gallery=gallery, version=version, key_id=key_id, mac_key=mac_key)
    known = {shard.done_sha256 for shard in before.shards} if before else set()
    counts: Counter[str] = Counter()
    shards = []
    for number in sorted(numbers):
        address = ShardAddress("protected", gallery, version, number, key_id)
        found = verify_shard(store, address)
        record = None if found else read_done(store, address)
        problems += found
        if record is None:
            continue
        made_with = (record.key_id, record.recogniser, record.settings_sha256)
        if made_with != (key_id, recogniser, settings_sha256(settings)):
            problems.append(f"{record.shard}: made with another key, recogniser or settings")
        if not record.is_signed_by(mac_key) and record.file_sha256() not in known:
            problems.append(f"{record.shard}: nothing proves that this store made it")
        counts.update(record.counts)
        shards.append(SignedShard(number=number, done_sha256=record.file_sha256()))
    if problems:
        raise IntegrityError(
            f"Expected whole shards to sign, got: {'; '.join(problems)}. Remove what does not belong there and "
            "run the protect stage again."
        )
    manifest = Manifest(
        gallery=gallery,
        version=version,
        key_id=key_id,
        recogniser=recogniser,
        method=method,
        recovery=recovery,
        settings_sha256=settings_sha256(settings),
        shards=shards,
        counts=dict(sorted(counts.items())),
        code_version=__version__,
    )
    if before and before.model_copy(update={"code_version": manifest.code_version}) == manifest:
        return before
    write_bytes(folder / MANIFEST_FILE, file_bytes(manifest, manifest.signature(mac_key)))
    return manifest


def _signed_before(
    *, store: Store, gallery: str, version: str, key_id: str, mac_key: bytes
) -> Manifest | None:
    """Return the manifest that is there if its signature is right."""
    try:
        return read_manifest(store=store, gallery=gallery, version=version, key_id=key_id, mac_key=mac_key)
    except IntegrityError:
        return None
