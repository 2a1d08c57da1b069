"""The key log on a bad day: torn lines, full disks, and several processes at once."""

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from avih.errors import IntegrityError, KeyRefused
from avih.keys.log import verify_log
from avih.keys.states import State
from small_keys import REPOSITORY
from small_log import KEY, NOON, five_entries, key_log, lines_of, put


@pytest.fixture
def five(tmp_path):
    return five_entries(tmp_path)


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


WRITER = """
import sys
from pathlib import Path
from avih.errors import KeyRefused
from avih.keys import KeyLog, State
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
