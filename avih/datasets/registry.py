"""The data sets by name. To add one: a reader class, a line in READERS, a card in data/0_sources."""

import logging
from pathlib import Path

from avih.datasets.addresses import Dataset, dataset_folder, is_dataset
from avih.datasets.base import IMAGE_ENDINGS, FolderSource, Listing, PhotoSource
from avih.datasets.folders import (
    CelebaFolder,
    CocoFolder,
    ImageFolder,
    LfwFolder,
    OrlFolder,
    SyntheticSource,
    describe_endings,
)
from avih.errors import UsageError

logger = logging.getLogger(__name__)

SYNTHETIC = "synthetic"

# In the order in which "auto" asks them; the last takes every folder. Each name has a card.
READERS: dict[str, type[FolderSource]] = {
    "celeba": CelebaFolder,
    "orl": OrlFolder,
    "lfw": LfwFolder,
    "coco": CocoFolder,
    "image_folder": ImageFolder,
}


def layouts() -> tuple[str, ...]:
    """Return the names that ``layout`` may have, ``auto`` first."""
    return ("auto", *READERS, SYNTHETIC)


def open_source(*, source: str, layout: str = "auto", downloads: Path | None = None) -> PhotoSource:
    """Open a folder of photos, a data set that was fetched, or the drawn one; nothing is downloaded here.

    Args:
        source: a folder, ``dataset:NAME``, or the word ``synthetic`` (write ``./synthetic`` for a folder of that
            name).
        layout: a reader's name, or ``auto``: that of the data set's card, else recognised from the files' names.
        downloads: folder of fetched data sets (``Store.sources``).

    Raises:
        UsageError: unknown layout, missing or empty folder, no photo of the layout in it, or a data set that is
            unknown or not fetched yet.
    """
    if is_dataset(source):
        source, layout = dataset_folder(source, layout=layout, downloads=downloads)
    _check_layout(layout)
    if SYNTHETIC in (source, layout):
        if source != SYNTHETIC or layout not in ("auto", SYNTHETIC):
            raise UsageError(f"Source {source!r} and layout {layout!r} do not go together. Use layout auto.")
        return SyntheticSource()
    root = Path(source).expanduser()
    listing = Listing.of(root)
    if not listing.images and not listing.skipped:
        endings = " ".join(sorted(IMAGE_ENDINGS))
        raise UsageError(
            f"Expected photos ({endings}), but {describe_endings(listing, root)}. Check the path."
        )
    reader = READERS[layout] if layout != "auto" else _recognise(listing)
    opened = reader(root, listing)
    if next(opened.photos(), None) is None:
        raise UsageError(_nothing_to_read(opened, listing))
    logger.info("%s: read as %s, %d entries skipped", root, reader.layout, len(opened.skipped()))
    return opened


def check_source(*, source: str, layout: str, downloads: Path) -> None:
    """Make sure, before anything long begins, that a source can be opened, or fetched and then opened.

    Raises:
        UsageError: see :func:`open_source`.
        DownloadFailed: a data set that is neither fetched nor can be.
    """
    if is_dataset(source):
        dataset = Dataset.find(source)
        dataset.check_fetchable(downloads)
        layout = dataset.card.layout if layout == "auto" else layout
        if not dataset.is_fetched(downloads):
            _check_layout(layout)
            return
    open_source(source=source, layout=layout, downloads=downloads)


def files_of(source: str) -> tuple[str, ...]:
    """Return what must be on a machine before it can open a source; data sets are fetched by each for itself."""
    if is_dataset(source):
        card_file = Dataset.find(source).card_file
        return (str(card_file),) if card_file else ()
    return () if source == SYNTHETIC else (source,)


def _check_layout(layout: str) -> None:
    if layout not in layouts():
        raise UsageError(f"Expected a layout of {', '.join(layouts())}, got {layout!r}. Choose one of them.")


def _recognise(listing: Listing) -> type[FolderSource]:
    return next(reader for reader in READERS.values() if reader.recognises(listing))


def _nothing_to_read(opened: FolderSource, listing: Listing) -> str:
    """Say why a folder with image-like entries has no photo in this layout."""
    if listing.images:
        return (
            f"Expected {opened.expects} (layout {opened.layout}) below {opened.root}, got names like "
            f"{listing.images[0]!r} in {len(listing.images)} image files. Use --layout auto or image_folder."
        )
    first = listing.skipped[0]
    return (
        f"Expected photos below {opened.root}, but all {len(listing.skipped)} entries are skipped; "
        f"the first is {first.path} ({first.reason}): {first.detail}"
    )
