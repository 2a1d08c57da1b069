"""Defences on a small gallery: hidden in memory, judged by the lab, and measured for their owner."""

import json
from pathlib import Path

import numpy as np
import pytest

from avih.errors import UsageError
from avih.lab.rehearsal import rehearse
from avih.settings import preset
from benchmarks import defences
from benchmarks.defences import DEFENCES, Defence, judged, main
from small_attack import small_faces
from small_audit import light_gallery
from small_lab import SMALL, Service, subject


@pytest.mark.parametrize("name", DEFENCES)
def test_every_defence_can_be_set(name: str):
    settings = DEFENCES[name].settings()
    assert settings.protect.method == DEFENCES[name].method.get("method", "avih")
    assert (settings.key.width, settings.key.blocks) == (32, 4) or not DEFENCES[name].key


def test_a_weak_way_falls_and_its_owner_gets_everything_back():
    like = subject("lie", "inverse")
    figures, result = judged(
        Defence("linear", {"method": "lie"}, ("same_key_network",)), small_faces(), like, settings=SMALL
    )
    assert figures["ssim_d"] == pytest.approx(1, abs=0.02) and figures["ssim_e"] < 0.5
    assert -1 <= figures["cos_worst"] <= figures["cos"] <= 1 and figures["seconds_per_photo"] > 0
    assert [one.name for one in result.attacks] == ["same_key_network"]
    assert {one.name: one.ok for one in result.controls}["owner's key"]


def test_alone_no_two_photos_share_a_veil():
    faces = small_faces()
    recipe = preset("fast", method="person_veil", options={"steps": 2, "photos_per_veil": 6})
    spread = {}
    for alone in (False, True):
        hidden = rehearse(
            faces,
            recogniser=Service(),
            protect=recipe.protect,
            key=recipe.key,
            data="drawn faces",
            alone=alone,
        ).pairs
        assert (hidden.images, hidden.persons) == (faces.images, faces.persons)
        alpha = recipe.protect.options["alpha"]
        under = hidden.protected.astype(float) - alpha * faces.originals  # (1 - alpha) d, up to rounding
        first = [row for row, person in enumerate(faces.persons) if person == faces.persons[0]]
        spread[alone] = float(np.ptp(under[first], axis=0).mean())
    assert spread[False] <= 1 + 1e-6 < 30 < spread[True]


def test_a_command_prints_what_it_found(tmp_path: Path, capsys, monkeypatch):
    gallery = light_gallery(tmp_path)
    monkeypatch.setattr(defences, "lab_settings", lambda name: SMALL)
    linear = Defence("linear", {"method": "lie"}, ("classical",))
    monkeypatch.setattr(defences, "DEFENCES", {"linear": linear})
    assert main(["people", "--store", str(gallery.store.root), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (one,) = found["defences"]
    assert one["defence"] == "linear" and one["result"]["attacks"][0]["name"] == "classical"
    assert main(["nobody", "--store", str(gallery.store.root)]) == 2
    assert "nobody" in capsys.readouterr().err


def test_an_unknown_profile_is_refused_before_anything_is_hidden():
    with pytest.raises(UsageError, match="quick or full"):
        defences.lab_settings("huge")
