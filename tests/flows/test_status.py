"""``avih status`` of real stores: what is known is told, what is not is called so, and nothing is changed."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from avih.erasing import sign_again
from avih.keys import KeyStore
from small_audit import tiny_lab
from small_methods import Gallery
from small_status import call, facts, fail_flow, people, read
from tasks import opened
from tasks.drill_gallery import drill_gallery
from tasks.drill_record import drill_path
from tasks.status_parts import days_since, read_drilled
from unorchestrated import without_prefect


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def drill(gallery: Gallery, *, threshold: float = 0.88):
    return drill_gallery(place=gallery.place(), key_id=gallery.key_id, recovery="inverse", sample=4,
                         threshold=threshold)  # fmt: skip


def no_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AVIH_PASSPHRASE")
    monkeypatch.delenv("AVIH_KEY_FILE", raising=False)


def test_an_empty_store_is_told_and_none_is_refused(tmp_path):
    shown = call(tmp_path, "--json")
    assert shown.exit_code == 0
    found = json.loads(shown.stdout)
    assert (found["galleries"], found["alerts"], found["problems"]) == ([], [], [])
    assert found["disk"]["free"] > 0 and found["signatures"] == "unchecked"
    assert "galleries: 0" in call(tmp_path).stdout and list(tmp_path.iterdir()) == []
    missing = call(tmp_path / "nowhere", "--json")
    assert missing.exit_code == 2 and "got no such folder" in missing.stderr and not missing.stdout
    assert not (tmp_path / "nowhere").exists()


def test_a_live_gallery_is_told_whole_and_not_changed(own):
    with tiny_lab():
        from flows.audit_gallery import audit_gallery_flow

        with without_prefect():
            audit_gallery_flow.fn(store=str(own.store.root), gallery="people")
    drilled = drill(own)
    before = contents(own.store.root)
    found = facts(own)
    assert contents(own.store.root) == before
    assert (found["signatures"], found["why_unchecked"], found["problems"]) == ("checked", "", [])
    (gallery,) = found["galleries"]
    live, key = gallery["live"], gallery["key"]
    assert (live["version"], live["key_id"], live["signature"]) == ("v0001", own.key_id, "checked")
    assert (live["age_days"], live["images"]) == (0, {"below_quality": 8})
    assert [(one["version"], one["state"], one["photos"]) for one in gallery["versions"]] == [
        ("v0001", "current", 8)
    ]
    assert (key["state"], key["recovery"], key["age_days"]) == ("active", "inverse", 0)
    assert key["budget_used"] == 8 and key["budget_limit"] >= 8
    last = gallery["last_drill"]
    assert (last["version"], last["passed"], last["sample"], last["signature"]) == (
        "v0001",
        True,
        4,
        "checked",
    )
    assert (last["time"], last["age_days"], last["mean_ssim_d"], last["failed"]) == (drilled.time, 0, 1.0, 0)
    audit = gallery["last_audit"]
    assert (audit["verdict"], audit["profile"], audit["signature"]) == ("attack too weak", "quick", "checked")
    assert gallery["lock"]["state"] == "free" and gallery["problems"] == gallery["waiting"] == []
    assert gallery["last_night"] is gallery["last_rotation"] is gallery["rotation"] is None
    used = found["disk"]["used"]
    files = [path for path in (own.store.root / "4_protected").rglob("*") if path.is_file()]
    assert used["4_protected"] == sum(path.stat().st_size for path in files) > 0
    assert {"1_index", "2_aligned", "3_keys", "4_protected", "5_evaluated", "7_audited", "mlflow"} <= set(
        used
    )


def test_people_read_the_same_in_a_table_without_colours_in_a_pipe(own):
    drill(own)
    fail_flow(own, "nightly-reprotect", "IntegrityError: [a stored] file")
    text = call(own.store.root).stdout
    words = " ".join(text.replace("│", " ").split())
    for told in (
        "v0001 current", "passed", own.key_id, "8 of", "0 protected, 0 failed, 0 skipped, 8 below quality",
        "IntegrityError: [a stored] file", "free on the disk", "temporary files none",
    ):  # fmt: skip
        assert told in words, told
    assert "\x1b[" not in text


def test_without_a_passphrase_what_is_signed_is_unchecked_and_nobody_is_asked(own, monkeypatch):
    drill(own)
    no_passphrase(monkeypatch)
    asked = subprocess.run(
        [sys.executable, "-c", "from flows.cli.main import main; main()", "status", "--json", "--store",
         str(own.store.root)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    found = json.loads(asked.stdout)
    assert found["signatures"] == "unchecked" and "AVIH_PASSPHRASE" in found["why_unchecked"]
    (gallery,) = found["galleries"]
    assert gallery["live"]["signature"] == gallery["last_drill"]["signature"] == "unchecked"
    assert gallery["live"]["images"] == {"below_quality": 8} and gallery["key"]["state"] == "active"
    read = call(own.store.root)
    assert "signatures are unchecked" in read.stderr and "unchecked" in read.stdout


def test_a_wrong_passphrase_is_told_and_checks_nothing(own, monkeypatch):
    monkeypatch.setenv("AVIH_PASSPHRASE", "another horse battery staple")
    found = facts(own)
    assert found["signatures"] == "unchecked" and found["why_unchecked"]
    assert found["galleries"][0]["live"]["version"] == "v0001"


def test_an_altered_drill_is_not_believed(own, monkeypatch):
    drill(own)
    path = drill_path(own.store, gallery="people", version="v0001")
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"sample": 8, "passed": True}))
    found = people(own)
    (problem,) = found["problems"]
    assert found["last_drill"] is None and "summary.json" in problem and "altered" in problem
    assert "PROBLEMS" in read(own)
    path.write_text(json.dumps(content | {"version": "v0002"}))
    no_passphrase(monkeypatch)
    found = people(own)
    assert found["last_drill"] is None and "another version's" in found["problems"][0]
    path.write_text("{")
    assert "damaged" in people(own)["problems"][0]


def test_altered_promotions_are_not_believed(own, monkeypatch):
    path = own.store.current("people")
    path.write_text(path.read_text().replace('"reason": "', '"reason": "rotation: '))
    found = people(own)
    assert found["live"] is None and found["last_rotation"] is None and "altered" in found["problems"][0]
    assert found["key"]["key_id"] == own.key_id  # the newest version's
    no_passphrase(monkeypatch)
    found = people(own)
    assert found["live"]["signature"] == "unchecked" and found["last_rotation"]["outcome"] == "went live"


def test_an_older_manifest_in_place_of_the_promoted_one_is_a_problem(own):
    for path in own.folder().glob("00001.*"):
        path.unlink()
    sign_again(store=own.store, gallery="people", version="v0001", key_id=own.key_id, numbers=[0],
               mac_key=opened.vault(own.store.root).mac_key())  # fmt: skip
    found = people(own)
    assert found["live"]["images"] is None and "went live" in found["problems"][0]


def test_a_failed_drill_says_so_with_its_age(own):
    drill(own, threshold=1.0)
    path = own.folder() / "00001.tar"
    path.write_bytes(path.read_bytes()[:-512])
    assert not drill_gallery(place=own.place(), key_id=own.key_id, recovery="inverse", sample=8,
                             threshold=0.5).passed  # fmt: skip
    last = people(own)["last_drill"]
    assert (last["passed"], last["damaged"]) == (False, 1)
    assert "FAILED" in read(own)
    mac_key = opened.vault(own.store.root).mac_key()
    later = datetime.now(UTC) + timedelta(days=40, hours=1)
    found = read_drilled(store=own.store, gallery="people", version="v0001", mac_key=mac_key, now=later)
    assert found.age_days == 40


def test_alerts_that_cannot_be_read_are_a_problem_of_the_store(own):
    own.store.alerts.mkdir()
    (own.store.alerts / "notes.json").write_text("{}")
    found = facts(own)
    assert "notes.json" in found["problems"][0] and found["galleries"][0]["live"]["version"] == "v0001"


def test_a_key_s_state_and_an_erasure_cut_short_are_told(own):
    KeyStore(own.store.keys).transition(own.key_id, "compromised", actor="test", reason="test")
    journal = own.store.erased("people").with_name("erasing.json")
    journal.write_text("{}")
    found = people(own)
    assert found["key"]["state"] == "compromised" and "erasure was cut short" in found["problems"][0]
    budget = own.store.keys / f"{own.key_id}.budget.json"
    count = budget.read_text()
    budget.write_text(count.replace(": 4", ": 1"))
    found = people(own)
    assert found["key"] is None and "altered" in found["problems"][0]
    budget.write_text(count)
    (own.store.keys / f"{own.key_id}.json").write_text("{}")
    found = people(own)
    assert found["key"] is None and found["live"]["version"] == "v0001" and len(found["problems"]) == 2


def test_ages_are_whole_days_and_what_is_no_time_has_none():
    now = datetime(2026, 3, 10, 12, tzinfo=UTC)
    assert days_since("2026-03-08T13:00:00+00:00", now) == 1
    assert days_since("2026-03-09T12:00:00", now) == 1
    assert days_since("2026-03-11T12:00:00+00:00", now) == 0  # a clock that was set back
    assert days_since("yesterday", now) is days_since(None, now) is None


def test_a_folder_that_is_no_gallery_of_ours_does_not_end_the_command(own):
    (own.store.root / "1_index" / "staff" / "v0001").mkdir(parents=True)
    found = facts(own)
    assert [one["gallery"] for one in found["galleries"]] == ["people", "staff"]
    staff = found["galleries"][1]
    assert staff["live"] is None and staff["versions"] == [] and "no index" in staff["problems"][0]
