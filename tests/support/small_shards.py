"""Shards of a few bytes, for the tests of writing, reading, damage and killed writers."""

import pandas as pd
from pydantic import BaseModel, ConfigDict

from avih.naming import ShardAddress, Store
from avih.shards import (
    DoneRecord,
    Sample,
    file_sha256,
    write_shard,
)

KEY = "0123456789abcdef"

ADDRESS = ShardAddress("protected", "lfw-gray", "v0001", 3, KEY)

ENDINGS = ("tar", "parquet", "done.json")


class Step(BaseModel):
    model_config = ConfigDict(frozen=True)
    size: float = 0.2
    count: int = 200


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True)
    template: str = "112x96"
    step: Step = Step()


def make_samples(count: int = 4) -> list[Sample]:
    # The names reach past tar's 100 characters, so that the long form of its headers is used as well.
    return [
        Sample(
            key=f"{'p' * (30 * n)}__{n:04d}", files={"png": bytes([n]) * (700 * n + 1), "json": b'{"n": 1}'}
        )
        for n in range(count)
    ]


def make_rows(samples: list[Sample]) -> pd.DataFrame:
    rows = [
        {"image_id": s.key, "person": "p", "status": "protected", "reason": "", "cos": 0.5 + i / 7,
         "file_sha256": file_sha256(s.files)}
        for i, s in enumerate(samples)
    ]  # fmt: skip
    rows.append({"image_id": "dark__0001", "person": "dark", "status": "skipped", "reason": "no_face"})
    return pd.DataFrame(rows)


def write(store: Store, address: ShardAddress = ADDRESS, **changes: object) -> DoneRecord:
    samples = make_samples()
    arguments: dict[str, object] = {
        "samples": samples, "rows": make_rows(samples), "settings": Settings(), "inputs_sha256": "ab" * 32,
        "key_id": address.key_id, "recogniser": "feedfacefeedface",
    }  # fmt: skip
    return write_shard(store=store, address=address, **(arguments | changes))


def contents(store: Store, address: ShardAddress = ADDRESS) -> dict[str, bytes]:
    return {ending: store.shard(address, ending).read_bytes() for ending in ENDINGS}
