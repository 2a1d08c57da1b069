"""The folder that stands for a store elsewhere: what is fetched into it, and when."""

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Final

from avih.mirror.address import Address
from avih.mirror.ledger import Ledger, forget, remember, stamp_of
from avih.mirror.makers import Makers
from avih.mirror.names import LAZY, name_of
from avih.mirror.remote import Remote, Seen, open_remote

logger = logging.getLogger(__name__)

LONG_BYTES: Final = 16 * 2**20  # as much takes a while: the log says so


class Folder:
    """One address and the folder that stands for it here.

    Args:
        address: where the store lies.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.folder = address.working_copy
        self.root = self.folder / "store"
        self._guard = RLock()

    @cached_property
    def ledger(self) -> Ledger:
        """What is known of the store; its folder is made, for its owner alone."""
        with self._guard:
            fetched = self.folder / "fetched"
            for folder in (self.folder, self.root, fetched):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                folder.chmod(0o700)  # Prefect's home lies in it, and may have been made first
            for left in fetched.iterdir():  # of killed processes
                if not self.makers.lives(left.name.partition("-")[0]):
                    left.unlink(missing_ok=True)
            return Ledger(self.folder / "ledger.sqlite", address=str(self.address), makers=self.makers)

    @cached_property
    def makers(self) -> Makers:
        """The processes of this machine that work on the copy."""
        return Makers(self.folder / "makers")

    @cached_property
    def remote(self) -> Remote:
        """The store elsewhere."""
        with self._guard:
            return open_remote(self.address)

    def name(self, path: Path) -> str | None:
        """Name a file as the store elsewhere does; None for what stays here."""
        return name_of(path, self.root)

    def fetch(self, name: str) -> None:
        """Bring an object here as it is now, or remove it where it is gone; a tar waits until it is read."""
        seen = self.remote.head(name) if name.endswith(LAZY) else None
        with self.fetched(name, lazy=seen) as (seen, temporary), self.ledger.change() as database:
            if seen is None:
                (self.root / name).unlink(missing_ok=True)
                forget(database, name)
            else:
                stamp = self.place(temporary, name)
                here = not (name.endswith(LAZY) and seen.size)
                remember(database, name, etag=seen.etag, size=seen.size, stamp=stamp, here=here)

    @contextlib.contextmanager
    def fetched(self, name: str, *, lazy: Seen | None) -> Iterator[tuple[Seen | None, Path]]:
        """Fetch an object to a temporary name, or make an empty file of its length where it may wait."""
        temporary = self.folder / "fetched" / f"{self.makers.me()}-{secrets.token_hex(8)}"
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            if lazy is not None:
                os.truncate(temporary, lazy.size)
                yield lazy, temporary
            else:
                yield self.remote.get(name, temporary), temporary
        finally:
            temporary.unlink(missing_ok=True)

    def place(self, temporary: Path, name: str) -> str:
        """Give a fetched file its name and return its stamp."""
        path = self.root / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.replace(path)
        return stamp_of(path)

    def bring(self, path: Path) -> None:
        """Fetch the bytes of a file that only stands for them so far."""
        name = self.name(path)
        known = self.ledger.known(name) if name else None
        if name is None or known is None or known.here or stamp_of(path) != known.stamp:
            return
        if known.size >= LONG_BYTES:
            logger.info("Fetching %s (%d MiB).", name, known.size >> 20)
        with self.fetched(name, lazy=None) as (seen, temporary), self.ledger.change() as database:
            if seen is None:
                path.unlink(missing_ok=True)
                forget(database, name)
            elif stamp_of(path) == known.stamp:  # else another thread was faster, or it was written anew
                stamp = self.place(temporary, name)
                remember(database, name, etag=seen.etag, size=seen.size, stamp=stamp)
