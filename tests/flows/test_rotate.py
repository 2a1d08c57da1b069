"""Key rotation through the real flow: new key, gate, protect again, attack check, promote, retire, tidy up."""

import json

import pandas as pd
import pytest

from avih.attack.settings import AttackSettings
from avih.errors import AvihError, IntegrityError, KeyRefused, QualityBelowLimits
from avih.evaluation.metrics import ssim
from avih.key_gate import GateSettings
from avih.naming import Store
from flows.approval import NotApproved
from rotations import history, is_whole, nightly, pictures, rotate, states
from small_rotation import ATTACK
from tasks import opened
from tasks.originals import iter_originals
from tasks.rotation_plan import RotationPolicy, read_plan

TOO_WEAK = ATTACK.model_copy(update={"control_ssim_advantage": 1.0})


def test_a_rotation_gives_new_key_new_nonces_and_retires_the_old_key(copy, monkeypatch):
    # The originals are sealed in the store: a rotation must not need the source.
    (copy.source).rename(copy.source.with_name("gone"))
    done = rotate(copy)
    assert (done.rotated, done.version, done.old_key) == (True, "v0002", copy.result.key_id)
    assert states(copy) == {done.old_key: "deactivated", done.new_key: "active"}
    assert (history(copy).current.version, history(copy).current.key_id) == ("v0002", done.new_key)
    old, new = pictures(copy, "v0001", done.old_key), pictures(copy, "v0002", done.new_key)
    assert list(old.index) == list(new.index) and list(old.status) == list(new.status)
    assert not set(old.nonce.dropna()) & set(new.nonce.dropna())
    assert not set(old.file_sha256.dropna()) & set(new.file_sha256.dropna())
    assert is_whole(copy, "v0001", done.old_key) and is_whole(copy, "v0002", done.new_key)
    assert done.attack_check.verdict == done.verdict == "pass"
    assert not (copy.store / "4_protected/people/rotation.json").exists()
    assert set(done.attack_check.model_dump()) >= {
        "prior",
        "control",
        "old_key",
        "new_key",
        "same_key_other_images",
    }


def test_the_night_after_a_rotation_goes_on_with_the_new_key(small):
    from avih.datasets.synthetic import SyntheticFaces

    done = rotate(small)
    SyntheticFaces(persons=1, photos_per_person=1, first_person=61).write(small.source)
    night = nightly(small)
    assert (night.version, night.added, night.made.key_id) == ("v0003", 1, done.new_key)
    before, after = pictures(small, "v0002", done.new_key), pictures(small, "v0003", done.new_key)
    kept = before.file_sha256.dropna()
    assert after.file_sha256[kept.index].equals(kept)


def test_old_versions_go_by_policy_and_a_rollback_target_stays(small):
    audited = small.store / "7_audited/people"
    (audited / "v0001").mkdir(parents=True)
    (audited / "of-the-gallery").touch()
    rotate(small)
    done = rotate(small)
    assert [path.name for path in audited.iterdir()] == ["of-the-gallery"]
    assert done.version == "v0003" and Store(small.store).versions("people") == ["v0002", "v0003"]
    assert not list((small.store / "4_protected/people" / small.result.key_id).glob("v0001"))
    assert rotate(small, policy=RotationPolicy(keep_versions=0)).version == "v0004"
    assert Store(small.store).versions("people") == ["v0004"]


def test_a_compromised_key_is_marked_at_once_and_none_of_its_versions_stays(small):
    done = rotate(small, compromised=True, reason="laptop stolen")
    assert states(small)[done.old_key] == "compromised"
    assert Store(small.store).versions("people") == ["v0002"]
    log = (small.store / "3_keys/log.jsonl").read_text()
    assert "laptop stolen" in log


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        (TOO_WEAK, "attack check: attack too weak"),
        (
            ATTACK.model_copy(update={"pass_ssim_advantage": -1, "fail_ssim_advantage": -1}),
            "attack check: fail",
        ),
        (ATTACK.model_copy(update={"pass_ssim_advantage": -1}), "attack check: warn"),
    ],
    ids=["too weak", "fail", "warn"],
)
def test_what_does_not_pass_does_not_go_live(small, attack: AttackSettings, told: str):
    with pytest.raises(QualityBelowLimits, match=rf"{told}\. v0001 keeps serving"):
        rotate(small, attack=attack)
    assert history(small).current.version == "v0001"
    assert states(small)[small.result.key_id] == "active"
    assert sorted(states(small).values()) == ["active", "deactivated"]
    assert read_plan(Store(small.store), "people") is None
    assert nightly(small).changed_anything is False


def test_a_new_key_that_fails_the_gate_never_becomes_active(copy):
    with pytest.raises(KeyRefused, match="v0001 keeps serving"):
        rotate(copy, gate=GateSettings(images=2, steps=2, keyed_ssim_d=1.0))
    assert sorted(states(copy).values()) == ["active", "destroyed"]
    assert history(copy).current.version == "v0001"


def test_nothing_is_rotated_before_it_is_due(copy):
    assert rotate(copy, only_if_due=True).rotated is False
    assert list(states(copy).values()) == ["active"]
    used_up = RotationPolicy(budget_share=1e-6)
    done = rotate(copy, only_if_due=True, policy=used_up)
    assert done.rotated and "of its budget of" in done.due[0]


def test_waiting_for_a_yes_keeps_the_old_version_and_a_rerun_goes_on(small):
    with pytest.raises(NotApproved, match="waits for a yes"):
        rotate(small, approve="ask")
    assert history(small).current.version == "v0001"
    plan = read_plan(Store(small.store), "people")
    prepared = pictures(small, "v0002", plan.new_key)
    done = rotate(small, approve="auto")
    assert (done.version, done.new_key) == ("v0002", plan.new_key)
    assert pictures(small, "v0002", done.new_key).file_sha256.equals(prepared.file_sha256)


def test_a_night_finishes_an_interrupted_rotation_first(small, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("flows.rotate.go_live", failing)
        with pytest.raises(OSError, match="disk"):
            rotate(small)
    plan = read_plan(Store(small.store), "people")
    assert history(small).current.version == "v0001"
    monkeypatch.setattr("flows.nightly.rotate_keys", lambda **_: rotate(small))
    assert nightly(small).changed_anything is False
    assert history(small).current.key_id == plan.new_key


def failing(*_: object, **__: object) -> None:
    raise OSError("the disk is full")


def test_the_nights_go_on_while_a_rotation_waits_which_is_then_too_old(small):
    from avih.datasets.synthetic import SyntheticFaces

    with pytest.raises(NotApproved):
        rotate(small, approve="ask")
    assert nightly(small).changed_anything is False
    SyntheticFaces(persons=1, photos_per_person=1, first_person=61).write(small.source)
    night = nightly(small)
    assert (night.version, night.made.key_id) == ("v0003", small.result.key_id)
    with pytest.raises(AvihError, match="given up; rotate again"):
        rotate(small)
    assert history(small).current.version == "v0003"
    assert rotate(small).version == "v0004" == history(small).current.version


def test_a_key_that_another_gallery_uses_stays_active(copy):
    copy.run(gallery="others")
    done = rotate(copy)
    assert states(copy)[done.old_key] == "active"
    assert any("others still uses it" in note for note in done.notes)


def test_without_sealed_originals_the_recovered_ones_take_their_place(copy):
    originals = {n: x for number in copy.shards for n, x in iter_originals(copy.place, number)}
    for path in (copy.store / "2_aligned/people/v0001").iterdir():
        path.unlink()
    with pytest.raises(IntegrityError, match="--from recovered"):
        rotate(copy)
    done = rotate(copy, origin="recovered")
    place = copy.place.model_copy(update={"version": done.version})
    back = {n: x for number in copy.shards for n, x in iter_originals(place, number)}
    assert back.keys() == originals.keys()
    assert min(ssim(originals[name], back[name]) for name in back) > 0.88
    aligned = [pd.read_parquet(p) for p in (copy.store / "2_aligned/people" / done.version).glob("*.parquet")]
    notes = pd.concat(aligned).query("status == 'aligned'").note
    assert notes.str.contains("recovered from a protected picture, SSIM_d 0.9").all()


def test_no_secret_of_either_key_is_in_prefect_mlflow_or_the_attack_s_files(copy):
    import os
    from pathlib import Path

    done = rotate(copy)
    needles = {}
    for key_id in (done.old_key, done.new_key):
        key, _ = opened.key(copy.store, key_id=key_id, purpose="recover")
        needles |= {f"secret of {key_id}": key.secret.reveal(),
                    f"hex of {key_id}": key.secret.reveal().hex().encode(),
                    f"seed of {key_id}": str(key.training_seed).encode(),
                    f"weights of {key_id}": key.generator_bytes[-200:]}  # fmt: skip
    for name, picture in iter_originals(copy.place, 0):
        needles[f"pixels of {name}"] = picture[50:54].tobytes()
    searched = 0
    for home in (copy.store, Path(os.environ["PREFECT_HOME"])):
        for path in (p for p in home.rglob("*") if p.is_file() and "owner" not in p.parts):
            data = path.read_bytes()
            assert not [what for what, needle in needles.items() if needle in data], path
            searched += 1
    assert searched > 30
    attack = json.loads((copy.store / "6_attacked/people" / done.version / "attack.json").read_text())
    assert attack["result"]["verdict"] == done.verdict
