"""What outsiders recover from photos under one veil, against the algebra and against drawn faces."""

import numpy as np
import pytest

from avih.errors import UsageError
from avih.evaluation.metrics import ssim
from avih.veils.apply import put_on
from avih.veils.exposure import WARNING, expose_by_mean, expose_by_pair, veil_from_many, veil_from_pair

ALPHA = 0.2
DRAW = np.random.default_rng(12)
VEIL = DRAW.random((40, 32, 3)).astype(np.float32)


def smooth(count: int, seed: int) -> np.ndarray:
    """Draw soft pictures that share nothing: a few waves of random direction each."""
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:40, 0:32]
    pictures = []
    for _ in range(count):
        waves = sum(
            np.sin(draw.uniform(-0.5, 0.5) * rows + draw.uniform(-0.5, 0.5) * columns + draw.uniform(0, 7))
            for _ in range(4)
        )
        pictures.append(np.clip(128 + 35 * waves, 0, 255)[..., None].repeat(3, axis=2))
    return np.array(pictures).astype(np.uint8)


PHOTOS = smooth(40, 1)
STORED = put_on(PHOTOS, veil=VEIL, alpha=ALPHA).pictures


def test_the_mean_of_many_photos_gives_the_veil() -> None:
    far = np.abs(veil_from_many(STORED[:2], alpha=ALPHA) - VEIL).mean()
    near = np.abs(veil_from_many(STORED, alpha=ALPHA) - VEIL).mean()
    assert near < far / 3 and near < 0.02
    exact = veil_from_many(STORED, alpha=ALPHA, prior=PHOTOS.mean(axis=0) / 255)
    assert np.abs(exact - VEIL).max() < 0.5 / 255 / 0.8 + 1e-6  # only the rounding of x' is left


def test_one_pair_gives_the_veil_up_to_rounding() -> None:
    found = veil_from_pair(STORED[3], PHOTOS[3], alpha=ALPHA)
    assert np.abs(found - VEIL).max() <= 0.5 / 255 / (1 - ALPHA) + 1e-6


def test_more_photos_expose_more_and_a_pair_exposes_most() -> None:
    two = expose_by_mean(STORED[:2], PHOTOS[:2], alpha=ALPHA)
    many = expose_by_mean(STORED, PHOTOS, alpha=ALPHA)
    pair = expose_by_pair(STORED, PHOTOS, alpha=ALPHA, leaked=5)
    assert two.mean_ssim < many.mean_ssim < pair.mean_ssim
    assert many.mean_ssim > 0.85 and pair.mean_ssim > 0.9
    assert len(pair.ssim) == 39 and len(many.ssim) == 40


def test_the_mean_attack_is_the_photo_minus_the_mean_photo_plus_the_prior() -> None:
    few = slice(0, 5)
    found = expose_by_mean(STORED[few], PHOTOS[few], alpha=ALPHA)
    expected = PHOTOS[few] - PHOTOS[few].mean(axis=0) + 127.5
    inside = (expected > 5) & (expected < 250)
    assert np.abs(found.pictures - expected)[inside].max() < 0.5 / ALPHA * 2 + 1


def test_a_single_photo_gives_nothing_but_the_prior() -> None:
    face = np.full((40, 32, 3), 0.25)
    alone = expose_by_mean(STORED[:1], PHOTOS[:1], alpha=ALPHA, prior=face)
    assert set(np.unique(alone.pictures)) <= {63, 64}


def test_a_mean_face_helps_where_faces_are_alike() -> None:
    common = smooth(1, 77).astype(float)
    alike = np.clip(0.7 * common + 0.3 * PHOTOS, 0, 255).astype(np.uint8)
    public = np.clip(0.7 * common + 0.3 * smooth(30, 9), 0, 255).mean(axis=0) / 255
    stored = put_on(alike[:4], veil=VEIL, alpha=ALPHA).pictures
    grey = expose_by_mean(stored, alike[:4], alpha=ALPHA)
    informed = expose_by_mean(stored, alike[:4], alpha=ALPHA, prior=public)
    assert informed.mean_ssim > grey.mean_ssim + 0.1


def test_the_measured_ssim_is_that_of_the_pictures_and_leaves_the_leaked_one_out() -> None:
    found = expose_by_pair(STORED[:3], PHOTOS[:3], alpha=ALPHA, leaked=1)
    assert found.ssim == (ssim(PHOTOS[0], found.pictures[0]), ssim(PHOTOS[2], found.pictures[1]))


def test_the_warning_says_what_happens_and_what_to_do() -> None:
    assert "expose each other" in WARNING and "one gallery photo per person per veil" in WARNING


def test_what_cannot_be_exposed_is_refused() -> None:
    with pytest.raises(UsageError, match="uint8"):
        veil_from_many(STORED[:0], alpha=ALPHA)
    with pytest.raises(UsageError, match="prior"):
        veil_from_many(STORED, alpha=ALPHA, prior=np.zeros((4, 4, 3)))
    with pytest.raises(UsageError, match="alpha"):
        veil_from_many(STORED, alpha=1.0)
    with pytest.raises(UsageError, match="one size"):
        veil_from_pair(STORED[0], PHOTOS[0, :-1], alpha=ALPHA)
    with pytest.raises(UsageError, match="at least 2"):
        expose_by_pair(STORED[:1], PHOTOS[:1], alpha=ALPHA)
    with pytest.raises(UsageError, match="which one leaked"):
        expose_by_pair(STORED, PHOTOS, alpha=ALPHA, leaked=40)
    with pytest.raises(UsageError, match="one original per picture"):
        expose_by_mean(STORED, PHOTOS[:3], alpha=ALPHA)
