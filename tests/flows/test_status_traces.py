"""What ``avih status`` says of nights, rotations, locks and files that jobs left behind."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from avih.atomic import remove_leftovers
from flows.approval import NotApproved
from small_audit import from_source
from small_rotation import ATTACK, GATE
from small_status import call, facts, fail_flow, people, read
from tasks import opened
from tasks.gallery_lock import gallery_lock
from tasks.rotation import plan_rotation
from tasks.rotation_plan import RotationChoices
from tasks.signed_json import SIGNATURE
from unorchestrated import without_prefect

# Holds the gallery of argv[1] until it is killed; with a second argument, a child of it goes on holding.
HOLD = """
import os, signal, sys
from pathlib import Path
from avih.naming import Store
from tasks.gallery_lock import gallery_lock
with gallery_lock(Store(Path(sys.argv[1])), "people", purpose="nightly re-protection"):
    if len(sys.argv) > 2 and os.fork():
        os._exit(0)
    print(os.getpid(), flush=True)
    signal.pause()
"""
# Is killed while it writes a file of the store.
WRITE = """
import signal, sys
from pathlib import Path
from avih.atomic import partial_file
with partial_file(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(bytes(1000))
    print("begun", flush=True)
    signal.pause()
"""


def test_nights_are_told_by_what_they_left(own):
    from_source(own, str(own.photos))
    own.nightly()
    night = people(own)["last_night"]
    assert (night["outcome"], night["about"], night["age_days"]) == ("changed nothing", "v0001", 0)
    (next(own.photos.rglob("*_0001.png"))).unlink()
    own.nightly()
    found = people(own)
    night = found["last_night"]
    assert (night["outcome"], night["about"], night["age_days"]) == ("went live", "v0002", 0)
    assert found["live"]["version"] == "v0002" and found["live"]["images"] == {"below_quality": 7}
    fail_flow(own, "nightly-reprotect", "QualityBelowLimits: SSIM_e is 0.4")
    fail_flow(own, "nightly-reprotect", "of another gallery", of="staff")
    found = facts(own)
    (gallery,) = found["galleries"]
    assert gallery["last_night"]["outcome"] == "failed" and "SSIM_e" in gallery["last_night"]["about"]
    assert len(gallery["alerts"]) == 1 and [one["gallery"] for one in found["alerts"]] == ["staff"]


def test_a_rotation_is_told_from_its_plan_to_its_end(own):
    plan_rotation(store=str(own.store.root), gallery="people", reason="test", compromised=False,
                  choices=RotationChoices(), retrain_generator=False, origin="sealed", approve="auto",
                  actor="test")  # fmt: skip
    plan = own.store.rotation("people").read_text()
    under_way = people(own)["rotation"]
    assert (under_way["approve"], under_way["signature"]) == ("auto", "checked")
    assert (under_way["old_version"], under_way["version"]) == ("v0001", "v0002")
    assert (under_way["old_key"], under_way["new_key"], under_way["waits"]) == (own.key_id, None, False)
    assert "not made yet" in read(own)
    import flows.rotate

    opened.forget()
    with without_prefect(), pytest.raises(NotApproved):
        flows.rotate.rotate_keys(store=str(own.store.root), gallery="people", attack=ATTACK, gate=GATE,
                                 approve="ask")  # fmt: skip
    found = people(own)
    assert (
        found["rotation"]["waits"] and found["live"]["version"] == "v0001" and found["last_rotation"] is None
    )
    assert "--approve auto" in found["waiting"][0] and found["rotation"]["new_key"] in found["waiting"][0]
    assert [one["state"] for one in found["versions"]] == ["current", "protected"]
    assert "WAITS FOR YOU" in read(own)
    opened.forget()
    with without_prefect():
        flows.rotate.rotate_keys(store=str(own.store.root), gallery="people", attack=ATTACK, gate=GATE)
    found = people(own)
    assert found["rotation"] is None and found["waiting"] == []
    assert (found["last_rotation"]["outcome"], found["last_rotation"]["about"]) == ("went live", "v0002")
    assert found["live"]["version"] == "v0002" and found["key"]["key_id"] != own.key_id
    own.store.rotation("people").write_text(plan.replace('"approve": "auto"', '"approve": "ask"'))
    assert people(own)["rotation"] is None and "altered" in people(own)["problems"][0]
    unsigned = {name: value for name, value in json.loads(plan).items() if name != SIGNATURE}
    own.store.rotation("people").write_text(json.dumps(unsigned))
    assert people(own)["rotation"] is None and "damaged" in people(own)["problems"][0]
    own.store.rotation("people").write_text("[")
    assert "damaged" in people(own)["problems"][0]


def test_a_held_lock_is_told_and_looking_at_it_disturbs_nobody(own):
    with gallery_lock(own.store, "people", purpose="an erasure"):
        lock = people(own)["lock"]
        assert (lock["state"], lock["stale"], lock["purpose"]) == ("held", False, "an erasure")
        assert (lock["host"], lock["pid"]) == (socket.gethostname(), os.getpid()) and lock["since"]
        assert "held: an erasure by process" in " ".join(
            call(own.store.root).stdout.replace("│", " ").split()
        )
    assert people(own)["lock"]["state"] == "free"
    with gallery_lock(own.store, "people", purpose="a drill"):
        pass


def test_a_killed_holder_holds_nobody_up_and_is_named(own):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(own.store.root)], stdout=subprocess.PIPE, text=True
    )
    assert int(holder.stdout.readline()) == holder.pid
    found = people(own)
    assert (found["lock"]["state"], found["lock"]["pid"]) == ("held", holder.pid)
    assert found["last_night"]["outcome"] == "running"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    found = people(own)
    assert (found["lock"]["state"], found["lock"]["stale"], found["lock"]["pid"]) == (
        "free",
        False,
        holder.pid,
    )
    assert found["last_night"]["outcome"] == "unknown" and "killed" in found["last_night"]["about"]


def test_a_lock_that_a_child_of_its_holder_kept_is_stale(own):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(own.store.root), "and leave a child"],
                              stdout=subprocess.PIPE, text=True)  # fmt: skip
    child = int(holder.stdout.readline())
    try:
        holder.wait()
        lock = people(own)["lock"]
        assert (lock["state"], lock["stale"], lock["pid"]) == ("held", True, holder.pid)
        assert "STALE" in read(own)
    finally:
        os.kill(child, signal.SIGKILL)
        holder.stdout.read()  # ends when the child has
    assert people(own)["lock"]["state"] == "free"


def test_a_lock_file_without_words_is_told_as_it_is(own):
    path = own.store.gallery_root("index", "people") / ".lock"
    path.write_text("")
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lock = people(own)["lock"]
        assert (lock["state"], lock["stale"], lock["pid"]) == ("held", False, None)
        assert "has just begun" in read(own)
    path.unlink()
    assert people(own)["lock"]["state"] == "free"


def test_what_a_killed_run_left_is_found_and_is_what_the_next_run_removes(own):
    target = own.folder() / "00002.tar"
    writer = subprocess.Popen([sys.executable, "-c", WRITE, str(target)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "begun\n"
    (alive,) = facts(own)["disk"]["stragglers"]
    assert (alive["maker"], alive["size"]) == ("running", 1000)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    elsewhere = own.folder() / ".00003.tar.deadbeef-1-0123abcd.part"
    elsewhere.write_bytes(b"12")
    key_file = own.store.keys / ".vault.key.0123456789abcdef.part"
    key_file.write_bytes(b"1")
    report = own.store.folder("audited", gallery="people", version="v0001") / ".report-abc"
    report.mkdir(parents=True)
    (report / "report.html").write_bytes(b"12345")
    found = {Path(one["path"]).name: (one["maker"], one["size"]) for one in facts(own)["disk"]["stragglers"]}
    (left,) = [name for name, (maker, _) in found.items() if maker == "ended"]
    assert found == {left: ("ended", 1000), elsewhere.name: ("unknown", 2), key_file.name: ("unknown", 1),
                     ".report-abc": ("unknown", 5)}  # fmt: skip
    assert [path.name for path in remove_leftovers(own.folder())] == [left]
    assert "by whom is not known" in read(own)


def test_shards_of_a_version_that_was_never_finished_are_counted(own):
    (own.folder() / "manifest.json").unlink()
    own.store.current("people").unlink()
    for ending in ("tar", "parquet", "done.json"):
        (own.folder() / f"00001.{ending}").unlink()
    found = people(own)
    (left,) = found["unfinished"]
    assert (left["version"], left["aligned"], left["protected"]) == ("v0001", 2, 1) and left["size"] > 1000
    assert found["live"] is None and found["key"]["key_id"] == own.key_id
    read = call(own.store.root).stdout
    assert "no version" in read and "v0001 is unfinished" in read
