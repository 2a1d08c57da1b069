"""Recovery drills of galleries with something amiss: what is damaged, lost or refused is named."""

import json
from dataclasses import replace

import numpy as np
import pytest

from avih.errors import IntegrityError, UsageError
from avih.images import encode_png
from avih.keys import KeyStore
from avih.settings import AlignSettings
from avih.shards import iter_samples, read_done, read_rows, write_shard
from small_drill import call, drill, flip, kept, replace_pictures
from tasks import opened
from tasks.drill_record import parse_drill
from tasks.originals import aligned_address
from tasks.recovered_originals import NOTE


def test_what_does_not_come_back_at_all_is_counted_with_the_reason(own):
    smaller = encode_png(np.zeros((16, 16, 3), np.uint8))

    def broken(sample):
        return replace(sample, files={**sample.files, "png": smaller if "_0001-" in sample.key else b"none"})

    changed = replace_pictures(own, broken)
    failed = call(own, "--json")
    assert failed.exit_code == 4
    facts = json.loads(failed.stdout)
    assert set(facts["not_recovered"]) == set(changed) and len(changed) == 4
    reasons = " ".join(facts["not_recovered"].values())
    assert "another size" in reasons and "Expected a stored PNG" in reasons
    assert (facts["compared"], facts["sample"]) == (4, 8)
    assert all(name in call(own).stdout for name in changed)


@pytest.mark.parametrize("ending", ["tar", "parquet", "done.json"])
def test_a_damaged_file_ends_with_3_and_is_named_and_the_others_are_drilled(own, ending):
    path = own.folder() / f"00001.{ending}"
    flip(path, path.stat().st_size // 2)
    failed = call(own, "--json")
    assert failed.exit_code == 3, failed.output
    facts = json.loads(failed.stdout)
    (damage,) = facts["damaged"]
    assert damage["shard"] == f"4_protected/people/{own.key_id}/v0001/00001"
    assert path.name in damage["problem"] and facts["compared"] == 4
    assert facts["passed"] is False and kept(own).damaged
    assert path.name in " ".join(call(own).stderr.split())


def test_a_missing_file_and_a_damaged_original_are_damage_too(own):
    (own.folder() / "00000.tar").unlink()
    address = aligned_address(own.place(), 1)
    path = own.store.shard(address, "tar")
    flip(path, 2000)
    found = drill(own)
    assert [one.shard[-5:] for one in found.damaged] == ["00000", "00001"]
    assert "00001.tar" in found.damaged[1].problem and found.compared == 0
    assert found.mean_ssim_d is None and not found.passed


def test_without_originals_there_is_nothing_to_compare_with(own):
    for path in own.store.folder("aligned", gallery="people", version="v0001").iterdir():
        path.unlink()
    failed = call(own, "--json")
    assert failed.exit_code == 2 and "they were not kept" in failed.stderr and not failed.stdout
    assert kept(own) is None


def test_originals_that_are_recovered_pictures_are_told(own):
    address = aligned_address(own.place(), 0)
    done, rows = read_done(own.store, address), read_rows(own.store, address)
    write_shard(store=own.store, address=address, samples=list(iter_samples(own.store, address)),
                rows=rows.assign(note=f"{NOTE}, SSIM_d 0.950"), settings=AlignSettings(**done.settings),
                inputs_sha256=done.inputs_sha256)  # fmt: skip
    shown = call(own)
    assert shown.exit_code == 0 and "4 of the originals are themselves recovered" in shown.stderr
    assert kept(own).stand_ins == 4


def test_a_key_that_may_not_recover_and_a_wrong_passphrase_end_with_3(own, monkeypatch):
    monkeypatch.setenv("AVIH_PASSPHRASE", "another horse battery staple")
    wrong = call(own)
    assert wrong.exit_code == 3 and "passphrase" in wrong.stderr
    monkeypatch.undo()
    opened.forget()
    keys = KeyStore(own.store.keys)
    for state in ("deactivated", "destroyed"):
        keys.transition(own.key_id, state, actor="test", reason="test")
        code = call(own).exit_code
        assert code == (0 if state == "deactivated" else 3)  # a deactivated key still recovers


def test_an_unfinished_version_is_not_drilled(own):
    (own.folder() / "manifest.json").unlink()
    with pytest.raises(UsageError, match="finished version"):
        drill(own)
    with pytest.raises(UsageError, match="threshold of -1 to 1"):
        drill(own, threshold=2.0)


def test_a_record_of_another_version_is_none(own):
    record = drill(own)
    content = record.model_dump(mode="json")
    assert parse_drill(content, gallery="people", version="v0001") == record
    for place in ({"gallery": "people", "version": "v0002"}, {"gallery": "staff", "version": "v0001"}):
        with pytest.raises(IntegrityError, match="another version's"):
            parse_drill(content, **place)
    with pytest.raises(IntegrityError):
        parse_drill(content | {"more": 1}, gallery="people", version="v0001")
