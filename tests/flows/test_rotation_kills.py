"""SIGKILL at many random points of rotations: the gallery always serves, and in the end all is as it must be.

Each rotation runs in a forked process, without Prefect around it (its flow bodies, its tasks, its files), and
dies at a random one of the operations that change files: an open for writing, a rename, a removal, a new folder.
"""

import importlib
import os
import random
import signal
import sys
from pathlib import Path

import pandas as pd
import pytest

from avih.datasets.synthetic import SyntheticFaces
from avih.gallery import History, read_history
from avih.index_file import read_index
from avih.keys import KeyStore, Vault
from avih.manifest import verify_gallery
from avih.naming import Store
from avih.settings import EvaluateSettings, IndexSettings, KeySettings, RunSettings
from small_rotation import ATTACK, GATE
from tasks import opened
from tasks.records import RecogniserChoice
from tasks.rotation_plan import RotationPolicy
from unorchestrated import without_prefect

KILLS = 10  # python -m benchmarks.faults --profile full kills more often
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"}
SETTINGS = RunSettings(
    index=IndexSettings(shard_size=3),
    key=KeySettings(steps=2, width=4, blocks=1, batch_size=1),
    evaluate=EvaluateSettings(contact_sheet_images=1),
)


class Countdown:
    """Kills this process before the n-th operation that changes a file; counts only if ``n`` is None."""

    def __init__(self, n: int | None) -> None:
        self.left, self.seen, self.armed = n, 0, True
        sys.addaudithook(self.hear)

    def hear(self, event: str, arguments: tuple[object, ...]) -> None:
        writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        creates = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
        if not self.armed or not (event in CHANGES or writes or creates):
            return
        self.seen += 1
        if self.left is not None and self.seen >= self.left:
            os.kill(os.getpid(), signal.SIGKILL)


def in_a_process(work: object, kill_at: int | None) -> int | None:
    """Run ``work`` in a fork; return how many changes it made, or None if it was killed."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        code = 1
        try:
            countdown = Countdown(kill_at)
            work()
            countdown.armed = False
            os.write(write, str(countdown.seen).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    _, status = os.waitpid(child, 0)
    with os.fdopen(read) as pipe:
        told = pipe.read()
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    assert os.WEXITSTATUS(status) == 0, "the rotation failed; see the captured output"
    return int(told)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    SyntheticFaces(persons=3, photos_per_person=2, first_person=40).write(tmp_path / "photos")
    place = Store(tmp_path / "store")

    def first_run() -> None:
        from flows.run_gallery import run_gallery

        with without_prefect():
            run_gallery.fn(
                store=str(place.root), gallery="people", source=str(tmp_path / "photos"), settings=SETTINGS,
                recogniser=RecogniserChoice(card="synthetic"), enforce_limits=False,
            )  # fmt: skip

    assert in_a_process(first_run, None)
    for heavy in ("mlflow", "matplotlib.pyplot", "sklearn.discriminant_analysis", "flows.rotate"):
        importlib.import_module(heavy)  # once here instead of in every fork
    opened.recogniser(RecogniserChoice(card="synthetic"), place.root)  # inherited by every fork
    return place


def rotate(store: Store) -> None:
    from flows.rotate import rotate_keys

    with without_prefect():
        rotate_keys.fn(
            store=str(store.root), gallery="people", attack=ATTACK, gate=GATE,
            policy=RotationPolicy(keep_versions=0, promote_on_warn=True),
        )  # fmt: skip


def history(store: Store) -> History:
    return read_history(store=store, gallery="people", mac_key=Vault(store.keys).mac_key())


def serves(store: Store) -> str:
    """Check that the current version is whole and right, and return its name."""
    current = history(store).current
    assert not verify_gallery(store=store, gallery="people", version=current.version, key_id=current.key_id,
                              mac_key=Vault(store.keys).mac_key())  # fmt: skip
    folder = store.folder("protected", gallery="people", version=current.version, key_id=current.key_id)
    names = pd.concat([pd.read_parquet(path) for path in folder.glob("*.parquet")]).image_id
    index = read_index(store=store, gallery="people", version=current.version)
    assert sorted(names) == sorted(index.image_id) and names.is_unique
    return current.version


def test_a_rotation_that_is_killed_again_and_again_loses_nothing(store):
    draw = random.Random(2023)
    changes = in_a_process(lambda: rotate(store), None)
    assert changes and changes > 50
    kills = rotations = 0
    before = serves(store)
    while kills < KILLS:
        # Early and late points alike: what is done stays done, so later kills fall into later stages.
        if in_a_process(lambda: rotate(store), draw.randint(1, changes // 2)) is None:
            kills += 1
            serves(store)
        else:
            rotations += 1
            assert serves(store) != before
            before = serves(store)
    in_a_process(lambda: rotate(store), None)
    check_the_end(store)
    assert rotations >= 1


def check_the_end(store: Store) -> None:
    """One current version, its key the only active one, no plan, nothing half-made left."""
    current = history(store).current
    states = {record.key_id: str(record.state) for record in KeyStore(store.keys).list()}
    assert [key for key, state in states.items() if state == "active"] == [current.key_id]
    assert not store.rotation("people").exists()
    assert store.versions("people") == [current.version]
    folders = [p for p in store.gallery_root("protected", "people").iterdir() if p.is_dir()]
    assert [p.name for p in folders] == [current.key_id]
    assert not list(folders[0].rglob("*.part"))
