"""Which key a run protects with, where nobody named one."""

from avih.errors import KeyRefused, UsageError
from avih.keys import KeyRecord, KeyStore
from avih.naming import Store
from avih.settings import RunSettings
from tasks.records import Place
from tasks.run_record import load_run


def key_in_use(place: Place, settings: RunSettings) -> str | None:
    """Return the key of this version, or of the current one, while it may still protect."""
    for version in (place.version, None):
        try:
            begun = load_run(store=place.folder, gallery=place.gallery, version=version)
            record = KeyStore(place.folder.keys).require(begun.key_id, purpose="protect")
        except (UsageError, KeyRefused):
            continue
        if record.recovery == settings.protect.recovery:
            return record.key_id
    return None


def fitting_keys(store: Store, settings: RunSettings) -> list[KeyRecord]:
    """List the active keys that serve the settings' recovery, the newest last."""
    return [
        record
        for record in KeyStore(store.keys).list()
        if record.state == "active" and record.recovery == settings.protect.recovery
    ]


def fitting_key(store: str, settings: RunSettings) -> str | None:
    """Return the newest active key that serves the settings' recovery, if there is one."""
    fitting = fitting_keys(Store.find(store), settings)
    return fitting[-1].key_id if fitting else None
