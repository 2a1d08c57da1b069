"""Which store an address leads to: a copy is never brought in line with another store, or with nothing."""

import contextlib
import json
import secrets
from collections.abc import Iterator
from typing import Any, Final

from avih.errors import IntegrityError, UsageError
from avih.json_text import read_json
from avih.mirror.ledger import Ledger
from avih.mirror.names import LOCKS, STORE_FILE
from avih.mirror.remote import Changed, Remote

FORMAT: Final = 1
_NOT_THERE: Final = "0" * 32  # a state that no object is in
TRIED: Final = "writes and removals"  # of earlier releases: writes alone, which is not enough


class Identity:
    """The name that a store got with its first file, compared with the one that the working copy knows.

    Args:
        remote: the store elsewhere.
        ledger: what the copy knows.
        address: for messages.
    """

    def __init__(self, remote: Remote, ledger: Ledger, *, address: str) -> None:
        self.remote, self.ledger, self.address = remote, ledger, address
        self._compared = self._tried = False

    def before_writing(self) -> None:
        """Compare once per process; a store without a name gets one, and a server unknown so far is tried.

        Raises:
            IntegrityError: see :meth:`compare`.
            UsageError: the server does not compare before it writes or removes, so it cannot hold a store.
        """
        if self._tried:
            return
        if self.ledger.fact("conditions") != TRIED:
            self._try_conditions()
            self.ledger.set_fact("conditions", TRIED)
        if not self._compared and self.ledger.fact("store") is None and self._found() is None:
            self._make()
        self.compare()
        self._tried = True

    def compare(self, *, again: bool = False) -> None:
        """Compare once per process, or ``again``.

        Raises:
            IntegrityError: it is another store than before, or it is gone. Nothing was changed, here or
            there.
        """
        if self._compared and not again:
            return
        known, found = self.ledger.fact("store"), self._found()
        if found is None and known is None:
            return  # an empty place, or one that was filled by other means: nothing to compare
        if known is not None and found != known:
            got = "nothing" if found is None else "another store"
            raise IntegrityError(
                f"Expected at {self.address} the store that {self.ledger.path.parent} is a working copy of, "
                f"got {got}. Nothing was changed, here or there. Bring the store back; or, if this is meant, "
                "move that folder away and begin with a new copy."
            )
        if known is None and found is not None:
            self.ledger.set_fact("store", found)
        self._compared = True

    @contextlib.contextmanager
    def mark(self, content: bytes) -> Iterator[str]:
        """Leave a small object while the block runs, and yield its name."""
        name = f"{LOCKS}probe-{secrets.token_hex(8)}"
        self.remote.put(name, content, expected=None)
        try:
            yield name
        finally:
            self.remote.delete(name, expected=None)

    def _found(self) -> str | None:
        answer = self.remote.read(STORE_FILE)
        if answer is None:
            return None
        try:
            content: Any = read_json(answer[0])
            if content["format"] != FORMAT:
                raise ValueError("format")
            return str(content["store"])
        except (ValueError, KeyError, TypeError):
            raise IntegrityError(
                f"Expected the name of a store in {self.address}/{STORE_FILE}, got something else. If a "
                "newer avih wrote it, use that one; if not, bring it back from a backup."
            ) from None

    def _make(self) -> None:
        content = json.dumps({"format": FORMAT, "store": secrets.token_hex(16)}).encode()
        with contextlib.suppress(Changed):  # another machine was faster
            self.remote.put(STORE_FILE, content, expected=None)

    def _try_conditions(self) -> None:
        """Try on an object of our own that the server refuses what it must refuse; some accept everything."""
        refused = 0
        with self.mark(b"1") as name:
            for content, expected in ((b"2", None), (b"3", _NOT_THERE)):
                try:
                    self.remote.put(name, content, expected=expected)
                except Changed:
                    refused += 1
            if refused != 2:
                raise self._careless("write", "(If-Match, If-None-Match)", "overwrite each other")
            accepted = False
            with contextlib.suppress(Changed):
                self.remote.delete(name, expected=_NOT_THERE)
                accepted = True
            if accepted or self.remote.head(name) is None:
                raise self._careless(
                    "removal", "(DELETE with If-Match)", "remove what the other has just made"
                )

    def _careless(self, what: str, how: str, harm: str) -> UsageError:
        return UsageError(
            f"Expected the server of {self.address} to refuse a {what} whose condition does not hold {how}, got "
            f"it accepted. Two writers would {harm} there; use another server or version."
        )
