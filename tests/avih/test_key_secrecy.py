"""The key store: private files, no secret in any file, message or log, no torch to list keys."""

import base64
import json
import logging
import os
import pickle
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from avih.errors import KeyRefused, UsageError
from avih.keys.key import Key, pack_key
from avih.keys.passphrase import Passphrase
from small_keys import (
    GENERATOR,
    REPOSITORY,
    SEED,
    WORDS,
    add,
    make_key,
    make_store,
)


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


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
