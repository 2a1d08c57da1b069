"""A store elsewhere: what is written here is there, in order and never over somebody else's; on a real S3."""

import os
import stat

import pytest

from avih.atomic import remove, remove_tree, write_bytes
from avih.errors import ChangedElsewhere, IntegrityError
from avih.gallery import promote, read_history
from avih.mirror import s3 as s3_module
from avih.mirror.seam import changing, local, reread
from avih.naming import Store
from avih.shards import iter_samples, read_done, verify_shard
from s3_server import BUCKET, client
from small_shards import ADDRESS, ENDINGS, write

NAME = "1_index/people/v0001/run.json"
MAC = bytes(32)


@pytest.fixture(params=["s3", "file", "memory"])
def two(request, tmp_path, monkeypatch):
    """Two machines on one store, of each kind that is taken."""
    if request.param == "s3":
        both = request.getfixturevalue("shared")
        return both.open("a"), both.open("b")
    address = {"file": f"file://{tmp_path}/elsewhere", "memory": f"memory://{tmp_path.name}"}[request.param]
    stores = []
    for machine in "ab":
        monkeypatch.setenv("AVIH_CACHE", str(tmp_path / machine))
        stores.append(Store.open(address))
    return tuple(stores)


def test_what_one_machine_writes_changes_and_removes_the_other_sees(two):
    a, b = two
    assert a.address == b.address and a.root != b.root
    write_bytes(a.root / NAME, b"one")
    assert not (b.root / NAME).exists()
    assert (b.refreshed().root / NAME).read_bytes() == b"one"
    write_bytes(b.root / NAME, b"two")
    assert (a.refreshed().root / NAME).read_bytes() == b"two"
    assert remove(a.root / NAME)
    b.refreshed()
    assert not (b.root / NAME).exists() and not (b.root / "1_index").exists()  # no empty version stays
    assert not remove(b.root / NAME)


def test_a_write_over_what_somebody_else_wrote_is_refused_and_theirs_is_here(two):
    a, b = two
    write_bytes(a.root / NAME, b"one")
    with pytest.raises(ChangedElsewhere, match=r"run\.json.*changed by someone else"):
        write_bytes(b.root / NAME, b"made without knowing of the other")
    assert (b.root / NAME).read_bytes() == b"one"
    changes = {
        b"two": lambda: write_bytes(b.root / NAME, b"changed"),
        b"three": lambda: remove(b.root / NAME),
    }
    for theirs, change in changes.items():
        write_bytes(a.root / NAME, theirs)
        with pytest.raises(ChangedElsewhere):
            change()
        assert (b.root / NAME).read_bytes() == theirs
    assert (a.refreshed().root / NAME).read_bytes() == b"three"


def test_a_file_is_replaced_only_in_the_state_in_which_it_was_read(two):
    a, b = two
    write_bytes(a.root / NAME, b"one")
    with pytest.raises(ChangedElsewhere), changing(b.root / NAME):
        assert (b.root / NAME).read_bytes() == b"one"  # the newest, although b never looked
        write_bytes(a.root / NAME, b"two")
        b.refreshed()  # somebody on b looks at the store meanwhile: that must not make the old state new
        write_bytes(b.root / NAME, b"made from one")
    with changing(b.root / NAME):
        write_bytes(b.root / NAME, (b.root / NAME).read_bytes() + b", three")
        write_bytes(b.root / NAME, (b.root / NAME).read_bytes() + b", four")
    assert (a.refreshed().root / NAME).read_bytes() == b"two, three, four"


def test_of_two_promotions_at_once_one_wins_and_the_other_says_so(shared):
    a, b = shared.open("a"), shared.open("b")
    arguments = {"gallery": "people", "key_id": "0" * 16, "manifest_sha256": "1" * 64, "actor": "x",
                 "reason": "y", "mac_key": MAC, "expected": None}  # fmt: skip
    path = f"{shared.prefix}/4_protected/people/current.json"

    def meanwhile(request: str) -> bool:
        """Let b promote when a has read and is about to write."""
        if request == f"PUT /{BUCKET}/{path}":
            shared.line.before = None
            promote(store=b, version="v0002", **arguments)
        return False

    shared.line.before = meanwhile
    with pytest.raises(ChangedElsewhere, match=r"current\.json"):
        promote(store=a, version="v0001", **arguments)
    for store in (a, b.refreshed()):
        assert read_history(store=store, gallery="people", mac_key=MAC).current.version == "v0002"


def test_files_and_folders_of_the_copy_are_the_owners_alone(shared):
    a, b = shared.open("a"), shared.open("b")
    write_bytes(a.root / NAME, b"one", mode=0o600)
    b.refreshed()
    for store in (a, b):
        for folder in (store.root.parent, store.root):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for path in store.root.parent.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert stat.S_IMODE((b.root / NAME).stat().st_mode) == 0o600


def test_a_shard_is_there_whole_and_its_tar_is_fetched_when_it_is_read(shared):
    a, b = shared.open("a"), shared.open("b")
    made = write(a)
    assert set(shared.objects()) == {f"{ADDRESS.folder}/00003.{ending}" for ending in ENDINGS}
    order = [one.rpartition("/")[2] for one in shared.line.requests if "/4_protected/" in one]
    assert [name for name in order if name.startswith("00003.")] == [f"00003.{ending}" for ending in ENDINGS]
    b.refreshed()
    assert read_done(b, ADDRESS) == made  # sizes fit without a byte of the tar
    assert not shared.asked("GET", ".tar") and (b.shard(ADDRESS, "tar")).stat().st_blocks == 0
    samples = [sample.files for sample in iter_samples(b, ADDRESS)]
    assert samples == [sample.files for sample in iter_samples(a, ADDRESS)]
    assert verify_shard(b, ADDRESS) == [] and shared.asked("GET", ".tar") == 1
    write(a, inputs_sha256="cd" * 32)  # the same tar, another done file
    b.refreshed()
    assert read_done(b, ADDRESS).inputs_sha256 == "cd" * 32 and verify_shard(b, ADDRESS) == []
    remove_tree(a.shard(ADDRESS, "tar").parent)
    b.refreshed()
    assert read_done(b, ADDRESS) is None and not shared.objects()


def test_bytes_that_changed_elsewhere_are_found_when_everything_is_read_again(shared):
    a, b = shared.open("a"), shared.open("b")
    write(a)
    assert verify_shard(b.refreshed(), ADDRESS) == []
    tar = b.shard(ADDRESS, "tar")
    damaged = bytearray(tar.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    tar.write_bytes(damaged)  # only here: the store is whole
    assert verify_shard(b, ADDRESS)
    reread(b.root)
    assert verify_shard(b, ADDRESS) == []
    key = f"{shared.prefix}/{ADDRESS.folder}/00003.tar"
    client(shared.server.url).put_object(Bucket=BUCKET, Key=key, Body=bytes(damaged))  # only there
    assert verify_shard(a, ADDRESS) == []
    reread(a.root)
    (problem,) = [text for text in verify_shard(a, ADDRESS) if "SHA-256" in text]
    assert "00003.tar" in problem


def test_a_large_file_goes_in_parts_and_is_compared_too(shared, monkeypatch, caplog):
    monkeypatch.setattr(s3_module, "PART_BYTES", 5 * 2**20)  # S3 takes no smaller part
    a, b = shared.open("a"), shared.open("b")
    data = os.urandom(6 * 2**20)
    with caplog.at_level("INFO", logger="avih"):
        write_bytes(a.root / NAME, data)
    assert "part 2 of 2" in caplog.text
    assert shared.objects()[NAME] == data
    with pytest.raises(ChangedElsewhere):
        write_bytes(b.root / NAME, os.urandom(6 * 2**20))
    with pytest.raises(ChangedElsewhere):
        write_bytes(b.root / NAME, data[:-1])
        write_bytes(a.root / NAME, b"small")
        write_bytes(b.root / NAME, data)
    assert shared.objects()[NAME] in (data[:-1], b"small")


def test_a_long_list_comes_in_pieces_and_is_read_until_nothing_is_new(shared, monkeypatch):
    monkeypatch.setattr(s3_module, "PAGE", 2)
    a, b = shared.open("a"), shared.open("b")
    for number in range(5):
        write_bytes(a.root / f"1_index/people/v0001/{number}.json", b"x")
    lists = []

    def meanwhile(request: str) -> bool:
        """Let a finish a shard and sign it when b has read the first piece of its list."""
        lists.extend([request] if "list-type=2" in request else [])
        if len(lists) == 2:
            shared.line.before = None
            write(a)
            write_bytes(a.root / "4_protected/people/0/v0001/manifest.json", b"signed")
        return False

    shared.line.before = meanwhile
    b.refreshed()
    assert (b.root / "4_protected/people/0/v0001/manifest.json").exists() and read_done(
        b, ADDRESS
    ) is not None
    assert len(list((b.root / "1_index/people/v0001").iterdir())) == 5


def test_a_file_that_somebody_deleted_here_is_fetched_again(shared):
    a = shared.open("a")
    write_bytes(a.root / NAME, b"one")
    (a.root / NAME).unlink()
    assert (a.refreshed().root / NAME).read_bytes() == b"one"
    assert shared.objects() == {NAME: b"one"}


def test_what_is_a_machines_own_stays_there(shared):
    a = shared.open("a")
    own = ["prefect/prefect.db", "mlflow/mlflow.db", "0_sources/weights.bin", "reproduction/quick/x.json",
           "1_index/people/.lock", "4_protected/people/.00000.tar.0-1-2.part"]  # fmt: skip
    for name in [*own, "alerts/one.json"]:
        write_bytes(a.root / name, b"x")
    assert set(shared.objects()) == {"alerts/one.json"}
    client(shared.server.url).put_object(
        Bucket=BUCKET, Key=f"{shared.prefix}/prefect/prefect.db", Body=b"another machine's"
    )
    client(shared.server.url).put_object(
        Bucket=BUCKET, Key=f"{shared.prefix}/4_protected/../../../escaped", Body=b"x"
    )
    a.refreshed()
    assert (a.root / "prefect" / "prefect.db").read_bytes() == b"x"
    assert not list(a.root.parent.parent.rglob("escaped"))


def test_a_copy_is_never_brought_in_line_with_another_store_or_with_nothing(shared):
    a = shared.open("a")
    write_bytes(a.root / NAME, b"one")
    s3 = client(shared.server.url)
    saved = shared.objects(locks=True)
    for name in saved:
        s3.delete_object(Bucket=BUCKET, Key=f"{shared.prefix}/{name}")
    for _ in range(2):
        with pytest.raises(IntegrityError, match="got nothing"):
            a.refreshed()
    assert (a.root / NAME).read_bytes() == b"one"
    b = shared.open("b")
    write_bytes(b.root / NAME, b"of another store")
    with pytest.raises(IntegrityError, match="another store"):
        a.refreshed()
    assert (a.root / NAME).read_bytes() == b"one"


def test_a_copy_given_by_its_folder_stays_a_copy(shared):
    a = shared.open("a")
    write_bytes(a.root / NAME, b"one")
    from avih.mirror import seam

    seam._copies.clear()  # as in another process
    again = Store.open(a.root)
    assert again.address == shared.address
    write_bytes(again.root / NAME, b"two")
    assert shared.objects()[NAME] == b"two"
    assert local(again.root / NAME).read_bytes() == b"two"
