"""Shards: ``NNNNN.tar`` (WebDataset), ``NNNNN.parquet`` (one row per image), ``NNNNN.done.json`` written last.

A shard without a matching done file does not exist. The same samples, rows and settings give the same bytes:
keys are sorted, times are zero, and nothing of the machine goes in. Readers compare the SHA-256 of what they
open with the done file; the done file itself is protected by the signed manifest (``avih.manifest``).
"""

import hashlib
import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Any, Final, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avih import __version__
from avih.atomic import folder_lock, json_bytes, partial_file, remove_leftovers, settle, sync_folder
from avih.errors import IntegrityError, SettingsMismatch, UsageError
from avih.naming import ShardAddress, Store

FORMAT_VERSION: Final = 1
STATUSES: Final = ("protected", "below_quality", "aligned", "indexed", "skipped", "failed")
WITH_SAMPLE: Final = ("protected", "below_quality", "aligned")
COLUMNS: Final = ("image_id", "person", "status", "reason")
PICTURES: Final = ("png", "sealed")  # endings that hold a sample's picture

_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ENDING = re.compile(r"[a-z0-9]+")
_SHA256 = r"^[0-9a-f]{64}$"
_AGAIN = "Delete the shard's three files and run the stage again."


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

    def digest(self) -> str:
        """SHA-256 of the record; it stands for everything that is in the shard."""
        return hashlib.sha256(json_bytes(self.model_dump())).hexdigest()

    def to_bytes(self) -> bytes:
        """The done file: the record and its own digest, so that a damaged file is told from a true one."""
        return json_bytes(self.model_dump() | {"record_sha256": self.digest()})


def file_sha256(files: Mapping[str, bytes]) -> str:
    """SHA-256 of a sample's picture (``png``, else ``sealed``), for the column ``file_sha256``."""
    for ending in PICTURES:
        if ending in files:
            return hashlib.sha256(files[ending]).hexdigest()
    raise UsageError(f"Expected a file of {PICTURES} in the sample, got {sorted(files)}.")


def settings_sha256(settings: BaseModel) -> str:
    """SHA-256 of the canonical JSON of settings: equal settings have equal digests."""
    return _settings_digest(settings.model_dump(mode="json"))


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
            shard=_shard_name(address),
            counts=_counts(table),
            rows=len(table),
            samples=len(ordered),
            tar_bytes=tar_bytes,
            tar_sha256=tar_sha256,
            parquet_bytes=len(parquet_data),
            parquet_sha256=hashlib.sha256(parquet_data).hexdigest(),
            key_id=key_id,
            recogniser=recogniser,
            settings_sha256=_settings_digest(content),
            settings=content,
            inputs_sha256=inputs_sha256,
            code_version=__version__,
        )
        done.write_bytes(record.to_bytes())
        _publish(list(zip((tar, parquet, done), paths, strict=True)), mode=mode)
    return record


def read_done(store: Store, address: ShardAddress) -> DoneRecord | None:
    """Read a shard's done file; None where the shard does not exist (no done file, or files of other sizes).

    Raises:
        IntegrityError: the done file is damaged, of another format, or of another shard.
    """
    path = store.shard(address, "done.json")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    record = _parse_done(data, path)
    if record.shard != _shard_name(address):
        raise IntegrityError(
            f"Expected the done file of {_shard_name(address)}, got that of {record.shard}. {_AGAIN}"
        )
    sizes = {"tar": record.tar_bytes, "parquet": record.parquet_bytes}
    files = {ending: store.shard(address, ending) for ending in sizes}
    return record if all(p.is_file() and p.stat().st_size == sizes[e] for e, p in files.items()) else None


def shard_state(
    store: Store,
    address: ShardAddress,
    *,
    settings: BaseModel,
    inputs_sha256: str,
    recogniser: str | None = None,
) -> Literal["missing", "done"]:
    """Say whether the shard is there, made from these inputs with these settings (and recogniser, if given).

    Raises:
        SettingsMismatch: it is there, made otherwise; the text says field by field what differs.
        IntegrityError: the done file is damaged.
    """
    record = read_done(store, address)
    if record is None:
        return "missing"
    now, then = _flat(settings.model_dump(mode="json")), _flat(record.settings)
    now["inputs"], then["inputs"] = inputs_sha256, record.inputs_sha256
    if recogniser is not None:
        now["recogniser"], then["recogniser"] = recogniser, record.recogniser
    absent = "nothing"
    differences = [
        f"{name}: expected {now.get(name, absent)!r}, got {then.get(name, absent)!r}"
        for name in sorted(now.keys() | then.keys())
        if name not in now or name not in then or now[name] != then[name]
    ]
    if differences:
        raise SettingsMismatch(
            f"Shard {record.shard} was made with other settings or inputs than those asked for now: "
            f"{'; '.join(differences)}. Ask for the stored ones, give another gallery name, "
            "or begin a new version."
        )
    return "done"


def read_rows(store: Store, address: ShardAddress) -> pd.DataFrame:
    """Read a shard's rows, sorted by ``image_id``.

    Raises:
        IntegrityError: the shard does not exist, or the file is not the one that was written.
    """
    record = _existing(store, address)
    path = store.shard(address, "parquet")
    data = path.read_bytes()
    _compare(hashlib.sha256(data).hexdigest(), record.parquet_sha256, path)
    return pq.read_table(io.BytesIO(data)).to_pandas()


def iter_samples(store: Store, address: ShardAddress) -> Iterator[Sample]:
    """Yield a shard's samples in the order of their keys, after the whole tar was checked.

    Raises:
        IntegrityError: the shard does not exist, or the tar is not the one that was written.
    """
    record = _existing(store, address)
    path = store.shard(address, "tar")
    with path.open("rb") as file:
        _compare(hashlib.file_digest(file, "sha256").hexdigest(), record.tar_sha256, path)
        file.seek(0)
        yield from _samples(file, path)


def read_sample(store: Store, address: ShardAddress, key: str) -> Sample:
    """Read one sample.

    Raises:
        IntegrityError: the shard does not exist, the tar is not the one that was written, or no such key.
    """
    for sample in iter_samples(store, address):
        if sample.key == key:
            return sample
    raise IntegrityError(
        f"Expected a sample {key!r} in {_shard_name(address)}, got none. See the image's row."
    )


def verify_shard(store: Store, address: ShardAddress) -> list[str]:
    """Read a whole shard back and name every problem; an empty list means that it is what was written."""
    return _Verification(store, address).problems()


class _Verification:
    """One reading of a shard's files, however damaged they are."""

    def __init__(self, store: Store, address: ShardAddress) -> None:
        self.store, self.address, self.name = store, address, _shard_name(address)

    def problems(self) -> list[str]:
        try:
            path = self.store.shard(self.address, "done.json")
            record = _parse_done(path.read_bytes(), path)
        except FileNotFoundError:
            return [f"{self.name}: no done file, so the shard does not exist"]
        except (IntegrityError, OSError) as error:
            return [f"{self.name}: {error}"]
        found = [] if record.shard == self.name else [f"{self.name}: the done file is that of {record.shard}"]
        parquet, parquet_is_whole = self._read("parquet", record.parquet_sha256, found)
        tar, _ = self._read("tar", record.tar_sha256, found)
        # Damaged rows are not parsed; a damaged tar is, to name the samples that are not those of their rows.
        if not parquet_is_whole or not tar:
            return found
        try:
            table = pq.read_table(io.BytesIO(parquet)).to_pandas()
            samples = list(_samples(io.BytesIO(tar), self.store.shard(self.address, "tar")))
            return found + self._contents(record, table, samples)
        except Exception as error:  # damaged bytes may raise anything, and the other shards want checking too
            return [*found, f"{self.name}: cannot be read: {error}"]

    def _read(self, ending: str, expected: str, found: list[str]) -> tuple[bytes, bool]:
        try:
            data = self.store.shard(self.address, ending).read_bytes()
        except OSError as error:
            found.append(f"{self.name}.{ending}: cannot be read: {error.strerror}")
            return b"", False
        got = hashlib.sha256(data).hexdigest()
        if got != expected:
            found.append(f"{self.name}.{ending}: expected SHA-256 {expected}, got {got}")
        return data, got == expected

    def _contents(self, record: DoneRecord, table: pd.DataFrame, samples: list[Sample]) -> list[str]:
        found = _disagreements(table, samples)
        if _counts(table) != record.counts or len(table) != record.rows or len(samples) != record.samples:
            found.append(f"the done file counts {record.counts}, the rows say {_counts(table)}")
        if record.settings_sha256 != _settings_digest(record.settings):
            found.append("the settings in the done file do not have the digest given there")
        if "file_sha256" in table:
            expected = dict(zip(table.image_id, table.file_sha256, strict=True))
            found += [
                f"{sample.key}: its picture is not the one of its row"
                for sample in samples
                if set(PICTURES) & set(sample.files) and file_sha256(sample.files) != expected.get(sample.key)
            ]
        return [f"{self.name}: {problem}" for problem in found]


def _check(table: pd.DataFrame, samples: list[Sample]) -> None:
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise UsageError(f"Expected rows with the columns {', '.join(COLUMNS)}, got none of {missing}.")
    unsafe = [key for key in [*table.image_id, *(s.key for s in samples)] if not _KEY.fullmatch(str(key))]
    unsafe += [f"{s.key}.{ending}" for s in samples for ending in s.files if not _ENDING.fullmatch(ending)]
    if unsafe:
        raise UsageError(
            f"Expected ids of letters, digits, _ and - (a dot ends a key), got {unsafe[0]!r}. "
            "Use naming.image_id."
        )
    problems = _disagreements(table, samples)
    if problems:
        raise UsageError(f"Expected one sample per row that has an image, got: {'; '.join(problems[:5])}.")


def _disagreements(table: pd.DataFrame, samples: list[Sample]) -> list[str]:
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


def _counts(table: pd.DataFrame) -> dict[str, int]:
    return {str(status): int(count) for status, count in sorted(table.status.value_counts().items())}


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
        done_path.unlink(missing_ok=True)
        sync_folder(done_path.parent)
        for temporary, path in contents:
            temporary.replace(path)
        sync_folder(done_path.parent)
        done.replace(done_path)
        sync_folder(done_path.parent)


def _parse_done(data: bytes, path: Path) -> DoneRecord:
    try:
        content = json.loads(data)
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
        f"Expected a done file of format {FORMAT_VERSION} as it was written at {path.name}, got {got}. {_AGAIN}"
    )


def _samples(file: IO[bytes], path: Path) -> Iterator[Sample]:
    """Read the samples of a tar; it may hold nothing but plain files ``KEY.ENDING``."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for key, members in groupby(tar, key=lambda member: member.name.partition(".")[0]):
                files: dict[str, bytes] = {}
                for member in members:
                    ending = member.name.partition(".")[2]
                    content = tar.extractfile(member) if member.type == tarfile.REGTYPE else None
                    named_well = _KEY.fullmatch(key) and _ENDING.fullmatch(ending) and ending not in files
                    if content is None or not named_well:
                        raise IntegrityError(
                            f"Expected files KEY.ENDING in {path.name}, got {member.name!r}. {_AGAIN}"
                        )
                    files[ending] = content.read()
                yield Sample(key, files)
    except (tarfile.TarError, UnicodeError) as error:
        raise IntegrityError(f"Expected a tar file at {path.name}, got: {error}. {_AGAIN}") from error


def _existing(store: Store, address: ShardAddress) -> DoneRecord:
    record = read_done(store, address)
    if record is None:
        raise IntegrityError(
            f"Expected a finished shard {_shard_name(address)}, got none. Run the {address.stage} stage again."
        )
    return record


def _compare(got: str, expected: str, path: Path) -> None:
    if got != expected:
        raise IntegrityError(f"Expected {path.name} with SHA-256 {expected}, got {got}. {_AGAIN}")


def _shard_name(address: ShardAddress) -> str:
    return str(address.folder / address.name)


def _settings_digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
