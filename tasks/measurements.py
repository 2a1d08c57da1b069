"""The measured rows of a gallery version, read shard by shard, as often as they are gone through."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from avih.errors import UsageError
from avih.evaluation.identification import Features
from avih.evaluation.summary import COUNTED
from tasks.evaluate_shard import evaluated_address
from tasks.records import Place

FEATURES = ("feature_original", "feature_protected")


class Measurements:
    """The rows that :func:`tasks.evaluate_shard.evaluate_shard` wrote, without and with their features.

    Raises:
        UsageError: there is no shard.
    """

    def __init__(self, *, place: Place, key_id: str, shards: Sequence[int]) -> None:
        if not shards:
            raise UsageError("Expected at least one shard, got none: the gallery is empty.")
        self._place, self._key_id, self.shards = place, key_id, tuple(shards)

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """Yield the rows of each shard without features; the column shard says which it is."""
        for number in self.shards:
            path = self._path(number)
            light = [name for name in pq.read_schema(path).names if name not in FEATURES]
            yield pd.read_parquet(path, columns=light).assign(shard=number)

    def features(self, persons: frozenset[str] | None) -> Iterator[Features]:
        """Yield each shard's features of images that count: those of some persons, or of everybody (None)."""
        for number in self.shards:
            path = self._path(number)
            named = pq.read_table(path, columns=["person", "status"])
            wanted = pc.is_in(named["status"], value_set=pa.array(COUNTED))
            if persons is not None:
                of_them = pc.is_in(named["person"], value_set=pa.array(sorted(persons)))
                wanted = pc.and_(wanted, of_them)
            if pc.any(wanted).as_py():
                table = pq.read_table(path, columns=["person", *FEATURES]).filter(wanted)
                first, second = (_array(table[name]) for name in FEATURES)
                yield Features(
                    original=first,
                    protected=second,
                    persons=[name or "" for name in table["person"].to_pylist()],
                )

    def _path(self, number: int) -> Path:
        return self._place.folder.shard(evaluated_address(self._place, self._key_id, number), "parquet")


def _array(column: Any) -> NDArray[np.float64]:
    """Return a column of equally long lists as an array (rows, values)."""
    lists = column.combine_chunks()
    values = lists.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype=np.float64).reshape(len(lists), -1)
