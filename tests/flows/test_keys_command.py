"""``avih keys`` as a user meets it: states, gate, budget, destruction, exit codes and JSON."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from avih.keys import LeakBudget, Passphrase, State, verify_log
from avih.naming import Store
from flows.cli import keys as keys_commands  # registers the commands
from flows.cli.main import app
from small_keys import CHEAP, add, codec_key, make_store, protected_shard
from tasks import opened

PASSPHRASE = Passphrase(b"correct horse battery staple")  # of tests/conftest.py


@pytest.fixture
def keys(tmp_path, monkeypatch):
    monkeypatch.setenv("AVIH_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("AVIH_ACTOR", "ada")
    opened.forget()
    return make_store(tmp_path / "store", PASSPHRASE)


def call(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments], input=typed)


def facts(*arguments: str) -> dict:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_every_command_is_there():
    names = {
        command.name or command.callback.__name__ for command in keys_commands.keys_app.registered_commands
    }
    assert names == {
        "create", "list", "show", "status", "activate", "suspend", "deactivate", "compromise", "destroy",
        "rebuild-record", "passphrase",
    }  # fmt: skip


def test_a_key_through_its_states_with_actor_and_reason(keys):
    key_id = add(keys, codec_key()).key_id
    gate = facts("activate", key_id[:6], "--reason", "first use")["gate"]
    assert gate["passed"] is True
    assert gate["ssim_d"] > gate["ssim_d_limit"] == 0.88
    assert facts("suspend", key_id, "--reason", "laptop lost")["state"] == "suspended"
    assert facts("activate", key_id, "--reason", "laptop found")["state"] == "active"
    assert facts("deactivate", key_id, "--reason", "replaced")["state"] == "deactivated"
    assert facts("compromise", key_id, "--reason", "leaked")["state"] == "compromised"
    entries = verify_log(keys.log.path)[1:]
    assert [(str(e.to_state), e.actor, e.reason) for e in entries] == [
        ("active", "ada", "first use"),
        ("suspended", "ada", "laptop lost"),
        ("active", "ada", "laptop found"),
        ("deactivated", "ada", "replaced"),
        ("compromised", "ada", "leaked"),
    ]


def test_a_sealed_key_is_made_without_training(keys):
    made = facts("create", "--recovery", "sealed")
    assert (made["state"], made["architecture"], made["gate"]["passed"]) == ("active", "none", True)
    assert facts("show", made["key_id"])["recovery"] == "sealed"
    for wrong in (("--steps", "5"), ("--pictures", "/somewhere")):
        refused = call("create", "--recovery", "sealed", *wrong)
        assert refused.exit_code == 2 and "sealed key" in " ".join(refused.stderr.split())
    unknown = call("create", "--recovery", "open")
    assert unknown.exit_code == 2 and "keyed, unmixed, sealed" in " ".join(unknown.stderr.split())
    assert len(keys.list()) == 1


@pytest.mark.parametrize("change", ["suspend", "deactivate", "compromise", "destroy"])
def test_a_change_that_ends_something_needs_a_reason(keys, change):
    key_id = add(keys, None, "active").key_id
    assert call(change, key_id).exit_code == 2
    assert call(change, key_id, "--reason", " ").exit_code in (2, 3)
    assert keys.show(key_id).state is State.ACTIVE


def test_what_a_state_does_not_allow_is_refused_with_exit_code_3(keys):
    ended = add(keys, codec_key(), "active", "deactivated").key_id
    new = add(keys).key_id
    for arguments in (("activate", ended), ("suspend", ended), ("deactivate", new), ("suspend", new)):
        result = call(*arguments, "--reason", "test")
        assert result.exit_code == 3
        assert "may follow" in result.stderr
    assert (keys.show(ended).state, keys.show(new).state) == (State.DEACTIVATED, State.PRE_ACTIVATION)


def test_a_key_that_the_gate_refuses_stays_where_it_is(keys, monkeypatch):
    first, second = add(keys, codec_key(), "active"), codec_key()
    monkeypatch.setattr("avih.key_gate.ssim", lambda a, b: 0.5)
    add(keys, second)
    result = call("activate", second.key_id)
    assert result.exit_code == 3
    for part in ("SSIM_d 0.500, below 0.88", "pre_activation", "avih keys create", "avih keys destroy"):
        assert part in " ".join(result.stderr.split())
    assert keys.show(second.key_id).state is State.PRE_ACTIVATION
    assert keys.show(first.key_id).state is State.ACTIVE


def test_status_tells_wear_use_and_why_rotation_is_due(keys):
    key_id = add(keys, codec_key(), "active").key_id
    protected_shard(keys.folder, key_id, 0, good=3, poor=1, failed=1)
    budget = LeakBudget(keys.folder, key_id, PASSPHRASE, cost=CHEAP)
    budget.set_limit(4, actor="ada", reason="measured")
    (found,) = facts("status")["keys"]
    assert (found["state"], found["age_days"], found["images"], found["budget"]) == ("active", 0, 4, 4)
    assert found["used_by"] == [{"gallery": "people", "version": "v0001", "images": 4, "current": False}]
    assert (found["rotation_due"], found["due"]) == (True, ["4 images protected of a budget of 4"])
    budget.set_limit(100, actor="ada", reason="measured again")
    assert facts("status", key_id[:5])["keys"][0]["rotation_due"] is False
    shown = call("status").stdout
    assert all(part in shown for part in (key_id, "4 / 100", "people v0001 (4)", "0 days"))


def test_listing_and_status_ask_for_no_passphrase(keys, monkeypatch):
    key_id = add(keys).key_id
    monkeypatch.delenv("AVIH_PASSPHRASE")
    for arguments in (("list",), ("show", key_id), ("status",), ("compromise", key_id, "--reason", "test")):
        assert call(*arguments).exit_code == 0


def test_destroy_says_what_is_lost_and_wants_the_key_id(keys):
    key_id = add(keys, None, "active", "deactivated").key_id
    protected_shard(keys.folder, key_id, 0, good=3, poor=1, failed=1)
    path = keys.folder / f"{key_id}.key"
    waiting = call("destroy", key_id, "--reason", "over", "--confirm", key_id)
    assert waiting.exit_code == 3
    assert "Wait until" in waiting.stderr
    arguments = ("destroy", key_id, "--reason", "over", "--waiting-days", "0")
    planned = facts(*arguments, "--dry-run")
    assert (planned["unrecoverable_images"], planned["destroyed"]) == (4, False)
    before = keys.log.path.read_bytes()
    assert call(*arguments, "--confirm", key_id[:8]).exit_code == 2
    assert call(*arguments).exit_code == 2  # nobody there to type it
    assert (keys.log.path.read_bytes(), path.exists()) == (before, True)
    result = call(*arguments, "--confirm", key_id)
    assert result.exit_code == 0, result.stderr
    assert "makes 4 images unrecoverable" in " ".join(result.stdout.split())
    assert "people v0001" in result.stdout
    assert not path.exists()
    assert "0 days instead of 30" in verify_log(keys.log.path)[-1].reason
    assert call(*arguments, "--confirm", key_id).exit_code == 3


@pytest.mark.parametrize("right", [True, False])
def test_destroy_asks_in_a_terminal(keys, monkeypatch, right):
    from flows.cli import key_changes

    key_id = add(keys).key_id
    monkeypatch.setattr(key_changes, "in_terminal", lambda: True)
    typed = key_id if right else "yes"
    result = call("destroy", key_id, "--reason", "over", "--waiting-days", "0", typed=f"{typed}\n")
    assert result.exit_code == (0 if right else 2)
    assert keys.show(key_id).state is (State.DESTROYED if right else State.PRE_ACTIVATION)


def test_a_lost_record_is_written_anew(keys):
    key_id = add(keys).key_id
    path = keys.folder / f"{key_id}.json"
    whole = path.read_bytes()
    path.unlink()
    lost = call("list")
    assert lost.exit_code == 3
    assert "avih keys rebuild-record" in " ".join(lost.stderr.split())
    assert facts("rebuild-record", key_id[:7])["key_id"] == key_id
    assert path.read_bytes() == whole


def test_no_secret_is_shown(keys):
    key = add(keys, codec_key())
    said = "".join(
        result.stdout + result.stderr
        for result in (call("list"), call("show", key.key_id), call("status"), call("activate", key.key_id))
    )
    assert key.key_id in said
    for form in (key.secret.reveal().hex(), str(key.training_seed), PASSPHRASE.reveal().decode()):
        assert form not in said
    assert Store(Path(keys.folder.parent)).keys == keys.folder
