"""What is known of one gallery from its files: versions, key, nights, rotations, drills, audits, lock.

Whatever cannot be read becomes a problem in words, and the rest is told all the same.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from avih.errors import AvihError, IntegrityError
from avih.gallery import History, Promotion, VersionState, list_versions, read_history
from avih.manifest import read_manifest
from avih.naming import Store
from tasks.erasing_journal import journal_path
from tasks.night_record import read_night
from tasks.records import Record
from tasks.status_disk import folder_size
from tasks.status_events import Event, Failure, UnderWay, last_night, last_rotation, rotation_under_way
from tasks.status_parts import (
    Audited,
    Drilled,
    KeyFacts,
    Lock,
    Signature,
    days_since,
    read_audited,
    read_drilled,
    read_key,
    read_lock,
    signature,
)

_Result = TypeVar("_Result")
_Told = TypeVar("_Told", Drilled, Audited)


class Live(Record):
    """The version that serves; ``images`` counts its photos by status."""

    version: str
    key_id: str
    since: str
    age_days: int | None
    reason: str
    signature: Signature
    images: dict[str, int] | None


class Unfinished(Record):
    """A version without a manifest: shards that are aligned and protected already, and their bytes."""

    version: str
    aligned: int
    protected: int
    size: int


class GalleryStatus(Record):
    """Everything that is known of a gallery; None where there is no such thing, or a problem says why."""

    gallery: str
    live: Live | None
    versions: tuple[VersionState, ...]
    key: KeyFacts | None
    last_night: Event | None
    last_rotation: Event | None
    rotation: UnderWay | None
    last_drill: Drilled | None
    last_audit: Audited | None
    lock: Lock | None
    unfinished: tuple[Unfinished, ...]
    waiting: tuple[str, ...]
    alerts: tuple[Failure, ...]
    problems: tuple[str, ...]


class _Attempts:
    """Runs readers one by one; what they cannot read is kept in words."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __call__(self, read: Callable[..., _Result], *args: Any, otherwise: _Result, **more: Any) -> _Result:
        try:
            return read(*args, **more)
        except (AvihError, OSError) as error:
            self.problems.append(str(error))
            return otherwise


def read_gallery(
    store: Store, gallery: str, *, mac_key: bytes | None, failures: Sequence[Failure], now: datetime
) -> GalleryStatus:
    """Read the status of a gallery.

    Args:
        store: where.
        gallery: its name.
        mac_key: of the store's signatures; without it they are not checked.
        failures: the alerts of the whole store.
        now: UTC.
    """
    tried, at = _Attempts(), {"store": store, "gallery": gallery}
    history = tried(read_history, **at, mac_key=mac_key, otherwise=History(gallery=gallery))
    versions: list[VersionState] = tried(list_versions, **at, history=history, otherwise=[])
    lock = tried(read_lock, store, gallery, otherwise=None)
    live = _live(store, history, mac_key, now, tried)
    key_id = live.key_id if live else next((one.key_id for one in reversed(versions) if one.key_id), None)
    own = tuple(one for one in failures if one.gallery == gallery)
    rotation = tried(
        rotation_under_way,
        **at,
        mac_key=mac_key,
        live=live.version if live else None,
        lock=lock,
        otherwise=None,
    )
    looked: dict[str, Any] = {**at, "mac_key": mac_key, "now": now, "otherwise": None}
    night = tried(read_night, **at, mac_key=mac_key, otherwise=None)
    drills = [tried(read_drilled, version=name, **looked) for name in store.versions(gallery)]
    audits = [tried(read_audited, version=name, **looked) for name in store.versions(gallery)]
    return GalleryStatus(
        gallery=gallery, live=live, versions=tuple(versions), lock=lock, rotation=rotation, alerts=own,
        key=tried(read_key, store, key_id, mac_key=mac_key, now=now, otherwise=None) if key_id else None,
        last_night=last_night(history.promotions, own, night, lock, now),
        last_rotation=last_rotation(history.promotions, own, now),
        last_drill=_newest(drills), last_audit=_newest(audits),
        unfinished=tuple(_unfinished(store, gallery, one.version) for one in versions if one.state == "begun"),
        waiting=_waiting(gallery, rotation), problems=(*tried.problems, *_cut_short(store, gallery, lock)),
    )  # fmt: skip


def _live(
    store: Store, history: History, mac_key: bytes | None, now: datetime, tried: _Attempts
) -> Live | None:
    current = history.current
    if current is None:
        return None
    images = tried(_images, store, history.gallery, current, mac_key, otherwise=None)
    return Live(
        version=current.version, key_id=current.key_id, since=current.time,
        age_days=days_since(current.time, now), reason=current.reason,
        signature=signature(mac_key), images=images,
    )  # fmt: skip


def _images(store: Store, gallery: str, current: Promotion, mac_key: bytes | None) -> dict[str, int] | None:
    """Read how many photos the live version has in each status, from its signed manifest."""
    manifest = read_manifest(
        store=store, gallery=gallery, version=current.version, key_id=current.key_id, mac_key=mac_key
    )
    if manifest.digest() != current.manifest_sha256:
        raise IntegrityError(
            f"Expected the manifest with which {gallery} {current.version} went live, got another one. Run avih "
            "verify, and bring the version back from a backup."
        )
    return manifest.counts


def _newest(found: Iterable[_Told | None]) -> _Told | None:
    return max((one for one in found if one is not None), key=lambda one: one.time, default=None)


def _waiting(gallery: str, rotation: UnderWay | None) -> tuple[str, ...]:
    if rotation is None or not rotation.waits:
        return ()
    return (
        f"{rotation.version} under the new key {rotation.new_key} waits for a yes: the form in Prefect, or avih "
        f"rotate --gallery {gallery} --approve auto",
    )


def _cut_short(store: Store, gallery: str, lock: Lock | None) -> tuple[str, ...]:
    """Tell of an erasure whose journal is there while nobody works on the gallery."""
    if not journal_path(store, gallery).exists() or (lock and lock.state == "held"):
        return ()
    return ("An erasure was cut short: run the same avih erase again.",)


def _unfinished(store: Store, gallery: str, version: str) -> Unfinished:
    aligned = store.folder("aligned", gallery=gallery, version=version)
    protected = [
        store.folder("protected", gallery=gallery, version=version, key_id=key_id)
        for key_id in store.keys_of(gallery, version)
    ]
    return Unfinished(
        version=version,
        aligned=len(list(aligned.glob("*.done.json"))),
        protected=sum(len(list(folder.glob("*.done.json"))) for folder in protected),
        size=sum(folder_size(folder) for folder in (aligned, *protected)),
    )
