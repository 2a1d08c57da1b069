"""A key log for the tests."""

from datetime import UTC, datetime

from avih.keys.log import KeyLog
from avih.keys.states import State

KEY, OTHER = "00112233445566aa", "ffeeddccbbaa9988"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def key_log(tmp_path, **keywords):
    return KeyLog(tmp_path / "3_keys" / "log.jsonl", **keywords)


def put(log, *states, key_id=KEY):
    for state in states:
        log.append(key_id=key_id, to=State(state), actor="operator", reason="test")


def five_entries(tmp_path):
    """A log of five entries about two keys."""
    log = key_log(tmp_path, clock=lambda: NOON)
    put(log, "pre_activation", "active")
    put(log, "pre_activation", "active", key_id=OTHER)
    put(log, "deactivated")
    return log


def lines_of(log):
    return log.path.read_bytes().splitlines(keepends=True)
