"""The signed manifest of a protected gallery version: which shards belong to it, and that nobody slipped one in.

A protected image is a login credential, so a gallery counts only with a manifest whose HMAC-SHA256 (RFC 2104)
is right. It names every shard by the SHA-256 of its done file, which in turn names tar and parquet by theirs.

What it cannot tell: an older gallery put back whole, together with the manifest of that time. Keep
``Manifest.digest()`` of the current one somewhere else to find that too.
"""

import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avih import __version__
from avih.atomic import json_bytes, write_bytes
from avih.errors import IntegrityError, UsageError
from avih.naming import ShardAddress, Store
from avih.shards import read_done, settings_sha256, verify_shard

MANIFEST_FILE: Final = "manifest.json"
FORMAT_VERSION: Final = 1
MAC_KEY_BYTES: Final = 32

_LABEL: Final = b"avih manifest v1\0"
_SHARD_FILE: Final = re.compile(r"(\d{5,})\.(tar|parquet|done\.json)")
_SHARD_LIKE: Final = (".tar", ".parquet", ".done.json")
_RESTORE: Final = "Restore it from a backup, or protect this version again."
_SHA256 = r"^[0-9a-f]{64}$"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SignedShard(_Strict):
    """One shard of a version.

    Attributes:
        number: the shard's number.
        done_sha256: SHA-256 of its done file.
    """

    number: int = Field(ge=0)
    done_sha256: str = Field(pattern=_SHA256)


class Manifest(_Strict):
    """What a version consists of and what it was made with.

    Attributes:
        recogniser: fingerprint of the service model.
        counts: images by status, over all shards.
    """

    format_version: Literal[1] = FORMAT_VERSION
    gallery: str
    version: str
    key_id: str
    recogniser: str
    method: str
    recovery: str
    settings_sha256: str = Field(pattern=_SHA256)
    shards: list[SignedShard]
    counts: dict[str, int]
    code_version: str

    def digest(self) -> str:
        """SHA-256 of the manifest; equal only for the same shards, byte for byte."""
        return hashlib.sha256(json_bytes(self.model_dump())).hexdigest()

    def signature(self, mac_key: bytes) -> str:
        """HMAC-SHA256 of the manifest in hex.

        Raises:
            UsageError: the key is not 32 bytes long.
        """
        if len(mac_key) != MAC_KEY_BYTES:
            raise UsageError(
                f"Expected a key of {MAC_KEY_BYTES} bytes to sign with, got {len(mac_key)} bytes."
            )
        return hmac.new(mac_key, _LABEL + json_bytes(self.model_dump()), hashlib.sha256).hexdigest()


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
        IntegrityError: a shard is missing, damaged, made otherwise, or does not belong there.
        UsageError: the key is not 32 bytes long, or a number is given twice.
    """
    if len(set(numbers)) != len(numbers):
        raise UsageError(f"Expected each shard once, got {sorted(numbers)}.")
    folder = store.folder("protected", gallery=gallery, version=version, key_id=key_id)
    problems = _unlisted(folder, set(numbers))
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
        counts.update(record.counts)
        shards.append(SignedShard(number=number, done_sha256=hashlib.sha256(record.to_bytes()).hexdigest()))
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
    write_bytes(folder / MANIFEST_FILE, _file_bytes(manifest, manifest.signature(mac_key)))
    return manifest


def read_manifest(
    *, store: Store, gallery: str, version: str, key_id: str, mac_key: bytes | None
) -> Manifest:
    """Read a version's manifest and check its signature; without ``mac_key`` nothing proves who wrote it.

    Raises:
        IntegrityError: no manifest, a damaged one, one of another gallery, or a wrong signature.
        UsageError: the key is not 32 bytes long.
    """
    manifest, signature = _parse(
        store.folder("protected", gallery=gallery, version=version, key_id=key_id) / MANIFEST_FILE
    )
    place = (manifest.gallery, manifest.version, manifest.key_id)
    if place != (gallery, version, key_id):
        raise IntegrityError(
            f"Expected the manifest of {gallery} {version} under key {key_id}, got that of {' '.join(place)}. "
            f"{_RESTORE}"
        )
    if mac_key is not None and not hmac.compare_digest(signature, manifest.signature(mac_key)):
        raise IntegrityError(
            f"Expected the manifest of {gallery} {version} signed with this store's key, got another signature: "
            f"it was altered or comes from elsewhere. {_RESTORE}"
        )
    return manifest


def verify_gallery(
    *, store: Store, gallery: str, version: str, key_id: str, mac_key: bytes | None
) -> list[str]:
    """Read a protected version whole and name every problem; an empty list means that it is what was signed.

    Raises:
        UsageError: the key is not 32 bytes long.
    """
    folder = store.folder("protected", gallery=gallery, version=version, key_id=key_id)
    problems: list[str] = []
    manifest: Manifest | None
    try:
        manifest = read_manifest(
            store=store, gallery=gallery, version=version, key_id=key_id, mac_key=mac_key
        )
    except IntegrityError as error:
        # The shards are still compared with what is there, so that one run names all that is wrong.
        problems.append(str(error))
        manifest = _readable(folder / MANIFEST_FILE, (gallery, version, key_id))
    signed = {shard.number: shard.done_sha256 for shard in manifest.shards} if manifest else {}
    problems += _unlisted(folder, set(signed)) if manifest else []
    numbers = sorted(signed) if manifest else sorted(_numbers(folder))
    counts: Counter[str] = Counter()
    for number in numbers:
        address = ShardAddress("protected", gallery, version, number, key_id)
        if manifest:
            problems += _other_shard(store, address, signed)
        problems += (found := verify_shard(store, address))
        record = None if found else read_done(store, address)
        counts.update(record.counts if record else {})
    if manifest and not problems and dict(counts) != manifest.counts:
        problems.append(
            f"the manifest counts {manifest.counts}, its shards hold {dict(sorted(counts.items()))}"
        )
    return problems


def _other_shard(store: Store, address: ShardAddress, signed: dict[int, str]) -> list[str]:
    """Compare a shard's done file with the one that was signed, and say whose it is instead."""
    name = f"shard {address.name}"
    try:
        got = hashlib.sha256(store.shard(address, "done.json").read_bytes()).hexdigest()
    except OSError:
        return [f"{name}: signed in the manifest, but not there"]
    if got == signed[address.number]:
        return []
    twin = next((number for number, digest in signed.items() if digest == got), None)
    if twin is not None:
        return [f"{name}: holds what was signed as shard {twin:05d}"]
    return [f"{name}: not the shard that was signed (altered, older, or from another gallery)"]


def _unlisted(folder: Path, numbers: set[int]) -> list[str]:
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


def _file_bytes(manifest: Manifest, signature: str) -> bytes:
    return json_bytes({"manifest": manifest.model_dump(), "hmac_sha256": signature})


def _readable(path: Path, place: tuple[str, str, str]) -> Manifest | None:
    """Return what a manifest of this place says, whoever signed it."""
    try:
        manifest, _ = _parse(path)
    except IntegrityError:
        return None
    return manifest if (manifest.gallery, manifest.version, manifest.key_id) == place else None


def _parse(path: Path) -> tuple[Manifest, str]:
    try:
        data = path.read_bytes()
        content = json.loads(data)
        manifest, signature = Manifest.model_validate(content["manifest"]), str(content["hmac_sha256"])
        if re.fullmatch(_SHA256, signature) and _file_bytes(manifest, signature) == data:
            return manifest, signature
        got = "other bytes than were written"
    except ValidationError as error:
        got = f"{error.error_count()} wrong fields"
    except OSError as error:
        got = f"{error.strerror}"
    except (ValueError, TypeError, KeyError, RecursionError, UsageError):
        got = "no such record"
    raise IntegrityError(f"Expected a manifest at {path}, got: {got}. {_RESTORE}")
