"""Erase a person: out of every version, sealed original, veil, measurement and report of a gallery; and prove it.

The one change that a signed version may see. Shards are written anew without the person, manifests and the
promotions are signed anew, pictures that may show the person are removed, and a keyed hash of the name keeps
later nights from bringing the person back. What the program cannot reach is said: copies taken before, backups,
and the source itself. A kill in the middle is made good by the same command.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from avih.atomic import remove, remove_leftovers
from avih.erasing import belongs_to, sign_again
from avih.errors import UsageError
from avih.gallery import read_history, write_history
from avih.index_file import count_index, iter_index, write_index
from avih.keys import KeyStore
from avih.naming import Store, veils_folder
from avih.scanning import person_mac
from avih.veils.store import VeilStore
from tasks import opened
from tasks.erase_shards import ShardErasure
from tasks.erased import remember_erased
from tasks.erasing_journal import begin, check_person, journal_path, read_journal, signed_keys, write_journal
from tasks.mlflow_runs import artifact_folders
from tasks.progress import advance
from tasks.progress import begin as begin_progress
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
        UsageError: no version knows the person, or another person's erasure was cut short.
        IntegrityError: a version is not as it was signed, or changed since the erasure began; nothing
            is signed anew.
        AvihError: MLflow cannot say where the gallery's pictures are; nothing was erased.
    """
    versions = store.versions(gallery)
    mac_key = opened.vault(store.root).mac_key()
    hidden = person_mac(person, mac_key=mac_key)
    journal = read_journal(store, gallery, mac_key=mac_key)
    check_person(journal, hidden)
    ids = _checked_ids(store, gallery, person, begun=journal is not None)
    logged = artifact_folders(store, gallery)
    journal = begin(store=store, gallery=gallery, person=hidden, before=journal, mac_key=mac_key)
    remember_erased(store=store, gallery=gallery, person_mac=hidden, mac_key=mac_key)
    begin_progress("erase", len(versions))
    shards = ShardErasure(store, person, journal, mac_key)
    digests = {}
    for version in versions:
        if not journal.finished:
            digests[version] = _erase_from(shards, version)
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
    # From here on a rerun looks at no shard: what it would go on from is removed before the journal.
    write_journal(store, journal.model_copy(update={"finished": True}), mac_key=mac_key)
    for version in versions:
        shards.tidy(version)
    searched, found = search_store(store, words={person, *ids})
    remove(journal_path(store, gallery))
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
    mac_key = opened.vault(store.root).mac_key()
    journal = read_journal(store, gallery, mac_key=mac_key)
    check_person(journal, person_mac(person, mac_key=mac_key))
    _checked_ids(store, gallery, person, begun=journal is not None)
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


def _erase_from(shards: ShardErasure, version: str) -> str | None:
    """Take the person out of one version, the index last; return the new manifest's digest, if it has one."""
    store, gallery, digest = shards.store, shards.journal.gallery, None
    left = shards.erase_from(version)
    for key_id in signed_keys(store, gallery, version) if left else ():
        digest = sign_again(store=store, gallery=gallery, version=version, key_id=key_id, numbers=left,
                            mac_key=shards.mac_key)  # fmt: skip
    pieces = _others(store, gallery, version, shards.person)
    write_index(store=store, gallery=gallery, version=version, pieces=pieces)
    return digest


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
