"""What may happen to a stored picture on its way: noise, compression, resizing, a lost edge, fewer bits."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from avih.attack.pairs import Pictures
from avih.evaluation.metrics import Pixels

Change = Callable[[Pixels, np.random.Generator], NDArray[Any]]

NOISE: Final = (1, 2, 5, 10)  # standard deviation in grey levels
SALT_AND_PEPPER: Final = (0.001, 0.01, 0.05)  # share of the values
QUALITIES: Final = (100, 95, 90, 75, 50)  # of JPEG with colour at half size, as most programs store it
FULL_COLOUR: Final = (100, 90)
SIZES: Final = (0.75, 0.5)
BITS: Final = (7, 6, 4)


@dataclass(frozen=True)
class Distortion:
    """One distortion, applied to each picture by itself.

    Args:
        name: for people.
        change: makes a picture ``(H, W, 3)`` of one; it is rounded and clipped afterwards.
    """

    name: str
    change: Change

    def apply(self, pictures: Pictures, *, seed: int) -> Pictures:
        """Distort pictures, the same with the same seed.

        Shape:
            - pictures: ``(n, H, W, 3)`` uint8; the same comes back.
        """
        draw = np.random.default_rng(seed)
        changed = np.stack([self.change(one, draw) for one in pictures])
        distorted: Pictures = changed.astype(np.float64).round().clip(0, 255).astype(np.uint8)
        return distorted


def distortions() -> tuple[Distortion, ...]:
    """Return all distortions; the first one changes nothing."""
    return (
        Distortion("nothing", lambda picture, _: picture),
        *(Distortion(f"noise, sigma {sigma}/255", _noise(sigma)) for sigma in NOISE),
        *(Distortion(f"salt and pepper, {share:.1%}", _salt(share)) for share in SALT_AND_PEPPER),
        Distortion("median filter, 3x3", _median),
        *(Distortion(f"JPEG, quality {quality}", _jpeg(quality, "4:2:0")) for quality in QUALITIES),
        *(
            Distortion(f"JPEG, quality {quality}, full colour", _jpeg(quality, "4:4:4"))
            for quality in FULL_COLOUR
        ),
        *(Distortion(f"resized to {size:.0%} and back", _resized(size)) for size in SIZES),
        Distortion("cropped by 1 pixel and resized", _cropped),
        Distortion("moved by 1 pixel", _moved),
        *(Distortion(f"{bits} bits per value", _shallow(bits)) for bits in BITS),
    )


def _noise(sigma: float) -> Change:
    return lambda picture, draw: picture + draw.normal(0, sigma, size=picture.shape)


def _salt(share: float) -> Change:
    def change(picture: Pixels, draw: np.random.Generator) -> NDArray[Any]:
        hit = draw.random(picture.shape) < share
        return np.where(hit, draw.integers(0, 2, size=picture.shape) * 255, picture)

    return change


def _jpeg(quality: int, colour: str) -> Change:
    def change(picture: Pixels, draw: np.random.Generator) -> NDArray[Any]:
        target = io.BytesIO()
        Image.fromarray(picture).save(target, format="JPEG", quality=quality, subsampling=colour)
        with Image.open(target) as image:
            return np.array(image)

    return change


def _median(picture: Pixels, draw: np.random.Generator) -> NDArray[Any]:
    return np.array(Image.fromarray(picture).filter(ImageFilter.MedianFilter(3)))


def _resized(size: float) -> Change:
    def change(picture: Pixels, draw: np.random.Generator) -> NDArray[Any]:
        height, width = picture.shape[:2]
        small = (max(1, round(width * size)), max(1, round(height * size)))
        image = Image.fromarray(picture).resize(small, Image.Resampling.BICUBIC)
        return np.array(image.resize((width, height), Image.Resampling.BICUBIC))

    return change


def _cropped(picture: Pixels, draw: np.random.Generator) -> NDArray[Any]:
    """Cut one pixel off every side and scale the rest to the old size."""
    height, width = picture.shape[:2]
    inside = Image.fromarray(np.ascontiguousarray(picture[1:-1, 1:-1]))
    return np.array(inside.resize((width, height), Image.Resampling.BICUBIC))


def _moved(picture: Pixels, draw: np.random.Generator) -> NDArray[Any]:
    """Move right by one pixel; the left edge is repeated."""
    return np.concatenate([picture[:, :1], picture[:, :-1]], axis=1)


def _shallow(bits: int) -> Change:
    """Keep so many bits: the value in the middle of each step."""
    step = 2 ** (8 - bits)
    return lambda picture, _: picture // step * step + step // 2
