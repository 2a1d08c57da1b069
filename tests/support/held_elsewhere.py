"""A gallery that another process works on."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager

from avih.naming import Store
from tasks.gallery_lock import gallery_lock


@contextmanager
def held_elsewhere(store: Store, purpose: str) -> Iterator[None]:
    """Let another process hold the gallery while the block runs."""
    context = multiprocessing.get_context("fork")
    held, done = context.Event(), context.Event()

    def hold() -> None:
        with gallery_lock(store, "people", purpose=purpose):
            held.set()
            done.wait()

    other = context.Process(target=hold)
    other.start()
    try:
        assert held.wait(60)
        yield
    finally:
        done.set()
        other.join()
