"""Every change of a shard's files is found, named, and answered with what to do."""

import io
import random
import tarfile
from pathlib import Path

import pytest

from avih.errors import IntegrityError
from avih.naming import ShardAddress, Store
from avih.shards import (
    file_sha256,
    iter_samples,
    read_done,
    read_rows,
    shard_state,
    verify_shard,
)
from small_shards import ADDRESS, ENDINGS, KEY, Settings, write


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_shard_without_one_of_its_files_does_not_exist(store: Store, ending: str) -> None:
    write(store)
    store.shard(ADDRESS, ending).unlink()
    assert read_done(store, ADDRESS) is None
    assert verify_shard(store, ADDRESS)


@pytest.mark.parametrize("ending", ["tar", "parquet"])
def test_a_truncated_file_makes_the_shard_missing(store: Store, ending: str) -> None:
    write(store)
    path = store.shard(ADDRESS, ending)
    path.write_bytes(path.read_bytes()[:-1])
    assert shard_state(store, ADDRESS, settings=Settings(), inputs_sha256="ab" * 32) == "missing"


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_flipped_bit_is_found_and_named(store: Store, ending: str) -> None:
    write(store)
    path = store.shard(ADDRESS, ending)
    whole = path.read_bytes()
    drawn = random.Random(7)
    places = drawn.sample(range(len(whole)), 200 if ending == "done.json" else 60)
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << drawn.randrange(8)
        path.write_bytes(damaged)
        problems = verify_shard(store, ADDRESS)
        assert problems, f"bit flip at byte {place} of the {ending} was not found"
        assert f"00003.{ending}" in problems[0]
        with pytest.raises(IntegrityError):
            read_rows(store, ADDRESS) if ending != "tar" else list(iter_samples(store, ADDRESS))


def test_a_flipped_bit_in_a_picture_names_the_image(store: Store) -> None:
    write(store)
    path = store.shard(ADDRESS, "tar")
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(bytes([3]) * 2000) + 1000] ^= 1
    path.write_bytes(damaged)
    problems = verify_shard(store, ADDRESS)
    assert any(f"{'p' * 90}__0003: its picture is not the one of its row" in problem for problem in problems)


def test_a_done_file_from_another_shard_is_refused(store: Store) -> None:
    other = ShardAddress("protected", "lfw-gray", "v0002", 3, KEY)
    write(store)
    write(store, other)
    store.shard(ADDRESS, "done.json").write_bytes(store.shard(other, "done.json").read_bytes())
    with pytest.raises(IntegrityError, match="v0002/00003"):
        read_done(store, ADDRESS)
    assert "v0002/00003" in verify_shard(store, ADDRESS)[0]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"record_sha256": NaN}', "[" * 5000, "\ufeff{}", '"\\ud800"']
)
def test_a_done_file_that_is_none_says_what_to_do(store: Store, text: str) -> None:
    write(store)
    store.shard(ADDRESS, "done.json").write_text(text)
    with pytest.raises(IntegrityError, match="Delete the shard's three files"):
        read_done(store, ADDRESS)


def retar(store: Store, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    """Replace the tar and make the done file agree, as somebody with write access could."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    record = read_done(store, ADDRESS)
    assert record is not None
    data = buffer.getvalue()
    store.shard(ADDRESS, "tar").write_bytes(data)
    hashes = {"tar_bytes": len(data), "tar_sha256": file_sha256({"png": data})}
    store.shard(ADDRESS, "done.json").write_bytes(record.model_copy(update=hashes).to_bytes())


def as_link(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
    return info


@pytest.mark.parametrize(
    "infos",
    [
        [as_link(tarfile.TarInfo("a.png"))],
        [tarfile.TarInfo("../a.png")],
        [tarfile.TarInfo("a")],
        [tarfile.TarInfo("a.png"), tarfile.TarInfo("a.png")],
        [tarfile.TarInfo("a.b.png")],
    ],
    ids=["link", "folder", "no ending", "twice", "two dots"],
)
def test_a_tar_of_anything_but_plain_files_is_refused(store: Store, infos: list[tarfile.TarInfo]) -> None:
    write(store)
    retar(store, [(info, b"" if info.issym() else b"1") for info in infos])
    with pytest.raises(IntegrityError, match=r"KEY\.ENDING"):
        list(iter_samples(store, ADDRESS))
    assert any("KEY.ENDING" in problem for problem in verify_shard(store, ADDRESS))


def test_contents_that_do_not_fit_the_rows_are_named(store: Store) -> None:
    write(store)
    retar(store, [(tarfile.TarInfo("__0000.png"), b"other"), (tarfile.TarInfo("new.png"), b"1")])
    problems = "\n".join(verify_shard(store, ADDRESS))
    assert "new: sample without row" in problems
    assert "__0000: its picture is not the one of its row" in problems
    assert "__0001: row without sample" in problems
    assert "counts" in problems


def test_another_format_is_refused(store: Store) -> None:
    write(store)
    path = store.shard(ADDRESS, "done.json")
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(IntegrityError, match="format 1"):
        read_done(store, ADDRESS)
