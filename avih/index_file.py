"""The file of a version's index: ``photos.parquet``, sorted by shard, read one shard or one piece at a time.

Row groups of a few thousand photos carry the lowest and highest shard number in them, so that one shard's rows
are found without reading the others. Files written before that (one row group, sorted by image id) are read too.
"""

import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from avih.atomic import atomic_file
from avih.errors import IntegrityError, UsageError
from avih.naming import Store
from avih.scanning import COLUMNS

INDEX_FILE: Final = "photos.parquet"
PIECE: Final = 8192  # rows that are in memory at once, and rows of one row group

_SCHEMA: Final = pa.schema([(name, pa.int64() if name == "shard" else pa.string()) for name in COLUMNS])


def index_path(*, store: Store, gallery: str, version: str) -> Path:
    """Name the file that holds the index of a gallery version."""
    return store.folder("index", gallery=gallery, version=version) / INDEX_FILE


def read_index(*, store: Store, gallery: str, version: str, shard: int | None = None) -> pd.DataFrame:
    """Read the index of one shard, or of a whole gallery version where it is known to be small.

    Raises:
        UsageError: there is none.
        IntegrityError: the file is damaged.
    """
    with _opened(store, gallery, version) as file:
        if shard is None:
            return _sound(file.read()).to_pandas()
        table = file.read_row_groups(_groups_of(file.metadata, shard))
        return _sound(table).filter(pc.equal(table["shard"], shard)).to_pandas()


def iter_index(
    *, store: Store, gallery: str, version: str, columns: Sequence[str] = COLUMNS
) -> Iterator[pd.DataFrame]:
    """Read the index of a gallery version in pieces of a few thousand rows, in the order of the file.

    Raises:
        UsageError: there is none.
        IntegrityError: the file is damaged.
    """
    with _opened(store, gallery, version) as file:
        # Group by group: asked for all at once, the reader keeps what it needed for those that are behind.
        for group in range(file.num_row_groups):
            for piece in file.iter_batches(batch_size=PIECE, row_groups=[group], columns=list(columns)):
                yield _sound(piece).to_pandas()


def shard_sizes(*, store: Store, gallery: str, version: str) -> dict[int, int]:
    """Return how many photos each shard of a version holds, by shard number in order.

    Raises:
        UsageError: there is no index.
        IntegrityError: the file is damaged.
    """
    sizes: Counter[int] = Counter()
    for piece in iter_index(store=store, gallery=gallery, version=version, columns=["shard"]):
        sizes.update(piece["shard"].tolist())
    return {number: sizes[number] for number in sorted(sizes)}


def count_index(*, store: Store, gallery: str, version: str) -> int:
    """Return how many photos the index of a version names, from the file's own account of its rows.

    Raises:
        UsageError: there is no index.
        IntegrityError: the file is damaged.
    """
    with _opened(store, gallery, version) as file:
        return int(file.metadata.num_rows)


def write_index(*, store: Store, gallery: str, version: str, pieces: Iterable[pd.DataFrame]) -> None:
    """Write the index of a version whole, readable by its owner alone; each piece becomes a row group."""
    path = index_path(store=store, gallery=gallery, version=version)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path, mode=0o600) as temporary, pq.ParquetWriter(temporary, _SCHEMA) as writer:
        for piece in pieces:
            if len(piece):
                writer.write_table(pa.Table.from_pandas(piece, schema=_SCHEMA, preserve_index=False))


def rows_digest(rows: pd.DataFrame) -> str:
    """SHA-256 of the ids and keyed hashes of some rows: what the next stage is made from."""
    text = "\n".join(f"{name}\t{mac}" for name, mac in zip(rows.image_id, rows.content_mac, strict=True))
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def _opened(store: Store, gallery: str, version: str) -> Iterator[pq.ParquetFile]:
    path = index_path(store=store, gallery=gallery, version=version)
    if not path.exists():
        raise UsageError(
            f"Expected gallery {gallery} {version} in {store.root}, got no index. Run avih run first."
        )
    try:
        # A buffer, so that an old file's single row group is not read into memory whole.
        with pq.ParquetFile(path, buffer_size=2**20) as file:
            if not _fits(file.schema_arrow):
                found = {field.name: str(field.type) for field in file.schema_arrow}
                raise IntegrityError(f"Expected the columns {COLUMNS} in {path}, got {found}. Restore it.")
            yield file
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise IntegrityError(
            f"Expected an index at {path}, got a damaged file ({error}). Restore it."
        ) from None


def _fits(schema: pa.Schema) -> bool:
    """Tell whether a file has our columns, whichever of Arrow's types for text it was written with."""
    text = (pa.types.is_string, pa.types.is_large_string)
    kinds = [
        any(fits(kind) for fits in ((pa.types.is_integer,) if name == "shard" else text))
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    return tuple(schema.names) == COLUMNS and all(kinds)


def _sound(rows: Any) -> Any:
    """Refuse text that is none: a damaged file may hold bytes that break whoever reads them later."""
    rows.validate(full=True)
    return rows


def _groups_of(metadata: Any, shard: int) -> list[int]:
    """Name the row groups that may hold rows of a shard; one without statistics may hold any."""
    column = COLUMNS.index("shard")
    known = [
        metadata.row_group(number).column(column).statistics for number in range(metadata.num_row_groups)
    ]
    return [
        number
        for number, found in enumerate(known)
        if found is None or not found.has_min_max or found.min <= shard <= found.max
    ]
