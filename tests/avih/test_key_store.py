"""The key store: keys come back whole, are found, and serve the purposes their state allows."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avih.errors import KeyRefused, UsageError
from avih.keys.states import State
from small_keys import SEED, add, make_key, make_store, unavailable


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


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
