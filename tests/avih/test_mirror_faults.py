"""Lost answers, a cut line, killed writers: nothing lost, nothing half there; the next run makes it good."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from avih.atomic import remove, write_bytes
from avih.errors import ChangedElsewhere, StoreUnreachable, UsageError
from avih.mirror import remote
from avih.mirror.remote import Seen
from avih.mirror.seam import copy_of, shared_lock
from avih.naming import Store
from avih.shards import read_done, verify_shard
from command import ROOT
from running_server import soon
from s3_server import BUCKET, client, make_bucket
from small_remote import Shared
from small_shards import ADDRESS, ENDINGS, write

NAME = "1_index/people/v0001/run.json"
WRITE_SHARD = """
import os
os.getpid = lambda: 1  # as in a container, where the next program is process 1 again
import sys
from avih.naming import Store
from small_shards import write
write(Store.open(sys.argv[1]))
"""


def settled(store) -> None:
    """What the next job does first."""
    folder = store.gallery_root("index", "people")
    with shared_lock(folder, purpose="the next job", patience=0, stale=60):
        pass


def fails_when(shared: Shared, ending: str) -> None:
    shared.line.before = lambda request: request.startswith("PUT ") and request.endswith(ending)


@pytest.mark.parametrize("lost", ["PUT", "DELETE"])
def test_a_request_whose_answer_is_lost_is_not_taken_for_somebody_elses(shared, lost):
    a = shared.open("a")
    write_bytes(a.root / NAME, b"one")
    asked = []

    def once(request: str) -> bool:
        if request.startswith(lost) and request.partition("?")[0].endswith("run.json"):
            asked.append(request)
        return len(asked) == 1 and request == asked[0]

    shared.line.after = once
    if lost == "PUT":
        write_bytes(a.root / NAME, b"two")
        write_bytes(a.root / NAME.replace("run", "new/run"), b"three")
        assert shared.objects() == {NAME: b"two", NAME.replace("run", "new/run"): b"three"}
    else:
        remove(a.root / NAME)
        assert not shared.objects()
    assert len(asked) >= 2  # it was tried again, and the second try met the first one's work


@pytest.mark.parametrize("at", ENDINGS)
def test_a_shard_that_could_not_be_sent_is_kept_whole_and_sent_by_the_next_job(shared, at):
    a, b = shared.open("a"), shared.open("b")
    fails_when(shared, f"00003.{at}")
    with pytest.raises(StoreUnreachable, match=r"write .*00003.* none in 3 tries"):
        write(a)
    assert read_done(a, ADDRESS) is not None  # the work of hours is not done again
    shared.line.mend()
    assert f"{ADDRESS.folder}/00003.done.json" not in shared.objects()
    b.refreshed()
    assert read_done(b, ADDRESS) is None
    a.refreshed()  # looking takes nothing away
    assert verify_shard(a, ADDRESS) == []
    settled(a)
    b.refreshed()
    assert read_done(b, ADDRESS) is not None and verify_shard(b, ADDRESS) == []
    assert not copy_of(a.root).ledger.owed()


def test_what_was_kept_gives_way_to_what_somebody_else_made_meanwhile(shared, caplog):
    a, b = shared.open("a"), shared.open("b")
    fails_when(shared, "00003.tar")
    with pytest.raises(StoreUnreachable):
        write(a, inputs_sha256="cd" * 32)
    shared.line.mend()
    theirs = write(b)
    settled(a)
    assert "theirs stays" in caplog.text
    assert read_done(a, ADDRESS) == theirs and verify_shard(a, ADDRESS) == [] == verify_shard(b, ADDRESS)


def test_a_second_write_without_a_line_is_kept_too_and_both_arrive_in_order(shared):
    a = shared.open("a")
    fails_when(shared, "run.json")
    for number, name in enumerate((NAME, ADDRESS.folder / "manifest.json", NAME)):
        with pytest.raises(StoreUnreachable):
            write_bytes(a.root / name, bytes([number]))
    shared.line.mend()
    write_bytes(a.root / "1_index/people/v0001/next.json", b"next")
    asked = [one.rpartition("/")[2] for one in shared.line.requests if one.startswith("PUT ")]
    assert [name for name in asked if name.endswith(".json") and "avih" not in name] == [
        "run.json", "manifest.json", "next.json",
    ]  # fmt: skip
    assert shared.objects()[NAME] == bytes([2])


def test_what_was_made_from_a_file_that_gave_way_is_not_written(shared):
    a, b = shared.open("a"), shared.open("b")
    fails_when(shared, "run.json")
    with pytest.raises(StoreUnreachable):
        write_bytes(a.root / NAME, b"one")
    shared.line.mend()
    write_bytes(b.root / NAME, b"theirs")
    with pytest.raises(ChangedElsewhere):
        write_bytes(a.root / NAME, b"made from one")
    assert (a.root / NAME).read_bytes() == b"theirs" == shared.objects()[NAME]


def test_a_removal_that_was_not_heard_is_made_good(shared):
    a, b = shared.open("a"), shared.open("b")
    write_bytes(a.root / NAME, b"one")
    shared.line.cut()
    with pytest.raises(StoreUnreachable):
        remove(a.root / NAME)
    shared.line.mend()
    a.refreshed()
    assert not (a.root / NAME).exists()  # not brought back by a look
    settled(a)
    assert not shared.objects()
    b.refreshed()
    assert not (b.root / NAME).exists()


def test_an_alert_never_fails_for_want_of_a_line(shared, caplog):
    a = shared.open("a")
    write_bytes(a.root / "alerts" / "one.json", b"1")
    shared.line.cut()
    write_bytes(a.root / "alerts" / "two.json", b"2")
    assert "kept here" in caplog.text
    shared.line.mend()
    write_bytes(a.root / "alerts" / "three.json", b"3")  # takes along what was kept
    assert set(shared.objects()) == {"alerts/one.json", "alerts/two.json", "alerts/three.json"}


def test_a_writer_killed_between_two_files_leaves_no_visible_shard(shared):
    b = shared.open("b")
    environment = shared.environment("a") | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}"}
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE_SHARD, shared.address], env={**environment, "PATH": ""}, cwd=ROOT
    )

    def kill(request: str) -> bool:
        if request == f"PUT /{BUCKET}/{shared.prefix}/{ADDRESS.folder}/00003.parquet":
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        return False

    shared.line.before = kill
    assert process.wait() == -signal.SIGKILL
    assert soon(lambda: shared.line.is_cut)
    shared.line.mend()
    assert f"{ADDRESS.folder}/00003.tar" in shared.objects()
    assert f"{ADDRESS.folder}/00003.done.json" not in shared.objects()
    b.refreshed()
    assert read_done(b, ADDRESS) is None
    a = shared.open("a")
    settled(a)  # the dead writer's own machine goes on where it was
    assert verify_shard(a, ADDRESS) == []
    b.refreshed()
    assert verify_shard(b, ADDRESS) == []
    assert not [name for name in shared.objects() if ".part" in name]


def test_a_server_that_accepts_every_write_or_removal_cannot_hold_a_store(shared):
    a = shared.open("a")
    server = copy_of(a.root).remote

    class Careless:
        """Knows no conditions, as servers of some years ago."""

        def __getattr__(self, name):
            return getattr(server, name)

        def put(self, name, content, *, expected) -> Seen:
            now = server.head(name)
            return server.put(name, content, expected=now.etag if now else None)

    copy_of(a.root).remote = copy_of(a.root).identity.remote = Careless()
    with pytest.raises(UsageError, match="refuse a write whose condition does not hold"):
        write_bytes(a.root / NAME, b"one")
    assert not shared.objects(locks=True)

    class Forgetful(Careless):
        """Compares when it writes, not when it removes, as some servers do."""

        def put(self, name, content, *, expected) -> Seen:
            return server.put(name, content, expected=expected)

        def delete(self, name, *, expected) -> None:
            server.delete(name, expected=None)

    copy_of(a.root).remote = copy_of(a.root).identity.remote = Forgetful()
    copy_of(a.root).ledger.set_fact("conditions", "tried")  # by a release that tried writes alone
    with pytest.raises(UsageError, match=r"refuse a removal whose condition does not hold \(DELETE"):
        write_bytes(a.root / NAME, b"one")
    assert not shared.objects(locks=True)
    copy_of(a.root).remote = copy_of(a.root).identity.remote = server
    write_bytes(a.root / NAME, b"one")
    assert set(shared.objects()) == {NAME} and shared.asked("DELETE", NAME) == 0


def test_waits_grow_end_and_are_checked(monkeypatch, caplog):
    monkeypatch.delenv("AVIH_STORE_WAITS", raising=False)
    slept = []
    monkeypatch.setattr(remote.time, "sleep", slept.append)

    def never() -> None:
        raise remote.Lost("no route")

    with pytest.raises(StoreUnreachable, match=r"to list the moon, got none in 6 tries: no route"):
        remote.patiently(never, what="list the moon")
    assert slept == [0.5, 1.0, 2.0, 4.0, 8.0] and "trying again in 8 s" in caplog.text
    monkeypatch.setenv("AVIH_STORE_WAITS", "soon")
    with pytest.raises(UsageError, match="AVIH_STORE_WAITS"):
        remote.patiently(never, what="list the moon")


def test_a_change_by_somebody_else_restores_all_files_of_the_block(shared):
    a, b = shared.open("a"), shared.open("b")
    write(a)
    with pytest.raises(ChangedElsewhere):
        write(b, inputs_sha256="cd" * 32)
    assert read_done(b, ADDRESS) == read_done(a, ADDRESS) and verify_shard(b, ADDRESS) == []


def test_a_bucket_that_keeps_what_was_removed_is_warned_of(shared, monkeypatch, caplog):
    make_bucket(shared.server.url, "keeping")
    client(shared.server.url).put_bucket_versioning(
        Bucket="keeping", VersioningConfiguration={"Status": "Enabled"}
    )
    shared.find("a")
    store = Store.open(f"s3://keeping/{shared.prefix}")
    write_bytes(store.root / NAME, b"one")
    remove(store.root / NAME)
    assert "Bucket keeping keeps old versions" in caplog.text


def test_a_full_disk_here_is_not_taken_for_a_store_that_does_not_answer(shared):
    a = shared.open("a")
    write_bytes(a.root / NAME, bytes(100_000))
    with pytest.raises(OSError, match=r"Invalid argument|No space left"):
        copy_of(a.root).remote.get(NAME, Path("/dev/full"))
    assert shared.asked("GET", "run.json") == 1
