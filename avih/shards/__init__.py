"""Shards: ``NNNNN.tar`` (WebDataset), ``NNNNN.parquet`` (one row per image), ``NNNNN.done.json`` written last.

A shard without a matching done file does not exist. The same samples, rows and settings give the same bytes:
keys are sorted, times are zero, and nothing of the machine goes in. Readers compare the SHA-256 of what they
open with the done file; the done file itself is protected by the signed manifest (``avih.manifest``).
"""

from avih.shards.reading import iter_samples, read_done, read_rows, read_sample, shard_state
from avih.shards.record import (
    COLUMNS,
    PICTURES,
    STATUSES,
    WITH_SAMPLE,
    DoneRecord,
    Sample,
    file_sha256,
    settings_sha256,
)
from avih.shards.verifying import shard_problems, verify_shard
from avih.shards.writing import write_shard

__all__ = [
    "COLUMNS",
    "PICTURES",
    "STATUSES",
    "WITH_SAMPLE",
    "DoneRecord",
    "Sample",
    "file_sha256",
    "iter_samples",
    "read_done",
    "read_rows",
    "read_sample",
    "settings_sha256",
    "shard_problems",
    "shard_state",
    "verify_shard",
    "write_shard",
]
