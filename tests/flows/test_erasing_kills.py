"""An erasure that is killed at any of its steps loses nobody else's pictures, and its rerun ends as if uncut."""

import hashlib
import itertools
import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from avih.errors import IntegrityError, UsageError
from avih.index_file import rows_digest, write_index
from avih.manifest import verify_gallery, write_manifest
from avih.naming import ShardAddress, Store
from avih.shards import Sample, file_sha256, iter_samples, read_done, read_rows, write_shard
from small_shards import KEY, Settings
from tasks import erase_person as module
from tasks.erasing_journal import journal_path

MAC_KEY = hashlib.sha256(b"test").digest()
AT = {"gallery": "people", "version": "v0001"}
FACES, HIDDEN = ("aligned", None), ("protected", KEY)
SHARDS = {0: ("ann_1", "ann_2"), 1: ("ann_3", "bob_1", "cyd_1"), 2: ("bob_2", "cyd_2")}


class Killed(BaseException):
    """The process is gone: no handler of errors runs."""


def address(stage: tuple[str, str | None], number: int) -> ShardAddress:
    return ShardAddress(stage[0], "people", "v0001", number, stage[1])


def put(store: Store, stage: tuple[str, str | None], number: int, inputs: str, pictures: list[bytes],
        mac_key: bytes | None = MAC_KEY) -> str:  # fmt: skip
    ending = "png" if stage == HIDDEN else "sealed"
    samples = [Sample(name, {ending: data}) for name, data in zip(SHARDS[number], pictures, strict=True)]
    rows = [{"image_id": s.key, "person": s.key[:3], "path": f"{s.key[:3]}/{s.key}.png", "status": stage[0],
             "reason": "", "file_sha256": file_sha256(s.files)} for s in samples]  # fmt: skip
    return write_shard(
        store=store, address=address(stage, number), samples=samples, rows=pd.DataFrame(rows), key_id=stage[1],
        settings=Settings(), inputs_sha256=inputs, recogniser="face" if stage[1] else None,
        mac_key=mac_key,
    ).digest()  # fmt: skip


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed version: Ann alone in one shard, with others in the next, not in the last."""
    store = Store(tmp_path_factory.mktemp("signed"))
    rows = pd.DataFrame(
        {"image_id": name, "person": name[:3], "path": f"{name[:3]}/{name}.png", "content_mac": f"mac {name}",
         "status": "indexed", "reason": "", "shard": number}
        for number, names in SHARDS.items() for name in names
    )  # fmt: skip
    write_index(store=store, **AT, pieces=[rows])
    for number, names in SHARDS.items():
        faces = put(store, FACES, number, rows_digest(rows[rows.shard == number]),
                    [f"sealed {name}".encode() for name in names])  # fmt: skip
        put(store, HIDDEN, number, faces, [f"hidden {name}".encode() for name in names])
    write_manifest(store=store, **AT, key_id=KEY, numbers=list(SHARDS), recogniser="face", method="avih",
                   recovery="keyed", settings=Settings(), mac_key=MAC_KEY)  # fmt: skip
    return store.root


@pytest.fixture
def store(signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy of it, which needs neither a passphrase nor MLflow."""
    monkeypatch.setattr(module.opened, "vault", lambda _: SimpleNamespace(mac_key=lambda: MAC_KEY))
    monkeypatch.setattr(module, "artifact_folders", lambda *_: set())
    return Store(shutil.copytree(signed, tmp_path / "store"))


def erase(store: Store, person: str = "ann") -> None:
    assert module.erase_person(store=store, gallery="people", person=person).found == ()


def contents(store: Store) -> dict[str, bytes]:
    return {str(path.relative_to(store.root)): path.read_bytes() for path in sorted(store.root.rglob("*"))
            if path.is_file() and not path.name.endswith(".part")}  # fmt: skip


def problems(store: Store) -> list[str]:
    return verify_gallery(store=store, **AT, key_id=KEY, mac_key=MAC_KEY)


def killed_at(patch: pytest.MonkeyPatch, last: int) -> None:
    """Let the process be gone from its ``last``-th change of a name on, which does not happen any more."""
    calls = itertools.count(1)

    def fatal(name: str) -> None:
        real = getattr(Path, name)

        def step(path: Path, *arguments: object, **more: object) -> object:
            if next(calls) >= last:
                raise Killed
            return real(path, *arguments, **more)

        patch.setattr(Path, name, step)

    for name in ("replace", "unlink", "rmdir"):
        fatal(name)


def test_a_kill_at_any_step_loses_nobody_and_the_rerun_ends_as_if_uncut(store, signed, monkeypatch) -> None:
    erase(store)
    uncut = contents(store)
    assert problems(store) == [] and "ann" not in {*read_rows(store, address(HIDDEN, 1)).person}
    assert not any("replacing" in name or "erasing" in name or "/00000." in name for name in uncut)
    for last in itertools.count(1):
        shutil.rmtree(store.root)
        shutil.copytree(signed, store.root)
        try:
            with monkeypatch.context() as patch:
                killed_at(patch, last)
                erase(store)
            break
        except Killed:
            pass
        if not journal_path(store, "people").exists() and contents(store) == uncut:
            continue  # the journal's removal was all that was left of it
        erase(store)
        assert contents(store) == uncut, last
    assert last > 40  # fewer would mean that the erasure has steps this test does not see


def swap(store: Store, number: int) -> None:
    """Give two persons each other's pictures; every digest fits."""
    record = read_done(store, address(HIDDEN, number))
    pictures = {sample.key: sample.files["png"] for sample in iter_samples(store, address(HIDDEN, number))}
    pictures["bob_1"], pictures["cyd_1"] = pictures["cyd_1"], pictures["bob_1"]
    put(store, HIDDEN, number, record.inputs_sha256, list(pictures.values()), mac_key=None)


def test_a_journal_that_somebody_made_up_is_refused_and_nothing_is_signed(store) -> None:
    swap(store, 1)
    journal_path(store, "people").write_text("{}")
    before = contents(store)
    with pytest.raises(IntegrityError, match="signed file"):
        erase(store)
    journal_path(store, "people").unlink()
    with pytest.raises(IntegrityError, match="Nothing was erased"):
        erase(store)
    assert {**contents(store), "1_index/people/erasing.json": b"{}"} == before


def test_a_shard_that_changes_while_an_erasure_waits_is_not_signed(store, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "begin_progress", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            erase(store)
    with pytest.raises(UsageError, match="of another person"):
        erase(store, "bob")
    swap(store, 1)
    with pytest.raises(IntegrityError, match="when the erasure began"):
        erase(store)
    assert problems(store) and (store.root / "1_index/people/v0001/photos.parquet").exists()


@pytest.mark.parametrize("stage", [FACES, HIDDEN])
def test_a_shard_without_its_done_file_is_not_taken_for_an_empty_one(store, stage) -> None:
    store.shard(address(stage, 1), "done.json").unlink()
    before = contents(store)
    with pytest.raises(IntegrityError, match="Nothing was erased"):
        erase(store)
    assert contents(store) == before


def test_pictures_stay_where_no_originals_are_kept(store) -> None:
    shutil.rmtree(store.root / "2_aligned")
    erase(store)
    assert problems(store) == [] and {*read_rows(store, address(HIDDEN, 1)).person} == {"bob", "cyd"}
