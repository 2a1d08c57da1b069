"""The data sets by name. To add one: a reader class, a line in READERS, a card in data/0_sources."""

import logging
from pathlib import Path

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


def open_source(*, source: str, layout: str = "auto") -> PhotoSource:
    """Open a folder of photos, or the drawn data set.

    Args:
        source: a folder, or the word ``synthetic`` (write ``./synthetic`` for a folder of that name).
        layout: a reader's name, or ``auto`` to recognise it from the files' names.

    Raises:
        UsageError: unknown layout, missing or empty folder, or no photo of the layout in it.
    """
    if layout not in layouts():
        raise UsageError(f"Expected a layout of {', '.join(layouts())}, got {layout!r}. Choose one of them.")
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
