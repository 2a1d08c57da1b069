"""Putting a veil on photos and taking it off again (002, Equations 12 and 14), on 8-bit pictures.

A veil inside [0, 1] never leaves the range of a picture: x' = alpha x + (1 - alpha) d is a mean of two pictures.
What recovery loses is the rounding of x' to 8 bits: half a grey level becomes 1 / (2 alpha) levels, which is 2.5
for alpha = 0.2.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avih.errors import UsageError

Pixels = NDArray[np.uint8]
VeilPixels = NDArray[np.float32]

TOP = 255.0
AT_ONCE = 16  # photos; their float32 values stay in the processor's cache


@dataclass(frozen=True)
class Veiled:
    """Photos under a veil.

    Shape:
        - pictures: ``(n, H, W, 3)`` uint8.
        - clipped: values that left 0 to 255 and were cut, of all photos; recovery has lost them.
    """

    pictures: Pixels
    clipped: int


def put_on(photos: NDArray[Any], *, veil: NDArray[Any], alpha: float) -> Veiled:
    """Return x' = alpha x + (1 - alpha) d, rounded to 8 bits (002, Equation 12).

    Shape:
        - photos: ``(n, H, W, 3)`` uint8; veil: ``(H, W, 3)`` floating point; in [0, 1] nothing is clipped.

    Raises:
        UsageError: no such photos, a veil of another size or not finite, or alpha outside (0, 1).
    """
    shade = _checked(photos, veil, alpha) * np.float32((1 - alpha) * TOP)
    pictures = np.empty_like(photos)
    clipped = 0
    for rows in _chunks(len(photos)):
        values = photos[rows] * np.float32(alpha)
        values += shade
        np.rint(values, out=values)
        if values.size and (values.min() < 0 or values.max() > TOP):
            clipped += int(((values < 0) | (values > TOP)).sum())
            np.clip(values, 0, TOP, out=values)
        pictures[rows] = values  # whole numbers in range: the cast is exact
    return Veiled(pictures, clipped)


def take_off(stored: NDArray[Any], *, veil: NDArray[Any], alpha: float) -> Pixels:
    """Return x = (x' - (1 - alpha) d) / alpha from stored 8-bit pictures (002, Equation 14, corrected).

    Equation 14 is printed with 1 / (1 - alpha), which does not undo Equation 12; see :func:`take_off_as_printed`.

    Shape:
        - stored: ``(n, H, W, 3)`` uint8; veil: ``(H, W, 3)`` floating point; returns ``(n, H, W, 3)`` uint8.

    Raises:
        UsageError: as for :func:`put_on`.
    """
    return _take_off(stored, veil=veil, alpha=alpha, divisor=alpha)


def take_off_as_printed(stored: NDArray[Any], *, veil: NDArray[Any], alpha: float) -> Pixels:
    """Return what Equation 14 of 002 gives as it is printed: alpha / (1 - alpha) x, a picture that is too dark.

    Shape and errors: as for :func:`take_off`.
    """
    return _take_off(stored, veil=veil, alpha=alpha, divisor=1 - alpha)


def _take_off(stored: NDArray[Any], *, veil: NDArray[Any], alpha: float, divisor: float) -> Pixels:
    shade = _checked(stored, veil, alpha) * np.float32((1 - alpha) / divisor * TOP)
    photos = np.empty_like(stored)
    for rows in _chunks(len(stored)):
        values = stored[rows] * np.float32(1 / divisor)
        values -= shade
        np.rint(values, out=values)
        np.clip(values, 0, TOP, out=values)  # rounding may lead a little outside
        photos[rows] = values
    return photos


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + AT_ONCE) for start in range(0, count, AT_ONCE)]


def _checked(photos: NDArray[Any], veil: NDArray[Any], alpha: float) -> VeilPixels:
    """Check photos, veil and alpha; return the veil in float32."""
    if photos.dtype != np.uint8 or photos.ndim != 4 or photos.shape[3] != 3:
        raise UsageError(
            f"Expected pictures (n, H, W, 3) uint8, got {photos.dtype} {photos.shape}: read them as RGB and "
            "stack them."
        )
    if veil.shape != photos.shape[1:] or not np.issubdtype(veil.dtype, np.floating):
        raise UsageError(
            f"Expected a veil {photos.shape[1:]} in floating point, got {veil.dtype} {veil.shape}: align the "
            "photos as those that the veil was crafted from."
        )
    if not 0 < alpha < 1:
        raise UsageError(f"Expected alpha between 0 and 1, got {alpha}: take the veil's own.")
    shade: VeilPixels = veil.astype(np.float32)
    if not np.isfinite(shade).all():
        raise UsageError("Expected a finite veil, got NaN or infinity: craft it again.")
    return shade
