"""What protecting, evaluating, recovering or drilling a version that is there would do; nothing is written."""

from collections.abc import Sequence
from pathlib import Path

from avih.errors import IntegrityError, UsageError
from avih.evaluation.lpips_metric import Lpips
from avih.evaluation.summary import COUNTED
from avih.keys import KeyStore
from avih.recovery import check_recovery
from avih.settings import Recovery
from avih.shards import WITH_SAMPLE, read_done, read_rows
from avih.trusted import read_trusted, trusted_state
from tasks import opened
from tasks.drill_gallery import check_comparable
from tasks.dry_checks import (
    FETCHED_FIRST,
    budget_left,
    check_free,
    check_passphrase,
    fingerprint_at_hand,
)
from tasks.evaluate_shard import evaluated_address, measured_from
from tasks.originals import aligned_address
from tasks.protect_shard import protected_address
from tasks.records import Place, Record
from tasks.run_record import RunRecord


class WouldMake(Record):
    """How many of a version's shards a stage would make, and of how many pictures (at most)."""

    gallery: str
    version: str
    key_id: str
    shards: int
    shards_to_make: int
    pictures: int
    notes: tuple[str, ...] = ()


class WouldRecover(Record):
    """How many pictures would be written where; ``replaced`` of them are there already."""

    gallery: str
    version: str
    key_id: str
    folder: str
    pictures: int
    replaced: int


class WouldDrill(Record):
    """How many pictures would be drawn, of how many, and what each would have to reach."""

    gallery: str
    version: str
    key_id: str
    sample: int
    protected: int
    threshold: float


def would_protect(*, record: RunRecord, place: Place, shards: Sequence[int]) -> WouldMake:
    """Say which shards ``avih protect`` would make.

    Raises:
        UsageError: a shard is not aligned.
        SettingsMismatch: one was protected with other settings.
        KeyRefused: the key may not protect, or the passphrase is wrong.
    """
    check_passphrase(place.folder)
    mac_key = opened.vault(place.folder.root).mac_key(create=False)
    fingerprint = fingerprint_at_hand(place.recogniser, place.folder)
    missing: dict[int, int] = {}
    for number in shards:
        aligned = read_trusted(place.folder, aligned_address(place, number), mac_key=mac_key)
        if aligned is None:
            raise UsageError(
                f"Expected aligned shard {number} of {place.gallery} {place.version}, got none. Run avih run "
                "first."
            )
        made = trusted_state(
            place.folder, protected_address(place, record.key_id, number), settings=record.settings.protect,
            inputs_sha256=aligned.digest(), recogniser=fingerprint, mac_key=mac_key,
        )  # fmt: skip
        if made == "missing":
            missing[number] = aligned.samples
    if missing:
        KeyStore(place.folder.keys).require(record.key_id, purpose="protect")
    notes = []
    if (room := budget_left(place.folder, record.key_id)) < sum(missing.values()):
        notes.append(f"the leak budget of key {record.key_id} has room for {room} pictures: rotate first")
    if fingerprint is None:
        notes.append(FETCHED_FIRST)
    return WouldMake(
        gallery=place.gallery, version=place.version, key_id=record.key_id, shards=len(shards),
        shards_to_make=len(missing), pictures=sum(missing.values()), notes=tuple(notes),
    )  # fmt: skip


def would_evaluate(
    *, place: Place, key_id: str, shards: Sequence[int], lpips_backbone: str | None
) -> WouldMake:
    """Say which shards ``avih evaluate`` would measure; it always logs a run to MLflow.

    Raises:
        IntegrityError: a shard is not protected.
        KeyRefused: the key may not recover, or the passphrase is wrong.
    """
    check_passphrase(place.folder)
    KeyStore(place.folder.keys).require(key_id, purpose="recover")
    mac_key = opened.vault(place.folder.root).mac_key(create=False)
    lpips = Lpips.load(Path(lpips_backbone) if lpips_backbone else None)
    ending = f"lpips={lpips.backbone_sha256 if isinstance(lpips, Lpips) else None}"
    missing: dict[int, int] = {}
    for number in shards:
        done = read_done(place.folder, protected_address(place, key_id, number))
        if done is None:
            raise IntegrityError(
                f"Expected protected shard {number} of {place.gallery} {place.version}, got none. Run avih "
                "protect."
            )
        address = evaluated_address(place, key_id, number)
        if measured_from(place.folder, address, mac_key=mac_key) != f"{done.digest()} {ending}":
            missing[number] = done.samples
    return WouldMake(
        gallery=place.gallery, version=place.version, key_id=key_id, shards=len(shards),
        shards_to_make=len(missing), pictures=sum(missing.values()),
    )  # fmt: skip


def would_recover(
    *, place: Place, key_id: str, shards: Sequence[int], recovery: Recovery, folder: Path,
    images: frozenset[str] | None,
) -> WouldRecover:  # fmt: skip
    """Say which pictures ``avih recover`` would write; the stored pictures themselves are not looked at.

    Raises:
        UsageError: the folder is a file, or an image is not in the version.
        KeyRefused: the key may not recover, or the passphrase is wrong.
        IntegrityError: the key or a shard's rows are damaged.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(
            f"Expected a folder for recovered pictures, got the file {folder}. Choose another --out."
        )
    _opens(place, key_id, recovery)
    found: set[str] = set()
    for number in shards:
        rows = read_rows(place.folder, protected_address(place, key_id, number))
        found |= set(map(str, rows.image_id[rows.status.isin(WITH_SAMPLE)]))
    if images is not None:
        if missing := sorted(images - found):
            raise UsageError(
                f"Expected the images {sorted(images)} in {place.gallery} {place.version}, got none of {missing}."
            )
        found = set(images)
    return WouldRecover(
        gallery=place.gallery, version=place.version, key_id=key_id, folder=str(folder), pictures=len(found),
        replaced=sum((folder / f"{name}.png").exists() for name in found),
    )  # fmt: skip


def would_drill(
    *, place: Place, key_id: str, shards: Sequence[int], recovery: Recovery, sample: int, threshold: float
) -> WouldDrill:
    """Say how many pictures ``avih drill`` would draw.

    Raises:
        UsageError, KeyRefused, IntegrityError, GalleryBusy: as the drill would.
    """
    check_comparable(place, shards)
    check_free(place.folder, place.gallery)
    _opens(place, key_id, recovery)
    total = 0
    for number in shards:
        done = read_done(place.folder, protected_address(place, key_id, number))
        total += sum(done.counts.get(status, 0) for status in COUNTED) if done else 0
    return WouldDrill(
        gallery=place.gallery, version=place.version, key_id=key_id, sample=min(sample, total),
        protected=total, threshold=threshold,
    )  # fmt: skip


def _opens(place: Place, key_id: str, recovery: Recovery) -> None:
    """Open the key as the job would."""
    check_passphrase(place.folder)
    key = opened.opening(place, key_id=key_id, recovery=recovery, purpose="recover")
    check_recovery(recovery, key.generator)
