"""Erase a person: out of every version, sealed original, veil, measurement and report of a gallery; and prove it.

The one change that a signed version may see. Shards are written anew without the person, manifests and the
promotions are signed anew, pictures that may show the person are removed, and a keyed hash of the name keeps
later nights from bringing the person back. What the program cannot reach is said: copies taken before, backups,
and the source itself. A kill in the middle is made good by the same command.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from avih.atomic import remove, remove_leftovers, write_json
from avih.erasing import belongs_to, remove_shard, rewrite_shard, sign_again
from avih.errors import IntegrityError, UsageError
from avih.gallery import read_history, write_history
from avih.index_file import count_index, iter_index, read_index, rows_digest, shard_sizes, write_index
from avih.keys import KeyStore
from avih.manifest import MANIFEST_FILE, verify_gallery
from avih.naming import ShardAddress, Store, veils_folder
from avih.scanning import person_mac
from avih.shards import DoneRecord
from avih.veils.store import VeilStore
from tasks import opened
from tasks.erased import remember_erased
from tasks.evaluate_shard import measured_from, write_measured
from tasks.mlflow_runs import artifact_folders
from tasks.progress import advance, begin
from tasks.records import Record
from tasks.search_store import Finding, search_store
from tasks.signed_list import list_again


class Erased(Record):
    """What was erased, and what a search of the whole store still found (nothing, if all is well)."""

    gallery: str
    photos: int
    versions: tuple[str, ...]
    files_searched: int
    found: tuple[Finding, ...]


def erase_person(*, store: Store, gallery: str, person: str) -> Erased:
    """Erase one person from a gallery, then search the whole store for the name and the image ids.

    Raises:
        UsageError: no version knows the person.
        IntegrityError: a version is not as it was signed; it is not signed anew.
        AvihError: MLflow cannot say where the gallery's pictures are; nothing was erased.
    """
    versions = store.versions(gallery)
    journal = store.erased(gallery).with_name("erasing.json")
    ids = _checked_ids(store, gallery, person, begun=journal.exists())
    mac_key = opened.vault(store.root).mac_key()
    logged = artifact_folders(store, gallery)
    if not journal.exists():
        _verify(store, gallery, versions, mac_key)
        write_json(journal, {"versions": versions}, mode=0o600)
    hidden = person_mac(person, mac_key=mac_key)
    remember_erased(store=store, gallery=gallery, person_mac=hidden, mac_key=mac_key)
    begin("erase", len(versions))
    digests = {}
    for version in versions:
        digests[version] = _erase_from(store, gallery, version, person, mac_key)
        advance("erase")
    _sign_history(store, gallery, {v: d for v, d in digests.items() if d}, mac_key)
    forget_veils(store, gallery, person)
    _remove_pictures(store, gallery, logged)
    for version in versions:
        list_again(store=store, gallery=gallery, version=version, changed=_is_rewritten, mac_key=mac_key,
                   also={"index": [store.erased(gallery)]})  # fmt: skip
    remove_leftovers(
        store.gallery_root("index", gallery).parent
    )  # a killed run's list of photos names everybody
    searched, found = search_store(store, words={person, *ids})
    remove(journal)
    return Erased(
        gallery=gallery, photos=len(ids), versions=tuple(versions), files_searched=searched, found=found
    )


def _checked_ids(store: Store, gallery: str, person: str, *, begun: bool) -> set[str]:
    """Return the ids of a person's photos in all versions, if the person may be erased."""
    versions = store.versions(gallery)
    ids = {name for version in versions for name in _names_of(store, gallery, version, person)}
    if not ids and not begun:
        raise UsageError(
            f"Expected a person of gallery {gallery}, got {person!r}, whom no version knows. Names are those of "
            "the source's folders, letter by letter."
        )
    alone = [v for v in versions if _is_alone(store, gallery, v, person)]
    if alone:
        raise UsageError(
            f"Expected others beside {person!r} in every version, got {', '.join(alone)}, which hold nobody "
            "else. Remove the gallery's folders instead."
        )
    return ids


def what_would_go(*, store: Store, gallery: str, person: str) -> dict[str, int]:
    """Count the photos of a person by version; nothing changes.

    Raises:
        UsageError: as for :func:`erase_person`.
    """
    _checked_ids(store, gallery, person, begun=store.erased(gallery).with_name("erasing.json").exists())
    return {v: len(_names_of(store, gallery, v, person)) for v in store.versions(gallery)}


def forget_veils(store: Store, gallery: str, person: str) -> None:
    """Destroy the person's veils under every key that has veils, whatever state it is in."""
    if not person:
        return
    for record in KeyStore(store.keys).list():
        if veils_folder(store.keys, record.key_id).is_dir():
            key, _ = opened.key(store.root, key_id=record.key_id, purpose="inspect")
            VeilStore(store.keys, key, gallery).forget(person)


def _is_rewritten(path: Path) -> bool:
    """Tell whether erasing writes a file anew that a signed list names: indexes and measurements."""
    return path.name.endswith((".parquet", ".done.json"))


def _names_of(store: Store, gallery: str, version: str, person: str) -> list[str]:
    pieces = iter_index(store=store, gallery=gallery, version=version)
    return [str(name) for piece in pieces for name in piece.image_id[belongs_to(piece, person)]]


def _is_alone(store: Store, gallery: str, version: str, person: str) -> bool:
    photos = count_index(store=store, gallery=gallery, version=version)
    return photos > 0 and not any(len(piece) for piece in _others(store, gallery, version, person))


def _others(store: Store, gallery: str, version: str, person: str) -> Iterator[pd.DataFrame]:
    """Yield the index of a version without a person, piece by piece."""
    for piece in iter_index(store=store, gallery=gallery, version=version):
        yield piece[~belongs_to(piece, person)].reset_index(drop=True)


def _verify(store: Store, gallery: str, versions: list[str], mac_key: bytes) -> None:
    """Refuse to sign anew what is not as it was signed."""
    for version in versions:
        for key_id in store.keys_of(gallery, version):
            folder = store.folder("protected", gallery=gallery, version=version, key_id=key_id)
            if not (folder / MANIFEST_FILE).exists():
                continue
            problems = verify_gallery(
                store=store, gallery=gallery, version=version, key_id=key_id, mac_key=mac_key
            )
            if problems:
                raise IntegrityError(
                    f"Expected {gallery} {version} as it was signed, got: {'; '.join(problems[:3])}. Nothing was "
                    "erased. Restore the version, or remove it, then erase again."
                )


def _erase_from(store: Store, gallery: str, version: str, person: str, mac_key: bytes) -> str | None:
    """Take the person out of one version, the index last; return the new manifest's digest, if it has one."""
    at: dict[str, Any] = {"store": store, "gallery": gallery, "version": version}
    left, keys = [], store.keys_of(gallery, version)
    for number in shard_sizes(**at):
        address = ShardAddress("aligned", gallery, version, number)
        rows = read_index(**at, shard=number)
        others = rows[~belongs_to(rows, person)]
        left += [number] if len(others) else []
        inputs = rows_digest(others)
        aligned = rewrite_shard(store=store, address=address, person=person, inputs_sha256=inputs)
        for key_id in keys:
            hidden = ShardAddress("protected", gallery, version, number, key_id)
            _erase_protected(store, hidden, person, aligned, mac_key)
    digest = None
    for key_id in keys:
        folder = store.folder("protected", gallery=gallery, version=version, key_id=key_id)
        if left and (folder / MANIFEST_FILE).exists():
            digest = sign_again(store=store, gallery=gallery, version=version, key_id=key_id,
                                numbers=left, mac_key=mac_key)  # fmt: skip
    write_index(**at, pieces=_others(store, gallery, version, person))
    return digest


def _erase_protected(
    store: Store, address: ShardAddress, person: str, aligned: DoneRecord | None, mac_key: bytes
) -> None:
    """Take the person out of a protected shard and of its measurements."""
    measured = ShardAddress("evaluated", address.gallery, address.version, address.number, address.key_id)
    if aligned is None:
        remove_shard(store=store, address=address)
        remove_shard(store=store, address=measured)
        return
    done = rewrite_shard(store=store, address=address, person=person, inputs_sha256=aligned.digest())
    path = store.shard(measured, "parquet")
    if done is None or not path.exists():
        return
    table = pd.read_parquet(path)
    # Empty where the measurements are not as they were signed: they stay so, and are made again.
    suffix = (measured_from(store, measured, mac_key=mac_key) or "").partition(" ")[2]
    remove(store.shard(measured, "done.json"))
    others = table[~belongs_to(table, person)]
    write_measured(store, measured, others, inputs=f"{done.digest()} {suffix}", mac_key=mac_key)


def _sign_history(store: Store, gallery: str, digests: dict[str, str], mac_key: bytes) -> None:
    history = read_history(store=store, gallery=gallery, mac_key=mac_key)
    promotions = tuple(
        entry.model_copy(update={"manifest_sha256": digests.get(entry.version, entry.manifest_sha256)})
        for entry in history.promotions
    )
    if promotions != history.promotions:
        write_history(
            store=store, history=history.model_copy(update={"promotions": promotions}), mac_key=mac_key
        )


def _remove_pictures(store: Store, gallery: str, logged: set[Path]) -> None:
    """Remove plots, sheets, reports and sealed samples that were made with the person; they can be made again."""
    folders: list[Path] = [
        store.gallery_root("evaluated", gallery),
        store.attacked_root(gallery),
        store.gallery_root("audited", gallery),
        *sorted(logged),
    ]
    endings = ("*.png", "*.sealed", "report.md", "report.html", "summary.json")
    for folder in folders:
        for ending in endings:
            for path in folder.rglob(ending) if folder.is_dir() else ():
                remove(path)
