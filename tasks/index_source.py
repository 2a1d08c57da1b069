"""Index stage: list a source's photos and put what is new into the store."""

from pathlib import Path

from avih.datasets import open_source
from avih.indexing import IndexRecord, scan, select_photos, update_index
from avih.naming import Store
from avih.settings import IndexSettings
from tasks import opened
from tasks.progress import advance


def count_photos(*, source: str, settings: IndexSettings) -> int:
    """Count the photos that an index of the source would read."""
    photos = list(open_source(source=source, layout=settings.layout).photos())
    return len(select_photos(photos, settings.limit))


def index_source(*, store: str, gallery: str, source: str, settings: IndexSettings) -> IndexRecord:
    """Read every photo of the source once; extend the gallery's newest version or begin the next."""
    place = Store(Path(store))
    scanned = scan(
        open_source(source=source, layout=settings.layout),
        limit=settings.limit,
        mac_key=opened.vault(place.root).mac_key(),
        progress=lambda done: advance("index", done),
    )
    return update_index(store=place, gallery=gallery, scanned=scanned, settings=settings)
