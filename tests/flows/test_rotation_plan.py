"""What may happen to a gallery while a rotation is interrupted or waits for a yes: no key that is in use ends."""

import json

import pytest

from avih.errors import AvihError, IntegrityError, KeyRefused, UsageError
from avih.keys import KeyStore, Passphrase, new_secret
from avih.naming import Store
from avih.settings import SEALED_KEY
from flows.approval import NotApproved
from rotations import history, nightly, pictures, rotate, states
from small_rotation import ATTACK
from tasks.rotation import give_up
from tasks.rotation_key import prepared_for, rotation_key
from tasks.rotation_plan import RotationPlan, RotationPolicy, read_plan, save_plan


def plan_of(made) -> RotationPlan:
    plan = read_plan(Store(made.store), "people")
    assert plan is not None
    return plan


def drop(made) -> None:
    give_up(store=str(made.store), plan=plan_of(made), actor="test", reason="given up")


def a_new_photo(made) -> None:
    from avih.datasets.synthetic import SyntheticFaces

    SyntheticFaces(persons=1, photos_per_person=1, first_person=61).write(made.source)


def failing(*_: object, **__: object) -> None:
    raise OSError("the disk is full")


def test_a_yes_after_somebody_else_finished_the_rotation_changes_nothing(small, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("flows.rotate.wait_for_approval", lambda **_: rotate(small))
        with pytest.raises(AvihError, match="got none: it was finished or given up"):
            rotate(small, approve="ask")
    live = history(small).current
    assert live.version == "v0002" and states(small)[live.key_id] == "active"
    assert states(small)[small.result.key_id] == "deactivated"


def test_a_yes_after_the_rotation_was_given_up_changes_nothing(small, monkeypatch):
    monkeypatch.setattr("flows.rotate.wait_for_approval", lambda **_: drop(small))
    with pytest.raises(AvihError, match="Nothing was changed"):
        rotate(small, approve="ask")
    assert history(small).current.version == "v0001"
    assert states(small)[small.result.key_id] == "active"


def test_a_schedule_does_not_say_the_yes_that_a_person_is_asked_for(small):
    with pytest.raises(NotApproved):
        rotate(small, approve="ask")
    done = rotate(small, only_if_due=True, policy=RotationPolicy(budget_share=1e-6))
    assert not done.rotated and "v0002 waits for a yes" in done.notes[0] and done.due
    assert history(small).current.version == "v0001" and plan_of(small).approve == "ask"


def test_what_is_live_is_not_given_up_and_a_night_in_between_does_no_harm(small, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("flows.rotate.finish_rotation", failing)
        with pytest.raises(OSError, match="disk"):
            rotate(small)
    plan = plan_of(small)
    with pytest.raises(UsageError, match="run avih rotate to finish it"):
        drop(small)
    assert states(small)[plan.new_key] == "active"
    save_plan(
        Store(small.store), plan.model_copy(update={"approve": "ask"})
    )  # so that the night leaves it alone
    a_new_photo(small)
    assert nightly(small).version == "v0003" and history(small).current.key_id == plan.new_key
    assert rotate(small).rotated
    assert states(small) == {plan.old_key: "deactivated", plan.new_key: "active"}
    assert history(small).current.version == "v0003"


def test_a_night_takes_neither_the_name_nor_the_pictures_of_an_interrupted_rotation(small, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("flows.rotate.make_version", failing)
        with pytest.raises(OSError, match="disk"):
            rotate(small, approve="ask")
    plan = plan_of(small)
    a_new_photo(small)
    night = nightly(small)
    assert (plan.version, night.version, night.made.key_id) == ("v0002", "v0003", small.result.key_id)
    with pytest.raises(AvihError, match="given up; rotate again"):
        rotate(small)
    assert states(small) == {small.result.key_id: "active", plan.new_key: "deactivated"}


def test_a_rerun_is_judged_as_the_first_run_was_asked_to(small):
    strict = ATTACK.model_copy(update={"pass_ssim_advantage": 0.99})
    with pytest.raises(NotApproved):
        rotate(small, approve="ask", attack=strict, policy=RotationPolicy(keep_versions=0))
    done = rotate(small, attack=None, gate=None)
    assert plan_is_gone(small) and Store(small.store).versions("people") == ["v0002"]
    assert pictures(small, "v0002", done.new_key).shape[0]
    attack = json.loads((small.store / "6_attacked/people/v0002/attack.json").read_text())
    assert attack["settings"]["pass_ssim_advantage"] == 0.99


def plan_is_gone(made) -> bool:
    return read_plan(Store(made.store), "people") is None


def test_a_prepared_key_serves_one_rotation_and_ends_with_none_that_needs_it(small):
    from tasks.create_key import renew_secret

    store, old = Store(small.store), small.result.key_id
    key_id = renew_secret(store=str(small.store), key_id=old, actor="test", reason="pool").key_id
    recovery = KeyStore(store.keys).show(key_id).recovery
    plans = [
        RotationPlan(gallery=gallery, old_version="v0001", old_key=old, recovery=recovery, version="v0002",
                     new_key=key_id, reason="test", began="2026-01-01T00:00:00+00:00")
        for gallery in ("people", "others")
    ]  # fmt: skip
    (store.gallery_root("index", "others") / "v0001").mkdir(parents=True)
    assert prepared_for(store, plans[0]) == key_id
    save_plan(store, plans[1])
    assert prepared_for(store, plans[0]) is None
    save_plan(store, plans[0])
    drop(small)
    assert KeyStore(store.keys).show(key_id).state == "pre_activation"


def test_a_prepared_key_that_does_not_open_is_passed_over_and_left_for_another(small, monkeypatch):
    store, old = Store(small.store), small.result.key_id
    sealed = KeyStore(store.keys).load(old, purpose="inspect")
    with monkeypatch.context() as earlier:  # as an avih that did not open the vault first has added it
        earlier.setattr("avih.keys.store.require_passphrase", lambda *_: None)
        recovery = KeyStore(store.keys).show(old).recovery
        foreign = KeyStore(store.keys, Passphrase(b"the passphrase of before"))
        lost = foreign.add(new_secret(sealed), actor="test", reason="pool", recovery=recovery).key_id
    plan = RotationPlan(gallery="people", old_version="v0001", old_key=old, recovery=recovery, version="v0002",
                        new_key=lost, reason="test", began="2026-01-01T00:00:00+00:00")  # fmt: skip
    save_plan(store, plan)  # and a rotation has taken it
    assert prepared_for(store, plan) is None
    chosen = rotation_key(
        store=str(small.store), plan=plan, settings=SEALED_KEY, template="112x96", actor="test"
    )
    assert chosen.new_key not in (lost, old) and plan_of(small) == chosen
    assert states(small) == {old: "active", lost: "pre_activation", chosen.new_key: "pre_activation"}
    monkeypatch.setenv("AVIH_PASSPHRASE", "a mistyped passphrase")
    with pytest.raises(KeyRefused, match="Expected the passphrase of this store"):
        prepared_for(store, chosen)  # nothing is passed over for a wrong passphrase


def test_a_plan_that_nobody_signed_is_refused(small):
    store = Store(small.store)
    save_plan(store, RotationPlan(gallery="people", old_version="v0001", old_key="0" * 16, recovery="keyed",
                                  version="v0002", reason="test", began="2026-01-01T00:00:00+00:00"))  # fmt: skip
    plan = json.loads(store.rotation("people").read_text())
    plan.pop("hmac_sha256")
    store.rotation("people").write_text(json.dumps(plan))
    with pytest.raises(IntegrityError, match="damaged"):
        rotate(small)
