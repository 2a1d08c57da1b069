"""Signed lists of files that no manifest speaks for: a version's index, measurements, attack check and audit.

A list holds the length and the SHA-256 of each file by its path in the store. It lies in the version's index
folder, away from what it lists, and is written when the stage that made the files is done; versions of earlier
releases have none.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from avih.errors import IntegrityError
from avih.mirror.seam import local, stays_here
from avih.naming import Store
from avih.verifying import Problem
from tasks.signed_json import read_signed, write_signed

LABEL: Final = "avih signed list v1"
AGAIN: Final = (
    "If a run is under way or was cut short, let it end; if not, bring the file back from a backup, or make it "
    "again."
)


def list_files(
    *, store: Store, gallery: str, version: str, what: str, files: Iterable[Path], mac_key: bytes
) -> None:
    """Write down what is in some files of a version, in place of what was written down before.

    Args:
        store: where.
        gallery: its name.
        version: the version's name.
        what: name of the list: a stage, and its key where it has one.
        files: those that belong to it; one that is not there, or never leaves this machine, is left out.
        mac_key: 32 secret bytes.
    """
    path = store.signed_list(gallery=gallery, version=version, what=what)
    there = [file for file in files if file.is_file() and not stays_here(file)]
    entries = {str(file.relative_to(store.root)): _entry(file) for file in there}
    write_signed(path, {"files": entries}, mac_key=mac_key, label=_label(store, path), mode=0o600)


def list_again(
    *,
    store: Store,
    gallery: str,
    version: str,
    changed: Callable[[Path], bool],
    mac_key: bytes,
    also: Mapping[str, Iterable[Path]] = MappingProxyType({}),
) -> None:
    """Bring the lists of a version up to date after files were changed or removed on purpose.

    Args:
        store: where.
        gallery: its name.
        version: the version's name.
        changed: tells which files were changed; all others keep the digests that they had.
        mac_key: 32 secret bytes.
        also: files that a list names from now on, by the list's name.

    Raises:
        IntegrityError: a list is damaged or was altered.
    """
    for path in lists_of(store, gallery, version):
        label = _label(store, path)
        before = (read_signed(path, mac_key=mac_key, label=label) or {})["files"]
        paths = {name: store.root / name for name in before}
        there = {
            name: before[name] for name, file in paths.items() if file.is_file() and not stays_here(file)
        }
        files = {name: _entry(store.root / name) if changed(store.root / name) else entry
                 for name, entry in there.items()}  # fmt: skip
        files |= {str(file.relative_to(store.root)): _entry(file) for file in also.get(path.stem, ())}
        write_signed(path, {"files": files}, mac_key=mac_key, label=label, mode=0o600)


def lists_of(store: Store, gallery: str, version: str) -> list[Path]:
    """Return all lists of a version."""
    return sorted(store.signed_list(gallery=gallery, version=version, what="*").parent.glob("*.json"))


def read_list(store: Store, path: Path, *, mac_key: bytes | None) -> dict[str, Any]:
    """Return what a list says of each file, by its path in the store.

    Of a store elsewhere, files are left out that lie only on the machine where they were made.

    Raises:
        IntegrityError: it is damaged, was altered, or belongs to another version.
    """
    content = read_signed(path, mac_key=mac_key, label=_label(store, path)) or {}
    files = content.get("files")
    if not isinstance(files, dict) or any(
        not isinstance(said, dict) or set(said) != {"bytes", "sha256"} for said in files.values()
    ):
        raise IntegrityError(f"Expected a list of files in {path}, got something else. {AGAIN}")
    return {name: said for name, said in files.items() if not stays_here(store.root / name)}


def changes(
    store: Store, files: dict[str, Any], *, reads: Callable[[Path], bool] = lambda _: True
) -> Iterator[Problem]:
    """Compare files with their list; of those that are not read, the length is compared."""
    for name, said in sorted(files.items()):
        path = store.root / name
        try:
            got = _entry(path) if reads(path) else {"bytes": path.stat().st_size, "sha256": said["sha256"]}
        except OSError as error:
            yield Problem(
                "", name, f"listed when it was made, but it cannot be read: {error.strerror}. {AGAIN}"
            )
            continue
        if got != said:
            yield Problem("", name, f"expected {_text(said)}, got {_text(got)}. {AGAIN}")


def _entry(path: Path) -> dict[str, Any]:
    with local(path).open("rb") as file:
        return {
            "bytes": path.stat().st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


def _text(entry: dict[str, Any]) -> str:
    return f"{entry['bytes']} bytes with SHA-256 {entry['sha256']}"


def _label(store: Store, path: Path) -> str:
    """Bind a list to its place: that of another version does not fit."""
    return f"{LABEL} {path.relative_to(store.root)}"
