"""Verifying veils: a veil opens only for the person it belongs to, so the stored rows say whom to ask for."""

from collections.abc import Iterable, Iterator
from typing import Final

import pandas as pd

from avih.errors import AvihError
from avih.evaluation.summary import COUNTED
from avih.keys import Key
from avih.naming import ShardAddress, Store, veils_folder
from avih.shards import read_rows
from avih.verifying import Findings
from avih.verifying_versions import stored_versions

NOBODY: Final = "no stored version that can be read shows its person, and it opens for nobody else"


def verify_veils(
    findings: Findings, store: Store, *, galleries: Iterable[str], key: Key, name_others: bool
) -> None:
    """Open every veil under a key and check its count; a person is named by the file of the veil only.

    Args:
        findings: where the result goes.
        store: where.
        galleries: those whose persons' veils are opened.
        key: the opened key.
        name_others: name what is left; not where other galleries have veils under the key, too.
    """
    from avih.veils.store import VeilStore  # it brings torch along, which no other check needs

    for gallery in galleries:
        veils = VeilStore(store.keys, key, gallery)
        veiled, others = _persons(store, gallery, key.key_id)
        for person in sorted(veiled | others):
            files = veils.files(person)
            if person in veiled or files[0].exists():
                with findings.looking("veil", files[0]):
                    veils.verify(person)
                with findings.looking("veil count", files[1]):
                    veils.admitted(person)
    for path in sorted(veils_folder(store.keys, key.key_id).glob("[!.]*")) if name_others else ():
        if not findings.is_known(path):
            findings.skip("veil", path, NOBODY)


def _persons(store: Store, gallery: str, key_id: str) -> tuple[set[str], set[str]]:
    """Name the persons who have pictures under a key, and all others of the versions with that key."""
    veiled: set[str] = set()
    others: set[str] = set()
    for version in stored_versions(store, gallery):
        for rows in _tables(store, "protected", gallery, version, key_id):
            pictured = rows.status.isin(COUNTED)
            veiled |= set(rows.person[pictured].fillna("").astype(str))
        for rows in _tables(store, "aligned", gallery, version, None):
            others |= set(rows.person.fillna("").astype(str))
    return veiled - {""}, others - veiled - {""}


def _tables(
    store: Store, stage: str, gallery: str, version: str, key_id: str | None
) -> Iterator[pd.DataFrame]:
    """Yield the rows of a version's shards; damaged ones are left out, because they are named elsewhere."""
    folder = store.root / ShardAddress(stage, gallery, version, 0, key_id).folder
    for path in sorted(folder.glob("*.done.json")):
        try:
            address = ShardAddress.parse(str(path.relative_to(store.root)))
            yield read_rows(store, address)
        except (AvihError, OSError):
            continue
