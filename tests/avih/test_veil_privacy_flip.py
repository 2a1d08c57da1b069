"""The flip against a slow loop over Eq. 1; what it hides (the sign) and what it does not (the rest)."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.metrics import structural_similarity

from avih.errors import UsageError
from avih.mixing import keystream
from avih.veil_privacy import flip as module
from avih.veil_privacy.flip import (
    as_stored,
    flip,
    flip_mask,
    folded,
    folded_view,
    noise,
    similarity,
    to_bytes,
    to_signed,
)

SECRET, OTHER = bytes(range(32)), bytes(range(1, 33))
LEVELS = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)


def drawn(count: int, *, channels: int = 1, height: int = 24, width: int = 20) -> np.ndarray:
    """Smooth pictures that cross middle grey, as faces do."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / (4 + i)) * 80 + np.cos(columns / (3 + i)) * 45 + 125 for i in range(count)]
    return np.stack([np.stack([wave.round()] * channels) for wave in waves]).astype(np.uint8)


def test_the_range_is_the_papers_and_comes_back() -> None:
    signed = to_signed(LEVELS)
    expected = (LEVELS.astype(np.float64) / 255 - 0.5) / 0.5
    np.testing.assert_allclose(signed.numpy(), expected, atol=1e-7)
    assert np.array_equal(to_bytes(signed), LEVELS)
    assert torch.equal(to_signed(255 - LEVELS), -signed)  # a change of sign is exact in bytes


def test_storing_clips_and_rounds() -> None:
    values = torch.tensor([-7.0, -1.001, 0.004, 1.3]).view(1, 1, 2, 2)
    assert to_bytes(values).reshape(-1).tolist() == [0, 0, 128, 255]
    many = torch.linspace(-1.2, 1.2, 4000).view(1, 1, 50, 80)
    assert torch.equal(as_stored(many), to_signed(to_bytes(many)))
    with pytest.raises(UsageError, match="Lower the learning rate"):
        to_bytes(torch.full((1, 1, 2, 2), torch.nan))


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.9])
def test_flips_agree_with_a_slow_loop_over_equation_1(ratio: float) -> None:
    pictures = drawn(2, channels=3, height=5, width=4)
    found = to_signed(flip(pictures, images=["a", "b"], secret=SECRET, flip_ratio=ratio))
    for picture, image, got in zip(pictures, ["a", "b"], found, strict=True):
        stream = keystream(secret=SECRET, label=f"veil privacy flip v1\0{image}", length=8 * picture.size)
        values = (picture.reshape(-1) / 255 - 0.5) / 0.5
        for i, value in enumerate(values.tolist()):
            uniform = Fraction(int.from_bytes(stream[8 * i : 8 * i + 8], "little"), 2**64)
            sign = 1 if uniform - Fraction(ratio) >= 0 else -1
            assert got.reshape(-1)[i].item() == pytest.approx(value * sign, abs=1e-6)


@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.5, 0.97])
def test_the_share_of_flips_is_p(ratio: float) -> None:
    count = 200_000
    mask = flip_mask(secret=SECRET, image="a", shape=(1, 400, 500), flip_ratio=ratio)
    assert abs(mask.sum() - ratio * count) < 5 * (count * ratio * (1 - ratio)) ** 0.5


def test_no_share_means_no_flip() -> None:
    pictures = drawn(1)
    assert np.array_equal(flip(pictures, images=["a"], secret=SECRET, flip_ratio=0), pictures)


def test_a_mask_belongs_to_one_secret_and_one_picture() -> None:
    def mask(secret: bytes, image: str) -> np.ndarray:
        return flip_mask(secret=secret, image=image, shape=(1, 100, 100), flip_ratio=0.5)

    assert np.array_equal(mask(SECRET, "a"), mask(SECRET, "a"))
    for other in (mask(SECRET, "b"), mask(OTHER, "a")):
        assert 0.45 < np.mean(mask(SECRET, "a") == other) < 0.55


def test_neighbours_and_places_do_not_matter() -> None:
    pictures = drawn(3)
    together = flip(pictures, images=["a", "b", "c"], secret=SECRET)
    backwards = flip(pictures[::-1], images=["c", "b", "a"], secret=SECRET)
    assert np.array_equal(together, backwards[::-1])


def test_the_secret_turns_the_flips_back() -> None:
    pictures = drawn(2)
    flipped = flip(pictures, images=["a", "b"], secret=SECRET)
    assert not np.array_equal(flipped, pictures)
    assert np.array_equal(flip(flipped, images=["a", "b"], secret=SECRET), pictures)


def test_at_one_half_the_flipped_picture_has_no_mean_and_below_it_has() -> None:
    bright = np.full((1, 1, 200, 200), 255, dtype=np.uint8)
    means = {
        p: to_signed(flip(bright, images=["a"], secret=SECRET, flip_ratio=p)).mean().item()
        for p in (0.3, 0.5)
    }
    assert means[0.3] == pytest.approx(1 - 2 * 0.3, abs=0.03)
    assert means[0.5] == pytest.approx(0, abs=0.03)


@given(
    pictures=hnp.arrays(np.uint8, st.tuples(st.just(1), st.sampled_from([1, 3]), *[st.integers(1, 9)] * 2)),
    ratio=st.floats(0, 0.999),
)
def test_no_flip_changes_the_folded_picture(pictures: np.ndarray, ratio: float) -> None:
    flipped = flip(pictures, images=["a"], secret=SECRET, flip_ratio=ratio)
    assert np.array_equal(folded(flipped), folded(pictures))


def test_folding_is_the_distance_from_middle_grey() -> None:
    expected = [round(abs(value / 255 - 0.5) / 0.5 * 255) for value in range(256)]
    assert folded(LEVELS).reshape(-1).tolist() == expected


def test_the_flip_hides_from_ssim_what_the_folded_view_shows() -> None:
    pictures = drawn(3, height=64, width=48)
    flipped = flip(pictures, images=["a", "b", "c"], secret=SECRET)
    assert similarity(flipped, pictures).max() < 0.1
    view = folded_view(veiled=flipped, originals=pictures)
    assert view.ssim.tolist() == pytest.approx([1, 1, 1])
    assert np.array_equal(view.pictures, folded(pictures))


def test_the_similarity_of_grey_pictures_is_that_of_their_one_channel() -> None:
    first, second = drawn(2), drawn(3)[1:]
    expected = [
        structural_similarity(
            a[0], b[0], gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
        )
        for a, b in zip(first, second, strict=True)
    ]
    assert similarity(first, second).tolist() == pytest.approx(expected)


def test_noise_knows_nothing_of_a_picture_and_is_even() -> None:
    one = noise((2, 1, 200, 200), images=["a", "b"], secret=SECRET)
    assert one.shape == (2, 1, 200, 200)
    assert np.array_equal(one[1:], noise((1, 1, 200, 200), images=["b"], secret=SECRET))
    counts = np.bincount(one.reshape(-1), minlength=256)
    expected = one.size / 256
    # Chi-square with 255 degrees of freedom: mean 255, deviation 22.6; five deviations.
    assert ((counts - expected) ** 2 / expected).sum() < 255 + 5 * 22.6
    flips = flip(np.zeros_like(one), images=["a", "b"], secret=SECRET)
    assert abs(np.corrcoef(one.reshape(-1), flips.reshape(-1))[0, 1]) < 0.02  # another stream than the flips'


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: flip(p, images=["a", "a"], secret=SECRET), "2 different ids"),
        (lambda p: flip(p, images=["a"], secret=SECRET), "2 different ids"),
        (lambda p: flip(p, images=["a", "b"], secret=b"7"), "a seed is no secret"),
        (lambda p: flip(p, images=["a", "b"], secret=SECRET, flip_ratio=1.0), "from 0 to below 1, got 1.0"),
        (lambda p: flip(p, images=["a", "b"], secret=SECRET, flip_ratio=float("nan")), "flip ratio"),
        (lambda p: flip(p / 255, images=["a", "b"], secret=SECRET), "uint8"),
        (lambda p: folded(p[0]), "channels"),
        (lambda p: folded(p[:0]), "whole grey or RGB"),
        (lambda p: similarity(p, p[:1]), "one shape"),
        (lambda p: similarity(p[..., :9], p[..., :9]), "at least 11"),
        (lambda p: noise(p.shape, images=["a"], secret=SECRET), "2 different ids"),
    ],
)
def test_what_cannot_be_flipped_is_told(call, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call(drawn(2))


def test_shown_pictures_are_rgb() -> None:
    grey, colour = drawn(1), drawn(1, channels=3)
    assert module.shown(grey)[0].shape == (24, 20, 3)
    assert np.array_equal(module.shown(grey)[0], module.shown(colour)[0])
