"""The one place where the rest of avih meets a store elsewhere; for a store in a folder all of it does nothing.

- ``with sending(path)``: files that the block writes or removes go to the store elsewhere, in this order;
- ``with changing(path)``: the block reads a file and replaces it, and only the state that it read;
- ``with shared_lock(folder)``: what a local lock is for one machine, for all of them;
- ``local(path)``: a file whose bytes may have to be fetched first.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from avih.errors import UsageError
from avih.mirror.address import Address

if TYPE_CHECKING:
    from avih.mirror.working_copy import WorkingCopy

_copies: dict[Path, "WorkingCopy"] = {}
_guard = RLock()


def register(text: str) -> Path:
    """Note that a store lies elsewhere and return the folder that stands for it here; nothing is fetched yet.

    Raises:
        UsageError: the address cannot be used.
    """
    from avih.mirror.working_copy import WorkingCopy

    copy = WorkingCopy(Address.parse(text))
    with _guard:
        return _copies.setdefault(copy.root, copy).root


def recognise(root: Path) -> None:
    """Note that a folder is a working copy, if it is one: given by its path it stays one.

    Raises:
        UsageError: it is one of another cache folder or server than the environment names.
    """
    ledger = root.parent / "ledger.sqlite"
    if root.name != "store" or root in _copies or not ledger.is_file():
        return
    with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(sqlite3.connect(ledger)) as database:
        found = database.execute("SELECT value FROM facts WHERE name = 'address'").fetchone()
        if found and register(str(found[0])) != root:
            raise UsageError(
                f"Expected a store, got {root}, a working copy of {found[0]} that was made with another "
                "AVIH_CACHE or another server than the environment names now. Name the store by its "
                "address."
            )


def copy_of(path: Path) -> "WorkingCopy | None":
    """Return the working copy that a path lies in; None for all others."""
    for root, copy in tuple(_copies.items()):
        if path.is_relative_to(root):
            return copy
    return None


def is_elsewhere(root: Path) -> bool:
    """Tell whether a folder stands for a store elsewhere."""
    return root in _copies


def address_of(root: Path) -> str | None:
    """Return the address of the store that a folder stands for."""
    copy = _copies.get(root)
    return str(copy.address) if copy else None


def stays_here(path: Path) -> bool:
    """Tell whether a file of a store elsewhere never leaves this machine, so that others do not have it."""
    copy = copy_of(path) if _copies else None
    return copy is not None and copy.name(path) is None


@contextlib.contextmanager
def sending(*paths: Path) -> Iterator[None]:
    """Send files that the block writes or removes, in this order, once it has ended.

    Raises:
        ChangedElsewhere: somebody else changed one of them; what is there now is here, too.
        StoreUnreachable: no answer; the change is kept here and goes first, next time.
        LockLost: a lock of this process was taken over.
    """
    copy = copy_of(paths[0]) if _copies and paths else None
    with copy.sending(paths) if copy else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """Let the block read a file's newest state and replace it: the store takes it for that state only."""
    copy = copy_of(path) if _copies else None
    with copy.changing(path) if copy else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def shared_lock(
    folder: Path, *, purpose: str, patience: float, stale: float, fresh: tuple[str, ...] = ()
) -> Iterator[None]:
    """Hold the lock of a folder of the store for all machines, then bring the named folders up to date.

    Args:
        folder: what is locked; the caller holds its lock on this machine.
        purpose: what for, told to whoever comes meanwhile.
        patience: seconds to wait.
        stale: seconds without a sign of life after which somebody else may take it.
        fresh: beginnings of the names of objects that are to be looked at again; those in the folder if none.

    Raises:
        LockBusy: somebody else holds it.
        StoreUnreachable: no answer.
    """
    copy = copy_of(folder) if _copies else None
    if copy is None:
        yield
        return
    from avih.mirror.locks import take
    from avih.mirror.refresh import refresh

    copy.identity.before_writing()
    lock = take(copy.remote, _lock_name(copy, folder), purpose=purpose,
                copy=str(copy.ledger.fact("copy")), patience=patience, stale=stale)  # fmt: skip
    with copy.locks.keeping(lock):
        copy.settle_debts()
        refresh(copy, fresh or (f"{folder.relative_to(copy.root).as_posix()}/",))
        yield


def holder(folder: Path) -> dict[str, Any] | None:
    """Say who holds the lock of a folder in a store elsewhere, empty if nobody does; None for other stores.

    Raises:
        StoreUnreachable: no answer.
    """
    copy = copy_of(folder) if _copies else None
    if copy is None:
        return None
    from avih.mirror.locks import holder_of

    return holder_of(copy.remote.read(_lock_name(copy, folder))) or {}


def _lock_name(copy: "WorkingCopy", folder: Path) -> str:
    from avih.mirror.names import LOCKS

    return f"{LOCKS}{folder.relative_to(copy.root).as_posix()}.json"


@contextlib.contextmanager
def marked(root: Path, content: bytes) -> Iterator[str | None]:
    """Leave an object in a store elsewhere while the block runs and yield its name; None for other stores.

    Raises:
        StoreUnreachable: no answer.
    """
    copy = _copies.get(root)
    if copy is None:
        yield None
        return
    copy.identity.before_writing()
    with copy.identity.mark(content) as name:
        yield name


def read_mark(root: Path, name: str) -> bytes | None:
    """Read what :func:`marked` left, maybe on another machine; None where there is no such object.

    Raises:
        StoreUnreachable: no answer.
    """
    copy = _copies.get(root)
    found = copy.remote.read(name) if copy else None
    return found[0] if found else None


def local(path: Path) -> Path:
    """Return the path of a file, its bytes fetched if need be.

    Raises:
        StoreUnreachable: no answer.
    """
    copy = copy_of(path) if _copies else None
    if copy is not None:
        copy.bring(path)
    return path


def refreshed(root: Path, *prefixes: str) -> None:
    """Bring a working copy up to date; a store in a folder is.

    Raises:
        StoreUnreachable: no answer.
        IntegrityError: the address leads to another store than before.
    """
    copy = _copies.get(root)
    if copy is not None:
        from avih.mirror.refresh import refresh

        refresh(copy, prefixes or ("",))


def reread(root: Path, *prefixes: str) -> None:
    """Forget the bytes that are here, of all or of what begins so; what is read next is what lies elsewhere.

    Raises:
        StoreUnreachable: no answer.
        IntegrityError: the address leads to another store than before.
    """
    copy = _copies.get(root)
    if copy is not None:
        from avih.mirror.refresh import reread as again

        again(copy, prefixes or ("",))
