"""The index's file: one shard is read without the others, old files are read too, pieces make up the whole."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from avih import index_file
from avih.errors import IntegrityError, UsageError
from avih.index_file import count_index, index_path, iter_index, read_index, shard_sizes, write_index
from avih.naming import Store
from avih.photo_tables import in_pieces, rows_of
from avih.scanning import COLUMNS

WHERE = {"gallery": "lfw", "version": "v0001"}


def rows(count: int = 100, size: int = 7) -> pd.DataFrame:
    names = [f"p__{number:04d}" for number in range(count)]
    macs, shards = [f"{number:032x}" for number in range(count)], np.arange(count) // size
    fields = {"image_id": names, "person": "p", "path": names, "status": "indexed", "reason": "",
              "content_mac": macs, "shard": shards}  # fmt: skip
    return pd.DataFrame(fields, columns=list(COLUMNS))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(index_file, "PIECE", 16)
    monkeypatch.setattr("avih.photo_tables.PIECE", 16)
    store = Store(tmp_path)
    write_index(store=store, **WHERE, pieces=in_pieces(rows_of([rows()])))
    return store


def write_old(store: Store, table: pd.DataFrame) -> None:
    """As earlier versions of the program wrote an index: by pandas, one row group, sorted by image id."""
    table.to_parquet(index_path(store=store, **WHERE), index=False)


def test_pieces_make_up_the_whole(store: Store) -> None:
    pieces = list(iter_index(store=store, **WHERE))
    assert [len(piece) for piece in pieces] == [16] * 6 + [4]
    pd.testing.assert_frame_equal(pd.concat(pieces, ignore_index=True), rows())
    pd.testing.assert_frame_equal(read_index(store=store, **WHERE), rows())
    assert count_index(store=store, **WHERE) == 100
    assert shard_sizes(store=store, **WHERE) == dict.fromkeys(range(14), 7) | {14: 2}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_shard_s_rows_are_those_of_the_whole_index(store: Store, old: bool, mixed: bool) -> None:
    table = rows()
    if mixed:  # a photo keeps its shard, so that shards do not follow the ids for ever
        table["shard"] = np.random.default_rng(0).permutation(table.shard)
    write_old(store, table) if old else write_index(store=store, **WHERE, pieces=in_pieces(rows_of([table])))
    for number in (0, 3, 14):
        expected = table[table.shard == number].reset_index(drop=True)
        pd.testing.assert_frame_equal(read_index(store=store, **WHERE, shard=number), expected)
    assert read_index(store=store, **WHERE, shard=99).empty
    assert shard_sizes(store=store, **WHERE) == dict.fromkeys(range(14), 7) | {14: 2}


def test_one_shard_is_read_without_the_others(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[int]] = []
    true = pq.ParquetFile.read_row_groups

    def noted(self, groups, **options):  # type: ignore[no-untyped-def]
        read.append(list(groups))
        return true(self, groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", noted)
    assert len(read_index(store=store, **WHERE, shard=2)) == 7  # rows 14 to 20, in groups of 16
    assert read == [[0, 1]]


def test_an_empty_index_is_one(store: Store) -> None:
    write_index(store=store, **WHERE, pieces=[rows(0)])
    assert read_index(store=store, **WHERE).columns.tolist() == list(COLUMNS)
    assert (count_index(store=store, **WHERE), shard_sizes(store=store, **WHERE)) == (0, {})


def test_a_missing_or_damaged_index_is_named_by_every_reader(store: Store) -> None:
    path = index_path(store=store, **WHERE)
    readers = (
        read_index,
        shard_sizes,
        lambda **at: list(iter_index(**at)),
        lambda **at: read_index(**at, shard=1),
    )
    whole = path.read_bytes()
    end = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")  # where the description of the file begins
    for damaged in (whole[:-9], whole[:4] + bytes(end - 4) + whole[end:]):
        path.write_bytes(damaged)
        for reader in readers:
            with pytest.raises(IntegrityError, match="damaged"):
                reader(store=store, **WHERE)
    path.unlink()
    for reader in (*readers, count_index):
        with pytest.raises(UsageError, match="lfw v0001"):
            reader(store=store, **WHERE)
