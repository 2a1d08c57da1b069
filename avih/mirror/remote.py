"""What a working copy asks of the store elsewhere, and how long it keeps asking."""

import hashlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

from avih.errors import StoreUnreachable, UsageError
from avih.mirror.address import CONDITIONAL, Address

logger = logging.getLogger(__name__)

WAITS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds between the tries of one request
_Answer = TypeVar("_Answer")


class Lost(Exception):
    """A request got no answer, or one that says: later. Trying again may help."""


class Changed(Exception):
    """An object is not in the state that a write expected."""


@dataclass(frozen=True)
class Seen:
    """An object as the server describes it.

    Attributes:
        etag: which state of it.
        size: bytes.
        modified: when it was written, by the server's clock, seconds.
        now: the server's clock when it answered; 0 in a list.
        sha256: of its bytes, as whoever wrote it said; empty where nobody did.
    """

    etag: str
    size: int
    modified: float
    now: float = 0.0
    sha256: str = ""


class Remote(Protocol):
    """A store elsewhere; every method may raise StoreUnreachable, after trying for a while."""

    def list(self, prefix: str) -> tuple[dict[str, Seen], bool]:
        """Return all objects by name, and whether the list came in one piece."""

    def head(self, name: str) -> Seen | None:
        """Describe an object; None where there is none."""

    def read(self, name: str) -> tuple[bytes, Seen] | None:
        """Return a small object."""

    def get(self, name: str, target: Path) -> Seen | None:
        """Write an object's bytes to a file; None where there is none."""

    def put(self, name: str, content: Path | bytes, *, expected: str | None) -> Seen:
        """Write an object, if it is in the state ``expected`` (None: if there is none).

        Raises:
            Changed: it is in another.
        """

    def delete(self, name: str, *, expected: str | None) -> None:
        """Remove an object, if it is in the state ``expected`` (None: in any); one that is gone is no error.

        Raises:
            Changed: it is in another.
        """


def open_remote(address: Address) -> Remote:
    """Connect to a store; nothing is asked of it yet.

    Raises:
        UsageError: what is needed to reach it is not installed.
    """
    if address.protocol == CONDITIONAL:
        from avih.mirror.s3 import S3

        return S3(address)
    from avih.mirror.plain import Plain

    return Plain(address)


def patiently(request: Callable[[], _Answer], *, what: str) -> _Answer:
    """Ask until there is an answer, with growing waits; at the end say that there was none.

    Raises:
        StoreUnreachable: there was none.
    """
    waits = _waits()
    for number in range(len(waits) + 1):
        try:
            return request()
        except Lost as error:
            if number == len(waits):
                raise StoreUnreachable(
                    f"Expected an answer from the store to {what}, got none in {number + 1} tries: {error}. "
                    "What is finished here is kept. Run the same command again when the store can be "
                    "reached; it sends what is missing."
                ) from error
            logger.warning("No answer to %s (%s); trying again in %g s.", what, error, waits[number])
            time.sleep(waits[number])
    raise AssertionError("unreachable")


def _waits() -> tuple[float, ...]:
    given = os.environ.get("AVIH_STORE_WAITS")
    if not given:
        return WAITS
    try:
        return tuple(float(part) for part in given.split(","))
    except ValueError:
        raise UsageError(
            f"Expected AVIH_STORE_WAITS as seconds with commas between them, such as 1,2,4, got {given!r}."
        ) from None


def sha256_of(content: Path | bytes) -> tuple[str, int]:
    """Return digest and length of what is to be sent."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest(), len(content)
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), content.stat().st_size
