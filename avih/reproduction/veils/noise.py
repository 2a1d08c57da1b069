"""What happens to stored pictures on their way: noise and filters, on 8-bit values (002, section 4.4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter  # type: ignore[import-untyped]

Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class Distortion:
    """One way and how much of it.

    Attributes:
        level: standard deviation in grey levels; share of the pixels that turn black or white; side of the
            window in pixels.
    """

    kind: Literal["Gaussian noise", "salt and pepper", "median filter"]
    level: float


DISTORTIONS: Mapping[str, Distortion] = {
    **{f"sigma {level}": Distortion("Gaussian noise", level) for level in (0, 40, 80, 120, 160, 200)},
    **{f"{share:.0%} of pixels": Distortion("salt and pepper", share) for share in (0.05, 0.1, 0.2, 0.4)},
    **{f"{side} x {side}": Distortion("median filter", side) for side in (3, 5, 7)},
}


def distorted(pictures: Pictures, distortion: Distortion, *, seed: int) -> Pictures:
    """Return distorted pictures, rounded and cut to 8 bits; the same for the same seed.

    Shape:
        - pictures: ``(n, H, W, 3)`` uint8; returns the same.
    """
    draw, level = np.random.default_rng(seed), distortion.level
    if distortion.kind == "median filter":
        side = int(level)
        filtered: Pictures = median_filter(pictures, size=(1, side, side, 1))
        return filtered
    if distortion.kind == "Gaussian noise":
        noisy = pictures + draw.normal(scale=level, size=pictures.shape)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    spots = draw.random((*pictures.shape[:3], 1))  # all three channels of a pixel together
    salted = np.where(spots < level / 2, np.uint8(0), np.where(spots < level, np.uint8(255), pictures))
    return salted.astype(np.uint8)
