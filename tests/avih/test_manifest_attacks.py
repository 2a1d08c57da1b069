"""Every way to slip something into a protected gallery is found and named."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from avih.manifest import MANIFEST_FILE
from avih.naming import Store
from small_manifest import OTHER_KEY_ID, copy_shard, edit, place, read, signed_store, verify, write_one


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return signed_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def store(signed: Store, tmp_path: Path) -> Store:
    shutil.copytree(signed.root, tmp_path / "store")
    return Store(tmp_path / "store")


def swap(store: Store) -> None:
    folder = place(store)
    copy_shard(folder, 0, folder, 9)
    copy_shard(folder, 1, folder, 0)
    copy_shard(folder, 9, folder, 1)
    for path in folder.glob("00009.*"):
        path.unlink()


def rename(store: Store) -> None:
    for path in list(place(store).glob("00002.*")):
        path.rename(path.with_name(path.name.replace("00002", "00007")))


def delete(store: Store) -> None:
    for path in list(place(store).glob("00001.*")):
        path.unlink()


def add(store: Store) -> None:
    write_one(store, 3)


def add_only_a_tar(store: Store) -> None:
    shutil.copyfile(place(store) / "00000.tar", place(store) / "extra.tar")


def roll_back_one(store: Store) -> None:
    copy_shard(store.root / "older", 1, place(store), 1)


def splice_version(store: Store) -> None:
    copy_shard(place(store, version="v0002"), 1, place(store), 1)


def splice_gallery(store: Store) -> None:
    copy_shard(place(store, gallery="orl"), 1, place(store), 1)


def splice_key(store: Store) -> None:
    copy_shard(place(store, key_id=OTHER_KEY_ID), 1, place(store), 1)


def splice_tar(store: Store) -> None:
    # The same length as the true one, so that sizes tell nothing.
    shutil.copyfile(place(store, version="v0002") / "00000.tar", place(store) / "00001.tar")


def protect_again(store: Store) -> None:
    """Slip a picture in with a perfect shard around it, as somebody without the signing key could."""
    write_one(store, 1, content=b"intruder")


def foreign_manifest(store: Store) -> None:
    shutil.copyfile(place(store, version="v0002") / MANIFEST_FILE, place(store) / MANIFEST_FILE)


def no_manifest(store: Store) -> None:
    (place(store) / MANIFEST_FILE).unlink()


@pytest.mark.parametrize(
    ("attack", "named"),
    [
        (swap, ("shard 00000: holds what was signed as shard 00001", "shard 00001: holds what was signed")),
        (rename, ("shard 00002: signed in the manifest, but not there", "00007.tar: not in the manifest")),
        (delete, ("shard 00001: signed in the manifest, but not there",)),
        (add, ("00003.done.json: not in the manifest", "00003.tar: not in the manifest")),
        (add_only_a_tar, ("extra.tar: not in the manifest",)),
        (roll_back_one, ("shard 00001: not the shard that was signed",)),
        (splice_version, ("shard 00001: not the shard that was signed", "that of 4_protected/lfw-gray")),
        (splice_gallery, ("shard 00001: not the shard that was signed", "that of 4_protected/orl")),
        (splice_key, ("shard 00001: not the shard that was signed", f"{OTHER_KEY_ID}/v0001/00001")),
        (splice_tar, ("00001.tar: expected SHA-256",)),
        (protect_again, ("shard 00001: not the shard that was signed",)),
        (foreign_manifest, ("Expected the manifest of lfw-gray v0001",)),
        (no_manifest, ("Expected a manifest",)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_every_attack_is_found_and_named(
    store: Store, attack: Callable[[Store], None], named: tuple[str, ...]
) -> None:
    attack(store)
    problems = verify(store)
    for text in named:
        assert any(text in problem for problem in problems), problems
    untouched = {"shard 00002"} - {text[:11] for text in named}
    assert not any(problem.startswith(tuple(untouched)) for problem in problems if untouched)


def test_all_problems_are_named_at_once(store: Store) -> None:
    edit(store, recogniser="other")
    add_only_a_tar(store)
    (place(store) / "00000.tar").unlink()
    (place(store) / "00001.parquet").write_bytes(b"1")
    problems = verify(store)
    for text in ("signature", "00000.tar: cannot be read", "00001.parquet: expected SHA-256", "extra.tar"):
        assert any(text in problem for problem in problems), problems


def test_without_a_manifest_the_shards_are_still_read(store: Store) -> None:
    no_manifest(store)
    (place(store) / "00002.tar").write_bytes(b"1")
    problems = verify(store)
    assert "Expected a manifest" in problems[0]
    assert all("00002" in problem for problem in problems[1:])
    assert len(problems) > 1


def test_a_whole_older_gallery_shows_in_the_digest_alone(store: Store) -> None:
    current = read(store).digest()
    shutil.rmtree(place(store))
    shutil.copytree(store.root / "older", place(store))
    assert verify(store) == []
    assert read(store).digest() != current
