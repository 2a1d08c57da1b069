import base64
import copy
import hashlib
import hmac
import json
import logging
import os
import pickle
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from avih.errors import IntegrityError, KeyRefused, UsageError
from avih.keys.key import (
    Key,
    Secret,
    canonical_safetensors,
    compute_key_id,
    new_secret,
    pack_key,
    read_generator_facts,
    unpack_key,
)
from avih.keys.passphrase import Passphrase
from avih.keys.sealing import ScryptCost, write_sealed
from avih.keys.states import State
from avih.keys.store import KeyStore

REPOSITORY = Path(__file__).parents[2]
CHEAP = ScryptCost(log2_n=14)
WORDS = Passphrase(b"quiet copper lantern")
SEED = 5_812_340_017_733_921_904
WEIGHTS = {"b.weight": torch.tensor([[1.5, -2.0], [0.25, 8.0]]), "a.bias": torch.tensor([3.0])}
GENERATOR = canonical_safetensors(WEIGHTS, {"architecture": "tiny", "width": "2"})


def make_key(**changes):
    facts = {"generator_bytes": GENERATOR, "recipe": {"epochs": 3, "loss": 0.125, "data": "synthetic"}}
    return Key.create(**{**facts, "training_seed": SEED, **changes})


def make_store(tmp_path, passphrase=WORDS, **keywords):
    return KeyStore(tmp_path / "3_keys", passphrase, cost=CHEAP, **keywords)


def add(store, key=None, *states):
    key = key or make_key()
    store.add(key, actor="operator", reason="test", recovery="keyed")
    for state in states:
        store.transition(key.key_id, state, actor="operator", reason="test")
    return key


def unavailable():
    raise AssertionError("the passphrase was asked for")


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


# -- the generator's bytes -------------------------------------------------------------------------------


def test_canonical_bytes_are_safetensors_with_the_same_weights():
    loaded = load_safetensors(GENERATOR)
    assert set(loaded) == set(WEIGHTS)
    assert all(torch.equal(loaded[name], WEIGHTS[name]) for name in WEIGHTS)
    length = int.from_bytes(GENERATOR[:8], "little")
    header = json.loads(GENERATOR[8 : 8 + length])
    assert (8 + length) % 8 == 0
    assert list(header) == ["__metadata__", "a.bias", "b.weight"]
    assert header["__metadata__"] == {"architecture": "tiny", "width": "2"}
    assert GENERATOR[8 + length :] == b"\0\0\x40\x40\0\0\xc0\x3f\0\0\0\xc0\0\0\x80\x3e\0\0\0\x41"


@settings(max_examples=30, deadline=None)
@given(names=st.permutations(["a", "b", "c.d"]), keys=st.permutations(["x", "y", "architecture"]))
def test_the_order_of_the_mappings_does_not_matter(names, keys):
    tensors = {name: torch.full((2, 3), float(ord(name[0]))) for name in names}
    expected = canonical_safetensors(dict(sorted(tensors.items())), {k: k for k in sorted(keys)})
    assert canonical_safetensors(tensors, {k: k for k in keys}) == expected


def test_other_processes_make_the_same_bytes():
    program = (
        "import hashlib, torch\n"
        "from avih.keys import canonical_safetensors\n"
        "names = {f'layer{n}' for n in range(20)}\n"  # a set: its order follows the hash seed
        "tensors = {n: torch.full((3,), float(n[5:])) for n in names}\n"
        "made = canonical_safetensors(tensors, {n: n for n in names})\n"
        "print(list(names)[0], hashlib.sha256(made).hexdigest())\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for seed in ("1", "2")
    ]
    assert runs[0][0] != runs[1][0]  # the orders did differ
    assert runs[0][1] == runs[1][1]


def test_layout_and_precision_do_not_matter():
    weight = torch.arange(6.0).reshape(2, 3)
    expected = canonical_safetensors({"w": weight.t().contiguous()}, {})
    assert canonical_safetensors({"w": weight.t()}, {}) == expected
    assert canonical_safetensors({"w": weight.t().half()}, {}) == expected
    assert canonical_safetensors({"w": weight.t().double().requires_grad_()}, {}) == expected


def test_a_whole_state_dict_comes_back(tmp_path):
    def network():
        return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))

    torch.manual_seed(0)
    trained, fresh = network(), network()
    trained(torch.rand(2, 3, 8, 8))  # moves the running statistics and the integer batch count
    fresh.load_state_dict(load_safetensors(canonical_safetensors(trained.state_dict(), {})))
    assert all(
        torch.equal(a, b)
        for a, b in zip(trained.state_dict().values(), fresh.state_dict().values(), strict=True)
    )
    assert fresh[1].num_batches_tracked == 1


def test_a_key_without_a_generator_has_empty_bytes_that_are_canonical():
    empty = canonical_safetensors({}, {"architecture": "none"})
    assert load_safetensors(empty) == {}
    assert read_generator_facts(empty).parameters == 0


@pytest.mark.parametrize(
    ("tensors", "metadata"),
    [
        ({"w": torch.tensor([float("nan")])}, {}),
        ({"w": torch.tensor([float("inf")])}, {}),
        ({"w": torch.tensor([1e39], dtype=torch.float64)}, {}),
        ({"w": torch.tensor([1j])}, {}),
        ({"w": torch.tensor([2**24 + 1])}, {}),
        ({"w": torch.tensor([-(2**24) - 1])}, {}),
        ({"__metadata__": torch.zeros(1)}, {}),
        ({"w": torch.zeros(1)}, {"width": 2}),
    ],
)
def test_weights_that_are_no_plain_numbers_are_refused(tensors, metadata):
    with pytest.raises(UsageError, match="Expected"):
        canonical_safetensors(tensors, metadata)


def test_facts_are_read_without_loading_weights():
    facts = read_generator_facts(GENERATOR)
    assert (facts.metadata, facts.parameters) == ({"architecture": "tiny", "width": "2"}, 5)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GENERATOR[:-1],
        GENERATOR + b"\0",
        GENERATOR[:20],
        GENERATOR.replace(b'":{"data', b'": {"data', 1),
        GENERATOR.replace(b'"architecture":"tiny","width":"2"', b'"width":"2","architecture":"tiny"'),
        save_safetensors({"w": torch.zeros(2).half()}, {"a": "b"}),
        save_safetensors({"w": torch.zeros(2)}),
        b"\xff" * 64,
        b"\x02\0\0\0\0\0\0\0[]",
    ],
)
def test_bytes_that_are_not_canonical_make_no_key(data):
    with pytest.raises(UsageError, match="canonical safetensors"):
        make_key(generator_bytes=data)


# -- the key ---------------------------------------------------------------------------------------------


def slow_hkdf(secret, info, length):
    """RFC 5869 written out, with an empty salt."""
    pseudo_random_key = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    block, output = b"", b""
    for counter in range(1, 256):
        block = hmac.new(pseudo_random_key, block + info + bytes([counter]), hashlib.sha256).digest()
        output += block
    return output[:length]


def test_the_key_id_is_a_fixed_function_of_secret_and_generator():
    secret = Secret(bytes(range(32)))
    label = slow_hkdf(bytes(range(32)), b"avih key id v1", 32)
    expected = hashlib.sha256(label + hashlib.sha256(b"generator").digest()).hexdigest()[:16]
    assert compute_key_id(secret=secret, generator_bytes=b"generator") == expected == "9a5ffc4207c611ae"
    assert compute_key_id(secret=secret, generator_bytes=b"generatoR") != expected
    assert compute_key_id(secret=Secret(bytes(31) + b"\1"), generator_bytes=b"generator") != expected


@pytest.mark.parametrize("length", [16, 32, 100])
def test_a_subkey_is_hkdf_of_the_secret(length):
    key = make_key()
    assert key.subkey("mixing", length) == slow_hkdf(key.secret.reveal(), b"avih/mixing", length)
    assert key.subkey("mixing") != key.subkey("veil")


def test_every_key_has_its_own_secret():
    first, second = make_key(), make_key()
    third = new_secret(first)
    assert len({first.secret, second.secret, third.secret}) == 3
    assert len({first.key_id, second.key_id, third.key_id}) == 3
    assert third.generator_bytes == first.generator_bytes
    assert (third.recipe, third.training_seed) == (first.recipe, SEED)


@pytest.mark.parametrize("length", [0, 4, 31, 33])
def test_a_secret_has_32_bytes(length):
    with pytest.raises(UsageError, match=f"32 bytes, got {length}"):
        Secret(bytes(length))


@pytest.mark.parametrize("seed", [0, 1234, 2**32 - 1, -(2**40)])
def test_a_seed_that_can_be_guessed_is_refused(seed):
    with pytest.raises(UsageError, match=r"2\*\*32") as caught:
        make_key(training_seed=seed)
    assert str(seed) not in str(caught.value).replace("2**32", "") or seed == 0
    assert make_key(training_seed=None).training_seed is None


@pytest.mark.parametrize(
    "recipe",
    [
        {"training_seed": 5},
        {"seed": 5},
        {"Data-Seed": 5},
        {"secret": "x"},
        {"note": f"made with {SEED}"},
        {"number": SEED},
        {"loss": float("nan")},
        {"list": [1]},
        {3: "x"},
    ],
)
def test_a_recipe_holds_only_public_facts(recipe):
    with pytest.raises(UsageError) as caught:
        make_key(recipe=recipe)
    assert str(SEED) not in str(caught.value)


@pytest.mark.parametrize("spill", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_key_and_its_secret_stay_in_the_process(spill):
    key = make_key()
    for part in (key.secret, key) if spill is not copy.copy else (key.secret,):
        with pytest.raises(TypeError):
            spill(part)


def test_a_key_shows_its_name_only():
    key = make_key()
    assert repr(key) == str(key) == f"Key({key.key_id})"
    assert repr(key.secret) == "Secret(********)"


def test_the_payload_round_trip_and_a_damaged_payload():
    key = make_key()
    record = {"created": key.created.isoformat(), "recipe": key.recipe, "more": 1}
    payload = pack_key(key, record=record)
    assert unpack_key(payload) == (key, record)
    for damaged in (
        b"",
        payload[:3],
        payload[:50],
        payload.replace(b'"version": 1', b'"version": 2'),
        b"\0\0\0\2[]",
    ):
        with pytest.raises(IntegrityError) as caught:
            unpack_key(damaged)
        assert key.secret.reveal().hex() not in str(caught.value)
        assert caught.value.__suppress_context__


# -- the store -------------------------------------------------------------------------------------------


def test_a_key_comes_back_whole(store, tmp_path):
    key = add(store, None, "active")
    loaded = make_store(tmp_path).load(key.key_id, purpose="protect")
    assert loaded == key
    assert loaded.training_seed == SEED


@settings(max_examples=10, deadline=None)
@given(
    recipe=st.dictionaries(
        st.text(max_size=8).filter(lambda name: "se" not in name.lower() and "pass" not in name.lower()),
        st.one_of(
            st.text(max_size=8), st.integers(0, 2**60), st.floats(allow_nan=False, allow_infinity=False)
        ),
        max_size=4,
    )
)
def test_any_recipe_comes_back(tmp_path_factory, recipe):
    store = make_store(tmp_path_factory.mktemp("store"))
    key = add(store, make_key(recipe=recipe))
    assert store.load(key.key_id, purpose="inspect") == key
    assert store.show(key.key_id).recipe == recipe


def test_records_need_no_passphrase(store, tmp_path):
    first, second = add(store, None, "active"), add(store)
    public = make_store(tmp_path, unavailable)
    assert [(r.key_id, r.state) for r in public.list()] == [
        (first.key_id, "active"),
        (second.key_id, "pre_activation"),
    ]
    record = public.show(first.key_id[:4])
    assert (record.architecture, record.parameters, record.recovery) == ("tiny", 5, "keyed")
    assert (record.created, record.created_by, record.recipe) == (first.created, "operator", first.recipe)
    assert public.active().key_id == first.key_id
    public.transition(first.key_id, "suspended", actor="operator", reason="no passphrase needed")
    assert public.active() is None


def test_an_empty_store_lists_nothing_and_makes_nothing(tmp_path):
    store = make_store(tmp_path, unavailable)
    assert store.list() == []
    assert store.active() is None
    assert not store.folder.exists()
    with pytest.raises(UsageError, match="Keys: "):
        store.show("abcd")


def test_the_newest_active_key_counts(store):
    first, second, third = add(store, None, "active"), add(store, None, "active"), add(store)
    assert store.active().key_id == second.key_id
    # Coming back from suspension does not make the older key the newest.
    store.transition(first.key_id, "suspended", actor="operator", reason="test")
    store.transition(first.key_id, "active", actor="operator", reason="test")
    assert store.active().key_id == second.key_id
    store.transition(third.key_id, "active", actor="operator", reason="test")
    store.transition(second.key_id, "deactivated", actor="operator", reason="test")
    assert store.active().key_id == third.key_id


def test_keys_are_found_by_the_beginning_of_their_id(store):
    for key_id in ("abcd000000000001", "abcd000000000002", "ef01000000000003"):
        store.log.append(key_id=key_id, to=State.PRE_ACTIVATION, actor="operator", reason="test")
    with pytest.raises(UsageError, match=r"fits several\. Keys: abcd000000000001, abcd000000000002\."):
        store.show("abcd")
    with pytest.raises(UsageError, match=r"'1234', which fits none\. Keys: abcd0.*, ef01"):
        store.show("1234")
    for too_short in ("", "e", "ef0"):
        with pytest.raises(UsageError, match="at least 4 characters"):
            store.transition(too_short, "destroyed", actor="operator", reason="test")
    assert set(store.log.states().values()) == {State.PRE_ACTIVATION}


PURPOSES = {
    "pre_activation": {"inspect"},
    "active": {"protect", "recover", "inspect"},
    "suspended": {"recover", "inspect"},
    "deactivated": {"recover", "inspect"},
    "compromised": {"recover", "inspect"},
    "destroyed": set(),
}


@pytest.mark.parametrize("state", PURPOSES)
def test_a_state_allows_its_purposes_and_no_other(store, state):
    ways = {"suspended": ["active"], "deactivated": ["active"], "destroyed": ["compromised"]}
    key = add(store, None, *ways.get(state, []), *([] if state == "pre_activation" else [state]))
    for purpose in ("protect", "recover", "inspect"):
        if purpose in PURPOSES[state]:
            assert store.load(key.key_id, purpose=purpose) == key
        else:
            allowed = (
                ", ".join(p for p in ("protect", "recover", "inspect") if p in PURPOSES[state]) or "nothing"
            )
            with pytest.raises(
                KeyRefused, match=f"may {purpose} .* in state {state}, which allows: {allowed}"
            ):
                store.load(key.key_id, purpose=purpose)


def test_an_unknown_purpose_or_mode_is_refused(store):
    key = add(store)
    with pytest.raises(UsageError, match="purpose"):
        store.load(key.key_id, purpose="sell")
    with pytest.raises(UsageError, match="keyed, unmixed, sealed"):
        store.add(make_key(), actor="operator", reason="test", recovery="magic")


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
    with pytest.raises(IntegrityError, match=f"{key.key_id}.json.*rebuild_record"):
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


def test_a_key_is_added_once(store):
    key = add(store)
    with pytest.raises(KeyRefused, match="in the store"):
        add(store, key)
    store.transition(key.key_id, "destroyed", actor="operator", reason="test")
    with pytest.raises(KeyRefused, match=r"in the store \(destroyed\)"):
        add(store, key)


def test_a_destroyed_key_leaves_its_record_and_its_history(store):
    key = add(store, None, "active", "compromised", "destroyed")
    assert not (store.folder / f"{key.key_id}.key").exists()
    assert store.show(key.key_id).state is State.DESTROYED
    assert '"to":"compromised"' in store.log.path.read_text()


# -- crashes ---------------------------------------------------------------------------------------------

CRASH = """
import os, sys
from pathlib import Path
from avih.keys import Key, KeyStore, Passphrase, ScryptCost
from avih.keys import store as module, states
class Stop:
    def __init__(self, *args, **keywords): os._exit(9)
step, folder, generator, secret = sys.argv[1:]
if step == "before the record": module.write_private = Stop
if step == "before the log": states.KeyLog.append = Stop
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


# -- secrecy ---------------------------------------------------------------------------------------------


def test_files_are_private_even_without_a_umask(tmp_path):
    before = os.umask(0)
    try:
        store = make_store(tmp_path)
        key = add(store, None, "active", "deactivated")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in store.folder.iterdir()}
    assert modes == dict.fromkeys([f"{key.key_id}.key", f"{key.key_id}.json", "log.jsonl", ".lock"], 0o600)
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def canaries(key):
    secret, weights = key.secret.reveal(), GENERATOR[-20:]
    forms = [secret, secret.hex().encode(), base64.b64encode(secret), str(secret).encode(), weights]
    return [*forms, str(SEED).encode(), hex(SEED)[2:].encode(), WORDS.reveal(), b"copper"]


def test_no_secret_is_in_any_file_message_or_log(store, tmp_path, caplog):
    with caplog.at_level(logging.DEBUG):
        key = add(store, None, "active")
        said = [repr(store), str(store.list()), repr(key), repr(store.load(key.key_id, purpose="inspect"))]
        refusals = [
            lambda: make_store(tmp_path, Passphrase(b"not copper, but tin")).load(
                key.key_id, purpose="inspect"
            ),
            lambda: store.transition(key.key_id, "destroyed", actor="operator", reason="test"),
            lambda: add(store, key),
            lambda: make_key(recipe={"note": str(SEED)}),
            lambda: pickle.dumps(key),
            lambda: Key.create(generator_bytes=GENERATOR[:-1], recipe={}, training_seed=SEED),
        ]
        for refusal in refusals:
            with pytest.raises((KeyRefused, UsageError, TypeError)) as caught:
                refusal()
            said.append(f"{caught.value!r} {caught.value} {caught.value.__cause__!r}")
    files = b"".join(path.read_bytes() for path in store.folder.rglob("*") if path.is_file())
    everything = files + "\n".join([*said, caplog.text]).encode()
    assert key.key_id.encode() in everything
    assert [canary for canary in canaries(key) if canary in everything] == []
    # The search itself works: the payload that is sealed holds them.
    payload = pack_key(key, record=store.show(key.key_id).public())
    assert sum(canary in payload for canary in canaries(key)) == 3


def test_listing_keys_does_not_wait_for_torch():
    program = "import sys; import avih.keys; print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"


def test_times_are_utc_and_the_clock_can_be_given(tmp_path):
    times = iter(datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=day) for day in range(9))
    store = make_store(tmp_path, clock=lambda: next(times))
    key = add(store, make_key(created=datetime(2026, 2, 1, 8, 30, 15, 999, tzinfo=UTC)), "active")
    assert store.show(key.key_id).created == datetime(2026, 2, 1, 8, 30, 15, tzinfo=UTC)
    assert [json.loads(line)["time"] for line in store.log.path.read_text().splitlines()] == [
        "2026-03-01T00:00:00+00:00",
        "2026-03-02T00:00:00+00:00",
    ]
