import hashlib
import json
import logging
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avih.errors import IntegrityError, KeyRefused, UsageError
from avih.keys.states import KeyLog, State, may_protect, may_recover, parse_state, verify_log

REPOSITORY = Path(__file__).parents[2]
KEY, OTHER = "00112233445566aa", "ffeeddccbbaa9988"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

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


def key_log(tmp_path, **keywords):
    return KeyLog(tmp_path / "3_keys" / "log.jsonl", **keywords)


def put(log, *states, key_id=KEY):
    for state in states:
        log.append(key_id=key_id, to=State(state), actor="operator", reason="test")


@pytest.fixture
def five(tmp_path):
    """A log of five entries about two keys."""
    log = key_log(tmp_path, clock=lambda: NOON)
    put(log, "pre_activation", "active")
    put(log, "pre_activation", "active", key_id=OTHER)
    put(log, "deactivated")
    return log


def lines_of(log):
    return log.path.read_bytes().splitlines(keepends=True)


# -- the states ------------------------------------------------------------------------------------------


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


# -- the chain -------------------------------------------------------------------------------------------


def test_a_line_is_what_the_format_says(tmp_path):
    log = key_log(tmp_path, clock=lambda: NOON.astimezone(timezone(timedelta(hours=5))))
    log.append(key_id=KEY, to=State.PRE_ACTIVATION, actor=" Ünal ", reason="first\nkey")
    log.append(key_id=KEY, to=State.ACTIVE, actor="operator", reason="go")
    first, second = (json.loads(line) for line in lines_of(log))
    stated = first.pop("sha256")
    assert first == {
        "sequence": 1,
        "time": "2026-03-01T12:00:00+00:00",
        "key_id": KEY,
        "from": None,
        "to": "pre_activation",
        "actor": "Ünal",
        "reason": "first\nkey",
        "previous_sha256": "0" * 64,
    }
    # Independent: the SHA-256 of the line as written, without its own field.
    text = lines_of(log)[0].rstrip(b"\n").replace(b'"sha256":"' + stated.encode() + b'",', b"")
    assert hashlib.sha256(text).hexdigest() == stated
    assert (second["previous_sha256"], second["from"], second["sequence"]) == (stated, "pre_activation", 2)
    assert log.head() == second["sha256"]
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.path.parent.stat().st_mode) == 0o700


def test_a_missing_log_is_an_empty_one(tmp_path):
    assert verify_log(tmp_path / "none.jsonl") == []
    assert key_log(tmp_path).head() == "0" * 64


@pytest.mark.parametrize(
    "field", ["sequence", "time", "key_id", "from", "to", "actor", "reason", "previous_sha256", "sha256"]
)
@pytest.mark.parametrize("number", [1, 3, 5])
def test_an_edited_field_is_found_and_the_line_named(five, field, number):
    lines = lines_of(five)
    entry = json.loads(lines[number - 1])
    edits = {"sequence": 9, "time": "2025-03-01T12:00:00+00:00", "from": "suspended", "to": "compromised"}
    entry[field] = edits.get(field, "0123456789abcdef")
    lines[number - 1] = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    five.path.write_bytes(b"".join(lines))
    with pytest.raises(IntegrityError, match=rf"log\.jsonl.*line {number}:"):
        verify_log(five.path)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_removed_line_is_found(five, number):
    lines = lines_of(five)
    del lines[number - 1]
    five.path.write_bytes(b"".join(lines))
    with pytest.raises(IntegrityError, match=rf"line {number}:.*missing or moved"):
        verify_log(five.path)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_two_exchanged_lines_are_found(five, number):
    lines = lines_of(five)
    lines[number - 1], lines[number] = lines[number], lines[number - 1]
    five.path.write_bytes(b"".join(lines))
    with pytest.raises(IntegrityError, match=rf"line {number}:.*missing or moved"):
        verify_log(five.path)


@pytest.mark.parametrize("keep", [0, 1, 40, -2])
def test_a_line_cut_in_the_middle_of_the_log_is_found(five, keep):
    lines = lines_of(five)
    lines[2] = lines[2].rstrip(b"\n")[:keep] + b"\n"
    five.path.write_bytes(b"".join(lines))
    with pytest.raises(IntegrityError, match="line 3: it is no complete entry"):
        verify_log(five.path)
    with pytest.raises(IntegrityError, match="line 3"):
        put(five, "compromised")


@pytest.mark.parametrize(
    "line", [b"[]", b"null", b'"x"', b"{}", b"[" * 100_000, b"\xff\xfe", b'{"sha256":1}']
)
def test_any_other_line_is_found(five, line):
    lines = lines_of(five)
    five.path.write_bytes(b"".join([lines[0], line + b"\n", *lines[1:]]))
    with pytest.raises(IntegrityError, match="line 2"):
        verify_log(five.path)


def test_spaces_and_repeated_fields_are_edits(five):
    lines = lines_of(five)
    five.path.write_bytes(lines[0].replace(b'":', b'": ', 1) + b"".join(lines[1:]))
    with pytest.raises(IntegrityError, match="line 1: it was edited"):
        verify_log(five.path)
    five.path.write_bytes(lines[0].replace(b"{", b'{"to":"active",', 1) + b"".join(lines[1:]))
    with pytest.raises(IntegrityError, match="line 1: it was edited"):
        verify_log(five.path)


def forge(log, **changes):
    """Append an entry whose hashes are right and whose content is not."""
    last = json.loads(lines_of(log)[-1])
    entry = {**last, "sequence": last["sequence"] + 1, "previous_sha256": last["sha256"], **changes}
    del entry["sha256"]
    text = json.dumps(entry, sort_keys=True, separators=(",", ":"))
    entry["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    with log.path.open("ab") as file:
        file.write(json.dumps(entry, sort_keys=True, separators=(",", ":")).encode() + b"\n")


@pytest.mark.parametrize(
    "changes",
    [
        {"from": "deactivated", "to": "active"},  # not allowed
        {"from": "active", "to": "compromised"},  # not where the key was
        {"from": None, "to": "pre_activation"},  # the key is there already
        {"from": None, "to": "pre_activation", "key_id": "../../elsewhere"},
        {"from": None, "to": "pre_activation", "key_id": ["a"]},
    ],
)
def test_a_well_chained_but_impossible_change_is_found(five, changes):
    forge(five, **changes)
    with pytest.raises(IntegrityError, match="line 6"):
        verify_log(five.path)


def test_lines_cut_off_the_end_show_only_in_the_head(five):
    head = five.head()
    five.path.write_bytes(b"".join(lines_of(five)[:-1]))
    assert len(verify_log(five.path)) == 4
    assert five.head() != head


# -- crashes ---------------------------------------------------------------------------------------------


def test_a_last_line_torn_anywhere_is_left_out_set_aside_and_written_over(tmp_path, caplog):
    log = key_log(tmp_path, clock=lambda: NOON)
    put(log, "pre_activation")
    log.append(key_id=KEY, to=State.ACTIVE, actor="op {1}", reason='a "quote", a }')
    first, second = lines_of(log)
    # A step of 7, and the places where the torn line ends like a whole one.
    after_brace = [place + 1 for place, byte in enumerate(second[:-2]) if byte == ord("}")]
    assert len(after_brace) == 2
    for length in [*range(1, len(second) - 1, 7), *after_brace, len(second) - 2]:
        torn = second[:length]
        log.path.write_bytes(first + torn)
        caplog.clear()
        assert [entry.sequence for entry in verify_log(log.path)] == [1]
        assert "line 2 is torn" in caplog.text
        put(log, "compromised")
        assert [entry.to_state for entry in verify_log(log.path)] == ["pre_activation", "compromised"]
        aside = log.path.with_name(f"log.jsonl.torn-{hashlib.sha256(torn).hexdigest()[:8]}")
        assert aside.read_bytes() == torn
        assert stat.S_IMODE(aside.stat().st_mode) == 0o600


def test_a_whole_last_line_without_its_newline_counts(five):
    whole = five.path.read_bytes()
    five.path.write_bytes(whole[:-1])
    assert len(verify_log(five.path)) == 5
    put(five, "compromised")
    assert five.path.read_bytes().startswith(whole)
    assert len(verify_log(five.path)) == 6


def test_an_edited_last_line_is_no_torn_line(five):
    five.path.write_bytes(five.path.read_bytes()[:-1].replace(b"deactivated", b"compromised"))
    with pytest.raises(IntegrityError, match="line 5: it was edited"):
        verify_log(five.path)


def test_a_disk_that_takes_half_a_line_leaves_the_log_as_it_was(five, monkeypatch):
    before = five.path.read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[: len(data) // 2]))
    with pytest.raises(OSError, match="only part"):
        put(five, "compromised")
    assert five.path.read_bytes() == before


def test_an_entry_is_on_the_disk_when_append_returns(tmp_path, monkeypatch):
    synced = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(stat.S_ISDIR(os.fstat(fd).st_mode)), sync(fd)))
    put(key_log(tmp_path), "pre_activation")
    assert synced == [False, True]


def test_a_folder_of_somebody_else_is_said(five, monkeypatch):
    def forbidden(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(KeyRefused, match="own the key folder"):
        five.states()


# -- several processes -----------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from avih.errors import KeyRefused
from avih.keys.states import KeyLog, State
log = KeyLog(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
won = 0
for number in range(20):
    for state in (State.PRE_ACTIVATION, State.ACTIVE):
        try:
            log.append(key_id=f"{sys.argv[2]}{number:015x}", to=state, actor=sys.argv[3], reason="race")
            won += 1
        except KeyRefused:
            pass
print(won)
"""


def race(path, prefixes):
    """Start one writer per prefix, let them all go at once, return how many appends each got through."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), prefix, f"writer {number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        for number, prefix in enumerate(prefixes)
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    results = [int(writer.communicate(timeout=60)[0]) for writer in writers]
    assert all(writer.returncode == 0 for writer in writers)
    return results


def test_two_processes_appending_at_once_keep_the_chain(tmp_path):
    log = key_log(tmp_path)
    assert race(log.path, ["a", "b"]) == [40, 40]
    entries = verify_log(log.path)
    assert [entry.sequence for entry in entries] == list(range(1, 81))
    assert list(log.states().values()) == [State.ACTIVE] * 40


def test_of_two_processes_making_the_same_change_one_is_refused(tmp_path):
    log = key_log(tmp_path)
    assert sum(race(log.path, ["c", "c"])) == 40
    assert len(verify_log(log.path)) == 40


# -- any history -----------------------------------------------------------------------------------------


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


def test_changes_are_logged_by_key_id(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        put(key_log(tmp_path), "pre_activation", "active")
    assert f"key {KEY}: pre_activation -> active" in caplog.text
