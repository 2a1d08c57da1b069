"""What a manifest is, and reading one back with its signature checked."""

import hashlib
import hmac
import re
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avih.atomic import json_bytes
from avih.errors import IntegrityError, UsageError
from avih.json_text import read_json
from avih.naming import Store

MANIFEST_FILE: Final = "manifest.json"
FORMAT_VERSION: Final = 1
MAC_KEY_BYTES: Final = 32

_LABEL: Final = b"avih manifest v1\0"
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


def read_manifest(
    *, store: Store, gallery: str, version: str, key_id: str, mac_key: bytes | None
) -> Manifest:
    """Read a version's manifest and check its signature; without ``mac_key`` nothing proves who wrote it.

    Raises:
        IntegrityError: no manifest, a damaged one, one of another gallery, or a wrong signature.
        UsageError: the key is not 32 bytes long.
    """
    manifest, signature = parse(
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


def file_bytes(manifest: Manifest, signature: str) -> bytes:
    """Return the file: the manifest and its signature in hex."""
    return json_bytes({"manifest": manifest.model_dump(), "hmac_sha256": signature})


def parse(path: Path) -> tuple[Manifest, str]:
    """Read a manifest and its signature, whoever signed it.

    Raises:
        IntegrityError: there is none, or it is damaged.
    """
    try:
        data = path.read_bytes()
        content = read_json(data)
        manifest, signature = Manifest.model_validate(content["manifest"]), str(content["hmac_sha256"])
        if re.fullmatch(_SHA256, signature) and file_bytes(manifest, signature) == data:
            return manifest, signature
        got = "other bytes than were written"
    except ValidationError as error:
        got = f"{error.error_count()} wrong fields"
    except OSError as error:
        got = f"{error.strerror}"
    except (ValueError, TypeError, KeyError, RecursionError, UsageError):
        got = "no such record"
    raise IntegrityError(f"Expected a manifest at {path}, got: {got}. {_RESTORE}")
