"""The hash chain of the key log: the format, and every edit, removal and exchange is found."""

import hashlib
import json
import logging
import stat
from datetime import timedelta, timezone

import pytest

from avih.errors import IntegrityError
from avih.keys.log import verify_log
from avih.keys.states import State
from small_log import KEY, NOON, five_entries, key_log, lines_of, put


@pytest.fixture
def five(tmp_path):
    return five_entries(tmp_path)


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
    with pytest.raises(IntegrityError, match="line 1: it is no complete entry"):
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


def test_changes_are_logged_by_key_id(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        put(key_log(tmp_path), "pre_activation", "active")
    assert f"key {KEY}: pre_activation -> active" in caplog.text


@pytest.mark.parametrize("end", [b'{"to":"active","to":"active"}', b"[" * 5000 + b"]" * 5000])
def test_a_last_line_that_no_crash_left_is_no_torn_one(five, end):
    five.path.write_bytes(five.path.read_bytes() + end)
    with pytest.raises(IntegrityError, match="bad line 6"):
        verify_log(five.path)
