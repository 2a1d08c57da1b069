"""Bad tables, tars and stored pictures of a store."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from avih.images import decode_png
from avih.index_file import iter_index
from avih.naming import Store
from avih.photo_tables import photo_tables, rows_of
from avih.scanning import COLUMNS
from avih.shards import iter_samples, read_rows
from avih.shards.reading import samples_of
from benchmarks.bad_inputs.archive_files import sparse, special, tar_of
from benchmarks.bad_inputs.kind import BadInput, Said, always, calling
from benchmarks.bad_inputs.pictures import encoded, png
from benchmarks.bad_inputs.records import NEST, damaged, reading, shard
from benchmarks.bad_inputs.small_store import GALLERY, VERSION
from tasks.stored import stored_of


def _index(store: Store) -> object:
    """Read the index as the next night does, into its tables."""
    with photo_tables(store=store, gallery=GALLERY) as tables:
        tables.load("before", rows_of(iter_index(store=store, gallery=GALLERY, version=VERSION)))
        return list(tables.before())


def _tables() -> dict[str, bytes]:
    """Bad tables in place of an index."""
    good = {name: ["x"] if name != "shard" else [0] for name in COLUMNS}

    def written(columns: dict[str, list[Any]], **more: Any) -> bytes:
        target = io.BytesIO()
        pq.write_table(pa.table(columns), target, **more)
        return target.getvalue()

    whole = written(good)
    other_code = pa.array([b"caf\xe9"], pa.binary()).view(pa.string())
    return {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "its end cut": whole[:-6],
        "zeros": bytes(2000),
        "a text table": ",".join(COLUMNS).encode() + b"\nx,y,z,indexed,,0,0\n",
        "a column missing": written({name: value for name, value in good.items() if name != "reason"}),
        "a column too many": written(good | {"password": ["x"]}),
        "columns in another order": written(dict(reversed(good.items()))),
        "words for shard numbers": written(good | {"shard": ["=1+1"]}),
        "numbers for names": written(good | {"image_id": [7]}),
        "lists for names": written(good | {"person": [["x", "y"]]}),
        "nothing for a name": written(good | {"image_id": pa.array([None], pa.string())}),
        "letters that are not UTF-8": written(good | {"person": other_code}),
        "a name twice": written({name: value * 2 for name, value in good.items()}),
        "a footer of 2 GiB": whole[:-8] + b"\xff\xff\xff\x7fPAR1",
    }


TARS: Final[dict[str, Callable[[], bytes]]] = {
    "compressed": lambda: tar_of({"a.png": b"x"}),
    "cut": lambda: tar_of({"a.png": bytes(2000)}, kind="w")[:900],
    "text": lambda: b"no archive at all" * 100,
    "name with ..": lambda: tar_of({"../a.png": b"x"}, kind="w"),
    "absolute name": lambda: tar_of({"/a.png": b"x"}, kind="w"),
    "one file twice": lambda: tar_of({"a.png": b"x"}, add=(tarfile.TarInfo("a.png"),), kind="w"),
    "link": lambda: tar_of({}, add=(special("a.png", tarfile.SYMTYPE, "/etc/passwd"),), kind="w"),
    "device": lambda: tar_of({}, add=(special("a.png", tarfile.CHRTYPE),), kind="w"),
    "folder": lambda: tar_of({}, add=(special("a", tarfile.DIRTYPE),), kind="w"),
    "hole of a terabyte": lambda: sparse("a.png"),
    "member of 100 terabytes": lambda: special("a.png", tarfile.REGTYPE, size=100 * 2**40).tobuf() + bytes(512),
}  # fmt: skip
SAMPLES: Final[dict[str, dict[str, bytes]]] = {
    "no picture": {"json": b'{"nonce": "x"}'},
    "no label": {"png": encoded("PNG")},
    "label nested without end": {"png": encoded("PNG"), "json": b"[" * NEST},
    "label without a nonce": {"png": encoded("PNG"), "json": b"{}"},
    "label of a list": {"png": encoded("PNG"), "json": b"[]"},
    "picture of 100000x100000": {"png": png(100_000, 100_000), "json": b'{"nonce": "x"}'},
    "picture of 13000x13000": {"png": png(13_000, 13_000, rows=bytes(9)), "json": b'{"nonce": "x"}'},
    "picture that is a JPEG": {"png": encoded("JPEG"), "json": b'{"nonce": "x"}'},
    "picture with a tail": {"png": encoded("PNG") + b"tail", "json": b'{"nonce": "x"}'},
}


def kinds() -> list[BadInput]:
    """Return every kind of bad table and shard."""
    found = []
    read_them = reading(lambda store: read_rows(store, shard(store)))
    unpack_it = reading(lambda store: list(iter_samples(store, shard(store))))
    for name, data in _tables().items():
        index, rows = (damaged(file, always(data)) for file in ("photos.parquet", "00000.parquet"))
        found.append(BadInput(f"index: {name}", "table", "IntegrityError|UsageError", index, reading(_index)))
        found.append(BadInput(f"shard's rows: {name}", "table", "IntegrityError", rows, read_them))
    for name, make in TARS.items():
        bomb, stored = "terabyte" in name, damaged("00000.tar", calling(make))
        found.append(BadInput(f"tar alone: {name}", "shard", "IntegrityError", calling(make), _samples, bomb))
        found.append(BadInput(f"tar in a store: {name}", "shard", "IntegrityError", stored, unpack_it))
    for name, files in SAMPLES.items():
        found.append(BadInput(name, "shard", "IntegrityError", always(files), _sample, bomb="000x" in name))
    return found


def _samples(_: Path, data: bytes) -> Said:
    return "read", str(len(list(samples_of(io.BytesIO(data), Path("00000.tar")))))


def _sample(_: Path, files: dict[str, bytes]) -> Said:
    stored_of("image", files)
    decode_png(files["png"])
    return "read", ""
