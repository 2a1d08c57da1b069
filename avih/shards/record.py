"""What a shard is: its samples, its done file, and the rules that rows and samples keep."""

import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avih.atomic import json_bytes
from avih.errors import IntegrityError, UsageError
from avih.json_text import read_json
from avih.naming import ShardAddress

FORMAT_VERSION: Final = 1
STATUSES: Final = ("protected", "below_quality", "aligned", "indexed", "skipped", "failed")
WITH_SAMPLE: Final = ("protected", "below_quality", "aligned")
COLUMNS: Final = ("image_id", "person", "status", "reason")
PICTURES: Final = ("png", "sealed")  # endings that hold a sample's picture

KEY = re.compile(r"[A-Za-z0-9_-]+")
ENDING = re.compile(r"[a-z0-9]+")
_SHA256 = r"^[0-9a-f]{64}$"
_LABEL: Final = b"avih shard done v1\0"
AGAIN = "Delete the shard's three files and run the stage again."


@dataclass(frozen=True)
class Sample:
    """What the tar holds for one image: its key (the image id) and its files by ending."""

    key: str
    files: Mapping[str, bytes]


class DoneRecord(BaseModel):
    """What a done file says about its shard.

    Attributes:
        shard: path of the shard in the store, without ending.
        counts: rows by status.
        settings: the settings in full, so that a mismatch can say what differs.
        inputs_sha256: digest of what the shard was made from.
        hmac_sha256: of the record by the vault's key; None where an earlier release wrote it, or nobody with the
            passphrase.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format_version: Literal[1] = FORMAT_VERSION
    stage: str
    shard: str
    counts: dict[str, int]
    rows: int = Field(ge=0)
    samples: int = Field(ge=0)
    tar_bytes: int = Field(ge=0)
    tar_sha256: str = Field(pattern=_SHA256)
    parquet_bytes: int = Field(ge=0)
    parquet_sha256: str = Field(pattern=_SHA256)
    key_id: str | None
    recogniser: str | None
    settings_sha256: str = Field(pattern=_SHA256)
    settings: dict[str, Any]
    inputs_sha256: str
    code_version: str
    hmac_sha256: str | None = Field(default=None, pattern=_SHA256)

    def digest(self) -> str:
        """SHA-256 of the record; it stands for everything that is in the shard, whoever signed it."""
        return hashlib.sha256(self._said()).hexdigest()

    def to_bytes(self) -> bytes:
        """The done file: record, signature, and the record's digest, by which a damaged file is found."""
        signature = {"hmac_sha256": self.hmac_sha256} if self.hmac_sha256 else {}
        content = self.model_dump(exclude={"hmac_sha256"})
        return json_bytes(content | signature | {"record_sha256": self.digest()})

    def file_sha256(self) -> str:
        """SHA-256 of the done file, signature included: what manifests name a shard by."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def signed(self, mac_key: bytes) -> "DoneRecord":
        """Return the record with its signature; stage, gallery, version, key and number are in what it signs."""
        return self.model_copy(update={"hmac_sha256": self._signature(mac_key)})

    def is_signed_by(self, mac_key: bytes) -> bool:
        """Tell whether whoever wrote the record had the key."""
        return hmac.compare_digest(self.hmac_sha256 or "", self._signature(mac_key))

    def _signature(self, mac_key: bytes) -> str:
        return hmac.new(mac_key, _LABEL + self._said(), hashlib.sha256).hexdigest()

    def _said(self) -> bytes:
        return json_bytes(self.model_dump(exclude={"hmac_sha256"}))


def file_sha256(files: Mapping[str, bytes]) -> str:
    """SHA-256 of a sample's picture (``png``, else ``sealed``), for the column ``file_sha256``."""
    for ending in PICTURES:
        if ending in files:
            return hashlib.sha256(files[ending]).hexdigest()
    raise UsageError(f"Expected a file of {PICTURES} in the sample, got {sorted(files)}.")


def settings_sha256(settings: BaseModel) -> str:
    """SHA-256 of the canonical JSON of settings: equal settings have equal digests."""
    return settings_digest(settings.model_dump(mode="json"))


def settings_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of settings that are plain values already."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def shard_name(address: ShardAddress) -> str:
    """Path of the shard in the store, without ending: what messages and done files call it."""
    return str(address.folder / address.name)


def count_statuses(table: pd.DataFrame) -> dict[str, int]:
    """Count the rows by status."""
    return {str(status): int(count) for status, count in sorted(table.status.value_counts().items())}


def disagreements(table: pd.DataFrame, samples: list[Sample]) -> list[str]:
    """Name every way in which rows and samples do not belong together."""
    keys = Counter(sample.key for sample in samples)
    names = Counter(table.image_id)
    status = dict(zip(table.image_id, table.status, strict=True))
    with_image = {name for name, value in status.items() if value in WITH_SAMPLE}
    problems = [f"{name}: two rows" for name, count in names.items() if count > 1]
    problems += [
        f"{name}: unknown status {value!r}" for name, value in status.items() if value not in STATUSES
    ]
    problems += [f"{key}: two samples" for key, count in keys.items() if count > 1]
    problems += [f"{key}: sample without row" for key in keys if key not in status]
    problems += [
        f"{key}: a sample, but its row says {status[key]}"
        for key in keys
        if key in status.keys() - with_image
    ]
    return problems + [f"{name}: row without sample" for name in sorted(with_image - set(keys))]


def parse_done(data: bytes, path: Path) -> DoneRecord:
    """Read a done file.

    Raises:
        IntegrityError: it is damaged or of another format.
    """
    try:
        content = read_json(data)
        content.pop("record_sha256", None)
        record = DoneRecord.model_validate(content)
        if record.to_bytes() == data:
            return record
        got = "altered bytes"
    except ValidationError as error:
        got = f"{error.error_count()} wrong fields"
    except (ValueError, TypeError, AttributeError, RecursionError, UsageError):
        got = "no such record"
    raise IntegrityError(
        f"Expected a done file of format {FORMAT_VERSION} as it was written at {path.name}, got {got}. {AGAIN}"
    )
