"""One job per gallery at a time, of those that hold its lock; the kernel frees that with the process.

They are: run, nightly, rotate and giving a rotation up, evaluate, drill, promote and rollback, erase, a change of
the passphrase. Audits and attack checks hold it while they write what they found (``tasks/unchanged.py``).
The other stages alone do not: their files are written whole or not at all.

In a store elsewhere a job holds it for all machines: a lock there that it renews, see
``avih/mirror/locks.py``.
"""

import fcntl
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import get_args

from avih.atomic import remove_leftovers_below
from avih.errors import AvihError
from avih.json_text import read_json
from avih.mirror import seam
from avih.mirror.locks import STALE_SECONDS, LockBusy
from avih.naming import KEYS_FOLDER, Stage, Store

PATIENCE = 3600.0  # seconds that a scheduled job waits for another to end
LOOK_SECONDS = 5.0  # how often a waiting job looks again
STAGES: tuple[Stage, ...] = get_args(Stage)

_held: Counter[str] = Counter()
_guard = RLock()


class GalleryBusy(AvihError):
    """Another process is working on the gallery."""


@contextmanager
def gallery_lock(store: Store, gallery: str, *, purpose: str, patience: float = 0.0) -> Iterator[None]:
    """Hold a gallery while the block runs; a flow inside a flow of the same process may take it again.

    Args:
        store: where.
        gallery: its name.
        purpose: what the gallery is held for, told to whoever comes meanwhile.
        patience: seconds to wait for another process to end.

    Raises:
        GalleryBusy: another process holds it; the text says which, where and since when.
    """
    path = store.gallery_root("index", gallery) / ".lock"
    name = str(path)
    with _guard:
        if _held[name]:
            _held[name] += 1
            held = ExitStack()
        else:
            held = _wait(store, gallery, purpose, patience)
            _held[name] = 1
    try:
        yield
    finally:
        with _guard:
            _held[name] -= 1
            held.close()


def _wait(store: Store, gallery: str, purpose: str, patience: float) -> ExitStack:
    """Take the lock; a scheduled job gives one that was begun by hand time to end."""
    path = store.gallery_root("index", gallery) / ".lock"
    until = time.monotonic() + patience
    while True:
        try:
            with ExitStack() as held:
                held.callback(os.close, _take(path, gallery, purpose))
                held.enter_context(_everywhere(store, gallery, purpose))
                remove_leftovers_below(*(store.gallery_root(stage, gallery) for stage in STAGES))
                return held.pop_all()
        except GalleryBusy:
            if time.monotonic() >= until:
                raise
            time.sleep(min(LOOK_SECONDS, patience))


@contextmanager
def _everywhere(store: Store, gallery: str, purpose: str) -> Iterator[None]:
    """Hold the lock for the other machines of a store elsewhere, and see what they have done."""
    try:
        with seam.shared_lock(
            store.gallery_root("index", gallery), purpose=purpose, patience=0.0, stale=STALE_SECONDS,
            fresh=(f"{KEYS_FOLDER}/", *store.prefixes(gallery)),
        ):  # fmt: skip
            yield
    except LockBusy as error:
        raise GalleryBusy(
            f"Expected gallery {gallery} to be free, got: {error.holder}. Wait for it to end. A job that was "
            f"killed on another machine counts as ended {STALE_SECONDS / 60:g} minutes after its last sign "
            "of life."
        ) from None


def _take(path: Path, gallery: str, purpose: str) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(descriptor)
        os.close(descriptor)
        raise GalleryBusy(
            f"Expected gallery {gallery} to be free, got: {holder}. Wait for it to end; the lock goes with "
            "it."
        ) from None
    now = datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps({"purpose": purpose, "host": socket.gethostname(), "pid": os.getpid(), "since": now})
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
    return descriptor


def _holder(descriptor: int) -> str:
    try:
        held = read_json(os.pread(descriptor, 4096, 0))
        return f"{held['purpose']} by process {held['pid']} on {held['host']} since {held['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has just begun"
