"""What is known of a store and its galleries, without changing anything and without asking for a passphrase."""

from collections.abc import Sequence
from datetime import UTC, datetime

from avih.errors import UsageError
from avih.naming import Store
from tasks.records import Record
from tasks.status_disk import Disk, read_disk
from tasks.status_events import Failure
from tasks.status_gallery import GalleryStatus, read_gallery
from tasks.status_parts import Signature, signature, signing_key


class StoreStatus(Record):
    """Everything that is known of a store.

    Attributes:
        time: when it was read, UTC.
        signatures: whether signed files were checked.
        why_unchecked: empty where they were.
        alerts: those of no gallery that is there.
        problems: what could not be read; a gallery has its own.
    """

    store: str
    time: str
    signatures: Signature
    why_unchecked: str
    galleries: tuple[GalleryStatus, ...]
    disk: Disk
    alerts: tuple[Failure, ...]
    problems: tuple[str, ...]


def read_status(
    store: Store, *, failures: Sequence[Failure] = (), problems: Sequence[str] = ()
) -> StoreStatus:
    """Read the status of a store.

    Args:
        store: where.
        failures: its alerts.
        problems: why there are no alerts, if they could not be read.

    Raises:
        UsageError: there is no such folder.
    """
    if not store.root.is_dir():
        raise UsageError(
            f"Expected a store at {store.address}, got no such folder. Name another with --store or AVIH_STORE, "
            "or make one with avih run."
        )
    now = datetime.now(UTC)
    mac_key, why = signing_key(store)
    galleries = tuple(
        read_gallery(store, name, mac_key=mac_key, failures=failures, now=now) for name in store.galleries()
    )
    known = {one.gallery for one in galleries}
    disk = read_disk(store.root)
    unread = [f"{path} may not be looked into: its bytes are not counted" for path in disk.unread]
    return StoreStatus(
        store=store.address, time=now.isoformat(timespec="seconds"),
        signatures=signature(mac_key), why_unchecked=why, galleries=galleries,
        disk=disk, alerts=tuple(one for one in failures if one.gallery not in known),
        problems=(*problems, *unread),
    )  # fmt: skip
