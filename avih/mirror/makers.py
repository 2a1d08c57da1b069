"""Which processes work on a working copy: each holds the lock of a small file of its own while it lives.

What a process owes the store elsewhere, and what it was fetching, is named after that file. Its process id would
not do: a container that was killed and the one that comes after it have the same.
"""

import os
import secrets
import weakref
from pathlib import Path
from threading import RLock

from avih.atomic import runs_here
from avih.held_files import let_go, make_held, nobody_holds


class Makers:
    """The processes that work on one working copy.

    Args:
        folder: where their files lie; made when it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mine: tuple[int, str] | None = None
        self._guard = RLock()

    def me(self) -> str:
        """Name this process; by its process id where the disk has no locks."""
        with self._guard:
            if self._mine is None or self._mine[0] != os.getpid():  # the child of a fork is another maker
                self._mine = os.getpid(), self._begin()
            return self._mine[1]

    def lives(self, maker: str | int) -> bool:
        """Tell whether a process has not ended; earlier releases named it by its process id."""
        if isinstance(maker, int) or maker.isdecimal():
            return runs_here(int(maker))
        if "/" in maker or maker.startswith("."):
            return False  # no name of ours
        with nobody_holds(self.folder / maker) as free:
            return free is False

    def _begin(self) -> str:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self.folder.iterdir():  # of processes that ended; without its file a maker has ended, too
            with nobody_holds(path) as free:
                if free:
                    path.unlink(missing_ok=True)
        while True:
            name = f"maker{secrets.token_hex(8)}"
            try:
                descriptor, locked = make_held(self.folder / name)
            except FileExistsError:
                continue
            if locked:
                weakref.finalize(self, let_go, descriptor)
                return name
            let_go(descriptor)
            (self.folder / name).unlink(missing_ok=True)
            return str(os.getpid())
