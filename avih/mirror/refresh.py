"""Bring a working copy in line with the store elsewhere: one list, compared with what was seen last."""

import logging
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Final

from avih.mirror.ledger import Known, forget, remember, stamp_of, unchanged
from avih.mirror.names import LAZY, is_shared, made_with, rank
from avih.mirror.remote import Seen
from avih.mirror.working_copy import WorkingCopy

logger = logging.getLogger(__name__)

AT_ONCE: Final = 8  # files fetched side by side
MOST_LISTS: Final = 5


def refresh(copy: WorkingCopy, prefixes: Iterable[str] = ("",)) -> int:
    """Fetch what is new or changed, drop what is gone, and return how many files that were.

    What is owed to the store stays as it is here. A tar becomes an empty file of its length until it is read.

    Raises:
        StoreUnreachable: no answer.
        IntegrityError: the address leads to another store than before.
    """
    copy.identity.compare()
    changes = sum(_refresh(copy, prefix) for prefix in prefixes)
    if changes:
        logger.info("%s: %d files were new, changed or gone.", copy.address, changes)
    return changes


def reread(copy: WorkingCopy, prefixes: Iterable[str] = ("",)) -> None:
    """Fetch every file again, so that what is looked at next is what the store elsewhere holds.

    Bytes may change there under a state that stays the same. Each file is replaced in one step, so that other
    jobs of this machine find a finished shard finished meanwhile.

    Raises:
        StoreUnreachable: no answer.
        IntegrityError: the address leads to another store than before.
    """
    asked = tuple(prefixes)
    refresh(copy, asked)
    for prefix in asked:
        known = copy.ledger.all_known(prefix)
        listed, _ = copy.remote.list(prefix)
        _fetch(copy, [name for name in listed if name in known and not name.endswith(LAZY)], listed, known)
        for name in known:
            if name.endswith(LAZY):
                _doubt(copy, name, known[name])


def _refresh(copy: WorkingCopy, prefix: str) -> int:
    changes = 0
    for _ in range(MOST_LISTS):
        known = copy.ledger.all_known(prefix)  # before the list: what is written meanwhile is newer than it
        listed, whole = copy.remote.list(prefix)
        listed = {name: seen for name, seen in listed.items() if is_shared(name)}
        new = [name for name, seen in listed.items() if _differs(copy, name, seen, known.get(name))]
        gone = sorted((name for name in known if name not in listed), key=rank, reverse=True)
        if new or gone:
            copy.identity.compare(again=True)  # what is here may be all that is left
        for name in gone:
            _drop(copy, name, known[name])
        _fetch(copy, new, listed, known)
        changes += len(new) + len(gone)
        # A long list takes a while: what its end speaks for may have come after its beginning was read.
        if whole or not (new or gone):
            break
    return changes


def _differs(copy: WorkingCopy, name: str, seen: Seen, known: Known | None) -> bool:
    return known is None or known.etag != seen.etag or not (copy.root / name).exists()


def _fetch(copy: WorkingCopy, names: list[str], listed: dict[str, Seen], known: dict[str, Known]) -> None:
    """Fetch files, those that speak for others last; a shard that changes stops existing first."""
    for name in names:
        if rank(name) == 1 and name in known and known[name].etag != listed[name].etag:
            _hide(copy, name, known[name])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _, turn in groupby(sorted(names, key=rank), key=rank):
            for _ in pool.map(lambda name: _fetch_one(copy, name, listed[name], known.get(name)), list(turn)):
                pass


def _fetch_one(copy: WorkingCopy, name: str, seen: Seen, known: Known | None) -> None:
    lazy = seen if name.endswith(LAZY) else None
    with copy.fetched(name, lazy=lazy) as (got, temporary), copy.ledger.change() as database:
        # Gone since the list was made, or written here since: the next look finds it.
        if got is not None and unchanged(database, name, known):
            if known is not None and known.etag != got.etag:
                _drop_private(copy, name)
            stamp = copy.place(temporary, name)
            here = lazy is None or not got.size
            remember(database, name, etag=got.etag, size=got.size, stamp=stamp, here=here)


def _drop(copy: WorkingCopy, name: str, known: Known) -> None:
    with copy.ledger.change() as database:
        if not unchanged(database, name, known):
            return
        path = copy.root / name
        path.unlink(missing_ok=True)
        forget(database, name)
        _drop_private(copy, name)
        for folder in path.parents:  # folders say which versions and keys there are
            if folder == copy.root or any(folder.iterdir()):
                break
            folder.rmdir()


def _drop_private(copy: WorkingCopy, name: str) -> None:
    """Remove pictures in clear that were made with what somebody else changed or removed.

    They lie nowhere else, so no list says that they are gone; and they may show whom somebody else erased.
    """
    if (folder := made_with(name)) is not None:
        shutil.rmtree(copy.root / folder, ignore_errors=True)


def _doubt(copy: WorkingCopy, name: str, known: Known) -> None:
    """Have a tar fetched again by whoever reads it next; who reads it now goes on."""
    with copy.ledger.change() as database:
        if unchanged(database, name, known):
            stamp = stamp_of(copy.root / name)
            remember(database, name, etag=known.etag, size=known.size, stamp=stamp, here=False)


def _hide(copy: WorkingCopy, name: str, known: Known) -> None:
    with copy.ledger.change() as database:
        if unchanged(database, name, known):
            (copy.root / name).unlink(missing_ok=True)
