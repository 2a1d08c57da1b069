"""Bad records of a store: every JSON file, damaged in every way."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from avih.gallery import read_history
from avih.keys import KeyStore, LeakBudget, Vault
from avih.manifest import read_manifest
from avih.naming import ShardAddress, Store
from avih.shards import read_rows
from benchmarks.bad_inputs.kind import BadInput, Said
from benchmarks.bad_inputs.small_store import (
    GALLERY,
    PASSPHRASE,
    VERSION,
    key_id,
    store_files,
    with_passphrase,
    write_store,
)
from tasks.audit_policy import read_policy
from tasks.drill_record import LABEL, drill_path, parse_drill
from tasks.erased import read_erased
from tasks.rotation_plan import read_plan
from tasks.run_record import load_run
from tasks.signed_json import read_signed
from tasks.signed_list import lists_of, read_list

NEST: Final = 100_000
MARK: Final = b'"hmac_sha256": "'


def _mac(store: Store) -> bytes:
    return Vault(store.keys, PASSPHRASE).mac_key(create=False)


def shard(_: Store) -> ShardAddress:
    return ShardAddress("protected", GALLERY, VERSION, 0, key_id())


def _manifest(store: Store) -> object:
    return read_manifest(store=store, gallery=GALLERY, version=VERSION, key_id=key_id(), mac_key=_mac(store))


def _drill(store: Store) -> object:
    path = drill_path(store, gallery=GALLERY, version=VERSION)
    return parse_drill(
        read_signed(path, mac_key=_mac(store), label=LABEL) or {}, gallery=GALLERY, version=VERSION
    )


# Name -> the end of the file's path in the store, and how it is read.
RECORDS: Final[dict[str, tuple[str, Callable[[Store], object]]]] = {
    "manifest": ("manifest.json", _manifest),
    "done file": ("00000.done.json", lambda store: read_rows(store, shard(store))),
    "current": (
        "current.json",
        lambda store: read_history(store=store, gallery=GALLERY, mac_key=_mac(store)),
    ),
    "run record": ("run.json", lambda store: load_run(store=store, gallery=GALLERY, version=VERSION)),
    "policy": ("policy.json", lambda store: read_policy(store, GALLERY)),
    "erased persons": (
        "erased.json",
        lambda store: read_erased(store=store, gallery=GALLERY, mac_key=_mac(store)),
    ),
    "rotation plan": ("rotation.json", lambda store: read_plan(store, GALLERY)),
    "drill": ("summary.json", _drill),
    "signed list": (
        "signed/index.json",
        lambda store: read_list(store, lists_of(store, GALLERY, VERSION)[0], mac_key=_mac(store)),
    ),
    "leak budget": (".budget.json", lambda store: LeakBudget(store.keys, key_id(), PASSPHRASE).verify()),
    "public record of a key": ("KEY.json", lambda store: KeyStore(store.keys).list()),
}


def _edited(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """Change the object inside a record, and write it as we do."""

    def damage(data: bytes) -> bytes:
        content = json.loads(data)
        inner = next((value for value in content.values() if isinstance(value, dict)), content)
        change(inner if "hmac_sha256" in content and len(content) == 2 else content)
        return json.dumps(content, sort_keys=True, indent=2).encode() + b"\n"

    return damage


def _retyped(content: dict[str, Any]) -> None:
    content.update({name: "x" if isinstance(value, list) else [value] for name, value in content.items()})


def _field_twice(data: bytes) -> bytes:
    start = data.index(b'"')
    end = data.index(b",\n", start) if b",\n" in data else data.index(b"\n}", start)
    line = data[start:end]
    return (
        data[:start]
        + (line + b",\n" if line.count(b"{") == line.count(b"}") else b'"x": 1, "x": 2,\n')
        + data[start:]
    )


DAMAGE: Final[dict[str, Callable[[bytes], bytes]]] = {
    "empty": lambda _: b"",
    "cut": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "no JSON": lambda _: b"<html>404</html>",
    "not UTF-8": lambda data: data.replace(b'": "', b'": "\xff', 1),
    "null": lambda _: b"null\n",
    "a list": lambda _: b"[1, 2, 3]\n",
    "a number of 5,000 digits": lambda _: b'{"x": ' + b"9" * 5000 + b"}\n",
    "nested without end": lambda _: b"[" * NEST,
    "objects nested without end": lambda _: b'{"a":' * NEST,
    "a field twice": _field_twice,
    "not a number": _edited(lambda content: content.update(dict.fromkeys(content, float("nan")))),
    "half a character": lambda data: data.replace(b'": "', b'": "\\ud800', 1),
    "half a character in plain bytes": lambda data: data.replace(b'": "', b'": "\xed\xa0\x80', 1),
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "every value of another type": _edited(_retyped),
    "an unknown field": _edited(lambda content: content.update({"password": "x"})),
    "its fields missing": _edited(lambda content: content.clear()),
    "a signature in other letters": lambda data: data.replace(MARK, MARK + b"\xc3\xa9"),
}  # fmt: skip


def kinds() -> list[BadInput]:
    """Return every kind of bad record."""
    found = []
    for record, (end, read) in RECORDS.items():
        signed = record not in ("done file", "run record", "public record of a key")
        for name, damage in DAMAGE.items():
            if "signature" in name and not signed:
                continue
            found.append(
                BadInput(f"{record}: {name}", "record", "IntegrityError", damaged(end, damage), reading(read))
            )
    return found


def damaged(end: str, damage: Callable[[bytes], bytes]) -> Callable[[Path], Store]:
    def made(folder: Path) -> Store:
        wanted = end.replace("KEY", key_id())
        (name,) = [name for name in store_files() if name.endswith(wanted)]
        store = write_store(folder)
        (folder / name).write_bytes(damage(store_files()[name]))
        return store

    return made


def reading(read: Callable[[Store], object]) -> Callable[[Path, Store], Said]:
    def take(_: Path, store: Store) -> Said:
        with with_passphrase():
            read(store)
        return "read", ""

    return take
