"""Flow of the index stage: which photos belong to the gallery."""

from prefect import flow

import flows.environment  # noqa: F401  # before prefect
from avih.indexing import IndexRecord
from avih.settings import IndexSettings
from flows.shard_runs import as_task
from tasks.index_source import count_photos, index_source
from tasks.progress import begin


@flow(name="index-gallery", log_prints=False)
def index_gallery(*, store: str, gallery: str, source: str, settings: IndexSettings) -> IndexRecord:
    """Keep the current version if the source is the same, else go on with a begun version or begin the next."""
    begin("index", count_photos(source=source, settings=settings))
    return as_task(index_source, name="index source")(
        store=store, gallery=gallery, source=source, settings=settings
    )
