"""Bad key files, vaults, key logs and files of a passphrase."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from unittest import mock

from avih.generators import load_generator
from avih.keys import KeyStore, Passphrase, Vault, find_passphrase, seal
from avih.keys.log import verify_log
from avih.keys.store import KEY_CONTEXT
from avih.naming import Store
from benchmarks.bad_inputs.kind import BadInput, Said, always
from benchmarks.bad_inputs.small_store import CHEAP, PASSPHRASE, key_id, store_files, write_store

NEST: Final = 100_000
Damage = Callable[[bytes], bytes]


def _at(place: int, value: bytes) -> Damage:
    return lambda data: data[:place] + value + data[place + len(value) :]


def _flip(place: int) -> Damage:
    return lambda data: data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


SEALED: Final[dict[str, Damage]] = {
    "empty": lambda _: b"",
    "cut in the header": lambda data: data[:20],
    "cut at its end": lambda data: data[:-1],
    "a tail": lambda data: data + b"x",
    "zeros": lambda data: bytes(len(data)),
    "another file": lambda _: b"\x89PNG\r\n\x1a\n" * 20,
    "a newer format": _at(8, b"\2"),
    "scrypt that takes 2^63 steps": _at(9, b"\x3f"),
    "scrypt that takes 128 GiB": _at(9, b"\x1e"),
    "scrypt of 255 blocks": _at(10, b"\xff"),
    "scrypt of 255 lanes": _at(11, b"\xff"),
    "scrypt of one step": _at(9, b"\x01"),
    "a length of 2^64": _at(40, b"\xff" * 8),
    "one bit of the salt": _flip(12),
    "one bit of the nonce": _flip(28),
    "one bit inside": _flip(60),
    "one bit of the tag": _flip(-3),
}


def _payload(**changes: Any) -> bytes:
    record = {"created": "2026-01-01T00:00:00+00:00", "recipe": {}}
    facts = {"version": 1, "secret": "00" * 32, "training_seed": None, "record": record} | changes
    text = json.dumps({name: value for name, value in facts.items() if value != "absent"}).encode()
    return struct.pack(">I", len(text)) + text + b"no generator"


# What somebody who has the passphrase may have sealed.
PAYLOADS: Final[dict[str, bytes]] = {
    "nothing": b"",
    "a length beyond its end": struct.pack(">I", 2**32 - 1) + b"{}",
    "text": b"this is no key",
    "nested without end": struct.pack(">I", NEST) + b"[" * NEST,
    "another version": _payload(version=99),
    "a short secret": _payload(secret="00"),
    "a secret that is a number": _payload(secret=7),
    "no record": _payload(record="absent"),
    "a record that is a word": _payload(record="x"),
    "a date that is none": _payload(record={"created": "yesterday", "recipe": {}}),
    "another key": _payload(),
}
LOGS: Final[dict[str, Damage]] = {
    "a line removed": lambda data: b"".join(data.splitlines(True)[1:]),
    "lines swapped": lambda data: b"".join(reversed(data.splitlines(True))),
    "a line twice": lambda data: data + data.splitlines(True)[0],
    "a state changed": lambda data: data.replace(b'"to":"active"', b'"to":"destroyed"'),
    "a state that is none": lambda data: data.replace(b'"to":"active"', b'"to":"immortal"'),
    "a path for a key": lambda data: data.replace(key_id().encode(), b"../../../../etc/"),
    "a field twice": lambda data: data.replace(b'"reason":', b'"reason":"x","reason":', 1),
    "nested without end": lambda data: data + b"[" * NEST + b"\n",
    "zeros": lambda data: bytes(len(data)) + b"\n",
    "not UTF-8": lambda data: data + b"\xff\xfe\n",
    "a number of 5,000 digits": lambda data: data + b'{"sequence":' + b"9" * 5000 + b"}\n",
}
GENERATORS: Final[dict[str, bytes]] = {
    "empty": b"",
    "text": b"no generator at all",
    "header of 8 exabytes": struct.pack("<Q", 2**63) + b"{}",
    "nested header": struct.pack("<Q", NEST) + b"[" * NEST,
    "a network of a terabyte": struct.pack("<Q", 78)
    + b'{"__metadata__":{"architecture":"codec","options":"{\\"width\\": 999999999}"}}  ',
    "options that are a word": struct.pack("<Q", 62)
    + b'{"__metadata__":{"architecture":"codec","options":"\\"wide\\""}}',
}


def _open_file(folder: Path) -> Path:
    path = folder / "passphrase"
    path.write_text("correct horse battery staple")
    path.chmod(0o644)
    return path


def _file(content: bytes) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        path = folder / "passphrase"
        path.write_bytes(content)
        path.chmod(0o600)
        return path

    return made


FILES: Final[dict[str, Callable[[Path], Path]]] = {
    "others may read it": _open_file,
    "empty": _file(b""),
    "only a line feed": _file(b"\n"),
    "100 KiB": _file(b"x" * 100 * 1024),
    "a folder": lambda folder: folder,
    "not there": lambda folder: folder / "gone",
    "the memory of the machine": lambda _: Path("/dev/zero"),
    "too short for a new key": _file(b"seven77"),
}


def kinds() -> list[BadInput]:
    """Return every kind of bad key."""
    found = []
    for name, damage in SEALED.items():
        found.append(BadInput(f"key file: {name}", "key", "IntegrityError|KeyRefused",
                              _damaged("KEY.key", damage), _load, bomb="scrypt" in name))  # fmt: skip
        found.append(BadInput(f"vault: {name}", "key", "IntegrityError|KeyRefused",
                              _damaged("vault.key", damage), _open_vault, bomb="scrypt" in name))  # fmt: skip
    found.append(BadInput("key file: the vault's", "key", "KeyRefused",
                          _damaged("KEY.key", lambda _: _vault_bytes()), _load))  # fmt: skip
    found.append(BadInput("key file: another passphrase", "key", "KeyRefused", write_store,
                          lambda _, store: _load(_, store, Passphrase(b"another passphrase"))))  # fmt: skip
    found += [
        BadInput(f"key file, sealed rightly: {name}", "key", "IntegrityError",
                 _damaged("KEY.key", _sealed(data)), _load)
        for name, data in PAYLOADS.items()
    ]  # fmt: skip
    found += [BadInput(f"key log: {name}", "key", "IntegrityError", _damaged("log.jsonl", damage), _read_log)
              for name, damage in LOGS.items()]  # fmt: skip
    found += [BadInput(f"generator: {name}", "key", "IntegrityError", always(data), _generator,
                       bomb="byte" in name) for name, data in GENERATORS.items()]  # fmt: skip
    found += [BadInput(f"file of the passphrase: {name}", "key", "KeyRefused", make, _find)
              for name, make in FILES.items()]  # fmt: skip
    return found


def _vault_bytes() -> bytes:
    return next(data for name, data in store_files().items() if name.endswith("vault.key"))


def _sealed(payload: bytes) -> Damage:
    return lambda _: seal(payload, passphrase=PASSPHRASE, context=KEY_CONTEXT, cost=CHEAP)


def _damaged(end: str, damage: Damage) -> Callable[[Path], Store]:
    def made(folder: Path) -> Store:
        (name,) = [name for name in store_files() if name.endswith(end.replace("KEY", key_id()))]
        store = write_store(folder)
        (folder / name).write_bytes(damage(store_files()[name]))
        return store

    return made


def _load(_: Path, store: Store, passphrase: Passphrase = PASSPHRASE) -> Said:
    KeyStore(store.keys, passphrase).load(key_id(), purpose="recover")
    return "read", ""


def _open_vault(_: Path, store: Store) -> Said:
    Vault(store.keys, PASSPHRASE).mac_key(create=False)
    return "read", ""


def _read_log(_: Path, store: Store) -> Said:
    return "read", str(verify_log(store.keys / "log.jsonl"))


def _generator(_: Path, data: bytes) -> Said:
    load_generator(data)
    return "read", ""


def _find(_: Path, path: Path) -> Said:
    with mock.patch.dict(os.environ, {"AVIH_KEY_FILE": str(path), "AVIH_PASSPHRASE": ""}):
        find_passphrase(confirm=True)
    return "read", ""
