"""What synthetic photos are made of: a person's traits, a photo's circumstances, and a canvas to draw on.

Lengths are in face units: 1 is the mean distance between the eyes, the origin lies midway between them,
x points to the right of the picture and y down.
"""

from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from skimage.filters import gaussian

Floats = NDArray[np.floating[Any]]
Drawn = TypeVar("Drawn")

# From light to dark, and from black over brown, red and blond to grey: colours in [0, 1] RGB.
SKIN_TONES = (
    (0.96, 0.82, 0.74),
    (0.90, 0.72, 0.60),
    (0.78, 0.58, 0.44),
    (0.60, 0.42, 0.30),
    (0.44, 0.30, 0.22),
)
HAIR_TONES = (
    (0.07, 0.06, 0.06),
    (0.17, 0.11, 0.08),
    (0.32, 0.20, 0.12),
    (0.46, 0.22, 0.10),
    (0.66, 0.50, 0.28),
    (0.84, 0.72, 0.48),
    (0.62, 0.60, 0.58),
    (0.88, 0.87, 0.85),
)
IRIS_TONES = (
    (0.13, 0.07, 0.04),
    (0.30, 0.17, 0.08),
    (0.36, 0.34, 0.16),
    (0.25, 0.42, 0.26),
    (0.28, 0.46, 0.60),
    (0.48, 0.54, 0.58),
)
NOISE_SIDE = 1024
NOISE_STEPS = 4  # samples of the tile per unit of noise coordinates, so that the nearest one is near enough


def _span(low: float, high: float) -> Any:
    return field(metadata={"span": (low, high)})


@dataclass(frozen=True)
class Traits:
    """Everything that stays the same between the photos of one person; each is uniform over its span."""

    face_width: float = _span(1.0, 1.24)  # half the width at the cheekbones
    face_height: float = _span(1.25, 1.5)  # from the eyes to the top of the skull
    chin: float = _span(1.58, 2.00)  # from the eyes down to the chin
    jaw_square: float = _span(1.75, 3.1)  # exponent of the jaw's curve: round to square
    jaw_pointed: float = _span(1.6, 2.6)  # the other exponent: pointed to broad
    skin: float = _span(0.0, 1.0)
    skin_red: float = _span(-0.04, 0.04)
    relief_side: float = _span(0.0, 1.0)  # share of the portrait's skin that is not mirrored
    blush: float = _span(0.0, 0.16)
    freckles: float = _span(-0.25, 0.22)  # none below zero
    age: float = _span(0.0, 1.0)
    eye_distance: float = _span(0.43, 0.57)  # from the middle of the face to an eye
    eye_width: float = _span(0.18, 0.265)
    eye_upper: float = _span(0.065, 0.125)
    eye_lower: float = _span(0.035, 0.075)
    eye_tilt: float = _span(-0.16, 0.2)
    eye_skew: float = _span(-0.4, 0.4)
    iris: float = _span(0.0, 1.0)
    iris_size: float = _span(0.082, 0.105)
    lashes: float = _span(0.012, 0.05)
    crease: float = _span(0.05, 0.13)
    sockets: float = _span(0.0, 0.3)
    bags: float = _span(0.0, 0.25)
    brow_height: float = _span(0.24, 0.40)
    brow_width: float = _span(0.24, 0.36)
    brow_thickness: float = _span(0.02, 0.085)
    brow_arch: float = _span(-0.02, 0.12)
    brow_tilt: float = _span(-0.28, 0.22)
    brow_dark: float = _span(0.35, 0.95)
    nose_width: float = _span(0.76, 1.42)
    nose_length: float = _span(-0.13, 0.14)
    nose_relief: float = _span(0.10, 0.30)
    mouth_height: float = _span(0.94, 1.14)
    mouth_width: float = _span(0.33, 0.52)
    lip_upper: float = _span(0.03, 0.105)
    lip_lower: float = _span(0.05, 0.145)
    lip_bow: float = _span(0.0, 0.5)
    lip_corner: float = _span(-0.04, 0.03)
    lip_red: float = _span(0.0, 1.0)
    hair: float = _span(0.0, 1.0)
    hair_style: float = _span(0.0, 1.0)
    hair_volume: float = _span(0.04, 0.34)
    hair_length: float = _span(0.0, 1.0)
    hair_line: float = _span(-1.2, -0.55)
    hair_parting: float = _span(-0.8, 0.8)
    hair_slope: float = _span(0.1, 0.75)
    hair_curl: float = _span(-0.6, 1.0)  # straight below zero
    hair_shine: float = _span(0.1, 0.6)
    beard: float = _span(-1.6, 1.0)  # none below zero
    moustache: float = _span(-1.6, 1.0)
    glasses: float = _span(-3.2, 1.0)
    glasses_round: float = _span(2.0, 5.0)
    glasses_dark: float = _span(0.05, 0.5)
    ears: float = _span(0.8, 1.3)


@dataclass(frozen=True)
class Shot:
    """Everything that differs from photo to photo; each is uniform over its span."""

    roll: float = _span(-0.32, 0.32)  # radians
    yaw: float = _span(-0.42, 0.42)
    pitch: float = _span(-0.22, 0.22)
    zoom: float = _span(0.178, 0.235)  # distance of the eyes as a share of the picture's width
    shift_x: float = _span(-0.08, 0.08)  # share of the picture's width
    shift_y: float = _span(-0.06, 0.06)
    smile: float = _span(-0.35, 1.0)
    open_mouth: float = _span(-0.9, 1.0)  # closed below zero
    lids: float = _span(0.6, 1.2)
    brows: float = _span(-0.05, 0.08)
    frown: float = _span(-0.12, 0.12)
    gaze_x: float = _span(-0.07, 0.07)
    gaze_y: float = _span(-0.02, 0.02)
    light_x: float = _span(-1.3, 1.3)
    light_y: float = _span(-0.9, 0.3)
    ambient: float = _span(0.3, 0.8)
    gain: float = _span(-0.5, 0.22)  # natural logarithm
    warmth: float = _span(-0.13, 0.16)
    tint: float = _span(-0.04, 0.03)
    contrast: float = _span(0.8, 1.25)
    gradient_x: float = _span(-0.35, 0.35)
    gradient_y: float = _span(-0.25, 0.25)
    blur: float = _span(-0.5, 1.1)  # pixels; none below zero
    noise: float = _span(0.0, 0.022)
    hair_mess: float = _span(0.0, 1.0)
    wears_glasses: float = _span(0.0, 1.0)
    collar: float = _span(0.0, 1.0)
    stripes: float = _span(-2.0, 1.0)  # none below zero
    stripe_count: float = _span(5.0, 16.0)
    stripe_turn: float = _span(0.0, 3.1)


def draw(kind: type[Drawn], generator: np.random.Generator) -> Drawn:
    """Draw each field of a ``Traits`` or ``Shot`` uniformly from its span, in order."""
    drawn = {f.name: float(generator.uniform(*f.metadata["span"])) for f in fields(kind)}  # type: ignore[arg-type]
    return kind(**drawn)


def rgb(red: float, green: float, blue: float) -> Floats:
    """Return a colour as an array, so that pictures stay float32."""
    return np.asarray([red, green, blue], np.float32)


def tone(scale: tuple[tuple[float, float, float], ...], place: float) -> Floats:
    """Return the colour, (3,) in [0, 1], at ``place`` in [0, 1] along a scale."""
    table = np.asarray(scale, np.float32)
    at = np.linspace(0, 1, len(table))
    return np.asarray([np.interp(place, at, table[:, c]) for c in range(3)], np.float32)


def skin_colour(traits: Traits) -> Floats:
    """Return the person's skin colour, (3,) in [0, 1]."""
    return tone(SKIN_TONES, traits.skin) * rgb(1 + traits.skin_red, 1, 1 - traits.skin_red)


def hair_colour(traits: Traits) -> Floats:
    """Return the person's hair colour, (3,) in [0, 1]: the darker the skin, the darker on average."""
    return tone(HAIR_TONES, traits.hair * (1 - 0.6 * max(traits.skin - 0.35, 0)))


def blurred(picture: Floats, sigma: float, *, mode: str = "nearest") -> Floats:
    """Blur a plane, or each colour of a picture, with a Gaussian of ``sigma`` pixels."""
    axis = -1 if picture.ndim == 3 else None
    return gaussian(picture, sigma, mode=mode, channel_axis=axis)  # type: ignore[no-untyped-call]


@lru_cache(maxsize=1)
def _noise_tile() -> Floats:
    white = np.random.default_rng(7).standard_normal((NOISE_SIDE, NOISE_SIDE)).astype(np.float32)
    smooth = blurred(white, 1.5 * NOISE_STEPS, mode="wrap")
    return (smooth / smooth.std()).astype(np.float32)


def noise(x: Floats, y: Floats) -> Floats:
    """Sample one periodic tile of smooth noise (mean 0, deviation about 1) at any coordinates.

    Shape: x, y of one shape, a bump of the noise being about four units wide; returns the same shape.
    """
    column = np.floor(x * NOISE_STEPS).astype(np.int32) & (NOISE_SIDE - 1)
    row = np.floor(y * NOISE_STEPS).astype(np.int32) & (NOISE_SIDE - 1)
    return _noise_tile()[row, column]


def bump(x: Floats, y: Floats, width: float, height: float) -> Floats:
    """Return a Gaussian hill of peak 1 at the origin of the given coordinates."""
    return np.exp(-((x / width) ** 2) - (y / height) ** 2)


def _box(coverage: Floats) -> tuple[slice, slice]:
    """Return the rows and columns in which anything at all is covered: most parts are small."""
    seen = coverage > 0.004
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


@dataclass
class Canvas:
    """A picture under way, with the face coordinates and the light of each pixel.

    Shape: image (size, size, 3) in [0, 1] (not clipped until the end); x, y, light (size, size).
    """

    image: Floats
    x: Floats
    y: Floats
    light: Floats
    pixel: float

    def part(self, *, x: float, top: float, bottom: float) -> "Canvas":
        """Return the part of the canvas with |x| and y within limits; it shares the image."""
        box = _box(((np.abs(self.x) < x) & (self.y > top) & (self.y < bottom)).astype(np.float32))
        return Canvas(self.image[box], self.x[box], self.y[box], self.light[box], self.pixel)

    def edge(self, distance: Floats, softness: float = 1.0) -> Floats:
        """Return the coverage in [0, 1] of a shape given by its distance in face units (negative inside)."""
        return np.clip(0.5 - distance / (self.pixel * (1 + softness)), 0, 1)

    def shape(self, implicit: Floats, softness: float = 1.0) -> Floats:
        """Return the coverage of a shape whose implicit function is no distance: divide by its slope."""
        down, right = np.gradient(implicit)
        slope = np.hypot(down, right) / self.pixel
        return self.edge(implicit / np.maximum(slope, 1e-3), softness)

    def paint(self, coverage: Floats, colour: Floats) -> None:
        """Lay a colour, or a picture of colours, over the image."""
        box = _box(coverage)
        part = self.image[box]
        part += coverage[box][..., None] * ((colour[box] if colour.ndim == 3 else colour) - part)

    def darken(self, coverage: Floats, colour: tuple[float, float, float] = (0.35, 0.2, 0.15)) -> None:
        """Multiply the image towards a shadow colour."""
        box = _box(coverage)
        self.image[box] *= 1 - coverage[box][..., None] * (1 - np.asarray(colour, np.float32))
