"""Checking a protected version against its manifest: every problem is named, none stops the check."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from avih.errors import IntegrityError
from avih.manifest.record import MANIFEST_FILE, Manifest, parse, read_manifest
from avih.naming import ShardAddress, Store
from avih.shards import read_done, shard_problems
from avih.verifying import Problem

_SHARD_FILE: Final = re.compile(r"(\d{5,})\.(tar|parquet|done\.json)")
_SHARD_LIKE: Final = (".tar", ".parquet", ".done.json")


def verify_gallery(
    *, store: Store, gallery: str, version: str, key_id: str, mac_key: bytes | None
) -> list[str]:
    """Read a protected version whole and name every problem; an empty list means that it is what was signed.

    Raises:
        UsageError: the key is not 32 bytes long.
    """
    found = version_problems(store=store, gallery=gallery, version=version, key_id=key_id, mac_key=mac_key)
    return [problem.says for problem in found]


def version_problems(
    *,
    store: Store,
    gallery: str,
    version: str,
    key_id: str,
    mac_key: bytes | None,
    reads: Callable[[ShardAddress], bool] = lambda _: True,
) -> list[Problem]:
    """Name every problem of a protected version with its file.

    Args:
        store: where.
        gallery: its name.
        version: the version's name.
        key_id: its key.
        mac_key: checks the signature; without it nothing proves who wrote the manifest.
        reads: which shards' tars are read; of the others only the size is looked at.

    Raises:
        UsageError: the key is not 32 bytes long.
    """
    at: dict[str, Any] = {"store": store, "gallery": gallery, "version": version, "key_id": key_id}
    folder = store.folder("protected", gallery=gallery, version=version, key_id=key_id)
    path = folder / MANIFEST_FILE
    problems: list[Problem] = []
    manifest: Manifest | None
    try:
        manifest = read_manifest(**at, mac_key=mac_key)
    except IntegrityError as error:
        # The shards are still compared with what is there, so that one run names all that is wrong.
        problems.append(_named(store, path, str(error)))
        manifest = _readable(path, (gallery, version, key_id))
    signed = {shard.number: shard.done_sha256 for shard in manifest.shards} if manifest else {}
    if manifest:
        added = unlisted(folder, set(signed))
        problems += [_named(store, folder / text.partition(":")[0], text) for text in added]
    numbers = sorted(signed) if manifest else sorted(_numbers(folder))
    counts: Counter[str] = Counter()
    for number in numbers:
        address = ShardAddress("protected", gallery, version, number, key_id)
        if manifest:
            problems += _other_shard(store, address, signed)
        problems += (found := shard_problems(store, address, read_tar=reads(address)))
        record = None if found else read_done(store, address)
        counts.update(record.counts if record else {})
    if manifest and not problems and dict(counts) != manifest.counts:
        text = f"the manifest counts {manifest.counts}, its shards hold {dict(sorted(counts.items()))}"
        problems.append(_named(store, path, text))
    return problems


def _named(store: Store, path: Path, says: str) -> Problem:
    what = "manifest" if path.name == MANIFEST_FILE else "protected shard"
    return Problem(what, str(path.relative_to(store.root)), says)


def _other_shard(store: Store, address: ShardAddress, signed: dict[int, str]) -> list[Problem]:
    """Compare a shard's done file with the one that was signed, and say whose it is instead."""
    name, path = f"shard {address.name}", store.shard(address, "done.json")
    try:
        got = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return [_named(store, path, f"{name}: signed in the manifest, but not there")]
    if got == signed[address.number]:
        return []
    twin = next((number for number, digest in signed.items() if digest == got), None)
    if twin is not None:
        return [_named(store, path, f"{name}: holds what was signed as shard {twin:05d}")]
    text = f"{name}: not the shard that was signed (altered, older, or from another gallery)"
    return [_named(store, path, text)]


def unlisted(folder: Path, numbers: set[int]) -> list[str]:
    """Name the shard files in a folder that belong to none of these shards."""
    expected = {f"{number:05d}{ending}" for number in numbers for ending in _SHARD_LIKE}
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [
        f"{name}: not in the manifest; somebody added it"
        for name in found
        if name.lower().endswith(_SHARD_LIKE) and name not in expected
    ]


def _numbers(folder: Path) -> set[int]:
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return {int(match[1]) for match in map(_SHARD_FILE.fullmatch, names) if match}


def _readable(path: Path, place: tuple[str, str, str]) -> Manifest | None:
    """Return what a manifest of this place says, whoever signed it."""
    try:
        manifest, _ = parse(path)
    except IntegrityError:
        return None
    return manifest if (manifest.gallery, manifest.version, manifest.key_id) == place else None
