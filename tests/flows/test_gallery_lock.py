"""Jobs that hold their gallery: refused while another process holds it, and nothing of theirs is written."""

import pytest

from flows.evaluate_gallery import evaluate_gallery
from held_elsewhere import held_elsewhere
from tasks.gallery_lock import GalleryBusy


def test_an_evaluation_beside_an_erasure_brings_nothing_back(own):
    evaluated = own.store.gallery_root("evaluated", "people")
    before = {path: path.stat().st_mtime_ns for path in evaluated.rglob("*")}
    with held_elsewhere(own.store, "an erasure"), pytest.raises(GalleryBusy, match="an erasure by process"):
        evaluate_gallery(
            place=own.place(), key_id=own.key_id, shards=[1, 2],
            recovery=own.settings.protect.recovery, settings=own.settings.evaluate,
        )  # fmt: skip
    assert {path: path.stat().st_mtime_ns for path in evaluated.rglob("*")} == before
