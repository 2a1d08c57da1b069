"""Writing a shard: everything to temporary names first, the done file's name last."""

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from avih import __version__
from avih.atomic import folder_lock, partial_file, remove, remove_leftovers, settle, sync_folder
from avih.errors import UsageError
from avih.mirror.seam import sending
from avih.naming import ShardAddress, Store
from avih.shards.record import (
    COLUMNS,
    ENDING,
    KEY,
    DoneRecord,
    Sample,
    count_statuses,
    disagreements,
    settings_digest,
    shard_name,
)


def write_shard(
    *,
    store: Store,
    address: ShardAddress,
    samples: Iterable[Sample],
    rows: pd.DataFrame,
    settings: BaseModel,
    inputs_sha256: str,
    key_id: str | None = None,
    recogniser: str | None = None,
    mac_key: bytes | None = None,
) -> DoneRecord:
    """Write a shard whole or not at all, in place of any shard of this address.

    Args:
        store: where.
        address: which shard.
        samples: the images, in any order, one per row of status protected, below_quality or aligned.
        rows: one per input image, failures included; columns image_id, person, status, reason and any more.
        settings: what the shard was made with.
        inputs_sha256: digest of what it was made from.
        key_id: the key, for protected and evaluated shards; the address names the same.
        recogniser: fingerprint of the service model, if one was used.
        mac_key: 32 secret bytes that sign the done file; without it no later stage takes the shard over.

    Raises:
        UsageError: samples and rows do not fit, an id is there twice or holds a dot, or an unknown status.
    """
    if key_id != address.key_id:
        raise UsageError(f"Expected the key id of the address, {address.key_id}, got {key_id}.")
    table = rows.sort_values("image_id", ignore_index=True) if "image_id" in rows else rows
    ordered = sorted(samples, key=lambda sample: sample.key)
    _check(table, ordered)
    paths = [store.shard(address, ending) for ending in ("tar", "parquet", "done.json")]
    remove_leftovers(paths[0].parent)
    mode = 0o644 if address.stage == "protected" else 0o600  # the other stages are the owner's alone
    with partial_file(paths[0]) as tar, partial_file(paths[1]) as parquet, partial_file(paths[2]) as done:
        tar_bytes, tar_sha256 = _write_tar(tar, ordered)
        parquet_data = _parquet_bytes(table)
        parquet.write_bytes(parquet_data)
        content = settings.model_dump(mode="json")
        record = DoneRecord(
            stage=address.stage,
            shard=shard_name(address),
            counts=count_statuses(table),
            rows=len(table),
            samples=len(ordered),
            tar_bytes=tar_bytes,
            tar_sha256=tar_sha256,
            parquet_bytes=len(parquet_data),
            parquet_sha256=hashlib.sha256(parquet_data).hexdigest(),
            key_id=key_id,
            recogniser=recogniser,
            settings_sha256=settings_digest(content),
            settings=content,
            inputs_sha256=inputs_sha256,
            code_version=__version__,
        )
        record = record.signed(mac_key) if mac_key else record
        done.write_bytes(record.to_bytes())
        _publish(list(zip((tar, parquet, done), paths, strict=True)), mode=mode)
    return record


def _check(table: pd.DataFrame, samples: list[Sample]) -> None:
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise UsageError(f"Expected rows with the columns {', '.join(COLUMNS)}, got none of {missing}.")
    unsafe = [key for key in [*table.image_id, *(s.key for s in samples)] if not KEY.fullmatch(str(key))]
    unsafe += [f"{s.key}.{ending}" for s in samples for ending in s.files if not ENDING.fullmatch(ending)]
    if unsafe:
        raise UsageError(
            f"Expected ids of letters, digits, _ and - (a dot ends a key), got {unsafe[0]!r}. "
            "Use naming.image_id."
        )
    problems = disagreements(table, samples)
    if problems:
        raise UsageError(f"Expected one sample per row that has an image, got: {'; '.join(problems[:5])}.")


class _Hashing:
    """A file that hashes what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.sha256, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.size += len(data)
        return self.file.write(data)


def _write_tar(path: Path, samples: list[Sample]) -> tuple[int, str]:
    """Write the samples and return size and SHA-256 of the tar."""
    from webdataset import TarWriter  # brings torch along, which reading and checking do without

    with path.open("wb") as file:
        hashing = _Hashing(file)
        with TarWriter(hashing, encoder=False, mtime=0, user="", group="", mode=0o444) as writer:
            for sample in samples:
                writer.write({"__key__": sample.key, **sample.files})
    return hashing.size, hashing.sha256.hexdigest()


def _parquet_bytes(table: pd.DataFrame) -> bytes:
    # pandas' own metadata names its version; without it only the rows and pyarrow's release decide.
    rows = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, version="2.6", compression="zstd", compression_level=3, row_group_size=65536)
    return buffer.getvalue()


def _publish(files: list[tuple[Path, Path]], *, mode: int) -> None:
    """Give finished files their names, the done file last; a shard that was there stops existing first."""
    for temporary, _ in files:
        settle(temporary, mode=mode)
    *contents, (done, done_path) = files
    with folder_lock(done_path.parent):
        remove(done_path)
        with sending(*(path for _, path in files)):
            for temporary, path in contents:
                temporary.replace(path)
            sync_folder(done_path.parent)
            done.replace(done_path)
            sync_folder(done_path.parent)
