"""Jobs that hold their gallery: refused while another process holds it, and nothing of theirs is written."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from avih.naming import Store
from flows.evaluate_gallery import evaluate_gallery
from tasks.gallery_lock import GalleryBusy, gallery_lock


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


def test_an_evaluation_beside_an_erasure_brings_nothing_back(own):
    evaluated = own.store.gallery_root("evaluated", "people")
    before = {path: path.stat().st_mtime_ns for path in evaluated.rglob("*")}
    with held_elsewhere(own.store, "an erasure"), pytest.raises(GalleryBusy, match="an erasure by process"):
        evaluate_gallery(
            place=own.place(), key_id=own.key_id, shards=[1, 2],
            recovery=own.settings.protect.recovery, settings=own.settings.evaluate,
        )  # fmt: skip
    assert {path: path.stat().st_mtime_ns for path in evaluated.rglob("*")} == before
