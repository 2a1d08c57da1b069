"""Figures of one picture or of a pair of pictures: SSIM, cosine, and what pixels tell of their neighbours."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from avih.errors import UsageError

Pixels = NDArray[np.uint8]
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

LEVELS: Final = 256
SSIM_SMALLEST_SIDE: Final = 11  # the width of the Gaussian window
_structural_similarity: Callable[..., Any] = structural_similarity  # scikit-image has no types
# Row and column steps from a pixel to the neighbour it is compared with.
NEIGHBOURS: Final = {"horizontal": (0, 1), "vertical": (1, 0), "diagonal": (1, 1)}


def checked_picture(pixels: NDArray[Any], *, name: str = "picture", smallest: int = 1) -> Pixels:
    """Return the array if it is a picture as they are kept in memory, or say what it is instead.

    Shape: uint8 (H, W, 3), H and W at least ``smallest``.

    Raises:
        UsageError: another type or shape, or a side that is too short.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UsageError(
            f"Expected {name} as uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}: "
            "read it as RGB with values of 0 to 255."
        )
    if min(pixels.shape[:2]) < smallest:
        raise UsageError(
            f"Expected {name} of at least {smallest} x {smallest} pixels, got "
            f"{pixels.shape[0]} x {pixels.shape[1]}: give a larger picture."
        )
    return pixels


def checked_pair(a: NDArray[Any], b: NDArray[Any], *, smallest: int = 1) -> tuple[Pixels, Pixels]:
    """Return both arrays if they are pictures of one size.

    Raises:
        UsageError: one is no picture, or their sizes differ.
    """
    if a.shape != b.shape:
        raise UsageError(f"Expected two pictures of one size, got {a.shape} and {b.shape}: align them alike.")
    return (
        checked_picture(a, name="the first picture", smallest=smallest),
        checked_picture(b, name="the second picture", smallest=smallest),
    )


def ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Return the structural similarity of two pictures, with the settings of the paper that defined it.

    Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", 2004, Eq. 13: an 11 x 11 Gaussian window of sigma 1.5, population statistics, K1 = 0.01,
    K2 = 0.03, data range 255. The mean is over the windows that lie wholly inside the picture, per colour
    channel, then over the three channels. Other settings (scikit-image's defaults are a flat 7 x 7 window and
    sample statistics) give other figures.

    Shape:
        a, b: uint8 (H, W, 3), H and W at least 11.
        returns: at most 1 (identical pictures); about 0 for unrelated ones; may be below 0.

    Raises:
        UsageError: no pictures, different sizes, or smaller than the window.
    """
    first, second = checked_pair(a, b, smallest=SSIM_SMALLEST_SIDE)
    value = _structural_similarity(
        first,
        second,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=2,
    )
    return float(value)


def unit_rows(features: NDArray[Any]) -> Floats:
    """Return the rows scaled to length 1; a row of zeros stays zero, so that it is similar to nothing.

    Shape: float (n, d) to float64 (n, d).

    Raises:
        UsageError: not two-dimensional, or a value is not finite.
    """
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2:
        raise UsageError(f"Expected features as (n, d), got shape {rows.shape}: one row per picture.")
    if not np.isfinite(rows).all():
        bad = int((~np.isfinite(rows).all(axis=1)).sum())
        raise UsageError(
            f"Expected finite features, got {bad} rows with NaN or infinity: check the recogniser's input "
            "and precision."
        )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)


def cosine(a: NDArray[Any], b: NDArray[Any]) -> Floats:
    """Return the cosine of the angle between row i of ``a`` and row i of ``b``.

    A row of zeros has no direction; its cosine is given as 0, which no limit accepts.

    Shape:
        a, b: float (n, d).
        returns: float64 (n,) in [-1, 1].

    Raises:
        UsageError: the shapes differ, or a value is not finite.
    """
    if np.shape(a) != np.shape(b):
        raise UsageError(
            f"Expected two feature arrays of one shape, got {np.shape(a)} and {np.shape(b)}: "
            "row i of both must belong to the same picture."
        )
    products = np.einsum("nd,nd->n", unit_rows(a), unit_rows(b))
    return np.clip(products, -1.0, 1.0)


def histogram(pixels: NDArray[np.uint8]) -> Counts:
    """Count how often each of the 256 levels occurs, over all pixels and channels.

    Shape: uint8 of any shape to int64 (256,).
    """
    return np.bincount(_uint8(pixels).ravel(), minlength=LEVELS).astype(np.int64)


def entropy(pixels: NDArray[np.uint8]) -> float:
    """Return the Shannon entropy of the levels in bits: 0 for one level, 8 for all 256 equally often.

    Shape: uint8 of any shape, not empty.

    Raises:
        UsageError: there are no pixels.
    """
    return entropy_of_counts(histogram(pixels))


def entropy_of_counts(counts: Counts) -> float:
    """Return the Shannon entropy in bits of a histogram.

    Raises:
        UsageError: the histogram is empty.
    """
    total = int(counts.sum())
    if total == 0:
        raise UsageError("Expected at least one pixel, got none: give a picture that is not empty.")
    shares = counts[counts > 0] / total
    return float(max(0.0, -(shares * np.log2(shares)).sum()))


def adjacent_counts(pixels: NDArray[np.uint8], *, direction: str = "horizontal") -> Counts:
    """Count the pairs (level of a pixel, level of its neighbour), each channel by itself, in one table.

    Tables of many pictures add up, which is how they are drawn and correlated without keeping the pictures.

    Args:
        pixels: one picture or several of one size.
        direction: ``horizontal`` (right), ``vertical`` (below) or ``diagonal`` (right and below).

    Shape: uint8 (..., H, W, 3) to int64 (256, 256); row: the pixel, column: its neighbour.

    Raises:
        UsageError: an unknown direction, no picture, or a picture without such pairs.
    """
    if direction not in NEIGHBOURS:
        raise UsageError(f"Expected a direction of {', '.join(NEIGHBOURS)}, got {direction!r}.")
    picture = _uint8(pixels)
    if picture.ndim < 3 or picture.shape[-1] != 3:
        raise UsageError(f"Expected uint8 (H, W, 3) or (n, H, W, 3), got shape {picture.shape}.")
    down, right = NEIGHBOURS[direction]
    height, width = picture.shape[-3:-1]
    if height <= down or width <= right or picture.size == 0:
        raise UsageError(f"Expected a picture with {direction} neighbours, got {height} x {width} pixels.")
    here = picture[..., : height - down, : width - right, :].astype(np.int64)
    there = picture[..., down:, right:, :]
    pairs = np.bincount((here * LEVELS + there).ravel(), minlength=LEVELS * LEVELS)
    return pairs.reshape(LEVELS, LEVELS).astype(np.int64)


def correlation_of_counts(counts: Counts) -> float:
    """Return Pearson's correlation of the pairs in a table of :func:`adjacent_counts`.

    Where one side has a single level the correlation is undefined (0/0); 1 is returned, because such a
    pixel still tells its neighbour's level.

    Shape: int64 (256, 256) to [-1, 1].
    """
    total = counts.sum()
    levels = np.arange(LEVELS, dtype=np.float64)
    first, second = counts.sum(axis=1) / total, counts.sum(axis=0) / total
    a, b = levels - first @ levels, levels - second @ levels
    spread = np.sqrt((first @ a**2) * (second @ b**2))
    if spread == 0:
        return 1.0
    return float(np.clip((a @ (counts / total) @ b) / spread, -1.0, 1.0))


def adjacent_correlation(pixels: NDArray[np.uint8]) -> dict[str, float]:
    """Return how strongly a pixel's level goes with its neighbour's, in three directions.

    About 0.9 and more in photos, about 0 in noise; the usual check of image ciphers, over all pairs rather
    than a sample. The pairs of the three colour channels are pooled.

    Shape: uint8 (H, W, 3) or (n, H, W, 3) to ``horizontal``, ``vertical`` and ``diagonal``, each in [-1, 1].

    Raises:
        UsageError: no picture, or one without neighbours.
    """
    return {
        direction: correlation_of_counts(adjacent_counts(pixels, direction=direction))
        for direction in NEIGHBOURS
    }


def _uint8(pixels: NDArray[Any]) -> Pixels:
    if pixels.dtype != np.uint8:
        raise UsageError(
            f"Expected uint8 pixels of 0 to 255, got {pixels.dtype}: scale and round them first."
        )
    return pixels
