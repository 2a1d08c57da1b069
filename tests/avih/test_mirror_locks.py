"""Locks that machines share: one holder, by the server's clock; keys and budgets change under them."""

import json
import subprocess
import sys
import time

import pytest

from avih.atomic import write_bytes
from avih.errors import KeyRefused, LockLost
from avih.keys import KeyStore, LeakBudget, State
from avih.mirror import locks
from avih.mirror.seam import copy_of, holder, shared_lock
from command import ROOT
from s3_server import BUCKET, client
from small_keys import CHEAP, WORDS, add
from small_remote import Shared
from tasks.gallery_lock import GalleryBusy, gallery_lock
from tasks.status_parts import read_lock

LOCK = "locks/1_index/people.json"


def lock_of(shared: Shared) -> dict:
    return json.loads(shared.objects(locks=True)[LOCK])


def hold(store, **more):
    arguments = {"purpose": "a test", "patience": 0.0, "stale": 300.0} | more
    return shared_lock(store.gallery_root("index", "people"), **arguments)


def test_one_machine_at_a_time_works_on_a_gallery(shared):
    a, b = shared.open("a"), shared.open("b")
    with gallery_lock(a, "people", purpose="avih run"):
        with gallery_lock(a, "people", purpose="a flow inside"):
            pass
        said = lock_of(shared)
        assert set(said) == {"purpose", "host", "pid", "copy", "stale", "since", "free", "renewal"}
        with (
            pytest.raises(GalleryBusy, match=rf"avih run by process {said['pid']} on {said['host']} since"),
            gallery_lock(b, "people", purpose="nightly"),
        ):
            pass
        assert read_lock(b, "people").model_dump(include={"state", "purpose", "stale"}) == {
            "state": "held", "purpose": "avih run", "stale": False,
        }  # fmt: skip
        with gallery_lock(b, "others", purpose="nightly"):
            pass
    assert lock_of(shared)["free"] and read_lock(b, "people").state == "free"
    with gallery_lock(b, "people", purpose="nightly"):
        assert holder(b.gallery_root("index", "people"))["purpose"] == "nightly"


def test_whoever_takes_a_gallery_sees_what_the_last_holder_wrote(shared):
    a, b = shared.open("a"), shared.open("b")
    with gallery_lock(a, "people", purpose="avih run"):
        write_bytes(a.current("people"), b"one")
    with gallery_lock(b, "people", purpose="nightly"):
        assert b.current("people").read_bytes() == b"one"


def test_a_lock_that_nobody_renews_is_taken_over_by_the_servers_clock(shared, monkeypatch, caplog):
    a, b = shared.open("a"), shared.open("b")
    copy = copy_of(a.root)
    lost = locks.take(copy.remote, LOCK, purpose="killed", copy="another", patience=0, stale=1.0)
    # A jumping clock of ours neither ages a lock nor makes it young.
    monkeypatch.setattr(time, "time", lambda: 4e9)
    with pytest.raises(locks.LockBusy, match="killed by process"), hold(b):
        pass
    with hold(b, patience=60.0):  # the server's time goes on
        assert "Taking over" in caplog.text
        assert lock_of(shared)["purpose"] == "a test"
        lost.renew()  # its holder wakes up
        with pytest.raises(LockLost, match="taken over"):
            lost.check()
        lost.release()
        assert not lock_of(shared)["free"]  # and does not give away what is not its own


def test_who_lost_its_lock_writes_no_more(shared):
    a = shared.open("a")
    with hold(a):
        stolen = json.dumps({"free": False, "stale": 300, "copy": "thief"}).encode()
        client(shared.server.url).put_object(Bucket=BUCKET, Key=f"{shared.prefix}/{LOCK}", Body=stolen)
        copy_of(a.root).locks._held[LOCK].renew()
        with pytest.raises(LockLost):
            write_bytes(a.current("people"), b"too late")
    assert set(shared.objects()) == set() and lock_of(shared)["copy"] == "thief"


def test_a_lock_is_renewed_while_it_is_held(shared):
    a, b = shared.open("a"), shared.open("b")
    with hold(a, stale=1.0):
        first = lock_of(shared)["renewal"]
        until = time.monotonic() + 60
        renewals = {first}
        while len(renewals) < 5 and time.monotonic() < until:
            renewals.add(lock_of(shared)["renewal"])
            with pytest.raises(locks.LockBusy), hold(b):
                pass
        assert len(renewals) == 5  # well past the time after which it would be stale


def test_a_killed_jobs_own_machine_need_not_wait(shared):
    a = shared.open("a")
    copy = copy_of(a.root)
    locks.take(copy.remote, LOCK, purpose="killed", copy=copy.ledger.fact("copy"), patience=0)
    with hold(a):
        assert lock_of(shared)["purpose"] == "a test"


def test_a_damaged_lock_ages_like_any_other(shared):
    a = shared.open("a")
    write_bytes(a.current("people"), b"x")
    client(shared.server.url).put_object(Bucket=BUCKET, Key=f"{shared.prefix}/{LOCK}", Body=b"\x00{")
    with pytest.raises(locks.LockBusy), hold(a):
        pass


def test_the_states_of_keys_are_those_of_the_store_not_of_the_copy(shared):
    a, b = shared.open("a"), shared.open("b")
    keys_a, keys_b = (KeyStore(store.keys, WORDS, cost=CHEAP) for store in (a, b))
    key = add(keys_a, None, State.ACTIVE)
    b.refreshed()
    keys_b.transition(key.key_id, State.DEACTIVATED, actor="b", reason="test")
    with pytest.raises(KeyRefused):  # a has not looked since, and is not asked to
        keys_a.transition(key.key_id, State.SUSPENDED, actor="a", reason="test")
    assert keys_a.show(key.key_id).state is State.DEACTIVATED
    keys_a.transition(key.key_id, State.DESTROYED, actor="a", reason="test")
    assert f"3_keys/{key.key_id}.key" not in shared.objects()
    b.refreshed()
    assert not (b.keys / f"{key.key_id}.key").exists()
    entries = shared.objects()["3_keys/log.jsonl"].splitlines()
    assert [json.loads(line)["actor"] for line in entries] == ["operator", "operator", "b", "a"]


RESERVE = """
import sys
from avih.errors import KeyRefused
from avih.keys import LeakBudget
from avih.keys.passphrase import Passphrase
from avih.naming import Store

words = Passphrase(sys.stdin.readline().strip().encode())
budget = LeakBudget(Store.open(sys.argv[1]).keys, sys.argv[2], words)
for number in range(6):
    try:
        budget.reserve(shard=f"{sys.argv[3]}/v0001/{number}", images=1)
    except KeyRefused as error:
        assert "rotation is due" in str(error), error
        print("refused", flush=True)
    else:
        print("counted", flush=True)
"""


def test_two_machines_cannot_both_spend_the_last_of_a_budget(shared):
    a = shared.open("a")
    key = add(KeyStore(a.keys, WORDS, cost=CHEAP), None, State.ACTIVE)
    LeakBudget(a.keys, key.key_id, WORDS, cost=CHEAP).set_limit(7, actor="operator", reason="test")
    path = {"PYTHONPATH": str(ROOT), "PATH": ""}
    machines = [
        subprocess.Popen([sys.executable, "-c", RESERVE, shared.address, key.key_id, name], text=True, cwd=ROOT,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=shared.environment(name) | path)
        for name in ("b", "c")
    ]  # fmt: skip
    for machine in machines:
        machine.stdin.write(WORDS.reveal().decode() + "\n")
        machine.stdin.flush()
    said = [machine.communicate()[0].split() for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0]
    assert sum(words.count("counted") for words in said) == 7
    assert sum(words.count("refused") for words in said) == 5
    budget = json.loads(shared.objects()[f"3_keys/{key.key_id}.budget.json"])
    assert sum(budget["shards"].values()) == 7
