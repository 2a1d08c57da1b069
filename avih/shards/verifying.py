"""Checking a whole shard, however damaged it is: every problem is named, none stops the check."""

import hashlib
import io

import pandas as pd
import pyarrow.parquet as pq

from avih.errors import IntegrityError
from avih.mirror.seam import local
from avih.naming import ShardAddress, Store
from avih.shards.reading import samples_of
from avih.shards.record import (
    PICTURES,
    DoneRecord,
    Sample,
    count_statuses,
    disagreements,
    file_sha256,
    parse_done,
    settings_digest,
    shard_name,
)
from avih.verifying import Problem


def verify_shard(store: Store, address: ShardAddress) -> list[str]:
    """Read a whole shard back and name every problem; an empty list means that it is what was written."""
    return [problem.says for problem in shard_problems(store, address)]


def shard_problems(store: Store, address: ShardAddress, *, read_tar: bool = True) -> list[Problem]:
    """Name every problem of a shard with its file; without ``read_tar`` only the tar's size is looked at."""
    return _Verification(store, address).problems(read_tar)


class _Verification:
    """One reading of a shard's files, however damaged they are."""

    def __init__(self, store: Store, address: ShardAddress) -> None:
        self.store, self.address, self.name = store, address, shard_name(address)

    def problems(self, read_tar: bool) -> list[Problem]:
        try:
            path = self.store.shard(self.address, "done.json")
            record = parse_done(path.read_bytes(), path)
        except FileNotFoundError:
            return [self._problem("done.json", f"{self.name}: no done file, so the shard does not exist")]
        except (IntegrityError, OSError) as error:
            return [self._problem("done.json", f"{self.name}: {error}")]
        found = []
        if record.shard != self.name:
            text = f"{self.name}: the done file is that of {record.shard}"
            found.append(self._problem("done.json", text))
        parquet, parquet_is_whole = self._read("parquet", record.parquet_sha256, found)
        if not read_tar:
            return found + self._size("tar", record.tar_bytes)
        tar, tar_is_whole = self._read("tar", record.tar_sha256, found)
        # Damaged rows are not parsed; a damaged tar is, to name the samples that are not those of their rows.
        if not parquet_is_whole or not tar:
            return found
        ending = "done.json" if tar_is_whole else "tar"
        try:
            table = pq.read_table(io.BytesIO(parquet)).to_pandas()
            samples = list(samples_of(io.BytesIO(tar), self.store.shard(self.address, "tar")))
            texts = self._contents(record, table, samples)
        except Exception as error:  # damaged bytes may raise anything, and the other shards want checking too
            texts = [f"{self.name}: cannot be read: {error}"]
        return found + [self._problem(ending, text) for text in texts]

    def _problem(self, ending: str, says: str) -> Problem:
        return Problem(f"{self.address.stage} shard", f"{self.name}.{ending}", says)

    def _size(self, ending: str, expected: int) -> list[Problem]:
        try:
            got = self.store.shard(self.address, ending).stat().st_size
        except OSError as error:
            return [self._problem(ending, f"{self.name}.{ending}: cannot be read: {error.strerror}")]
        if got == expected:
            return []
        return [self._problem(ending, f"{self.name}.{ending}: expected {expected} bytes, got {got}")]

    def _read(self, ending: str, expected: str, found: list[Problem]) -> tuple[bytes, bool]:
        try:
            data = local(self.store.shard(self.address, ending)).read_bytes()
        except OSError as error:
            found.append(self._problem(ending, f"{self.name}.{ending}: cannot be read: {error.strerror}"))
            return b"", False
        got = hashlib.sha256(data).hexdigest()
        if got != expected:
            text = f"{self.name}.{ending}: expected SHA-256 {expected}, got {got}"
            found.append(self._problem(ending, text))
        return data, got == expected

    def _contents(self, record: DoneRecord, table: pd.DataFrame, samples: list[Sample]) -> list[str]:
        found = disagreements(table, samples)
        if (
            count_statuses(table) != record.counts
            or len(table) != record.rows
            or len(samples) != record.samples
        ):
            found.append(f"the done file counts {record.counts}, the rows say {count_statuses(table)}")
        if record.settings_sha256 != settings_digest(record.settings):
            found.append("the settings in the done file do not have the digest given there")
        if "file_sha256" in table:
            expected = dict(zip(table.image_id, table.file_sha256, strict=True))
            found += [
                f"{sample.key}: its picture is not the one of its row"
                for sample in samples
                if set(PICTURES) & set(sample.files) and file_sha256(sample.files) != expected.get(sample.key)
            ]
        return [f"{self.name}: {problem}" for problem in found]
