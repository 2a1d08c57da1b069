"""Other methods than AVIH through the whole flow: the block cipher and flipped pictures; and their settings."""

import numpy as np
import pytest

from avih.errors import UsageError
from avih.images import decode_png
from avih.keys import LeakBudget
from avih.settings import ProtectSettings, preset
from small_methods import made, settings_of


def test_the_encrypted_gallery_comes_back_exactly_and_does_not_go_live(tmp_path):
    gallery = made(tmp_path, settings_of("lie"), enforce_limits=False)
    result = gallery.result
    assert not result.live and sum(result.counts.values()) == 8
    assert any("cos" in reason for reason in result.reasons)
    assert any("trained anew" in note for note in result.summary.notes)
    pictures, refused = gallery.recovered(tmp_path / "out")
    originals = gallery.originals()
    assert not refused and all(np.array_equal(originals[name], picture) for name, picture in pictures.items())
    assert result.summary.metrics["wrong_key_ssim_d"] < 0.15
    assert LeakBudget(gallery.store.keys, gallery.key_id).limit() == 20_000


def test_flipped_pictures_come_back_exactly_from_their_sealed_copies(tmp_path):
    gallery = made(tmp_path, settings_of("veil_privacy", steps=3, learning_rate=0.03), enforce_limits=False)
    samples, originals = gallery.samples(), gallery.originals()
    assert sum(gallery.result.counts.values()) == len(samples) == 8
    assert {frozenset(files) for files in samples.values()} == {frozenset({"png", "json", "sealed"})}
    pictures, refused = gallery.recovered(tmp_path / "out")
    assert not refused and all(np.array_equal(originals[name], picture) for name, picture in pictures.items())
    # What is stored are flips of the original, a few steps on: about half of the values are on the other side.
    for name, files in samples.items():
        flipped = np.abs(decode_png(files["png"]).astype(int) - originals[name]) > 8
        assert 0.3 < flipped.mean() < 0.6
    assert any("SSIM_e" in reason or "cos" in reason for reason in gallery.result.reasons)
    for path in gallery.folder().glob("00001.*"):
        path.unlink()
    gallery.run(enforce_limits=False)
    assert gallery.samples() == samples


def test_a_method_has_its_own_recovery_and_options():
    assert preset("fast", recovery="veil").protect.method == "person_veil"
    assert preset("fast", recovery="inverse").protect.method == "lie"
    for wrong in (
        {"recovery": "keyed"},
        {"key_steps": 4},
        {"options": {"photos_per_veil": 0}},
        {"options": {"blur": 1}},
    ):
        with pytest.raises(UsageError):
            preset("fast", method="person_veil", **wrong)
    for wrong in ({"method": "itp"}, {"method": "blur"}, {"options": {"photos_per_veil": 2}}):
        with pytest.raises(UsageError):
            preset("fast", **wrong)
    with pytest.raises(UsageError):
        preset("paper", method="lie")
    with pytest.raises(ValueError, match="has no rule"):
        ProtectSettings(method="lie", recovery="inverse", rule="decaying")
    with pytest.raises(ValueError, match="recoveries"):
        ProtectSettings(recovery="veil")
