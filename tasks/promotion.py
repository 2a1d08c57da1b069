"""Promote stage: the gates before a version goes live, the switch itself, and the way back."""

from collections.abc import Iterator
from typing import Any

from avih.errors import IntegrityError, QualityBelowLimits
from avih.evaluation.summary import Limits
from avih.gallery import History, Promotion, promote, read_history, version_before
from avih.index_file import count_index, iter_index, shard_sizes
from avih.manifest import Manifest, read_manifest, verify_gallery
from avih.naming import Store
from avih.photo_tables import Pictures, photo_tables, rows_of
from avih.shards import WITH_SAMPLE, read_rows
from tasks import opened
from tasks.audit_policy import missing_audit, read_policy
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
    indexed = count_index(store=store, gallery=place.gallery, version=place.version)
    reasons = list(summary.broken_limits)
    counted = sum(summary.counts.values())
    if counted != indexed:
        reasons.append(f"accounting: the index holds {indexed} photos, the version accounts for {counted}")
    current = current_version(store, place.gallery)
    if current is None or current.version == place.version:
        return tuple(reasons)
    pictures = what_became_of_pictures(place, key_id, current)
    reasons += lost_too_many(pictures, current.version, limits)
    if pictures.lost:
        reasons.append(
            f"{pictures.lost} photos that {current.version} protects and that did not change have no protected "
            "picture now; their rows say why"
        )
    return tuple(reasons)


def lost_too_many(pictures: Pictures, version: str, limits: Limits) -> tuple[str, ...]:
    """Say that more pictures of the current version are gone or changed than a new one may lose."""
    if pictures.gone <= limits.removed_max * pictures.had:
        return ()
    return (
        f"{pictures.gone} of {pictures.had} photos of {version} are gone or changed, more than the "
        f"share {limits.removed_max:g}: is the source whole? If so, promote by hand",
    )


def audit_gate(*, place: Place, key_id: str) -> tuple[str, ...]:
    """Return why the gallery's policy keeps a version from going live; nothing of the version that is current.

    See ``tasks/audit_policy.py`` for which versions need an audit.
    """
    current = current_version(place.folder, place.gallery)
    if current is not None and (current.version, current.key_id) == (place.version, key_id):
        return ()
    reason = missing_audit(place=place, key_id=key_id, policy=read_policy(place.folder, place.gallery))
    return (reason,) if reason else ()


def promote_version(
    *, place: Place, key_id: str, actor: str, reason: str, again: bool = False, by_hand: bool = False
) -> Promoted:
    """Read the whole version back from disk, compare it with its manifest, and make it current.

    Args:
        place: the version.
        key_id: its key.
        actor: who asks.
        reason: why.
        again: it was current before, as in a rollback, and needs no audit now.
        by_hand: somebody names the version, and nothing was made of it just before.

    Raises:
        IntegrityError: a file is not what was signed, or the version is not as it was promoted before; nothing
            changes.
        QualityBelowLimits: the gallery's policy asks for an audit that the version has not passed.
    """
    store, mac_key = place.folder, opened.vault(place.folder.root).mac_key()
    before, manifest = check_promotion(place=place, key_id=key_id, again=again, by_hand=by_hand)
    history = promote(
        store=store, gallery=place.gallery, version=place.version, key_id=key_id,
        manifest_sha256=manifest.digest(), actor=actor, reason=reason, mac_key=mac_key,
        expected=before.version if before else None,
    )  # fmt: skip
    switched = before is None or history.current != before
    return Promoted(gallery=place.gallery, version=place.version, key_id=key_id,
                    before=before.version if before else None, switched=switched)  # fmt: skip


def check_promotion(
    *, place: Place, key_id: str, again: bool = False, by_hand: bool = False
) -> tuple[Promotion | None, Manifest]:
    """Check what :func:`promote_version` checks; return what is current and the version's manifest.

    Raises:
        IntegrityError, QualityBelowLimits: as for :func:`promote_version`.
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
    manifest = read_manifest(**at, mac_key=mac_key)
    history = read_history(store=store, gallery=place.gallery, mac_key=mac_key)
    before = history.current
    if again or by_hand:
        _refuse_put_back(history, manifest)
    if not again:
        refuse(
            audit_gate(place=place, key_id=key_id), place=place, serving=before.version if before else None
        )
    return before, manifest


def _refuse_put_back(history: History, manifest: Manifest) -> None:
    """Refuse a version that is not what its promotions name.

    Its manifest is genuine even if somebody put an older state back, of before an erasure or a repair. No audit
    and no person has said yes to that state: promoted again, it would be what the gallery stands for.

    Raises:
        IntegrityError: it has another manifest than when it was promoted last.
    """
    of_version = [entry for entry in history.promotions if entry.version == manifest.version]
    if of_version and of_version[-1].manifest_sha256 != manifest.digest():
        raise IntegrityError(
            f"Expected {manifest.gallery} {manifest.version} as it was promoted at {of_version[-1].time}, got "
            "another state with a genuine manifest of its own: an older one was put back, or it was signed again "
            "since. Nothing changes. Bring the version back from the newest backup; if the protect stage made it "
            "again, let avih run evaluate and promote it."
        )


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


def what_became_of_pictures(place: Place, key_id: str, current: Promotion) -> Pictures:
    """Say what becomes of the current version's pictures if ``place`` takes over."""
    before = place.model_copy(update={"version": current.version})
    with photo_tables(store=place.folder, gallery=place.gallery) as tables:
        tables.load("before", rows_of(iter_index(**_index_of(before))))
        tables.load("after", rows_of(iter_index(**_index_of(place))))
        tables.add_pictures("before", _with_picture(before, current.key_id))
        tables.add_pictures("after", _with_picture(place, key_id))
        return tables.pictures()


def _index_of(place: Place) -> dict[str, Any]:
    return {"store": place.folder, "gallery": place.gallery, "version": place.version}


def _with_picture(place: Place, key_id: str) -> Iterator[str]:
    for number in shard_sizes(**_index_of(place)):
        rows = read_rows(place.folder, protected_address(place, key_id, number))
        yield from rows.image_id[rows.status.isin(WITH_SAMPLE)]
