"""Index stage: list a source's photos and put what is new into the store."""

import secrets
from collections.abc import Callable

from avih.datasets import open_source
from avih.errors import KeyRefused, UsageError
from avih.gallery import History, is_signed, read_history
from avih.indexing import IndexRecord, Newest, update_index
from avih.keys import KeyStore
from avih.naming import Store
from avih.photo_tables import PhotoTables
from avih.scanning import scan, select_photos
from avih.settings import IndexSettings
from tasks import opened
from tasks.data_source import open_photos
from tasks.erased import read_erased
from tasks.progress import advance
from tasks.rotation_plan import read_plan
from tasks.run_record import RunMissing, load_run


def count_photos(*, store: str, source: str, settings: IndexSettings) -> int:
    """Count the photos that an index of the source would read."""
    photos = open_photos(source=source, layout=settings.layout, store=Store.find(store)).photos
    return sum(1 for _ in select_photos(photos, settings.limit))


def index_source(
    *,
    store: str,
    gallery: str,
    source: str,
    settings: IndexSettings,
    look: Callable[[PhotoTables], None] | None = None,
) -> IndexRecord:
    """Read every photo of the source once; keep the current version, go on with a begun one, or begin one.

    With ``look`` (:func:`avih.indexing.update_index`) only what would be done is said, and nothing is written.
    """
    place = Store.find(store)
    vault = opened.vault(place.root)
    # A dry run makes no vault: where there is none, there is nothing to compare with either.
    mac_key = secrets.token_bytes(32) if look and not vault.path.exists() else vault.mac_key()
    layout = settings.layout
    scanned = scan(
        open_source(source=source, layout=layout, downloads=place.sources)
        if look
        else open_photos(source=source, layout=layout, store=place),
        limit=settings.limit,
        mac_key=mac_key,
        erased=read_erased(store=place, gallery=gallery, mac_key=mac_key),
        progress=lambda done: advance("index", done),
    )
    history = read_history(store=place, gallery=gallery, mac_key=mac_key)
    return update_index(
        store=place, gallery=gallery, scanned=scanned, settings=settings,
        base=history.current.version if history.current else None, newest=_newest(place, history), look=look,
    )  # fmt: skip


def _newest(store: Store, history: History) -> Newest:
    """Say whether the newest version may be gone on with."""
    gallery = history.gallery
    versions = store.versions(gallery)
    if not versions:
        return "open"
    version = versions[-1]
    if version in {entry.version for entry in history.promotions}:
        return "closed"
    plan = read_plan(store, gallery)
    if plan is not None and plan.version == version:
        return "closed"  # a rotation's, under another key
    try:
        begun = load_run(store=store, gallery=gallery, version=version)
        KeyStore(store.keys).require(begun.key_id, purpose="protect")
    except RunMissing:
        pass  # only indexed or aligned so far
    except (UsageError, KeyRefused):
        return "closed"  # left by a rotation that was given up
    return "signed" if is_signed(store=store, gallery=gallery, version=version) else "open"
