"""Read back everything that was written, whatever it is packed in, and look for what nobody may find."""

import base64
import io
import json
import re
import sqlite3
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from avih.images import decode_photo, decode_png
from avih.keys import KeyStore, Passphrase, Vault, open_sealed
from avih.keys.vault import VAULT_CONTEXT
from avih.naming import Store
from flows.server.processes import ProcessId

PICTURE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")
EMBEDDED = re.compile(rb"data:image/[a-z]+;base64,([A-Za-z0-9+/=]+)")
SLICE = 64  # bytes that stand for a network or a photo
LISTEN = "0A"


@dataclass
class Secrets:
    """What must be found nowhere: bytes by what they are, and rows of pixels of the originals."""

    bytes: dict[str, bytes] = field(default_factory=dict)
    rows: dict[bytes, str] = field(default_factory=dict)

    def in_bytes(self, data: bytes) -> set[str]:
        return {name for name, secret in self.bytes.items() if secret in data}

    def in_pixels(self, pixels: np.ndarray) -> set[str]:
        data = np.ascontiguousarray(pixels).tobytes()
        return {name for row, name in self.rows.items() if row in data}

    def hide(self, name: str, value: bytes) -> None:
        """Take a secret in, in the forms in which it might be written."""
        self.bytes[name] = value
        self.bytes[f"{name} in hex"] = value.hex().encode()
        # Without its ends, which depend on what is encoded around it.
        for start in range(3):
            shifted = base64.b64encode(value[start : start + (len(value) - start) // 3 * 3])
            if len(shifted) >= 16:
                self.bytes[f"{name} in base64 from {start}"] = shifted


def secrets_of(store: Store, passphrase: str, photos: Path) -> Secrets:
    """Open a store with its passphrase and name all that is secret in it."""
    found, words = Secrets(), Passphrase(passphrase.encode())
    found.hide("passphrase", passphrase.encode())
    vault = store.keys / "vault.key"
    found.hide("master key", open_sealed(vault.read_bytes(), passphrase=words, context=VAULT_CONTEXT))
    keys = KeyStore(store.keys, words)
    for record in keys.list():
        key = keys.load(record.key_id, purpose="inspect")
        found.hide(f"secret of {record.key_id}", key.secret.reveal())
        if record.parameters:
            for place in (len(key.generator_bytes) // 2, len(key.generator_bytes) - 2 * SLICE):
                found.hide(
                    f"weights at {place} of {record.key_id}", key.generator_bytes[place : place + SLICE]
                )
        if key.training_seed is not None:
            found.bytes[f"seed of {record.key_id}"] = str(key.training_seed).encode()
            found.bytes[f"seed of {record.key_id} in hex"] = f"{key.training_seed:x}".encode()
    _add_originals(found, store, Vault(store.keys, words), photos)
    return found


def _add_originals(found: Secrets, store: Store, vault: Vault, photos: Path) -> None:
    """Take in the source's photos and what was aligned of them."""
    pictures = {}
    for path in photos.rglob("*"):
        if path.is_file() and path.suffix == ".png" and path.parent.name.startswith("person"):
            data = path.read_bytes()
            found.hide(f"file {path.name}", data[len(data) // 2 : len(data) // 2 + SLICE])
            pictures[f"photo {path.name}"] = decode_photo(data).pixels
    for tar in store.root.glob("2_aligned/*/*/*.tar"):
        gallery, rows = tar.parent.parent.name, pq.read_table(tar.with_suffix(".parquet")).to_pylist()
        macs = {row["image_id"]: row["content_mac"] for row in rows}
        with tarfile.open(tar) as archive:
            for member in archive:
                name, blob = member.name.partition(".")[0], archive.extractfile(member).read()
                opened = vault.for_gallery(gallery).open(blob, name=f"{macs[name]}/{name}")
                found.hide(f"PNG of {name}", opened[len(opened) // 2 : len(opened) // 2 + SLICE])
                pictures[f"original {name}"] = decode_png(opened)
    for name, pixels in pictures.items():
        row = max(pixels, key=lambda row: len(np.unique(row)))
        found.rows[row.tobytes()] = f"a row of {name}"


def told(secrets: Secrets, files: Iterable[Path]) -> dict[str, set[str]]:
    """Return the files that hold a secret, each with what it holds."""
    return {str(path): found for path in files if (found := _in_file(secrets, path))}


def _in_file(secrets: Secrets, path: Path) -> set[str]:
    found: set[str] = set()
    for data in _unpacked(path):
        found |= secrets.in_bytes(data)
        embedded = [base64.b64decode(match[1]) for match in EMBEDDED.finditer(data)]
        for picture in [data, *embedded]:
            if picture.startswith(PICTURE_STARTS):
                with Image.open(io.BytesIO(picture)) as image:
                    found |= secrets.in_pixels(np.asarray(image.convert("RGB")))
    return found


def _unpacked(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, and what is in it where it is a tar, a table or a database."""
    data = path.read_bytes()
    yield data
    if path.suffix == ".tar":
        with tarfile.open(path) as archive:
            yield from (archive.extractfile(member).read() for member in archive)
    elif path.suffix == ".parquet":
        for column in pq.read_table(path).to_pydict().values():
            yield from (value if isinstance(value, bytes) else str(value).encode() for value in column)
    elif data.startswith(b"SQLite format 3"):
        yield from _database(path)
    elif path.suffix == ".json":
        yield json.dumps(json.loads(data), ensure_ascii=False).encode()


def _database(path: Path) -> Iterator[bytes]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for row in database.execute(f'SELECT * FROM "{table}"'):
                yield from (value if isinstance(value, bytes) else str(value).encode() for value in row)


def listening(processes: Iterable[ProcessId]) -> set[str]:
    """Return the addresses at which processes listen, as the kernel writes them (in hex)."""
    inodes = set()
    for process in processes:
        for link in Path(f"/proc/{process.number}/fd").glob("*"):
            try:
                inodes.add(str(link.readlink()))
            except OSError:
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN and f"socket:[{fields[9]}]" in inodes:
                found.add(fields[1].partition(":")[0])
    return found


def command_lines(processes: Iterable[ProcessId]) -> list[bytes]:
    """Return the command lines of processes, as everybody on the machine may read them."""
    return [
        Path(f"/proc/{process.number}/cmdline").read_bytes() for process in processes if process.is_alive()
    ]
