"""What a new version takes over from an earlier one, byte for byte: the work of unchanged photos.

A row is taken over when the photo is the same (keyed hash of its bytes, and what the index said of it) and the
earlier shard was made with the same settings; its files come along as they are, nonces included. A damaged
earlier shard gives nothing, nor does one that somebody else wrote (:mod:`avih.trusted`): its photos are worked
on anew.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from pydantic import BaseModel

from avih.errors import IntegrityError
from avih.naming import ShardAddress, Store, version_number
from avih.shards import DoneRecord, iter_samples, read_rows, settings_sha256
from avih.trusted import read_trusted

logger = logging.getLogger(__name__)

Row = dict[str, Any]
Earlier = tuple[ShardAddress, DoneRecord]


@dataclass(frozen=True)
class Carried:
    """Rows and files of an earlier shard that stay valid, by image id; files only where there is a picture."""

    rows: Mapping[str, Row] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)


NOTHING = Carried()


def earlier_shard(
    store: Store,
    address: ShardAddress,
    *,
    fits: Callable[[ShardAddress, DoneRecord], bool],
    mac_key: bytes,
) -> Earlier | None:
    """Find the same shard in the newest earlier version that has a fitting one which this store made.

    Args:
        store: where.
        address: the shard that is about to be made.
        fits: says of an earlier shard whether it was made in the same way.
        mac_key: compares the signatures of done files.
    """
    own = version_number(address.version)
    for version in reversed([v for v in store.versions(address.gallery) if version_number(v) < own]):
        candidate = ShardAddress(address.stage, address.gallery, version, address.number, address.key_id)
        try:
            record = read_trusted(store, candidate, mac_key=mac_key)
        except IntegrityError as error:
            logger.warning("%s %s is not taken over: %s", version, candidate.name, error)
            continue
        if record is not None and fits(candidate, record):
            return candidate, record
    return None


def made_alike(settings: BaseModel, recogniser: str | None = None) -> Callable[[DoneRecord], bool]:
    """Return a test whether a shard was made with these settings (and for this recogniser)."""
    digest = settings_sha256(settings)
    return lambda record: (record.settings_sha256, record.recogniser) == (digest, recogniser)


def carry_over(store: Store, source: Earlier | None, *, same: Callable[[Row], bool]) -> Carried:
    """Read from an earlier shard the rows that ``same`` accepts, and their files.

    Args:
        store: where.
        source: the earlier shard, and its done file as it was checked; None gives nothing.
        same: says of an earlier row whether its photo is unchanged.
    """
    if source is None:
        return NOTHING
    address, record = source
    try:
        table = read_rows(store, address, record=record)
        rows = {str(row["image_id"]): row for row in _plain(table) if same(row)}
        files = {
            sample.key: sample.files
            for sample in iter_samples(store, address, record=record)
            if sample.key in rows
        }
    except IntegrityError as error:
        logger.warning("Shard %s of %s is not taken over: %s", address.name, address.version, error)
        return NOTHING
    return Carried(rows, files)


def _plain(table: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
