"""The six states: all 36 pairs, what each state allows, and any history against a plain model."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avih.errors import KeyRefused, UsageError
from avih.keys.log import verify_log
from avih.keys.states import State, may_protect, may_recover, parse_state
from small_log import KEY, OTHER, key_log, put

# Written out by hand, row by row: from -> to; 1 is allowed.
TABLE = """
                pre_activation active suspended deactivated compromised destroyed
pre_activation  0              1      0         0           1           1
active          0              0      1         1           1           0
suspended       0              1      0         1           1           0
deactivated     0              0      0         0           1           1
compromised     0              0      0         0           0           1
destroyed       0              0      0         0           0           0
"""
# One way to bring a new key into each state.
WAYS = {
    "pre_activation": [],
    "active": ["active"],
    "suspended": ["active", "suspended"],
    "deactivated": ["active", "deactivated"],
    "compromised": ["compromised"],
    "destroyed": ["destroyed"],
}


def pairs():
    columns, *rows = [line.split() for line in TABLE.strip().splitlines()]
    return [(row[0], to, mark == "1") for row in rows for to, mark in zip(columns, row[1:], strict=True)]


def test_the_table_holds_all_36_pairs():
    assert len(pairs()) == 36
    assert {origin for origin, _, _ in pairs()} == set(State)


@pytest.mark.parametrize(("origin", "to", "allowed"), pairs())
def test_every_pair_of_states(tmp_path, origin, to, allowed):
    log = key_log(tmp_path)
    put(log, "pre_activation", *WAYS[origin])
    assert log.states() == {KEY: origin}
    if allowed:
        put(log, to)
        assert log.states() == {KEY: to}
    else:
        before = log.path.read_bytes()
        with pytest.raises(KeyRefused, match=rf"follow {origin}.*got {to}"):
            put(log, to)
        assert log.path.read_bytes() == before


def test_what_each_state_allows():
    allowed = {state: (may_protect(state), may_recover(state)) for state in State}
    assert allowed == {
        "pre_activation": (False, False),
        "active": (True, True),
        "suspended": (False, True),
        "deactivated": (False, True),
        "compromised": (False, True),
        "destroyed": (False, False),
    }


@pytest.mark.parametrize("state", [state for state in State if state != "pre_activation"])
def test_a_key_begins_in_pre_activation(tmp_path, state):
    with pytest.raises(KeyRefused, match="begin in pre_activation"):
        put(key_log(tmp_path), state)


def test_an_unknown_state_is_refused():
    assert parse_state("active") is State.ACTIVE
    with pytest.raises(UsageError, match=r"deactivated.*'retired'"):
        parse_state("retired")


@pytest.mark.parametrize(("actor", "reason"), [("", "why"), ("who", " "), ("\n", "")])
def test_a_change_needs_an_actor_and_a_reason(tmp_path, actor, reason):
    log = key_log(tmp_path)
    with pytest.raises(UsageError):
        log.append(key_id=KEY, to=State.PRE_ACTIVATION, actor=actor, reason=reason)
    assert not log.path.exists()


@pytest.mark.parametrize("key_id", ["../../../etc/x", "", KEY.upper(), KEY + "0"])
def test_only_a_key_id_becomes_a_file_name(tmp_path, key_id):
    with pytest.raises(UsageError, match="16 hex digits"):
        put(key_log(tmp_path), "pre_activation", key_id=key_id)


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from([KEY, OTHER]), st.sampled_from(list(State))), max_size=15))
def test_any_history_gives_the_states_of_a_plain_model(tmp_path_factory, steps):
    log = key_log(tmp_path_factory.mktemp("history"))
    allowed = {(origin, to) for origin, to, mark in pairs() if mark} | {(None, "pre_activation")}
    model, count = {}, 0
    for key_id, to in steps:
        if (model.get(key_id), to) in allowed:
            put(log, to, key_id=key_id)
            model[key_id], count = to, count + 1
        else:
            with pytest.raises(KeyRefused):
                put(log, to, key_id=key_id)
    assert log.states() == model
    assert len(verify_log(log.path)) == count
