from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import binom
from torch import nn
from torch.nn import functional

from avih.evaluation.metrics import ssim
from avih.images import to_pixels, to_tensor
from avih.lab.attack import Finding, Guess
from avih.lab.attacks import recogniser_side
from avih.lab.settings import LabLimits
from avih.lab.subject import Subject
from avih.lab.tools.inversion import Canvas, DeepPrior, features_of, fit
from avih.lab.verdict import named_level
from avih.settings import KeySettings
from small_attack import small_faces as drawn_faces
from small_lab import SMALL, lab_of, protect_settings

SETTINGS = SMALL.model_copy(update={"fit_pictures": 4, "fit_steps": 60})


@cache
def small_faces():
    return drawn_faces()


class Blurred(nn.Module):
    """A recogniser whose features are the blurred picture: it tells nearly all."""

    card = SimpleNamespace(feature_size=3 * 14 * 12, name="blurred")

    def forward(self, images):
        small = functional.adaptive_avg_pool2d(images, (14, 12)).flatten(1)
        return functional.normalize(small - small.mean(dim=1, keepdim=True), dim=1)


def noise(count, seed):
    return np.random.default_rng(seed).integers(0, 256, size=(count, 56, 48, 3), dtype=np.uint8)


def subject_of(protected, *, pairs=None):
    pairs = pairs or small_faces()
    return Subject(
        gallery="people", version="v0001", pairs=pairs.with_inputs(protected), nonces=("",) * len(pairs),
        others=None, recogniser=Blurred(), protect=protect_settings("avih", "sealed"),
        key=KeySettings(architecture="none"), generator=None, recover=lambda names, pictures: pictures,
        data="drawn faces",
    )  # fmt: skip


def lab_with(protected, again=None, *, pairs=None):
    """A lab on which hiding again is as cheap as the stored pictures themselves."""
    lab = lab_of(subject_of(protected, pairs=pairs), SETTINGS)
    hidden = lab.subject.pairs.with_inputs(protected if again is None else again)
    key = SimpleNamespace(secret=bytes(32), stored={})

    def hide(chosen):
        for image, pixels in zip(chosen.images, hidden.named(chosen.images).protected, strict=True):
            key.stored[image] = SimpleNamespace(pixels=pixels, nonce="")

    key.hide = hide
    return replace(lab, scheme=SimpleNamespace(key=lambda number: key, cheap=False))


@pytest.fixture(scope="module")
def open_results():
    """The faces themselves; and the faces under a constant mask, with another mask after the change of key."""
    faces = small_faces().originals
    masks = noise(2, 1).astype(int)
    stored, again = (((faces.astype(int) + mask) // 2).astype(np.uint8) for mask in masks)
    masked = lab_with(stored, again)
    rest = [*recogniser_side._linked(masked), *recogniser_side.named_by_labels(masked)]
    return list(recogniser_side.run(lab_with(faces))), rest


@pytest.fixture(scope="module")
def closed_results():
    """Noise in place of every picture: there is nothing to find."""
    return list(recogniser_side.run(lab_with(noise(48, 2), noise(48, 3))))


def guesses(results):
    return {one.label: one for one in results if isinstance(one, Guess)}


def findings(results):
    return {one.label: one for one in results if isinstance(one, Finding)}


def advantage(guess):
    """SSIM over the best of the blind guesses."""

    def mean(pictures):
        return np.mean([ssim(a, b) for a, b in zip(pictures, guess.targets.originals, strict=True)])

    return mean(guess.pictures) - max(mean(blind) for blind in guess.blind)


def test_features_that_tell_all_are_turned_into_faces(open_results):
    faces, _ = open_results
    assert set(guesses(faces)) == {"decoder from features", "pictures fitted to features"}
    for guess in guesses(faces).values():
        assert advantage(guess) > 0.06, guess.label
        assert guess.kind is None  # the attack's own: by design


def test_features_of_noise_tell_nothing(closed_results):
    for guess in guesses(closed_results).values():
        assert advantage(guess) < 0.02, guess.label


def test_blind_guesses_owe_nothing_to_the_picture(open_results):
    decoded = guesses(open_results[0])["decoder from features"]
    mean, others = decoded.blind
    assert len(np.unique(mean, axis=0)) == 1
    assert np.array_equal(np.roll(decoded.pictures, 1, axis=0), others)


def test_links_are_found_by_features_and_by_pixels_where_they_are(open_results, closed_results):
    found = findings(open_results[0])
    assert found["linking across keys by features"].values["same_picture"] == 1.0
    assert found["linking across keys by features"].level is None
    masked = findings(open_results[1])["linking across keys by pixels"]
    assert masked.level == "fail" and masked.values["same_picture"] >= 0.5
    nothing = findings(closed_results)["linking across keys by pixels"]
    assert nothing.level == "pass"
    assert nothing.values["chance_picture"] == pytest.approx(1 / 48)
    assert nothing.values["chance_person"] == pytest.approx(5 / 47)


def test_a_protected_picture_is_accepted_as_often_as_its_features_are_kept():
    faces = small_faces()
    persons = noise(8, 8)[np.repeat(np.arange(8), 6)].astype(int)  # nobody is like anybody else
    alike = replace(faces, originals=((4 * persons + noise(48, 9)) // 5).astype(np.uint8))
    kept = recogniser_side._replayed(lab_with(alike.originals, pairs=alike)).values
    assert kept["accepted"] == kept["accepted_originals"] == kept["rank_1"] == 1.0
    lost = recogniser_side._replayed(lab_with(noise(48, 2), pairs=alike)).values
    assert lost["accepted"] < 0.2 and lost["rank_1"] < 0.5 and lost["accepted_originals"] == 1.0


def test_threshold_lets_one_in_a_thousand_strangers_through():
    lab = lab_with(small_faces().originals)
    persons, originals = lab.parts.references
    features = features_of(lab.subject.recogniser, originals).numpy()
    strangers = [
        float(features[a] @ features[b])
        for a in range(len(persons)) for b in range(a) if persons[a] != persons[b]
    ]  # fmt: skip
    passed = np.mean([one > recogniser_side.service_threshold(lab) for one in strangers])
    assert 0 < passed <= 0.001 + 1 / len(strangers)


def test_labelled_photos_name_persons_under_a_constant_mask(open_results, closed_results):
    masked, nothing = findings(open_results[1]), findings(closed_results)
    label = "up to 4 labelled photos per person, pixels"
    assert masked[label].level == "fail"
    assert masked[label].values["named"] > 0.4 > 3 * masked[label].values["chance"]
    assert nothing[label].level == "pass"
    assert nothing[label].values["named_on_originals"] > 0.5
    judged = [one for one in nothing.values() if one.level and "labelled" in one.label]
    assert judged and all("by design" not in one.label for one in judged)
    assert nothing["up to 1 labelled photos per person, pixels"].level is None


def test_labelled_photos_name_persons_by_a_veil_of_their_own():
    veils = noise(8, 4).astype(int)[np.repeat(np.arange(8), 6)]
    faces = small_faces()
    veiled = (faces.originals * 0.2 + veils * 0.8).astype(np.uint8)
    results = findings(recogniser_side.named_by_labels(lab_with(veiled)))
    assert results["up to 4 labelled photos per person, pixels"].values["named"] == 1.0


def test_naming_says_where_persons_have_one_protected_photo():
    faces = small_faces()
    alone = replace(faces, persons=faces.images)
    lab = replace(lab_with(faces.originals), subject=subject_of(faces.originals, pairs=alone))
    (told,) = recogniser_side.named_by_labels(lab)
    assert told.level is None and "Not tried" in told.text


@pytest.mark.parametrize("tries", [4, 16, 200])
@pytest.mark.parametrize("prior", [0.02, 0.125])
def test_a_rate_fails_only_where_luck_is_out_of_the_question(tries, prior):
    limits = LabLimits()
    levels = [named_level(n / tries, prior, tries=tries, limits=limits) for n in range(tries + 1)]
    assert levels[0] == "pass" and levels[-1] == "fail"
    assert levels == sorted(levels, key=["pass", "warn", "fail"].index)
    for hits, level in enumerate(levels):
        luck = binom.sf(hits - 1, tries, prior)
        if level == "fail":
            assert luck < 0.001 and hits / tries >= prior + 0.1 - 1e-9
        if luck > 0.01:
            assert level == "pass"


def test_a_fit_is_of_each_picture_alone():
    start, wanted = noise(1, 5)[0], features_of(Blurred(), small_faces().originals[:3])

    def loss_to(rows):
        return lambda pictures: (Blurred()(pictures) - wanted[rows]).square().sum(dim=1)

    together = fit(Canvas(start, count=3), loss=loss_to([0, 1, 2]), steps=10)
    alone = fit(Canvas(start, count=1), loss=loss_to([1]), steps=10)
    assert np.abs(together[1].astype(int) - alone[0]).max() <= 1
    assert not np.array_equal(together[0], together[1])


def test_canvases_begin_with_their_picture_and_move_each_picture_by_itself():
    start = noise(1, 6)[0].clip(2, 253)
    wanted = to_tensor(small_faces().originals[[0, 12]])
    for canvas in (Canvas(start, count=2), DeepPrior(start, count=2, seed=7)):
        assert np.array_equal(to_pixels(canvas())[1], start)
        made = to_tensor(fit(canvas, loss=lambda seen: (seen - wanted).square().sum(dim=(1, 2, 3)), steps=20))
        before, after = (float((one - wanted).square().mean()) for one in (to_tensor(start), made))
        assert after < 0.7 * before


def test_a_deep_prior_is_drawn_from_its_seed():
    start, wanted = noise(1, 6)[0], to_tensor(small_faces().originals[:1])

    def made(seed):
        canvas = DeepPrior(start, count=1, seed=seed)
        return fit(canvas, loss=lambda seen: (seen - wanted).square().sum(dim=(1, 2, 3)), steps=5)

    assert np.array_equal(made(1), made(1)) and not np.array_equal(made(1), made(2))
