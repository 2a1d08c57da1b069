"""Write what was found in a version without its gallery's lock only if the version is still the one looked at."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from avih.errors import AvihError
from tasks.attack_pairs import shards_digest
from tasks.gallery_lock import PATIENCE, gallery_lock
from tasks.records import Place

logger = logging.getLogger(__name__)


class VersionChanged(AvihError):
    """A version is not the one any more that was looked at: somebody was erased from it meanwhile."""


@contextmanager
def unchanged(place: Place, key_id: str, *, stored_sha256: str, purpose: str) -> Iterator[None]:
    """Hold the gallery while a block writes what was found in a version; it waits for whoever works on it.

    Without this a picture of a person who was erased during hours of attacks would come back in their report.

    Args:
        place: the version.
        key_id: its key.
        stored_sha256: ``shards_digest`` of what was looked at.
        purpose: what the gallery is held for.

    Raises:
        VersionChanged: the stored shards are other ones; nothing is written.
        GalleryBusy: another process has held the gallery for an hour.
        IntegrityError: a shard is not there any more.
    """
    with gallery_lock(place.folder, place.gallery, purpose=purpose, patience=PATIENCE):
        if shards_digest(place, key_id) != stored_sha256:
            raise VersionChanged(
                f"Expected {place.gallery} {place.version} as it was when this began, got other shards: somebody "
                "was erased from it meanwhile. Nothing was kept. Begin again."
            )
        yield
