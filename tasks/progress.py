"""How tasks tell how far they are: whoever runs them (command line, flow, test) may listen."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Protocol


class Listener(Protocol):
    """Hears of stages that begin and of units that are done; called from task threads."""

    def begin(self, stage: str, total: int) -> None:
        """A stage of ``total`` units begins."""

    def advance(self, stage: str, done: int) -> None:
        """``done`` more units of a stage are done."""


_listeners: list[Listener] = []
_lock = Lock()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let ``listener`` hear of all work of this process."""
    with _lock:
        _listeners.append(listener)
    try:
        yield
    finally:
        with _lock:
            _listeners.remove(listener)


def _current() -> list[Listener]:
    with _lock:
        return list(_listeners)


def begin(stage: str, total: int) -> None:
    """Report that a stage of ``total`` units begins."""
    for listener in _current():
        listener.begin(stage, total)


def advance(stage: str, done: int = 1) -> None:
    """Report ``done`` more units of a stage."""
    for listener in _current():
        listener.advance(stage, done)
