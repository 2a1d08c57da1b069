"""Promote stage: the gates before a version goes live, the switch itself, and the way back."""

from typing import Any

from avih.errors import IntegrityError, QualityBelowLimits
from avih.evaluation.summary import Limits
from avih.gallery import Promotion, promote, read_history, version_before
from avih.indexing import read_index, shard_numbers
from avih.manifest import read_manifest, verify_gallery
from avih.naming import Store
from avih.shards import WITH_SAMPLE, read_rows
from tasks import opened
from tasks.protect_shard import protected_address
from tasks.records import Place, Record
from tasks.summarise_gallery import GallerySummary


class Promoted(Record):
    """What is current now, and what was before."""

    gallery: str
    version: str
    key_id: str
    before: str | None
    switched: bool


def current_version(store: Store, gallery: str) -> Promotion | None:
    """Return the current version of a gallery, its signature checked."""
    return read_history(store=store, gallery=gallery, mac_key=opened.vault(store.root).mac_key()).current


def gate(*, place: Place, key_id: str, summary: GallerySummary, limits: Limits) -> tuple[str, ...]:
    """Return one sentence per reason why a version must not go live; none means that it may."""
    store = place.folder
    index = read_index(store=store, gallery=place.gallery, version=place.version)
    reasons = list(summary.broken_limits)
    counted = sum(summary.counts.values())
    if counted != len(index):
        reasons.append(f"accounting: the index holds {len(index)} photos, the version accounts for {counted}")
    current = current_version(store, place.gallery)
    if current is None or current.version == place.version:
        return tuple(reasons)
    before = read_index(store=store, gallery=place.gallery, version=current.version)
    now = dict(zip(index.image_id, index.content_mac, strict=True))
    then = dict(zip(before.image_id, before.content_mac, strict=True))
    had = _with_picture(place.model_copy(update={"version": current.version}), current.key_id)
    gone = sum(now.get(name) != then[name] for name in had)
    if gone > limits.removed_max * len(had):
        reasons.append(
            f"{gone} of {len(had)} photos of {current.version} are gone or changed, more than the share "
            f"{limits.removed_max:g}: is the source whole? If so, promote by hand"
        )
    lost = had & {name for name, mac in now.items() if mac == then.get(name)} - _with_picture(place, key_id)
    if lost:
        reasons.append(
            f"{len(lost)} photos that {current.version} protects and that did not change have no protected "
            "picture now; their rows say why"
        )
    return tuple(reasons)


def promote_version(*, place: Place, key_id: str, actor: str, reason: str) -> Promoted:
    """Read the whole version back from disk, compare it with its manifest, and make it current.

    Raises:
        IntegrityError: a file is not what was signed; nothing changes.
    """
    store, mac_key = place.folder, opened.vault(place.folder.root).mac_key()
    at: dict[str, Any] = {
        "store": store,
        "gallery": place.gallery,
        "version": place.version,
        "key_id": key_id,
    }
    problems = verify_gallery(**at, mac_key=mac_key)
    if problems:
        raise IntegrityError(
            f"Expected {place.gallery} {place.version} as it was signed, got: {'; '.join(problems[:5])}. "
            "The version before stays current. Protect this version again."
        )
    before = current_version(store, place.gallery)
    manifest = read_manifest(**at, mac_key=mac_key)
    history = promote(
        **at, manifest_sha256=manifest.digest(), actor=actor, reason=reason, mac_key=mac_key,
        expected=before.version if before else None,
    )  # fmt: skip
    switched = before is None or history.current != before
    return Promoted(gallery=place.gallery, version=place.version, key_id=key_id,
                    before=before.version if before else None, switched=switched)  # fmt: skip


def earlier_version(*, store: Store, gallery: str) -> Promotion:
    """Return the promotion that a rollback goes back to.

    Raises:
        UsageError: there is no earlier version.
    """
    history = read_history(store=store, gallery=gallery, mac_key=opened.vault(store.root).mac_key())
    return version_before(history)


def refuse(reasons: tuple[str, ...], *, place: Place, serving: str | None) -> None:
    """Raise what a gate found, saying what keeps serving.

    Raises:
        QualityBelowLimits: there is a reason.
    """
    if reasons:
        stays = f"{serving} keeps serving" if serving else "no version is current yet"
        raise QualityBelowLimits(
            f"{place.gallery} {place.version} does not go live: {'; '.join(reasons)}. {stays}; see the report."
        )


def _with_picture(place: Place, key_id: str) -> set[str]:
    index = read_index(store=place.folder, gallery=place.gallery, version=place.version)
    names: set[str] = set()
    for number in shard_numbers(index):
        rows = read_rows(place.folder, protected_address(place, key_id, number))
        names |= set(rows.image_id[rows.status.isin(WITH_SAMPLE)])
    return names
