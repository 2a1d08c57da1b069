"""What an outsider without the veil gets from photos under one veil.

All photos of a person carry the same (1 - alpha) d, so their mean is that constant plus alpha times the mean
photo. Whoever holds several subtracts the mean and has the photos, up to the mean photo, for which any face will
do. Whoever holds one photo together with its protected picture has the veil itself. And a crafted veil ends at
black or white in most of its values, so that one protected picture alone gives its face away
(:mod:`avih.lab.attacks.veils`).
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from avih.errors import UsageError
from avih.evaluation.metrics import ssim
from avih.veils.apply import Pixels, VeilPixels, take_off

WARNING: Final = (
    "A veil hides faces from a glance, not from an attack: most of its values end at black or white, so that "
    "even one protected photo can be turned back. Photos under one veil expose each other. Anyone who sees "
    "several protected photos of this person can average them, subtract the mean and see the faces, without "
    "the veil and without the recogniser; anyone who has one photo together with its protected picture has "
    "the veil and opens all others. Keep one gallery photo per person per veil, and keep the veil as secret "
    "as the photos."
)
GREY: Final = 0.5


@dataclass(frozen=True)
class Exposure:
    """Pictures that an outsider recovered, and how like the originals they are.

    Shape:
        - pictures: ``(n, H, W, 3)`` uint8.
        - ssim: SSIM to the original, of each picture (:func:`avih.evaluation.metrics.ssim`).
    """

    pictures: Pixels
    ssim: tuple[float, ...]

    @property
    def mean_ssim(self) -> float:
        """The mean over the pictures."""
        return float(np.mean(self.ssim))


def veil_from_many(stored: NDArray[Any], *, alpha: float, prior: NDArray[Any] | None = None) -> VeilPixels:
    """Estimate the veil from protected photos alone: d = (mean(x') - alpha p) / (1 - alpha).

    Args:
        stored: the protected photos of one veil.
        alpha: the share of the photo, which is no secret.
        prior: p, what the outsider takes for the mean photo, for instance a public mean face; none: mid grey.

    Shape:
        - stored: ``(n, H, W, 3)`` uint8; prior: ``(H, W, 3)`` in [0, 1]; returns ``(H, W, 3)`` float32.

    Raises:
        UsageError: no picture, a prior of another size, or alpha outside (0, 1).
    """
    _check(stored, alpha)
    face = np.full(stored.shape[1:], GREY) if prior is None else np.asarray(prior, dtype=np.float64)
    if face.shape != stored.shape[1:]:
        raise UsageError(f"Expected a prior of shape {stored.shape[1:]}, got {face.shape}: align it alike.")
    mean = stored.mean(axis=0, dtype=np.float64) / 255
    estimate: VeilPixels = ((mean - alpha * face) / (1 - alpha)).astype(np.float32)
    return estimate


def veil_from_pair(stored: NDArray[Any], original: NDArray[Any], *, alpha: float) -> VeilPixels:
    """Compute the veil from one leaked pair: d = (x' - alpha x) / (1 - alpha), up to the rounding of x'.

    Shape:
        - stored, original: ``(H, W, 3)`` uint8; returns ``(H, W, 3)`` float32.

    Raises:
        UsageError: no pair of pictures of one size, or alpha outside (0, 1).
    """
    _check(stored[None], alpha)
    _check(original[None], alpha)
    if stored.shape != original.shape:
        raise UsageError(f"Expected a pair of one size, got {stored.shape} and {original.shape}.")
    veil: VeilPixels = ((stored / 255.0 - alpha * (original / 255.0)) / (1 - alpha)).astype(np.float32)
    return veil


def expose_by_mean(
    stored: NDArray[Any], originals: NDArray[Any], *, alpha: float, prior: NDArray[Any] | None = None
) -> Exposure:
    """Recover photos from nothing but their protected pictures, and measure how well that went.

    Args:
        stored: all that the outsider has.
        originals: the owner's photos, used for the measurement only.
        alpha: the share of the photo.
        prior: as in :func:`veil_from_many`.

    Shape:
        - stored, originals: ``(n, H, W, 3)`` uint8.

    Raises:
        UsageError: as in :func:`veil_from_many`, or the originals do not fit.
    """
    pictures = take_off(stored, veil=veil_from_many(stored, alpha=alpha, prior=prior), alpha=alpha)
    return _measured(pictures, originals)


def expose_by_pair(
    stored: NDArray[Any], originals: NDArray[Any], *, alpha: float, leaked: int = 0
) -> Exposure:
    """Recover all other photos of a veil from one leaked pair, and measure how well that went.

    Args:
        stored: the protected photos.
        originals: the owner's photos; the outsider knows only the leaked one.
        alpha: the share of the photo.
        leaked: which photo leaked; the result leaves it out.

    Shape:
        - stored, originals: ``(n, H, W, 3)`` uint8, n at least 2.

    Raises:
        UsageError: as in :func:`veil_from_pair`, fewer than two photos, or ``leaked`` is none of them.
    """
    if len(stored) < 2 or len(originals) != len(stored) or not 0 <= leaked < len(stored):
        raise UsageError(
            f"Expected at least 2 photos, as many originals, and which one leaked; got {len(stored)}, "
            f"{len(originals)}, {leaked}."
        )
    veil = veil_from_pair(stored[leaked], originals[leaked], alpha=alpha)
    others = np.arange(len(stored)) != leaked
    return _measured(take_off(stored[others], veil=veil, alpha=alpha), originals[others])


def _measured(pictures: Pixels, originals: NDArray[Any]) -> Exposure:
    if len(pictures) != len(originals):
        raise UsageError(f"Expected one original per picture, got {len(originals)} for {len(pictures)}.")
    return Exposure(pictures, tuple(ssim(a, b) for a, b in zip(originals, pictures, strict=True)))


def _check(stored: NDArray[Any], alpha: float) -> None:
    if stored.dtype != np.uint8 or stored.ndim != 4 or stored.shape[-1] != 3 or len(stored) == 0:
        raise UsageError(f"Expected protected photos (n, H, W, 3) uint8, got {stored.dtype} {stored.shape}.")
    if not 0 < alpha < 1:
        raise UsageError(f"Expected alpha between 0 and 1, got {alpha}: take the veil's own.")
