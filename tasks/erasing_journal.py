"""What an erasure knew when it began: a signed file, there while the erasure is under way.

A rerun finds versions that are partly rewritten and no longer as their manifests say. It goes on only with
shards that are as they were when all was verified, or that this erasure put there itself
(``tasks/replacing.py``). Without the signature anybody who may write to the store could have altered shards
signed anew.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from avih.erasing import is_interrupted
from avih.errors import IntegrityError, UsageError
from avih.index_file import shard_sizes
from avih.manifest import MANIFEST_FILE, verify_gallery
from avih.naming import ShardAddress, Store
from tasks.records import Record
from tasks.replacing import done_digest
from tasks.signed_json import ERASING_LABEL, read_signed, write_signed


class Journal(Record):
    """An erasure under way.

    Attributes:
        person: keyed hash of the name.
        verified: keys whose manifest was verified, by version.
        shards: SHA-256 of the done files of these versions' shards at that time, by shard.
        finished: all is rewritten and signed; what is left is to tidy up.
    """

    gallery: str
    person: str
    verified: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    shards: Mapping[str, str] = Field(default_factory=dict)
    finished: bool = False

    def check(self, store: Store, address: ShardAddress) -> None:
        """Refuse a shard of a verified version that is not as it was verified.

        Raises:
            IntegrityError: it is another one, gone, or its files do not belong together.
        """
        keys = self.verified.get(address.version, ())
        if not keys or address.key_id not in (None, *keys):
            return
        name = _name(address)
        if done_digest(store, address) != self.shards.get(name) or is_interrupted(store, address):
            raise IntegrityError(
                f"Expected shard {name} as it was when the erasure began, got another: it was changed since. "
                "Bring its three files back from a backup, then erase again."
            )


def journal_path(store: Store, gallery: str) -> Path:
    """Name the file; it is there while an erasure is under way."""
    return store.erased(gallery).with_name("erasing.json")


def read_journal(store: Store, gallery: str, *, mac_key: bytes | None) -> Journal | None:
    """Read the journal of an erasure under way; None where there is none.

    Raises:
        IntegrityError: it is damaged, was altered, or nothing proves who wrote it.
    """
    path = journal_path(store, gallery)
    content = read_signed(path, mac_key=mac_key, label=ERASING_LABEL)
    if content is None:
        return None
    try:
        journal = Journal.model_validate(content)
    except ValidationError:
        journal = None
    if journal is None or journal.gallery != gallery:
        raise IntegrityError(
            f"Expected the journal of an erasure from {gallery} in {path}, got something else. Remove it and "
            "erase again: everything is verified anew."
        )
    return journal


def check_person(journal: Journal | None, person: str) -> None:
    """Refuse to erase somebody while another person's erasure waits.

    Raises:
        UsageError: another person's erasure was cut short.
    """
    if journal is not None and journal.person != person:
        raise UsageError(
            f"Expected no other erasure under way in {journal.gallery}, got one of another person that was cut "
            "short. Run that avih erase again first, with the name it was given then."
        )


def write_journal(store: Store, journal: Journal, *, mac_key: bytes) -> None:
    """Write the journal, signed."""
    path = journal_path(store, journal.gallery)
    write_signed(path, journal.model_dump(mode="json"), mac_key=mac_key, label=ERASING_LABEL, mode=0o600)


def begin(*, store: Store, gallery: str, person: str, before: Journal | None, mac_key: bytes) -> Journal:
    """Verify every version that is signed and was not verified yet, and write down what was found.

    Args:
        store: where.
        gallery: its name.
        person: keyed hash of the name.
        before: the journal, if the erasure was begun already.
        mac_key: 32 secret bytes.

    Raises:
        IntegrityError: a version is not as it was signed; nothing is written.
    """
    journal = before or Journal(gallery=gallery, person=person)
    verified, shards = dict(journal.verified), dict(journal.shards)
    for version in store.versions(gallery):
        known = verified.get(version, ())
        new = [key_id for key_id in signed_keys(store, gallery, version) if key_id not in known]
        if not new:
            continue
        addresses = [ShardAddress("aligned", gallery, version, 0)] if not known else []
        for key_id in new:
            _verify(store, gallery, version, key_id, mac_key)
            addresses.append(ShardAddress("protected", gallery, version, 0, key_id))
        shards |= _digests(store, addresses)
        verified[version] = (*known, *new)
    found = journal.model_copy(update={"verified": verified, "shards": shards})
    if found != before:
        write_journal(store, found, mac_key=mac_key)
    return found


def signed_keys(store: Store, gallery: str, version: str) -> list[str]:
    """Ids of the keys under which a version has a manifest."""
    at: dict[str, Any] = {"gallery": gallery, "version": version}
    keys = store.keys_of(gallery, version)
    return [k for k in keys if (store.folder("protected", **at, key_id=k) / MANIFEST_FILE).exists()]


def _verify(store: Store, gallery: str, version: str, key_id: str, mac_key: bytes) -> None:
    """Refuse to sign anew what is not as it was signed."""
    problems = verify_gallery(store=store, gallery=gallery, version=version, key_id=key_id, mac_key=mac_key)
    if problems:
        raise IntegrityError(
            f"Expected {gallery} {version} as it was signed, got: {'; '.join(problems[:3])}. Nothing was "
            "erased. Restore the version, or remove it, then erase again."
        )


def _digests(store: Store, firsts: list[ShardAddress]) -> dict[str, str]:
    """Return the digests of the done files of all shards that lie beside these.

    Raises:
        IntegrityError: a writer of one was cut short; its pictures may be the only ones there are.
    """
    found: dict[str, str] = {}
    for first in firsts:
        for number in shard_sizes(store=store, gallery=first.gallery, version=first.version):
            address = ShardAddress(first.stage, first.gallery, first.version, number, first.key_id)
            if is_interrupted(store, address):
                raise IntegrityError(
                    f"Expected shard {_name(address)} whole, got files that do not belong together: its writer "
                    "was cut short. Nothing was erased. Bring its three files back from a backup, then erase "
                    "again."
                )
            digest = done_digest(store, address)
            found |= {_name(address): digest} if digest else {}
    return found


def _name(address: ShardAddress) -> str:
    return str(address.folder / address.name)
