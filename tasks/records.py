"""What goes into and comes out of tasks: paths, names and counts, never pictures, tensors or keys.

Prefect stores and shows parameters and results; nothing here may be secret.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, field_validator

from avih.naming import Store


class Record(BaseModel):
    """Base of all records: immutable plain values."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RecogniserChoice(Record):
    """Which service model: a card's name or path, and its weights where the card does not bring them."""

    card: str
    weights: str | None = None

    @field_validator("card")
    @classmethod
    def _from_anywhere(cls, card: str) -> str:
        """Make a file's path absolute: later stages run in other folders."""
        return str(Path(card).absolute()) if card.endswith(".toml") else card

    @property
    def weights_path(self) -> Path | None:
        """The weights as a path."""
        return Path(self.weights) if self.weights else None


class Place(Record):
    """A gallery version in a store, and the recogniser it must keep working for."""

    store: str
    gallery: str
    version: str
    recogniser: RecogniserChoice

    @property
    def folder(self) -> Store:
        """The store."""
        return Store.find(self.store)


class ShardRecord(Record):
    """One finished shard: how many images ended how, and whether it was made now or found done."""

    number: int
    counts: dict[str, int]
    made: bool
    seconds: float = 0.0


def add_counts(records: list[ShardRecord]) -> dict[str, int]:
    """Sum the counts of shards by status."""
    total: dict[str, int] = {}
    for record in records:
        for status, count in record.counts.items():
            total[status] = total.get(status, 0) + count
    return dict(sorted(total.items()))
