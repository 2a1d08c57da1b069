"""The attack on flips: it sees through plain flips, and gets nothing out of noise."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from avih.attack.pairs import Pictures
from avih.evaluation.metrics import ssim
from avih.lab.attack import Finding, Guess
from avih.lab.attacks import flips
from avih.lab.attacks.flips import FaceModel, fold, read_with, signs_recovered, unfolded
from avih.lab.lab import Lab
from small_attack import small_faces
from small_lab import SMALL, lab_over

FACES = small_faces()
BRIEF = SMALL.model_copy(
    update={"network": SMALL.network.model_copy(
        update={"steps": 24, "minimum_steps": 24, "adversarial_weight": 0.0, "identity_weight": 0.0}
    )}
)  # fmt: skip


def flipped(pictures: Pictures, seed: int = 4) -> Pictures:
    """Flip half of the values, as the method does before its gradient steps."""
    draw = np.random.default_rng(seed)
    return np.where(draw.random(pictures.shape) < 0.5, 255 - pictures, pictures)


def noise(pictures: Pictures) -> Pictures:
    return np.random.default_rng(9).integers(0, 256, pictures.shape, dtype=np.uint8)


def lab_about(hide: Callable[[Pictures], Pictures]) -> Lab:
    pairs = FACES.with_inputs(hide(FACES.originals))
    return lab_over(pairs, method="veil_privacy", recovery="sealed", settings=BRIEF)


def similar(pictures: Pictures, originals: Pictures) -> float:
    return float(np.mean([ssim(one, true) for one, true in zip(pictures, originals, strict=True)]))


def advantages(results: list[Guess | Finding]) -> dict[str, float]:
    """SSIM of each guess above its blind guess."""
    return {
        one.label: similar(one.pictures, one.targets.originals) - similar(one.blind[0], one.targets.originals)
        for one in results
        if isinstance(one, Guess)
    }


@pytest.fixture(scope="module")
def plain() -> list[Guess | Finding]:
    return list(flips.run(lab_about(flipped)))


@pytest.fixture(scope="module")
def blind() -> list[Guess | Finding]:
    return list(flips.run(lab_about(noise)))


def test_variants_see_through_plain_flips(plain: list[Guess | Finding]) -> None:
    found = advantages(plain)
    assert len(found) == 6
    # The drawn faces stand before dark backgrounds, so the brighter half is the wrong one here.
    assert found["folded view, darker half"] > found["folded view, brighter half"] + 0.2
    assert min(gain for label, gain in found.items() if "brighter" not in label) > 0.05
    assert found["folded view, signs that are smooth and make a face"] > 0.3


def test_signs_recovered_beat_signs_of_the_mean_face_on_average(plain: list[Guess | Finding]) -> None:
    guesses = {one.label: one for one in plain if isinstance(one, Guess)}
    recovered, mean = (
        similar(guesses[label].pictures, FACES.named(guesses[label].targets.images).originals)
        for label in (
            "folded view, signs that are smooth and make a face", "folded view, signs of the mean face"
        )
    )  # fmt: skip
    assert recovered > mean


def test_nothing_comes_out_of_noise(blind: list[Guess | Finding]) -> None:
    assert max(advantages(blind).values()) < 0.05


def test_folded_photos_of_a_person_are_matched_and_noise_is_not(
    plain: list[Guess | Finding], blind: list[Guess | Finding]
) -> None:
    seen, unseen = (next(one for one in some if isinstance(one, Finding)) for some in (plain, blind))
    assert seen.values["id_rate"] == seen.values["id_rate of originals"]  # flips change nothing at all
    rate, prior = seen.values["id_rate"], seen.values["prior_id_rate"]
    assert rate is not None and prior is not None and rate >= 2 * prior
    rate, prior = unseen.values["id_rate"], unseen.values["prior_id_rate"]
    assert rate is not None and prior is not None and rate < 2 * prior
    # Twelve pictures and a weak recogniser: nothing is surely named, and nothing is taken for a pass.
    assert seen.level is None and unseen.level is None


def test_folding_undoes_flips_to_the_last_bit() -> None:
    assert np.array_equal(fold(flipped(FACES.originals)), fold(FACES.originals))


def test_unfolding_with_the_true_signs_gives_the_picture() -> None:
    signs = np.where(FACES.originals < 127.5, -1.0, 1.0)
    back = unfolded(fold(FACES.originals), signs).astype(int)
    assert np.abs(back - FACES.originals).max() <= 1


def test_a_reading_finds_how_noisy_a_folded_view_is() -> None:
    clean = read_with(FACES.with_inputs(flipped(FACES.originals)))
    assert clean.width == 0 and clean.slope == pytest.approx(1, abs=0.01) and clean.noise < 0.5
    draw = np.random.default_rng(2)
    shaken = flipped(FACES.originals) + draw.normal(0, 60, FACES.originals.shape)
    rough = read_with(FACES.with_inputs(shaken.clip(0, 255).astype(np.uint8)))
    raw = fold(shaken.clip(0, 255).astype(np.uint8)) - fold(FACES.originals)
    assert rough.width > 0 and rough.noise < raw.std() / 2


def test_recovered_signs_are_right_more_often_than_those_of_the_mean_face() -> None:
    model, magnitudes = FaceModel.of(FACES.originals), fold(FACES.originals)
    true, sure = FACES.originals > 127, magnitudes > 60
    recovered = signs_recovered(magnitudes, model=model, noise=0.0) > 127
    mean = np.broadcast_to(FACES.originals.mean(axis=0) > 127, true.shape)
    assert (recovered == true)[sure].mean() > (mean == true)[sure].mean() + 0.01 > 0.5


def test_a_face_of_two_tones_gets_its_signs_back() -> None:
    draw = np.random.default_rng(3)
    pattern = np.where(FACES.originals[0] > 127, 1.0, -1.0)
    faces = np.stack([unfolded(draw.uniform(150, 255, pattern.shape), pattern) for _ in range(12)])
    signs = signs_recovered(fold(faces), model=FaceModel.of(faces), noise=0.0) > 127
    assert (signs == (faces > 127)).mean() > 0.99


def test_a_rate_of_many_pictures_fails_the_matching() -> None:
    lab = lab_about(flipped)
    parts = replace(
        lab.parts, references=(lab.targets.persons * 2, np.concatenate([lab.targets.originals] * 2))
    )
    told = flips._matched(replace(lab, parts=parts), read_with(lab.leaked))
    assert told.values["id_rate"] == 1.0 and told.level == "fail"
