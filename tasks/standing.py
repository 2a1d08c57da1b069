"""What a store already holds for a run to come: the version it would go on from, and the key it would use."""

from dataclasses import dataclass

from avih.carry_over import made_alike
from avih.datasets import PhotoSource
from avih.errors import KeyRefused, UsageError
from avih.keys import KeyRecord, KeyStore, Vault
from avih.keys.passphrase import passphrase_given
from avih.naming import ShardAddress, Store
from avih.scanning import select_photos
from avih.settings import RunSettings
from avih.shards import read_done
from avih.source_changes import ProtectedVersion, SourceChanges, compare_content, compare_names
from tasks.erased import read_erased
from tasks.key_choice import fitting_keys
from tasks.run_record import RunRecord, load_run

LONGEST_READING = 5.0  # seconds; a source that takes longer to read is compared by names only


@dataclass(frozen=True)
class Standing:
    """The version of a gallery that a run would go on from: the current one, else the newest.

    Attributes:
        run: what it was made from.
        shards: those that are protected.
        anew: why nothing of it can be taken over; empty where it can.
    """

    run: RunRecord
    shards: frozenset[int]
    anew: str = ""


def standing(*, store: Store, gallery: str, settings: RunSettings, recogniser: str) -> Standing | None:
    """Look at what a gallery holds; None if nothing of it is protected yet.

    Args:
        store: where.
        gallery: its name.
        settings: those of the run to come, with the recogniser's template.
        recogniser: fingerprint of its recogniser.
    """
    try:
        run = load_run(store=store, gallery=gallery)
    except UsageError:  # no gallery, or it was only indexed so far
        return None
    folder = store.folder("protected", gallery=gallery, version=run.version, key_id=run.key_id)
    shards = frozenset(int(path.name.split(".")[0]) for path in folder.glob("*.done.json"))
    if not shards:
        return None
    return Standing(run, shards, _why_anew(store, run, min(shards), settings, recogniser))


def _why_anew(store: Store, run: RunRecord, number: int, settings: RunSettings, recogniser: str) -> str:
    """Say why a run with these settings takes nothing over; one of a version's shards speaks for all."""
    done = read_done(store, ShardAddress("protected", run.gallery, run.version, number, run.key_id))
    aligned = read_done(store, ShardAddress("aligned", run.gallery, run.version, number))
    if done is None or not made_alike(settings.protect, recogniser)(done):
        return "it was protected with other settings or for another recogniser"
    if aligned is None or not made_alike(settings.align)(aligned):
        return "its faces were aligned with other settings"
    try:
        KeyStore(store.keys).require(run.key_id, purpose="protect")
    except KeyRefused:
        return f"its key {run.key_id} may not protect any more"
    return ""


def source_changes(
    *, source: PhotoSource, settings: RunSettings, store: Store, found: Standing | None, reading: float
) -> SourceChanges:
    """Compare a source with what stands: by content if it is read soon and the passphrase is at hand.

    Args:
        source: the photos.
        settings: how many of them.
        store: where.
        found: what stands in the store.
        reading: seconds that reading one photo takes.

    Raises:
        KeyRefused: the passphrase at hand is not that of the store.
    """
    limit = settings.index.limit
    photos = sum(1 for _ in select_photos(source.photos, limit))
    if found is None:
        return SourceChanges(photos, photos, 0, 0, "nothing")
    run = found.run
    protected = ProtectedVersion(store, run.gallery, run.version, found.shards)
    # A plan asks nobody for a passphrase.
    if not passphrase_given() or photos * reading > LONGEST_READING:
        return compare_names(source=source, limit=limit, protected=protected)
    mac_key = Vault(store.keys).mac_key(create=False)
    return compare_content(
        source=source,
        limit=limit,
        protected=protected,
        mac_key=mac_key,
        erased=read_erased(store=store, gallery=run.gallery, mac_key=mac_key),
    )


def key_to_use(*, store: Store, found: Standing | None, settings: RunSettings) -> KeyRecord | None:
    """Return the key that a run would use: its version's, else the newest active one that fits; or none."""
    fitting = {record.key_id: record for record in fitting_keys(store, settings)}
    own = fitting.get(found.run.key_id) if found else None
    return own or next(reversed(fitting.values()), None)
