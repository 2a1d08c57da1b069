"""Flow of the index stage: which photos belong to the gallery."""

import flows.environment  # noqa: F401  # before prefect

from prefect import flow

from avih.datasets.addresses import is_dataset
from avih.indexing import IndexRecord
from avih.naming import Store
from avih.settings import IndexSettings
from flows.alerts import failed
from flows.shard_runs import as_task
from tasks.data_source import fetch_source
from tasks.index_source import count_photos, index_source
from tasks.progress import begin


@flow(name="index-gallery", log_prints=False, on_failure=[failed], on_crashed=[failed])
def index_gallery(*, store: str, gallery: str, source: str, settings: IndexSettings) -> IndexRecord:
    """Keep the current version if the source is the same, else go on with a begun version or begin the next.

    A data set as the source (``dataset:NAME``) is fetched first, where this machine does not have it yet.
    """
    if is_dataset(source):
        as_task(fetch_source, name="fetch data set")(source=source, folder=str(Store.find(store).sources))
    begin("index", count_photos(store=store, source=source, settings=settings))
    return as_task(index_source, name="index source")(
        store=store, gallery=gallery, source=source, settings=settings
    )
