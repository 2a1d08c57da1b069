"""Reading a shard: nothing is handed out before its bytes were compared with the done file."""

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import IO, Any, Literal

import pandas as pd
import pyarrow.parquet as pq
from pydantic import BaseModel

from avih.errors import IntegrityError, SettingsMismatch
from avih.mirror.seam import local
from avih.naming import ShardAddress, Store
from avih.shards.record import AGAIN, ENDING, KEY, DoneRecord, Sample, parse_done, shard_name


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
    record = parse_done(data, path)
    if record.shard != shard_name(address):
        raise IntegrityError(
            f"Expected the done file of {shard_name(address)}, got that of {record.shard}. {AGAIN}"
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


def read_rows(store: Store, address: ShardAddress, *, record: DoneRecord | None = None) -> pd.DataFrame:
    """Read a shard's rows, sorted by ``image_id``.

    Args:
        store: where.
        address: which shard.
        record: what the done file said when it was checked; without it the file is read, whoever wrote it.

    Raises:
        IntegrityError: the shard does not exist, or the file is not the one that was written.
    """
    record = record or _existing(store, address)
    path = store.shard(address, "parquet")
    data = path.read_bytes()
    _compare(hashlib.sha256(data).hexdigest(), record.parquet_sha256, path)
    return pq.read_table(io.BytesIO(data)).to_pandas()


def iter_samples(
    store: Store, address: ShardAddress, *, record: DoneRecord | None = None
) -> Iterator[Sample]:
    """Yield a shard's samples in the order of their keys, after the whole tar was checked.

    Args:
        store: where.
        address: which shard.
        record: as for :func:`read_rows`.

    Raises:
        IntegrityError: the shard does not exist, or the tar is not the one that was written.
    """
    record = record or _existing(store, address)
    path = store.shard(address, "tar")
    with local(path).open("rb") as file:
        _compare(hashlib.file_digest(file, "sha256").hexdigest(), record.tar_sha256, path)
        file.seek(0)
        yield from samples_of(file, path)


def read_sample(store: Store, address: ShardAddress, key: str) -> Sample:
    """Read one sample.

    Raises:
        IntegrityError: the shard does not exist, the tar is not the one that was written, or no such key.
    """
    for sample in iter_samples(store, address):
        if sample.key == key:
            return sample
    raise IntegrityError(
        f"Expected a sample {key!r} in {shard_name(address)}, got none. See the image's row."
    )


def samples_of(file: IO[bytes], path: Path) -> Iterator[Sample]:
    """Read the samples of a tar; it may hold nothing but plain files ``KEY.ENDING``."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for key, members in groupby(tar, key=lambda member: member.name.partition(".")[0]):
                files: dict[str, bytes] = {}
                for member in members:
                    ending = member.name.partition(".")[2]
                    content = tar.extractfile(member) if _is_plain(member) else None
                    named_well = KEY.fullmatch(key) and ENDING.fullmatch(ending) and ending not in files
                    if content is None or not named_well:
                        raise IntegrityError(
                            f"Expected files KEY.ENDING in {path.name}, got {member.name!r}. {AGAIN}"
                        )
                    files[ending] = content.read()
                yield Sample(key, files)
    except (tarfile.TarError, UnicodeError) as error:
        raise IntegrityError(f"Expected a tar file at {path.name}, got: {error}. {AGAIN}") from error


def _is_plain(member: tarfile.TarInfo) -> bool:
    """Tell a plain file from links and devices, and from one with holes, which unpacks to any size."""
    return member.type == tarfile.REGTYPE and not member.issparse()


def _existing(store: Store, address: ShardAddress) -> DoneRecord:
    record = read_done(store, address)
    if record is None:
        raise IntegrityError(
            f"Expected a finished shard {shard_name(address)}, got none. Run the {address.stage} stage again."
        )
    return record


def _compare(got: str, expected: str, path: Path) -> None:
    if got != expected:
        raise IntegrityError(f"Expected {path.name} with SHA-256 {expected}, got {got}. {AGAIN}")


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
