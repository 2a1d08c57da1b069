"""A lock that machines share: one small object, renewed while it is held, free again when nobody renews it.

Whether it was renewed is judged by the server's clock alone, because the clocks of machines differ and jump.
It is never removed: who lets it go writes that it is free, so every step is one conditional write.
"""

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from avih.errors import AvihError, LockLost, StoreUnreachable
from avih.json_text import read_json
from avih.mirror.remote import Changed, Remote, Seen

logger = logging.getLogger(__name__)

STALE_SECONDS: Final = 300.0
LONGEST_STALE: Final = 3600.0  # whatever a lock says of itself
LOOK_SECONDS: Final = 0.2


class LockBusy(AvihError):
    """Another machine holds a lock.

    Args:
        name: the lock.
        holder: who holds it, in words.
        waited: for how many seconds it was waited.
    """

    def __init__(self, name: str, *, holder: str, waited: float) -> None:
        super().__init__(
            f"Expected the lock {name} to be free within {waited:g} s, got it held: {holder}. Run the "
            "command again later."
        )
        self.holder = holder


def seconds() -> float:
    """Return a clock that never jumps and goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass
class SharedLock:
    """A lock that this process holds.

    Attributes:
        remote: where it lies.
        name: its object.
        content: what it says.
        etag: the state that we wrote last.
        stale: seconds without renewal after which anybody may take it.
    """

    remote: Remote
    name: str
    content: dict[str, Any]
    etag: str
    stale: float
    renewed: float = field(default_factory=seconds)
    lost: bool = False
    _ended: threading.Event = field(default_factory=threading.Event)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Renew it from now on, in a thread of its own."""
        threading.Thread(target=self._renew_often, name=f"renew {self.name}", daemon=True).start()

    def check(self) -> None:
        """Make sure that it is still ours.

        Raises:
            LockLost: somebody took it over.
            StoreUnreachable: it was not renewed in time, and cannot be now.
        """
        if not self.lost and seconds() - self.renewed > self.stale / 2:
            self.renew()
        if self.lost:
            raise LockLost(
                f"Expected to hold the lock {self.name} still, got it taken over: it was not renewed for "
                f"{self.stale:g} s. This run stops; nothing that others wrote was overwritten. Run it again."
            )

    def renew(self) -> None:
        """Write it anew."""
        with self._guard:
            if self._ended.is_set() or self.lost:
                return
            asked = seconds()
            try:
                content = self.content | {"renewal": secrets.token_hex(8)}
                self.etag = self.remote.put(self.name, _bytes(content), expected=self.etag).etag
                self.renewed = asked
            except Changed:
                self.lost = True
                logger.error("The lock %s was taken over by somebody else.", self.name)

    def release(self) -> None:
        """Let it go; without an answer it becomes stale."""
        with self._guard:
            self._ended.set()
            if self.lost:
                return
            try:
                self.remote.put(self.name, _bytes(self.content | {"free": True}), expected=self.etag)
            except (Changed, AvihError) as error:
                logger.warning("The lock %s could not be given back: %s", self.name, error)

    def _renew_often(self) -> None:
        while not self._ended.wait(self.stale / 6):
            try:
                self.renew()
            except StoreUnreachable as error:
                logger.warning("The lock %s could not be renewed: %s", self.name, error)
            except Exception:
                logger.exception("The lock %s could not be renewed.", self.name)
            if self.lost:
                return


class HeldLocks:
    """The locks that this process holds in one store."""

    def __init__(self) -> None:
        self._held: dict[str, SharedLock] = {}

    def check(self) -> None:
        """Make sure of all of them before something is written.

        Raises:
            LockLost: one was taken over.
        """
        for lock in tuple(self._held.values()):
            lock.check()

    @contextmanager
    def keeping(self, lock: SharedLock) -> Iterator[None]:
        """Keep a lock while the block runs, then let it go."""
        self._held[lock.name] = lock
        lock.start()
        try:
            yield
        finally:
            del self._held[lock.name]
            lock.release()


def take(
    remote: Remote, name: str, *, purpose: str, copy: str, patience: float, stale: float = STALE_SECONDS
) -> SharedLock:
    """Take a lock as soon as it is free or stale.

    Args:
        remote: where.
        name: its object.
        purpose: what for, told to whoever comes meanwhile.
        copy: name of our working copy. The caller holds the local lock that goes with it, so whoever took this
            one from the same copy before is gone.
        patience: seconds to wait.
        stale: seconds without renewal after which it may be taken over.

    Raises:
        LockBusy: somebody else holds it.
    """
    until = seconds() + patience
    content = {
        "purpose": purpose, "host": socket.gethostname(), "pid": os.getpid(), "copy": copy, "stale": stale,
        "since": datetime.now(UTC).isoformat(timespec="seconds"), "free": False,
    }  # fmt: skip
    while True:
        found = remote.read(name)
        holder = holder_of(found)
        if holder is None or holder.get("copy") == copy or holder["idle"] > holder["stale"]:
            if holder is not None and holder.get("copy") != copy:
                logger.warning("Taking over the lock %s of %s, not renewed for %d s.",
                               name, described(holder), holder["idle"])  # fmt: skip
            try:
                mine = content | {"renewal": secrets.token_hex(8)}
                seen = remote.put(name, _bytes(mine), expected=found[1].etag if found else None)
                return SharedLock(remote, name, content, seen.etag, stale)
            except Changed:
                continue  # somebody was faster; look who
        if seconds() >= until:
            raise LockBusy(name, holder=described(holder), waited=patience)
        time.sleep(min(LOOK_SECONDS, patience))


def holder_of(found: tuple[bytes, Seen] | None) -> dict[str, Any] | None:
    """Return who holds a lock, and for how many seconds nothing was heard of them; None if it is free."""
    if found is None:
        return None
    data, seen = found
    try:
        content = read_json(data)
        if content["free"]:
            return None
        content["stale"] = min(float(content["stale"]), LONGEST_STALE)
    except (ValueError, KeyError, TypeError):
        content = {"stale": STALE_SECONDS}
    return dict(content) | {"idle": max(0.0, seen.now - seen.modified)}


def described(holder: dict[str, Any]) -> str:
    """Say in words who holds a lock."""
    return (
        f"{holder.get('purpose', 'something')} by process {holder.get('pid', '?')} on "
        f"{holder.get('host', '?')} since {holder.get('since', '?')}"
    )


def _bytes(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True).encode()
