"""Index stage: list a source's photos and put what is new into the store."""

from avih.datasets import open_source
from avih.errors import KeyRefused, UsageError
from avih.gallery import History, is_signed, read_history
from avih.indexing import IndexRecord, Newest, update_index
from avih.keys import KeyStore
from avih.naming import Store
from avih.scanning import scan, select_photos
from avih.settings import IndexSettings
from tasks import opened
from tasks.erased import read_erased
from tasks.progress import advance
from tasks.run_record import RunMissing, load_run


def count_photos(*, source: str, settings: IndexSettings) -> int:
    """Count the photos that an index of the source would read."""
    photos = open_source(source=source, layout=settings.layout).photos
    return sum(1 for _ in select_photos(photos, settings.limit))


def index_source(*, store: str, gallery: str, source: str, settings: IndexSettings) -> IndexRecord:
    """Read every photo of the source once; keep the current version, go on with a begun one, or begin one."""
    place = Store.find(store)
    mac_key = opened.vault(place.root).mac_key()
    scanned = scan(
        open_source(source=source, layout=settings.layout),
        limit=settings.limit,
        mac_key=mac_key,
        erased=read_erased(store=place, gallery=gallery, mac_key=mac_key),
        progress=lambda done: advance("index", done),
    )
    history = read_history(store=place, gallery=gallery, mac_key=mac_key)
    return update_index(
        store=place, gallery=gallery, scanned=scanned, settings=settings,
        base=history.current.version if history.current else None, newest=_newest(place, history),
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
    try:
        begun = load_run(store=store, gallery=gallery, version=version)
        KeyStore(store.keys).require(begun.key_id, purpose="protect")
    except RunMissing:
        pass  # only indexed or aligned so far
    except (UsageError, KeyRefused):
        return "closed"  # left by a rotation that was given up
    return "signed" if is_signed(store=store, gallery=gallery, version=version) else "open"
