"""One optimisation for all shards that a process works on: its batch stays full over the ends of shards.

Shards run in threads of their own. Each hands in its images and gets them back as they are done; in between it
decodes, encodes, measures and writes, while the optimisation goes on with everybody's images in one batch. A
result does not depend on who else is in the batch, so the shards' bytes do not depend on each other either.
"""

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from avih.loop import Hidden, Job, Loop, Source

Inbox = SimpleQueue["Hidden | BaseException"]


@dataclass(frozen=True)
class _Order:
    """Whose job it is: the ticket that it came with, and where its result goes."""

    ticket: Any
    inbox: Inbox


class SharedBatch:
    """A loop in a thread of its own, which lives as long as there is work.

    Args:
        build: makes the loop over a source; called again after a failure.
    """

    def __init__(self, build: Callable[[Source], Loop]) -> None:
        self._build, self._loop = build, build(self)
        self._lock, self._waiting, self._inboxes = Lock(), deque[Job](), list[Inbox]()
        self._thread: Thread | None = None
        self.busy_seconds = 0.0

    def hide(self, jobs: Iterator[Job], *, ahead: int) -> Iterator[Hidden]:
        """Hide jobs and yield them as they are done; ``ahead`` is how many may be under way at a time.

        Raises:
            Exception: whatever stopped the optimisation, for every shard that takes part.
        """
        inbox: Inbox = SimpleQueue()
        under_way = 0
        with self._lock:
            self._inboxes.append(inbox)
        try:
            for job in jobs:
                self._hand_in(replace(job, ticket=_Order(job.ticket, inbox)))
                under_way += 1
                while under_way >= ahead:
                    yield _received(inbox)
                    under_way -= 1
            for _ in range(under_way):
                yield _received(inbox)
        finally:
            with self._lock:
                self._inboxes.remove(inbox)
                self._waiting = deque(job for job in self._waiting if job.ticket.inbox is not inbox)

    @property
    def in_use(self) -> bool:
        """Does any shard have images in it?"""
        return bool(self._inboxes)

    def take(self, most: int, *, wait: bool) -> list[Job]:
        """Give the loop what is waiting; it is never made to wait, because its thread ends instead."""
        with self._lock:
            return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def _hand_in(self, job: Job) -> None:
        with self._lock:
            self._waiting.append(job)
            if self._thread is None:
                self._thread = Thread(target=self._work, name="avih optimisation", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        try:
            while self._deliver():
                pass
        except BaseException as error:
            with self._lock:
                self._waiting.clear()
                self._loop, self._thread = self._build(self), None
                for inbox in self._inboxes:
                    inbox.put(error)

    def _deliver(self) -> bool:
        """Send out what is done next; without work end the thread and say so."""
        began = time.perf_counter()
        finished = self._loop.take(1, wait=False)
        self.busy_seconds += time.perf_counter() - began
        for hidden in finished:
            order: _Order = hidden.job.ticket
            order.inbox.put(replace(hidden, job=replace(hidden.job, ticket=order.ticket)))
        with self._lock:
            if finished or self._waiting:
                return True
            self._thread = None
            return False


def _received(inbox: Inbox) -> Hidden:
    got = inbox.get()
    if isinstance(got, BaseException):
        raise got
    return got


_batches: dict[Hashable, SharedBatch] = {}
_batches_lock = Lock()


def shared_batch(key: Hashable, build: Callable[[Source], Loop]) -> SharedBatch:
    """Return this process's batch for a key: all that must be equal for images to share one.

    Another key drops the batches that nobody uses any more, and with them what they hold of other keys.
    """
    with _batches_lock:
        if key not in _batches:
            for other in [name for name, batch in _batches.items() if not batch.in_use]:
                del _batches[other]
            _batches[key] = SharedBatch(build)
        return _batches[key]


def current() -> list[SharedBatch]:
    """Return the batches of this process."""
    with _batches_lock:
        return list(_batches.values())


def forget() -> None:
    """Drop the batches of this process that nobody uses, and what they hold of keys."""
    with _batches_lock:
        for key in [key for key, batch in _batches.items() if not batch.in_use]:
            del _batches[key]
