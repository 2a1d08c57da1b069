"""Where photos come from, for tasks: folders as they are; data sets are fetched where this machine lacks them."""

from pathlib import Path

from avih.datasets import PhotoSource, open_source
from avih.datasets.addresses import Dataset, is_dataset
from avih.naming import Store
from tasks.progress import advance, begin

MEBIBYTE = 2**20


def fetch_source(*, source: str, folder: str) -> str:
    """Fetch a data set into the folder of this machine's downloads, or find it there; return where it lies.

    Raises:
        UsageError: no such data set.
        DownloadFailed: see :meth:`avih.datasets.addresses.Dataset.fetch`.
    """
    heard = _Heard()
    return str(Dataset.find(source).fetch(Path(folder), progress=False, heard=heard))


def open_photos(*, source: str, layout: str, store: Store) -> PhotoSource:
    """Open the photos of a gallery; a data set is fetched first, if this machine does not have it yet.

    Raises:
        UsageError: see :func:`avih.datasets.open_source`.
        DownloadFailed: see :func:`fetch_source`.
    """
    if is_dataset(source):
        fetch_source(source=source, folder=str(store.sources))
    return open_source(source=source, layout=layout, downloads=store.sources)


class _Heard:
    """Passes on how far a download is, in whole mebibytes."""

    def __init__(self) -> None:
        self.told = -1

    def __call__(self, have: int, total: int | None) -> None:
        if self.told < 0:
            self.told = 0
            begin("download", (total or have) // MEBIBYTE)
        if (done := have // MEBIBYTE) > self.told:
            advance("download", done - self.told)
            self.told = done
