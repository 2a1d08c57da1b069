"""Portrait photos of persons who do not exist, made by the program itself: the default data set.

The skin and the nose come from the public-domain portrait that ships inside scikit-image; everything else
is drawn. A person is a draw of traits, a photo is a draw of pose, light, expression and background.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image
from skimage.transform import resize, warp

from avih.datasets import synthetic_drawing as drawing
from avih.datasets.synthetic_basics import Canvas, Floats, Shot, Traits, blurred, bump, draw, noise, rgb
from avih.errors import UsageError

# The portrait's eyes (x, y) in its own pixels, and the part of the face that is plain skin and nose.
PORTRAIT_EYES = ((205.0, 101.7), (246.8, 103.7))
RELIEF_SPAN = 2.2  # face units to each side of the middle
RELIEF_SIDE = 192  # cells before enlarging
RELIEF_STEPS = 4  # the table is enlarged, so that the nearest entry is near enough
WAVE_HEIGHT = 0.028  # deviation of each wave that bends a face, in face units
REFERENCE_SIZE = 160  # pixels; blur is given for this size


@lru_cache(maxsize=1)
def _skin_relief() -> Floats:
    """Return the portrait's skin as logarithm of its ratio to the mean skin, with all else filled in.

    Shape: (side, side, 3), side = RELIEF_SIDE * RELIEF_STEPS, from -RELIEF_SPAN to RELIEF_SPAN both ways.
    """
    (lx, ly), (rx, ry) = PORTRAIT_EYES
    axis = np.linspace(-RELIEF_SPAN, RELIEF_SPAN, RELIEF_SIDE, dtype=np.float32)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    column = (lx + rx) / 2 + x * (rx - lx) - y * (ry - ly)
    row = (ly + ry) / 2 + x * (ry - ly) + y * (rx - lx)
    portrait = skimage.data.astronaut().astype(np.float32) / 255  # type: ignore[no-untyped-call]
    at = np.broadcast_to(np.stack([row, column])[..., None], (2, *x.shape, 3))
    channel = np.broadcast_to(np.arange(3, dtype=np.float32), (1, *x.shape, 3))
    found = warp(portrait, np.concatenate([at, channel]), order=1, mode="edge")  # type: ignore[no-untyped-call]
    picture = np.log(np.clip(found, 0.02, 1))
    inside = (np.abs(x) / 0.78) ** 2.2 + (np.abs(y - 0.6) / 1.02) ** 2.4 < 1
    eyes = ((np.abs(x) - 0.5) / 0.36) ** 2 + ((y + 0.08) / 0.3) ** 2 < 1
    mouth = (x / 0.72) ** 2 + ((y - 0.98) / 0.3) ** 2 < 1
    folds = (np.abs(np.abs(x) - 0.37 - 1.06 * (y - 0.46)) < 0.14) & (np.abs(x) > 0.33) & (y > 0.4)
    known = (inside & ~eyes & ~mouth & ~folds).astype(np.float32)[..., None]
    middle = (picture * known).sum((0, 1)) / known.sum()
    filled = np.zeros_like(picture)
    # Coarse to fine: each finer mean replaces the coarser one where it has enough known skin around it.
    for sigma in (40.0, 20.0, 10.0, 5.0, 2.5):
        weight = blurred(known, sigma)
        mean = blurred((picture - middle) * known, sigma)
        filled += np.clip(weight * 4, 0, 1) * (mean / np.maximum(weight, 1e-4) - filled)
    filled += blurred(known, 2.0) * known * (picture - middle - filled)
    slow = blurred(filled, 12.0)
    even = filled - (slow - slow[:, ::-1]) / 2  # the portrait's light comes from one side: even it out
    side = RELIEF_SIDE * RELIEF_STEPS
    return resize(even, (side, side), order=1).astype(np.float32)  # type: ignore[no-untyped-call]


def _relief(canvas: Canvas, traits: Traits) -> Floats:
    """Sample the photographed skin with this person's nose: wider or longer than the portrait's."""
    near = bump(canvas.x, canvas.y - 0.5, 0.55, 0.55)
    x = canvas.x * (1 + (1 / traits.nose_width - 1) * near)
    y = canvas.y - traits.nose_length * near
    table = _skin_relief()
    scale = (len(table) - 1) / (2 * RELIEF_SPAN)
    row, column = (np.clip((a + RELIEF_SPAN) * scale, 0, len(table) - 1).astype(np.int32) for a in (y, x))
    left = traits.relief_side
    return left * table[row, column] + (1 - left) * table[row, -1 - column]


def _depth(x: Floats, y: Floats, traits: Traits) -> Floats:
    """Return how far the face stands out towards the camera, in face units."""
    head = 1.0 * np.exp(-((x / 1.35) ** 2) - ((y - 0.15) / 1.9) ** 2)
    nose = traits.nose_relief * bump(x, y - 0.55, 0.17 * traits.nose_width, 0.26)
    ridge = 0.5 * traits.nose_relief * bump(x, y - 0.2, 0.12, 0.35)
    eyes = -0.08 * bump(np.abs(x) - traits.eye_distance, y, 0.25, 0.14)
    chin = 0.10 * bump(x, y - traits.chin + 0.25, 0.3, 0.18)
    return head + nose + ridge + eyes + chin


def _waves(x: Floats, y: Floats, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Move coordinates by a smooth random field: a few waves about as long as the face."""
    moved = [x, y]
    for place in (0, 1):
        for _ in range(4):
            fx, fy = generator.uniform(-2.6, 2.6, size=2).tolist()
            phase, strength = generator.uniform(0, 2 * np.pi), generator.normal() * WAVE_HEIGHT
            moved[place] = moved[place] + strength * np.sin(fx * x + fy * y + phase)
    return moved[0], moved[1]


def _colour(generator: np.random.Generator) -> Floats:
    """Draw a colour of any lightness whose saturation is that of walls and clothes, not of paint."""
    grey = generator.uniform(0.06, 0.92)
    mixed = generator.uniform(0.0, 1.0, size=3) - 0.5
    return np.clip(grey + generator.uniform(0.05, 0.55) * mixed, 0.02, 0.98).astype(np.float32)


def _backdrop(size: int, generator: np.random.Generator) -> Floats:
    """Return a blurred background: a gradient, a texture and some clutter.

    Shape: (size, size, 3) in [0, 1].
    """
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    first, second = _colour(generator), _colour(generator)
    turn = generator.uniform(0, 2 * np.pi)
    mix = 0.5 + 0.5 * np.clip(x * np.cos(turn) + y * np.sin(turn), -1, 1).astype(np.float32)
    image = first + mix[..., None] * (second - first)
    for _ in range(int(generator.integers(0, 8))):
        cx, cy = generator.uniform(-1, 1, size=2).tolist()
        rx, ry = generator.uniform(0.08, 0.6, size=2).tolist()
        power = 2.0 if generator.uniform() < 0.5 else 8.0
        inside = (np.abs((x - cx) / rx) ** power + np.abs((y - cy) / ry) ** power) < 1
        image[inside] += 0.8 * (_colour(generator) - image[inside])
    grain = noise(x * generator.uniform(3, 30) + 60, y * generator.uniform(3, 30) + 60)
    image *= 1 + np.float32(generator.uniform(0, 0.2)) * grain[..., None]
    blur = generator.uniform(0.4, 4.0) * size / REFERENCE_SIZE
    return blurred(image, blur)


@lru_cache(maxsize=256)
def _traits(seed: int, person: int) -> Traits:
    return draw(Traits, np.random.default_rng([seed, person]))


def _canvases(size: int, traits: Traits, shot: Shot, bend: np.random.Generator) -> tuple[Canvas, Canvas]:
    """Set up face coordinates and light for the head and, less turned, for the torso."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    v, u = np.meshgrid(axis, axis, indexing="ij")
    u, v = u - shot.shift_x, v - shot.shift_y + 0.04
    c, s = np.cos(shot.roll, dtype=np.float32), np.sin(shot.roll, dtype=np.float32)
    flat_x, flat_y = (c * u + s * v) / shot.zoom, (c * v - s * u) / shot.zoom
    x, y = flat_x, flat_y
    for _ in range(3):  # invert the turn of a surface by fixed-point iteration
        z = _depth(x, y, traits) - 0.5
        x = (flat_x - z * np.float32(np.sin(shot.yaw))) / np.float32(np.cos(shot.yaw))
        y = (flat_y - z * np.float32(np.sin(shot.pitch))) / np.float32(np.cos(shot.pitch))
    x, y = _waves(x, y, bend)
    pixel = 1 / (size * shot.zoom)
    down, right = np.gradient(_depth(x, y, traits), pixel)
    facing = (1 - right * shot.light_x * 0.55 - down * shot.light_y * 0.55) / np.sqrt(1 + right**2 + down**2)
    light = (shot.ambient + (1 - shot.ambient) * np.clip(facing, 0, 1.5) ** 1.2).astype(np.float32)
    head = Canvas(np.zeros((size, size, 3), np.float32), x, y, light, pixel)
    tilt = np.float32(-0.6 * shot.roll)  # the shoulders follow the head only in part
    torso_x, torso_y = flat_x - tilt * (flat_y - 1.5), flat_y + tilt * flat_x
    even = np.full_like(light, 0.5 + 0.4 * shot.ambient)
    return head, Canvas(head.image, torso_x, torso_y, even, pixel)


def _develop(image: Floats, shot: Shot, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Apply light and camera: gradient, colour temperature, gain, contrast, blur and noise; then 8 bits."""
    size = len(image)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    ramp = 1 + shot.gradient_x * axis[None, :, None] + shot.gradient_y * axis[:, None, None]
    balance = rgb(1 + shot.warmth, 1 + shot.tint, 1 - shot.warmth) * float(np.exp(shot.gain))
    image = np.clip(image * ramp * balance, 0, 1.6)
    image = 0.5 + shot.contrast * (image - 0.5)
    if shot.blur > 0:
        image = blurred(image, shot.blur * size / REFERENCE_SIZE)
    image = image + np.float32(shot.noise) * generator.standard_normal(image.shape, dtype=np.float32)
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class SyntheticFaces:
    """A data set of invented persons; a photo depends on ``seed``, ``size``, person and index alone."""

    persons: int = 64
    photos_per_person: int = 8
    first_person: int = 0
    size: int = 160
    seed: int = 2023

    def person_name(self, person: int) -> str:
        """Name a person as its folder is named: 7 gives ``person_0007``."""
        return f"person_{person:04d}"

    def photo(self, person: int, index: int) -> NDArray[np.uint8]:
        """Draw photo ``index`` of ``person``.

        Shape: returns uint8 (size, size, 3) RGB.

        Raises:
            UsageError: the person's or the photo's number is negative.
        """
        if person < 0 or index < 0:
            raise UsageError(f"Expected numbers of at least 0, got person {person} and photo {index}.")
        traits = _traits(self.seed, person)
        generator = np.random.default_rng([self.seed, person, 2, index])
        shot = draw(Shot, generator)
        head, torso = _canvases(self.size, traits, shot, np.random.default_rng([self.seed, person, 1]))
        head.image += _backdrop(self.size, generator)
        behind, front = drawing.hair_painter(head, traits, shot)
        behind()
        drawing.draw_torso(torso, traits, shot, cloth=_colour(generator), stripes=_colour(generator))
        face = head.part(x=1.5, top=-1.7, bottom=2.2)
        drawing.draw_skin(face, traits, _relief(face, traits))
        drawing.draw_beard(face, traits)
        drawing.draw_mouth(head, traits, shot)
        drawing.draw_eyes(head, traits, shot)
        drawing.draw_brows(head, traits, shot)
        front()
        if traits.glasses > 0 and shot.wears_glasses < 0.75:
            drawing.draw_glasses(head, traits)
        return _develop(head.image, shot, generator)

    def write(self, folder: Path) -> int:
        """Write every photo as PNG in the layout of LFW, keep those that exist, and return their number.

        ``folder/person_0007/person_0007_0003.png`` is the third photo (index 2) of person 7.
        """
        for person in range(self.first_person, self.first_person + self.persons):
            name = self.person_name(person)
            (folder / name).mkdir(parents=True, exist_ok=True)
            for index in range(self.photos_per_person):
                target = folder / name / f"{name}_{index + 1:04d}.png"
                if target.exists():
                    continue
                temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
                try:
                    Image.fromarray(self.photo(person, index)).save(temporary, format="PNG")
                    temporary.replace(target)
                finally:
                    temporary.unlink(missing_ok=True)
        return self.persons * self.photos_per_person
