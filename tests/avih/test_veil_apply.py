"""Putting veils on and taking them off: the 8-bit arithmetic, what rounding costs, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut
from skimage.transform import resize

from avih.errors import UsageError
from avih.evaluation.metrics import ssim
from avih.veils.apply import put_on, take_off, take_off_as_printed

DRAW = np.random.default_rng(8)
VEIL = DRAW.random((24, 20, 3)).astype(np.float32)
PHOTOS = DRAW.integers(0, 256, (37, 24, 20, 3)).astype(np.uint8)  # more than two portions


def face() -> np.ndarray:
    """A real face of 96 x 96 pixels, from a picture that NASA put into the public domain."""
    part = resize(astronaut()[10:190, 130:310], (96, 96), anti_aliasing=True)
    return np.round(part * 255).astype(np.uint8)[None]


def test_equation_12_value_by_value() -> None:
    veiled = put_on(PHOTOS, veil=VEIL, alpha=0.2)
    assert veiled.pictures.dtype == np.uint8
    exact = 0.2 * PHOTOS.astype(np.float64) + 0.8 * 255 * VEIL.astype(np.float64)
    assert np.abs(veiled.pictures - exact).max() <= 0.5 + 1e-4  # the nearest level; float32 blurs the middle
    for place in [(0, 0, 0, 0), (36, 23, 19, 2), (16, 5, 6, 1)]:
        assert abs(int(veiled.pictures[place]) - exact[place]) <= 0.5 + 1e-4


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 0.95), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 255))
def test_a_veil_inside_the_range_never_clips(alpha: float, d: float, grey: int) -> None:
    photos = np.full((2, 4, 4, 3), grey, dtype=np.uint8)
    assert put_on(photos, veil=np.full((4, 4, 3), d, dtype=np.float32), alpha=alpha).clipped == 0


def test_every_clipped_value_is_counted() -> None:
    photos = np.full((20, 4, 4, 3), 255, dtype=np.uint8)
    veil = np.full((4, 4, 3), 0.5)
    veil[0, 0] = 1.2  # 0.2 * 255 + 0.8 * 1.2 * 255 = 295.8
    veil[1, 1, 0] = -0.5  # 51 - 102 = -51
    veiled = put_on(photos, veil=veil, alpha=0.2)
    assert veiled.clipped == 20 * (3 + 1)
    assert veiled.pictures[0, 0, 0].tolist() == [255, 255, 255] and veiled.pictures[0, 1, 1, 0] == 0


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.4, 0.8])
def test_recovery_misses_by_the_rounding_and_no_more(alpha: float) -> None:
    stored = put_on(PHOTOS, veil=VEIL, alpha=alpha).pictures
    recovered = take_off(stored, veil=VEIL, alpha=alpha)
    most = np.abs(recovered.astype(int) - PHOTOS).max()
    assert most <= 0.5 / alpha + 0.5 + 1e-3
    if alpha == 0.2:
        assert most == 3  # x is known up to steps of 5 levels; the half level is from rounding x itself


def test_at_alpha_one_fifth_a_stored_picture_tells_grey_levels_in_steps_of_five() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    stored = put_on(ramp, veil=np.full((16, 16, 3), 0.5, dtype=np.float32), alpha=0.2).pictures
    levels = np.unique(take_off(stored, veil=np.full((16, 16, 3), 0.5), alpha=0.2))
    assert len(levels) == 52 and set(np.diff(levels)) == {5}


def test_the_corrected_equation_recovers_a_face_and_the_printed_one_does_not() -> None:
    photo = face()
    veil = np.random.default_rng(2).random((96, 96, 3)).astype(np.float32)
    stored = put_on(photo, veil=veil, alpha=0.2).pictures
    assert ssim(photo[0], take_off(stored, veil=veil, alpha=0.2)[0]) > 0.97
    printed = take_off_as_printed(stored, veil=veil, alpha=0.2)[0]
    assert ssim(photo[0], printed) < 0.5
    assert np.abs(printed - photo[0] * 0.25).max() <= 1.2  # alpha / (1 - alpha) = 1/4 of every level
    other = np.random.default_rng(3).random((96, 96, 3)).astype(np.float32)
    assert ssim(photo[0], take_off(stored, veil=other, alpha=0.2)[0]) < 0.15


def test_a_photo_is_veiled_alike_alone_and_in_company() -> None:
    together = put_on(PHOTOS, veil=VEIL, alpha=0.2).pictures
    assert np.array_equal(together[20:21], put_on(PHOTOS[20:21], veil=VEIL, alpha=0.2).pictures)
    back = take_off(together, veil=VEIL, alpha=0.2)
    assert np.array_equal(back[36:], take_off(together[36:], veil=VEIL, alpha=0.2))
    assert put_on(PHOTOS[:0], veil=VEIL, alpha=0.2).pictures.shape == (0, 24, 20, 3)


@pytest.mark.parametrize("work", [put_on, take_off, take_off_as_printed])
@pytest.mark.parametrize(
    ("photos", "veil", "alpha", "match"),
    [
        (PHOTOS.astype(np.float32), VEIL, 0.2, "uint8"),
        (PHOTOS[0], VEIL, 0.2, "stack"),
        (PHOTOS, VEIL[:-1], 0.2, "align"),
        (PHOTOS, PHOTOS[0], 0.2, "floating"),
        (PHOTOS, VEIL, 0.0, "alpha"),
        (PHOTOS, VEIL, 1.0, "alpha"),
        (PHOTOS, np.full_like(VEIL, np.nan), 0.2, "finite"),
    ],
)
def test_what_cannot_be_veiled_is_refused(work, photos, veil, alpha, match) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=match):
        work(photos, veil=veil, alpha=alpha)
