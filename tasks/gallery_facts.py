"""Gather what the report of a gallery version tells, from the store as it is."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from avih import __version__
from avih.errors import AvihError, IntegrityError
from avih.evaluation.quality_plot import distributions
from avih.evaluation.summary import Limits
from avih.gallery_report.facts import GalleryFacts, KeyFacts, Point, account
from avih.index_file import count_index
from avih.json_text import read_json
from avih.keys import KeyStore, LeakBudget
from avih.naming import Store
from avih.shards import read_done
from tasks.protect_shard import protected_address
from tasks.records import Place
from tasks.signed_list import AGAIN, read_list

SUMMARY: Final = "summary.json"
SHOWN: Final = 24  # pictures of a report


def gather(
    *,
    place: Place,
    key_id: str,
    shards: Sequence[int],
    tables: Iterable[pd.DataFrame],
    summary: Mapping[str, Any] | None,
    limits: Limits,
    pictures: Sequence[bytes],
    mac_key: bytes | None,
    notes: Sequence[str] = (),
) -> GalleryFacts:
    """Put together what the report of a version tells.

    Args:
        place: the version.
        key_id: its key.
        shards: numbers of its shards.
        tables: rows of all photos, in parts, gone through several times; with the measurements if there is a
            summary.
        summary: what ``summary.json`` holds, its broken limits included; None before a version is evaluated.
        limits: those that it is held against.
        pictures: PNG files of protected pictures.
        mac_key: checks the figures of earlier versions; without it they are taken as they are.
        notes: what else must be said.
    """
    done = read_done(place.folder, protected_address(place, key_id, shards[0])) if shards else None
    made: Mapping[str, Any] = done.settings if done else {}
    found = summary or {}
    key, problems = _key(place.folder, key_id)
    trend, unread = _trend(place, mac_key)
    own = (_point(place.version, found),) if summary is not None else ()
    return GalleryFacts(
        gallery=place.gallery, version=place.version, key_id=key_id, code_version=__version__,
        method=str(made.get("method", "not known")), recovery=str(made.get("recovery", "not known")),
        recogniser=Path(place.recogniser.card).stem,
        fingerprint=(done.recogniser if done else None) or "not known",
        photos=count_index(store=place.folder, gallery=place.gallery, version=place.version),
        accounting=account(tables), metrics=found.get("metrics"), limits=limits,
        broken=tuple(found.get("broken_limits", ())),
        notes=(*found.get("notes", ()), *notes, *problems, *unread),
        persons=found.get("identification", {}).get("persons"),
        distributions=tuple(distributions(tables, limits)[1]) if summary is not None else (),
        key=key, pictures=tuple(pictures), trend=(*trend, *own), links=_links(place, key_id),
    )  # fmt: skip


def read_summary(store: Store, *, gallery: str, version: str, key_id: str, mac_key: bytes | None) -> Any:
    """Read the figures of a version; None where it was not evaluated, or a person was erased since.

    Raises:
        IntegrityError: the file is damaged, or another than the one that was signed.
    """
    path = store.folder("evaluated", gallery=gallery, version=version, key_id=key_id) / SUMMARY
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    listed = store.signed_list(gallery=gallery, version=version, what=f"evaluated-{key_id}")
    if mac_key is not None and listed.exists():  # versions of earlier releases have none
        said = read_list(store, listed, mac_key=mac_key).get(str(path.relative_to(store.root)), {})
        if said.get("sha256") != hashlib.sha256(data).hexdigest():
            raise IntegrityError(f"Expected {path} as it was signed, got other bytes. {AGAIN}")
    try:
        content = read_json(data)
        _point(version, content)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise IntegrityError(
            f"Expected the figures of {version} in {path}, got something else. {AGAIN}"
        ) from None
    return content


def _point(version: str, summary: Mapping[str, Any]) -> Point:
    metrics = {
        str(name): None if value is None else float(value) for name, value in summary["metrics"].items()
    }
    return Point(version, metrics, {str(name): int(count) for name, count in summary["images"].items()})


def _trend(place: Place, mac_key: bytes | None) -> tuple[list[Point], list[str]]:
    """Return the evaluated versions before this one, and say which could not be read.

    Later ones are left out: what is said of a version does not change when the next is made.
    """
    store, points, problems = place.folder, list[Point](), list[str]()
    versions = store.versions(place.gallery)
    before = versions[: versions.index(place.version)] if place.version in versions else []
    for version in before:
        for key_id in store.keys_of(place.gallery, version):
            try:
                found = read_summary(
                    store, gallery=place.gallery, version=version, key_id=key_id, mac_key=mac_key
                )
            except AvihError:
                problems.append(
                    f"the figures of {version} are damaged or altered and left out: see avih verify"
                )
                continue
            points += [_point(version, found)] if found else []
    return points, problems


def _key(store: Store, key_id: str) -> tuple[KeyFacts | None, list[str]]:
    """Return what everybody may know of a key, or say why it is not known."""
    try:
        record, budget = KeyStore(store.keys).show(key_id), LeakBudget(store.keys, key_id)
        facts = KeyFacts(
            key_id, str(record.state), record.created.date().isoformat(), budget.used(), budget.limit()
        )
    except AvihError:
        return None, ["what is known of the key cannot be read: see avih verify"]
    return facts, []


def _links(place: Place, key_id: str) -> tuple[tuple[str, str], ...]:
    """Name what is the same whenever the report is made; a run of MLflow begins after that."""
    gallery, version = place.gallery, place.version
    folder = place.folder.folder("evaluated", gallery=gallery, version=version, key_id=key_id)
    inside = folder.relative_to(place.folder.root)
    return (
        ("The gallery as it is now, with all pictures", f"avih show {gallery} --version {version}"),
        ("Check every stored byte", f"avih verify --gallery {gallery} --version {version}"),
        ("Attack it in every known way", f"avih lab {gallery} --version {version}"),
        ("Figures as JSON, in the store", str(inside / SUMMARY)),
        ("Figures of each picture, in the store", str(inside / "*.parquet")),
        (f"Runs in MLflow, experiment {gallery}", f"tags.version = '{version}' and tags.key_id = '{key_id}'"),
    )
