"""A store elsewhere, seen through a folder of this machine: what is written here goes there at once, in order.

Each write is sent with the state in which the object was last seen here, so a change by somebody else in
between is found by the server and never overwritten. A change that could not be sent stays owed and goes
first, next time.
"""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from functools import cached_property
from pathlib import Path

from avih.errors import AvihError, ChangedElsewhere, LockLost, StoreUnreachable
from avih.mirror.address import Address
from avih.mirror.folder import LONG_BYTES, Folder
from avih.mirror.identity import Identity
from avih.mirror.ledger import Owed, forget, remember, settled, stamp_of
from avih.mirror.locks import HeldLocks
from avih.mirror.names import ALERTS, realm
from avih.mirror.remote import Changed

logger = logging.getLogger(__name__)

# States that a block of code has read and means to replace, by path.
_expected: ContextVar[dict[str, str | None] | None] = ContextVar("expected", default=None)


class WorkingCopy(Folder):
    """A folder that stands for a store elsewhere, and the way of its changes there.

    Args:
        address: where the store lies.
    """

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self.locks = HeldLocks()

    @cached_property
    def identity(self) -> Identity:
        """Which store it is, found out once per process."""
        return Identity(self.remote, self.ledger, address=str(self.address))

    @contextlib.contextmanager
    def sending(self, paths: Iterable[Path]) -> Iterator[None]:
        """Send files that the block writes or removes, in this order, once it has ended.

        Raises:
            ChangedElsewhere: somebody else changed one of them; what is there now is here, too.
            StoreUnreachable: no answer; the change is kept here and goes first, next time.
            LockLost: a lock of this process was taken over; nothing is kept.
        """
        names = [name for path in paths if (name := self.name(path)) is not None]
        if not names:
            yield
            return
        trouble = self._before(names)
        owed = [(name, self.ledger.owe(name)) for name in names]
        try:
            yield
        except BaseException:
            self._keep(owed)
            raise
        for done, (name, number) in enumerate(owed):
            try:
                if trouble:
                    raise trouble
                self._check_locks(name)
                self._deliver(name, number)
            except Changed:
                self._take_theirs(owed[done:])
                raise self._changed(name) from None
            except LockLost:
                self._take_theirs(owed[done:])
                raise
            except StoreUnreachable:
                self._keep(owed[done:])
                if realm(name) != ALERTS:
                    raise
                logger.warning("An alert could not be sent to %s; it is kept here.", self.address)
                return
            except BaseException:
                self._keep(owed[done:])
                raise

    def settle_debts(self) -> set[str]:
        """Send what earlier writes of ended processes, or without an answer, left owed; in their order.

        Where somebody else was faster, theirs stays, and so it does for all that was owed later of the same
        gallery: half of one and half of the other would be neither. Returns the names of these galleries.
        """
        theirs: set[str] = set()
        if not self._debts():
            return theirs
        with self._alone("debts.lock"):
            debts = self._debts()
            logger.info("%s: sending %d changes that were kept here.", self.address, len(debts))
            for debt in debts:
                owner = realm(debt.name)
                try:
                    if owner in theirs:
                        raise Changed(debt.name)
                    self._deliver(debt.name, debt.number)
                except Changed:
                    if owner not in theirs:
                        logger.warning(
                            "%s was changed by somebody else meanwhile: theirs stays, and what was kept here "
                            "of %s goes.", debt.name, owner,
                        )  # fmt: skip
                    theirs.add(owner)
                    self._take_theirs([(debt.name, debt.number)])
        return theirs

    def _before(self, names: list[str]) -> StoreUnreachable | None:
        """Send what is owed before anything new is written over it; without an answer the new is kept, too."""
        try:
            self._check_locks(names[0])
            theirs = self.settle_debts()
        except StoreUnreachable as error:
            return error
        for name in names:
            if realm(name) in theirs:  # what is about to be written was made from what is no more
                raise self._changed(name)
        return None

    def _check_locks(self, name: str) -> None:
        if realm(name) != ALERTS:
            self.locks.check()

    @contextlib.contextmanager
    def changing(self, path: Path) -> Iterator[None]:
        """Fetch a file's newest state for the block, which replaces it; only that state is replaced."""
        name = self.name(path)
        if name is None:
            yield
            return
        self.settle_debts()
        known, seen = self.ledger.known(name), self.remote.head(name)
        if (known.etag if known else None) != (seen.etag if seen else None):
            self.fetch(name)
            known = self.ledger.known(name)
        token = _expected.set({**(_expected.get() or {}), str(path): known.etag if known else None})
        try:
            yield
        finally:
            _expected.reset(token)

    def _deliver(self, name: str, number: int) -> None:
        """Send one file as it is now, or its removal.

        Raises:
            Changed: the object is not in the state that was seen last.
        """
        path, known = self.root / name, self.ledger.known(name)
        stamp, expected = stamp_of(path), known.etag if known else None
        asked = _expected.get() or {}
        if stamp == (known.stamp if known else ""):
            with self.ledger.change() as database:
                settled(database, name, number)
            return
        self.identity.before_writing()
        if not stamp:
            self.remote.delete(name, expected=expected)
            with self.ledger.change() as database:
                forget(database, name)
                settled(database, name, number)
            return
        if (size := path.stat().st_size) >= LONG_BYTES:
            logger.info("Sending %s (%d MiB).", name, size >> 20)
        seen = self.remote.put(name, path, expected=asked.get(str(path), expected))
        if str(path) in asked:
            asked[str(path)] = seen.etag
        with self.ledger.change() as database:
            remember(database, name, etag=seen.etag, size=seen.size, stamp=stamp)
            settled(database, name, number)

    def _take_theirs(self, owed: list[tuple[str, int]]) -> None:
        for name, number in owed:
            try:
                self.fetch(name)
            except AvihError:
                self._keep([(name, number)])
                raise
            with self.ledger.change() as database:
                settled(database, name, number)

    def _keep(self, owed: list[tuple[str, int]]) -> None:
        for _, number in owed:
            self.ledger.failed(number)

    def _debts(self) -> list[Owed]:
        return [debt for debt in self.ledger.owed() if debt.failed or not self.makers.lives(debt.process)]

    @contextlib.contextmanager
    def _alone(self, file: str) -> Iterator[None]:
        descriptor = os.open(self.folder / file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _changed(self, name: str) -> ChangedElsewhere:
        return ChangedElsewhere(
            f"Expected {name} in {self.address} as it was read, got another: it was changed by someone else "
            "since. Nothing was overwritten, and what is there now was fetched. Run the command again."
        )
