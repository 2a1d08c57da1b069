"""The key store: wrong passphrases, swapped, altered and missing files, and additions cut short."""

import json
import os
import subprocess
import sys

import pytest
import torch

from avih.errors import IntegrityError, KeyRefused, UsageError
from avih.keys.canonical import canonical_safetensors
from avih.keys.key import Key, pack_key
from avih.keys.passphrase import Passphrase
from avih.keys.sealing import write_sealed
from avih.keys.states import State
from small_keys import CHEAP, GENERATOR, REPOSITORY, WORDS, add, make_store


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


def test_a_wrong_passphrase_opens_nothing(store, tmp_path):
    key = add(store)
    with pytest.raises(KeyRefused, match=f"{key.key_id}.key.*passphrase is wrong or"):
        make_store(tmp_path, Passphrase(b"another passphrase")).load(key.key_id, purpose="inspect")


def test_a_short_passphrase_adds_nothing(tmp_path):
    store = make_store(tmp_path, Passphrase(b"short"))
    with pytest.raises(KeyRefused, match="8 characters"):
        add(store)
    assert store.list() == []


def test_swapped_key_files_are_found(store):
    first, second = add(store), add(store)
    one, two = (store.folder / f"{key.key_id}.key" for key in (first, second))
    one.rename(store.folder / "aside")
    two.rename(one)
    (store.folder / "aside").rename(two)
    with pytest.raises(IntegrityError, match=f"Expected key {first.key_id}.*got key {second.key_id}"):
        store.load(first.key_id, purpose="inspect")


def test_a_sealed_file_with_another_generator_is_found(store):
    key = add(store)
    path = store.folder / f"{key.key_id}.key"
    record = store.show(key.key_id).public()
    other = canonical_safetensors({"b.weight": torch.zeros(2, 2)}, {"architecture": "tiny"})
    forged = Key(key.key_id, key.secret, other, key.created, key.recipe)
    path.unlink()
    write_sealed(path, pack_key(forged, record=record), passphrase=WORDS, context="avih key", cost=CHEAP)
    with pytest.raises(IntegrityError, match=f"Expected key {key.key_id}"):
        store.load(key.key_id, purpose="inspect")
    with pytest.raises(IntegrityError, match="id of the key's content"):
        store.add(forged, actor="operator", reason="test", recovery="keyed")


@pytest.mark.parametrize("change", [{"recovery": "unmixed"}, {"created_by": "nobody"}, {"parameters": 6}])
def test_an_altered_record_is_found_and_made_anew(store, change):
    key = add(store)
    path = store.folder / f"{key.key_id}.json"
    whole = path.read_bytes()
    path.write_text(json.dumps(json.loads(whole) | change))
    with pytest.raises(IntegrityError, match="altered"):
        store.load(key.key_id, purpose="inspect")
    store.rebuild_record(key.key_id)
    assert path.read_bytes() == whole
    assert store.load(key.key_id, purpose="inspect") == key


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[]", b'{"format": 2}', b"\xff"])
def test_a_damaged_record_is_named_and_made_anew(store, content):
    key = add(store)
    path = store.folder / f"{key.key_id}.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(IntegrityError, match=f"{key.key_id}.json.*avih keys rebuild-record"):
        store.list()
    assert store.rebuild_record(key.key_id) == store.show(key.key_id)


def test_a_key_with_a_damaged_record_can_still_be_marked(store):
    key = add(store, None, "active")
    (store.folder / f"{key.key_id}.json").write_bytes(b"")
    with pytest.raises(IntegrityError):
        store.transition(key.key_id, "compromised", actor="operator", reason="leak")
    assert store.log.states() == {key.key_id: State.COMPROMISED}


def test_a_missing_sealed_file_is_named_and_never_activated(store):
    key = add(store)
    (store.folder / f"{key.key_id}.key").unlink()
    with pytest.raises(IntegrityError, match=f"{key.key_id}.key.*backup"):
        store.load(key.key_id, purpose="inspect")
    with pytest.raises(IntegrityError, match=f"{key.key_id}.key.*backup"):
        store.transition(key.key_id, "active", actor="operator", reason="test")
    assert store.show(key.key_id).state is State.PRE_ACTIVATION


def test_a_damaged_log_stops_every_use(store):
    key = add(store, None, "active")
    text = store.log.path.read_text()
    store.log.path.write_text(text.replace('"reason":"test"', '"reason":"tests"', 1))
    for use in (
        store.list,
        store.active,
        lambda: store.load(key.key_id, purpose="recover"),
        lambda: store.transition(key.key_id, "suspended", actor="operator", reason="test"),
        lambda: add(store),
    ):
        with pytest.raises(IntegrityError, match="line 1"):
            use()


CRASH = """
import os, sys
from pathlib import Path
from avih.keys import Key, KeyStore, Passphrase, ScryptCost
from avih.keys import log, records, store as module
class Stop:
    def __init__(self, *args, **keywords): os._exit(9)
step, folder, generator, secret = sys.argv[1:]
if step == "before the record": records.write_private = Stop
if step == "before the log": log.KeyLog.append = Stop
if step == "before the removal": module.KeyStore._remove_destroyed = Stop
store = KeyStore(Path(folder), Passphrase(b"quiet copper lantern"), cost=ScryptCost(log2_n=14))
if step == "before the removal":
    store.transition(secret, "destroyed", actor="operator", reason="test")
else:
    key = Key.create(generator_bytes=bytes.fromhex(generator), recipe={}, training_seed=None)
    store.add(key, actor="operator", reason="test", recovery="keyed")
"""


def crash(store, step, key_id="-"):
    """Run one change in a process that dies, without any clean-up, at the given step."""
    result = subprocess.run(
        [sys.executable, "-c", CRASH, step, str(store.folder), GENERATOR.hex(), key_id],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    assert result.returncode == 9


@pytest.mark.parametrize(
    ("step", "left"), [("before the record", [".key"]), ("before the log", [".json", ".key"])]
)
def test_a_key_whose_addition_died_is_no_key_and_is_completed_by_adding_it_again(store, step, left):
    kept = add(store, None, "active")
    before = set(store.folder.iterdir())
    crash(store, step)
    orphans = sorted(set(store.folder.iterdir()) - before)
    assert sorted(path.suffix for path in orphans) == left
    key_id = orphans[0].stem
    assert [record.key_id for record in store.list()] == [kept.key_id]
    assert store.active().key_id == kept.key_id
    with pytest.raises(UsageError, match="fits none"):
        store.load(key_id, purpose="inspect")
    # What the dead process had in memory, had it lived:
    key, _ = store._open_key(key_id)
    with pytest.raises(KeyRefused, match="addition cut short"):
        store.add(key, actor="somebody else", reason="test", recovery="keyed")
    assert store.add(key, actor="operator", reason="test", recovery="keyed").key_id == key_id
    assert store.load(key_id, purpose="inspect") == key
    assert len(store.list()) == 2


def test_a_file_left_by_a_destruction_that_died_is_not_used_and_goes_with_the_next_change(store):
    key = add(store, None, "compromised")
    crash(store, "before the removal", key.key_id)
    path = store.folder / f"{key.key_id}.key"
    assert path.exists()
    # A process killed while it put the file in place leaves a second name for it.
    os.link(path, store.folder / f".{key.key_id}.key.0123456789abcdef.part")
    assert store.show(key.key_id).state is State.DESTROYED
    with pytest.raises(KeyRefused, match="destroyed"):
        store.load(key.key_id, purpose="inspect")
    add(store)
    assert [path.name for path in store.folder.iterdir() if key.key_id in path.name] == [f"{key.key_id}.json"]
