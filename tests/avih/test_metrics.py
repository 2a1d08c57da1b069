"""Metrics against slow loops, hand-worked numbers and what must hold for any picture."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from skimage import data

from avih.errors import UsageError
from avih.evaluation import metrics


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


def slow_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. 2004, written window by window."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = []
    for channel in range(3):
        x, y = a[..., channel].astype(float), b[..., channel].astype(float)
        for row in range(5, x.shape[0] - 5):
            for column in range(5, x.shape[1] - 5):
                p = x[row - 5 : row + 6, column - 5 : column + 6]
                q = y[row - 5 : row + 6, column - 5 : column + 6]
                mp, mq = (window * p).sum(), (window * q).sum()
                vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
                cov = (window * (p - mp) * (q - mq)).sum()
                found.append((2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return float(np.mean(found))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_ssim_is_that_of_wang_et_al(share: float) -> None:
    face = data.astronaut()[40:66, 200:222]
    other = np.clip(share * face + (1 - share) * noise(*face.shape), 0, 255).astype(np.uint8)
    assert metrics.ssim(face, other) == pytest.approx(slow_ssim(face, other), abs=1e-10)


def test_ssim_of_two_flat_pictures_by_hand() -> None:
    a, b = np.full((16, 16, 3), 100, np.uint8), np.full((16, 16, 3), 120, np.uint8)
    # No variance: only the first factor is left, (2 * 100 * 120 + C1) / (100^2 + 120^2 + C1), C1 = 6.5025.
    assert metrics.ssim(a, b) == pytest.approx(24006.5025 / 24406.5025, abs=1e-12)


def test_ssim_orders_pictures_as_people_do() -> None:
    face = data.astronaut()[:112, 150:262]
    blurred = np.repeat(np.repeat(face[::4, ::4], 4, axis=0), 4, axis=1)
    assert metrics.ssim(face, face) == 1.0
    assert (
        metrics.ssim(face, face) > metrics.ssim(face, blurred) > metrics.ssim(face, noise(112, 112, 3)) + 0.3
    )
    assert abs(metrics.ssim(face, noise(112, 112, 3))) < 0.05
    assert metrics.ssim(face, blurred) == pytest.approx(metrics.ssim(blurred, face), abs=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (noise(12, 12, 3), noise(12, 13, 3), "one size"),
        (noise(12, 12, 3).astype(np.float32), noise(12, 12, 3).astype(np.float32), "float32"),
        (noise(12, 12), noise(12, 12), r"\(12, 12\)"),
        (noise(10, 40, 3), noise(10, 40, 3), "at least 11 x 11"),
    ],
)
def test_ssim_refuses_what_is_no_pair_of_pictures(a: np.ndarray, b: np.ndarray, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        metrics.ssim(a, b)


def test_cosine_is_by_row_and_ignores_length() -> None:
    a = np.array([[1.0, 0.0], [3.0, 4.0], [1.0, 1.0]])
    b = np.array([[0.0, 2.0], [30.0, 40.0], [-5.0, -5.0]])
    assert metrics.cosine(a, b) == pytest.approx([0.0, 1.0, -1.0], abs=1e-15)
    assert metrics.cosine(a.astype(np.float32), b.astype(np.float16)).dtype == np.float64


def test_cosine_against_a_loop_and_within_its_range() -> None:
    generator = np.random.default_rng(1)
    a, b = generator.normal(size=(40, 7)), generator.normal(size=(40, 7))
    slow = [
        sum(x * y for x, y in zip(p, q, strict=True)) / math.hypot(*p) / math.hypot(*q)
        for p, q in zip(a, b, strict=True)
    ]
    assert metrics.cosine(a, b) == pytest.approx(slow, abs=1e-12)
    assert metrics.cosine(a, a).max() <= 1.0


def test_cosine_of_a_row_of_zeros_is_one_no_limit_accepts() -> None:
    assert metrics.cosine(np.array([[0.0, 0.0]]), np.array([[1.0, 0.0]])).tolist() == [0.0]


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (np.ones((2, 3)), np.ones((3, 3)), "one shape"),
        (np.ones(3), np.ones(3), r"\(n, d\)"),
        (np.array([[np.nan, 1.0], [1.0, 1.0]]), np.ones((2, 2)), "1 rows with NaN"),
    ],
)
def test_cosine_refuses(a: np.ndarray, b: np.ndarray, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        metrics.cosine(a, b)


def slow_pairs(picture: np.ndarray, down: int, right: int) -> list[tuple[int, int]]:
    height, width, _ = picture.shape
    return [
        (int(picture[row, column, channel]), int(picture[row + down, column + right, channel]))
        for channel in range(3)
        for row in range(height - down)
        for column in range(width - right)
    ]


@pytest.mark.parametrize(
    ("direction", "step"), [("horizontal", (0, 1)), ("vertical", (1, 0)), ("diagonal", (1, 1))]
)
def test_adjacent_correlation_against_a_loop_over_pairs(direction: str, step: tuple[int, int]) -> None:
    picture = data.astronaut()[100:112, 60:73]
    pairs = np.array(slow_pairs(picture, *step), dtype=float)
    expected = np.corrcoef(pairs[:, 0], pairs[:, 1])[0, 1]
    assert metrics.adjacent_correlation(picture)[direction] == pytest.approx(expected, abs=1e-12)
    counts = metrics.adjacent_counts(picture, direction=direction)
    assert counts.sum() == len(pairs)
    assert counts[int(pairs[5, 0]), int(pairs[5, 1])] == sum(tuple(p) == tuple(pairs[5]) for p in pairs)


def test_adjacent_correlation_tells_photos_from_noise_and_directions_apart() -> None:
    assert min(metrics.adjacent_correlation(data.astronaut()).values()) > 0.9
    assert max(map(abs, metrics.adjacent_correlation(noise(200, 200, 3)).values())) < 0.02
    rows = np.repeat(noise(64, 1, 3, seed=2), 64, axis=1)
    found = metrics.adjacent_correlation(rows)
    assert found["horizontal"] == pytest.approx(1.0)
    assert max(abs(found["vertical"]), abs(found["diagonal"])) < 0.2
    checks = (np.indices((8, 8)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    assert metrics.adjacent_correlation(checks)["horizontal"] == pytest.approx(-1.0)


def test_adjacent_correlation_of_a_flat_picture_is_no_nan() -> None:
    assert metrics.adjacent_correlation(np.full((4, 4, 3), 7, np.uint8))["vertical"] == 1.0


def test_tables_of_pictures_add_up_to_that_of_all() -> None:
    pictures = noise(5, 9, 8, 3)
    together = metrics.adjacent_counts(pictures, direction="diagonal")
    assert (together == sum(metrics.adjacent_counts(p, direction="diagonal") for p in pictures)).all()


def test_adjacent_counts_refuse_what_has_no_neighbours() -> None:
    with pytest.raises(UsageError, match="vertical neighbours, got 1 x 5"):
        metrics.adjacent_counts(noise(1, 5, 3), direction="vertical")
    with pytest.raises(UsageError, match="'up'"):
        metrics.adjacent_counts(noise(5, 5, 3), direction="up")
    with pytest.raises(UsageError, match="got shape"):
        metrics.adjacent_counts(noise(5, 5))


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3))))
def test_histogram_and_entropy_hold_for_any_picture(pixels: np.ndarray) -> None:
    counts = metrics.histogram(pixels)
    assert counts.shape == (256,)
    assert counts.dtype == np.int64
    assert all(counts[level] == int((pixels == level).sum()) for level in (0, 1, 128, 255))
    assert counts.sum() == pixels.size
    assert 0.0 <= metrics.entropy(pixels) <= math.log2(max(2, len(np.unique(pixels)))) + 1e-12


def test_entropy_by_hand() -> None:
    assert metrics.entropy(np.full((4, 4, 3), 9, np.uint8)) == 0.0
    assert metrics.entropy(np.arange(256, dtype=np.uint8)) == pytest.approx(8.0)
    # Three of four values alike: -(3/4 log2 3/4 + 1/4 log2 1/4).
    assert metrics.entropy(np.array([5, 5, 5, 9], np.uint8)) == pytest.approx(0.8112781244591328)
    with pytest.raises(UsageError, match="at least one pixel"):
        metrics.entropy(np.empty((0, 4, 3), np.uint8))
    with pytest.raises(UsageError, match="float64"):
        metrics.histogram(np.zeros((2, 2, 3)))
