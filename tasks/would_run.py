"""What a run or a night would do: the source is read and compared, and nothing is written, made or fetched."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from avih.datasets.addresses import Dataset, is_dataset
from avih.datasets.registry import check_source
from avih.evaluation.summary import Limits
from avih.index_file import shard_sizes
from avih.indexing import IndexRecord
from avih.keys import KeyStore
from avih.naming import ShardAddress, Store
from avih.photo_tables import PhotoTables
from avih.recognisers import read_card
from avih.settings import RunnerSettings, RunSettings
from avih.shards import WITH_SAMPLE, read_done, read_rows, shard_state
from tasks.audit_policy import read_policy
from tasks.dry_checks import (
    FETCHED_FIRST,
    budget_left,
    check_free,
    check_passphrase,
    fingerprint_at_hand,
    holder,
)
from tasks.index_source import count_photos, index_source
from tasks.key_choice import fitting_key, key_in_use
from tasks.progress import begin
from tasks.promotion import current_version, lost_too_many
from tasks.records import Place, RecogniserChoice, Record
from tasks.rotation_plan import read_plan
from tasks.run_record import RunRecord, load_run
from tasks.standing import standing

STAGES = "index, align, {key}protect, evaluate, promote"


class WouldRun(Record):
    """What a run would do; figures of a source that must be fetched first are not known, and None.

    Attributes:
        version: that the run would work on; ``current`` serves until it goes live.
        photos: entries of the source, bad files included.
        shards_to_make: of the version's shards, those that are not protected yet.
        photos_to_protect: at most; how many of them show a face is not known.
        key_id: the key that would be used; None where one would be made, as ``key`` says.
        reasons: why the version would not go live, as far as that is known before it is made.
        notes: what else there is to know.
    """

    gallery: str
    version: str | None
    current: str | None
    stages: str
    photos: int | None = None
    added: int | None = None
    changed: int | None = None
    removed: int | None = None
    shards: int | None = None
    shards_to_make: int | None = None
    photos_to_protect: int | None = None
    key_id: str | None = None
    key: str
    method: str
    recovery: str
    runner: str
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def changes_anything(self) -> bool:
        """Whether there is something to do."""
        return self.version != self.current or self.shards_to_make != 0


@dataclass
class _Look:
    """Sees what an index would compare, and finds out whether too many pictures would be gone."""

    store: Store
    gallery: str
    limits: Limits
    reasons: list[str] = field(default_factory=list)

    def __call__(self, tables: PhotoTables) -> None:
        current = current_version(self.store, self.gallery)
        if current is not None:
            tables.add_pictures("before", self._with_picture(current.version, current.key_id))
            self.reasons += lost_too_many(tables.pictures(), current.version, self.limits)

    def _with_picture(self, version: str, key_id: str) -> Iterator[str]:
        for number in shard_sizes(store=self.store, gallery=self.gallery, version=version):
            rows = read_rows(self.store, ShardAddress("protected", self.gallery, version, number, key_id))
            yield from rows.image_id[rows.status.isin(WITH_SAMPLE)]


def would_run(
    *, store: Store, gallery: str, source: str, recogniser: RecogniserChoice, settings: RunSettings,
    key_id: str | None = None,
) -> WouldRun:  # fmt: skip
    """Say what ``avih run`` would do.

    Raises:
        UsageError, KeyRefused, IntegrityError, GalleryBusy: as the run would.
        SettingsMismatch: what stands was made with other settings.
    """
    check_source(source=source, layout=settings.index.layout, downloads=store.sources)
    settings = settings.aligned_to(read_card(recogniser.card).template)
    check_passphrase(store)
    check_free(store, gallery)
    if key_id:
        key_id = KeyStore(store.keys).require(key_id, purpose="protect").key_id
    if is_dataset(source) and not Dataset.find(source).is_fetched(store.sources):
        chosen = key_id or fitting_key(store.address, settings)
        return WouldRun(
            gallery=gallery, version=None, current=_current(store, gallery),
            notes=(f"{source} would be fetched first; how many photos it holds is not known before",),
            **_described(settings, chosen),
        )  # fmt: skip
    indexed, reasons = _indexed(store, gallery, source, settings)
    place = Place(store=store.address, gallery=gallery, version=indexed.version, recogniser=recogniser)
    chosen = key_id or key_in_use(place, settings) or fitting_key(store.address, settings)
    return _of_index(place, indexed, settings, chosen, reasons)


def would_change(*, store: Store, gallery: str, runner: RunnerSettings | None = None) -> WouldRun:
    """Say what a night would do; a rotation that it would finish first is named, and not looked into.

    Raises:
        UsageError, KeyRefused, IntegrityError: as the night would.
    """
    record: RunRecord = load_run(store=store, gallery=gallery).on(runner)
    check_passphrase(store)
    notes = [f"it would wait for {held}"] if (held := holder(store, gallery)) else []
    plan = read_plan(store, gallery)
    if plan is not None and plan.approve == "auto":
        notes.append(f"the rotation to {plan.version} that was interrupted would be finished first")
    settings = record.settings
    indexed, reasons = _indexed(store, gallery, record.source, settings)
    place = record.model_copy(update={"version": indexed.version}).place(store)
    if indexed.version != _current(store, gallery):
        KeyStore(store.keys).require(record.key_id, purpose="protect")
    would = _of_index(place, indexed, settings, record.key_id, reasons)
    return would.model_copy(update={"notes": (*notes, *would.notes)})


def _indexed(
    store: Store, gallery: str, source: str, settings: RunSettings
) -> tuple[IndexRecord, tuple[str, ...]]:
    """Index a source in memory alone; return what was found, and what would keep it from going live."""
    look = _Look(store, gallery, settings.evaluate.limits)
    begin("index", count_photos(store=store.address, source=source, settings=settings.index))
    indexed = index_source(
        store=store.address, gallery=gallery, source=source, settings=settings.index, look=look
    )
    return indexed, tuple(look.reasons)


def _current(store: Store, gallery: str) -> str | None:
    if not store.current(gallery).exists():
        return None  # and no vault is opened, which there may not be yet
    found = current_version(store, gallery)
    return found.version if found else None


def _of_index(
    place: Place, indexed: IndexRecord, settings: RunSettings, key_id: str | None, reasons: tuple[str, ...]
) -> WouldRun:
    store, gallery, current = place.folder, place.gallery, _current(place.folder, place.gallery)
    fingerprint = fingerprint_at_hand(place.recogniser, store)
    done = _done(place, key_id, settings, fingerprint)
    counts = {"added": indexed.added, "changed": indexed.changed, "removed": indexed.removed}
    left = indexed.photos - sum(done.values())
    notes = [] if fingerprint else [FETCHED_FIRST]
    found = standing(store=store, gallery=gallery, settings=settings, recogniser=fingerprint or "")
    if found is not None and current is not None and fingerprint and found.run.key_id == key_id:
        if found.anew and left:
            notes.append(f"nothing of {found.run.version} is taken over: {found.anew}")
        elif not found.anew:  # what did not change is taken over
            left = min(left, indexed.added + indexed.changed)
    if key_id and left and left > (room := budget_left(store, key_id)):
        notes.append(
            f"the leak budget of key {key_id} has room for {room} pictures: rotation may be due first"
        )
    if indexed.version != current:
        reasons = (*reasons, *_audit(store, gallery, indexed.version, notes))
    return WouldRun(
        gallery=gallery, version=indexed.version, current=current, photos=indexed.photos, **counts,
        shards=len(indexed.shards), shards_to_make=len(indexed.shards) - len(done), photos_to_protect=left,
        reasons=reasons, notes=tuple(notes), **_described(settings, key_id),
    )  # fmt: skip


def _described(settings: RunSettings, key_id: str | None) -> dict[str, str | None]:
    """Return what the settings alone say."""
    runner, new = settings.runner, settings.key
    made = f"a new {settings.protect.recovery} key"
    made += "" if new.architecture == "none" else f", {new.architecture} trained for {new.steps} steps"
    where = {"dask": f" at {runner.address}, whose workers were not asked"}.get(runner.kind, "")
    return {
        "key_id": key_id, "key": f"{key_id} as it is" if key_id else f"{made} would be made",
        "stages": STAGES.format(key="" if key_id else "key, "), "method": settings.protect.method,
        "recovery": settings.protect.recovery, "runner": runner.kind + where,
    }  # fmt: skip


def _done(place: Place, key_id: str | None, settings: RunSettings, fingerprint: str | None) -> dict[int, int]:
    """Return the photos of each shard of the version that is protected already.

    Raises:
        SettingsMismatch: they were made with other settings.
    """
    store, gallery, version = place.folder, place.gallery, place.version
    if key_id is None or version not in store.versions(gallery):
        return {}
    sizes, done = shard_sizes(store=store, gallery=gallery, version=version), {}
    for number, size in sizes.items():
        for address, made_with, recogniser in (
            (ShardAddress("aligned", gallery, version, number), settings.align, None),
            (ShardAddress("protected", gallery, version, number, key_id), settings.protect, fingerprint),
        ):
            record = read_done(store, address)
            if record is None:
                break
            shard_state(
                store, address, settings=made_with, inputs_sha256=record.inputs_sha256, recogniser=recogniser
            )
        else:
            done[number] = size
    return done


def _audit(store: Store, gallery: str, version: str, notes: list[str]) -> tuple[str, ...]:
    """Say what the gallery's policy asks of a version that does not exist yet."""
    policy = read_policy(store, gallery)
    if policy.require_audit == "none":
        return ()
    if policy.automatic:
        notes.append(f"its {policy.profile} audit would be made, which must say: {policy.require_audit}")
        return ()
    return (
        f"the gallery's policy asks for a {policy.profile} audit first: avih lab {gallery} --version {version}",
    )
