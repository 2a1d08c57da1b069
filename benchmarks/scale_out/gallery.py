"""A real small gallery, made here and made again on a cluster: the same bytes?"""

import shutil
import time
from pathlib import Path
from typing import Any

from avih.naming import Store
from avih.settings import LOCAL, EvaluateSettings, IndexSettings, KeySettings, RunnerSettings, RunSettings
from flows.run_gallery import GalleryRun, run_gallery
from tasks import opened
from tasks.records import RecogniserChoice

GALLERY = "scale-out"
MADE = ("2_aligned", "4_protected", "5_evaluated")
SHARDS = ("2_aligned", "4_protected")


def settings(*, images: int, shard_size: int) -> RunSettings:
    """Return the settings of a gallery that takes seconds."""
    return RunSettings(
        index=IndexSettings(limit=images, shard_size=shard_size),
        key=KeySettings(steps=4, width=8, blocks=1, batch_size=2),
        evaluate=EvaluateSettings(contact_sheet_images=2),
    )


def compare(store: Path, runner: RunnerSettings, *, images: int = 12, shard_size: int = 3) -> dict[str, Any]:
    """Make a gallery of drawn faces here, forget its shards, make it again elsewhere, and compare the files."""
    chosen = settings(images=images, shard_size=shard_size)
    local, local_seconds = _made(store, chosen.model_copy(update={"runner": LOCAL}))
    before = _shards(store)
    for folder in MADE:
        shutil.rmtree(store / folder)
    opened.forget()
    there, seconds = _made(store, chosen.model_copy(update={"runner": runner}))
    after = _shards(store)
    return {
        "images": sum(there.counts.values()),
        "shards": there.shards_made,
        "files_compared": len(before),
        "equal": before == after and len(before) > 0,
        "same_version": (local.version, local.key_id) == (there.version, there.key_id),
        "seconds_here": round(local_seconds, 1),
        "seconds_there": round(seconds, 1),
    }


def _made(store: Path, chosen: RunSettings) -> tuple[GalleryRun, float]:
    began = time.perf_counter()
    made = run_gallery(
        store=str(store), gallery=GALLERY, source="synthetic", recogniser=RecogniserChoice(card="synthetic"),
        settings=chosen, enforce_limits=False,
    )  # fmt: skip
    return made, time.perf_counter() - began


def _shards(store: Path) -> dict[str, bytes]:
    """Return all files of the shards; how long one took differs between runs."""
    root = Store(store).root
    return {
        str(path.relative_to(root)): path.read_bytes()
        for folder in SHARDS
        for path in (root / folder).rglob("0*.*")
        if "timing" not in path.name
    }
