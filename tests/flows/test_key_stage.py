"""The key stage as tasks: made, tried in the gate, activated, renewed; and the pool of prepared keys."""

import pytest

from avih.errors import KeyRefused, UsageError
from avih.key_gate import GateSettings
from avih.keys import Passphrase, State, Vault, prepared_key, verify_log
from avih.settings import SEALED_KEY, KeySettings
from small_keys import add, codec_key, make_store
from tasks import opened
from tasks.create_key import create_key, renew_secret
from tasks.key_gate import activate_key, check_key

QUICK = GateSettings(images=2, steps=2)
TINY = KeySettings(steps=2, width=4, blocks=1, batch_size=1)
WHO = {"actor": "operator", "reason": "test"}
NEW = {"settings": TINY, "recovery": "keyed", "template": "112x96", "pictures": None, **WHO, "gate": QUICK}


@pytest.fixture
def root(tmp_path):
    opened.forget()
    return str(tmp_path / "store")


@pytest.fixture
def keys(tmp_path):
    return make_store(tmp_path / "store", Passphrase(b"correct horse battery staple"))


def test_a_new_key_is_active_after_the_gate_and_waits_without_it(root, keys):
    made = create_key(store=root, **NEW, activate=True)
    assert (made.state, made.gate.passed, made.gate.worst_pair) == ("active", True, None)
    waiting = create_key(store=root, **NEW, activate=False)
    assert (waiting.state, waiting.gate) == ("pre_activation", None)
    states = [str(record.state) for record in keys.list()]
    assert states == ["active", "pre_activation"]


def test_a_key_that_fails_the_gate_is_kept_but_not_active(root, keys):
    strict = QUICK.model_copy(update={"keyed_ssim_d": 0.9999})
    with pytest.raises(KeyRefused, match=r"SSIM_d 0\.9.*below 0\.9999.*stays in state pre_activation"):
        create_key(store=root, **NEW | {"gate": strict}, activate=True)
    (record,) = keys.list()
    assert record.state is State.PRE_ACTIVATION


def test_the_gate_tries_every_live_key_and_no_other(root, keys):
    active, resting = add(keys, codec_key(), "active"), add(keys, codec_key(), "active", "suspended")
    add(keys, codec_key(), "active", "deactivated")
    add(keys, codec_key())
    new = add(keys, codec_key())
    gate = check_key(store=root, key_id=new.key_id[:8], settings=QUICK)
    assert gate.passed
    assert {(p.protecting, p.recovering) for p in gate.pairs} == {
        (new.key_id, active.key_id),
        (active.key_id, new.key_id),
        (new.key_id, resting.key_id),
        (resting.key_id, new.key_id),
    }
    assert gate.worst_pair == max(gate.pairs, key=lambda pair: pair.advantage)
    assert keys.show(new.key_id).state is State.PRE_ACTIVATION  # looking changes nothing


def test_a_pair_above_the_limit_is_named(root, keys):
    add(keys, codec_key(), "active")
    new = add(keys, codec_key())
    none = QUICK.model_copy(update={"foreign_keyed_ssim": 0.0, "foreign_advantage": 0.0})
    before = keys.log.path.read_bytes()
    with pytest.raises(KeyRefused, match=rf"key {new.key_id} to pass.*recovers what key"):
        activate_key(store=root, key_id=new.key_id, **WHO, settings=none)
    assert keys.log.path.read_bytes() == before


def test_what_may_not_become_active_is_told_before_any_work(root, keys, monkeypatch):
    def too_late(**_):
        raise AssertionError("the gate was about to run")

    monkeypatch.setattr("tasks.key_gate.measure", too_late)
    ended = add(keys, codec_key(), "active", "deactivated")
    with pytest.raises(KeyRefused, match="may follow deactivated"):
        activate_key(store=root, key_id=ended.key_id, **WHO)
    new = add(keys, codec_key())
    with pytest.raises(UsageError, match="actor and a reason"):
        activate_key(store=root, key_id=new.key_id, actor="operator", reason=" ")


def test_another_passphrase_than_the_stores_is_told_before_any_training_and_seals_nothing(
    root, keys, monkeypatch
):
    old = add(keys, codec_key(), "active")
    Vault(keys.folder, Passphrase(b"correct horse battery staple")).mac_key()
    before = sorted(path.name for path in keys.folder.iterdir())
    monkeypatch.setenv("AVIH_PASSPHRASE", "correct horse battery stable")
    monkeypatch.setattr("tasks.create_key.train_generator", lambda **_: pytest.fail("it was about to train"))
    with pytest.raises(KeyRefused, match=r"Expected the passphrase of this store.*Nothing was sealed"):
        create_key(store=root, **NEW, activate=False)
    with pytest.raises(KeyRefused, match="Expected the passphrase of this store"):
        make_store(keys.folder.parent, Passphrase(b"another")).add(codec_key(), **WHO, recovery="keyed")
    assert sorted(path.name for path in keys.folder.iterdir()) == before
    assert [record.key_id for record in keys.list()] == [old.key_id]


def test_a_renewed_key_has_the_generator_and_a_secret_of_its_own(root, keys):
    old = add(keys, codec_key(), "active", "compromised")
    made = renew_secret(store=root, key_id=old.key_id[:6], **WHO)
    assert (made.state, made.architecture, made.training_l1) == ("pre_activation", "codec", 0.01)
    new = keys.load(made.key_id, purpose="inspect")
    assert new.generator_bytes == old.generator_bytes
    assert new.secret != old.secret
    assert keys.show(made.key_id).recipe == keys.show(old.key_id).recipe
    assert activate_key(store=root, key_id=made.key_id, **WHO, settings=QUICK).passed
    assert verify_log(keys.log.path)[-1].actor == "operator"


def test_an_unmixed_or_destroyed_key_is_not_renewed(root, keys):
    unmixed = codec_key()
    keys.add(unmixed, **WHO, recovery="unmixed")
    with pytest.raises(KeyRefused, match=r"generator is the secret.*--recovery unmixed"):
        renew_secret(store=root, key_id=unmixed.key_id, **WHO)
    gone = add(keys, codec_key(), "destroyed")
    with pytest.raises(KeyRefused, match="destroyed"):
        renew_secret(store=root, key_id=gone.key_id, **WHO)
    assert len(keys.list()) == 2


def test_a_sealed_key_takes_no_training_and_passes_the_gate_alone(root, keys):
    add(keys, codec_key(), "active")
    sealed = {"settings": SEALED_KEY, "recovery": "sealed"}
    made = create_key(store=root, **NEW | sealed, activate=True)
    assert (made.state, made.architecture, made.parameters, made.training_l1) == ("active", "none", 0, None)
    assert (made.gate.ssim_d, made.gate.ssim_d_limit, made.gate.pairs) == (1.0, 1.0, ())
    limited = SEALED_KEY.model_copy(update={"leak_budget": 7})
    other = create_key(store=root, **NEW | sealed | {"settings": limited}, activate=False)
    assert keys.show(other.key_id).recipe == {"architecture": "none", "leak_budget": 7}
    renewed = renew_secret(store=root, key_id=made.key_id, **WHO)
    first, second = (keys.load(one.key_id, purpose="inspect") for one in (made, renewed))
    assert first.secret != second.secret and first.key_id != second.key_id
    assert keys.show(second.key_id).recovery == "sealed"
    assert prepared_key(keys, "sealed").key_id == other.key_id


@pytest.mark.parametrize(
    ("architecture", "recovery"),
    [("codec", "sealed"), ("none", "keyed"), ("none", "unmixed"), ("resnet", "keyed")],
)
def test_a_generator_that_does_not_serve_the_recovery_is_told_before_any_training(
    root, keys, architecture, recovery
):
    settings = TINY.model_copy(update={"architecture": architecture})
    with pytest.raises(UsageError, match=f"for recovery '{recovery}', got '{architecture}'"):
        create_key(store=root, **NEW | {"settings": settings, "recovery": recovery}, activate=False)
    with pytest.raises(UsageError, match="nothing is trained"):
        pictures = {"settings": SEALED_KEY, "recovery": "sealed", "pictures": "/somewhere"}
        create_key(store=root, **NEW | pictures, activate=False)
    assert keys.list() == []


def test_the_pool_gives_the_key_that_waits_longest(keys):
    assert prepared_key(keys, "keyed") is None
    add(keys, None, "active")
    first, second, unmixed = add(keys), add(keys), codec_key()
    keys.add(unmixed, **WHO, recovery="unmixed")
    assert prepared_key(keys, "keyed").key_id == first.key_id
    assert prepared_key(keys, "unmixed").key_id == unmixed.key_id
    keys.transition(first.key_id, "active", **WHO)
    assert prepared_key(keys, "keyed").key_id == second.key_id
    keys.transition(second.key_id, "destroyed", **WHO)
    assert prepared_key(keys, "keyed") is None


def test_a_loosened_gate_is_said_in_the_log(root, keys):
    key = add(keys, codec_key())
    loose = QUICK.model_copy(update={"foreign_advantage": 0.3, "unmixed_ssim_d": 0.4})
    assert activate_key(store=root, key_id=key.key_id, **WHO, settings=loose).passed
    assert verify_log(keys.log.path)[-1].reason == (
        "test; gate loosened: unmixed_ssim_d 0.4 instead of 0.5, foreign_advantage 0.3 instead of 0.15"
    )
    strict = QUICK.model_copy(update={"foreign_advantage": 0.1, "keyed_ssim_d": 0.9})
    assert strict.loosened() == GateSettings().loosened() == ""
