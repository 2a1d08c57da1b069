"""Where a face belongs in an aligned picture, and the warp that brings it there.

The template's points are those of the recogniser's training. A photo is sampled at its full size, bilinearly;
one that is shrunk is averaged first, so that fine patterns do not alias. Parts of the template outside the
photo repeat the photo's edge: black and mirrored borders recognise equally well; a repeated edge adds neither a
hard line nor a second ear.

The points of 112x112 and 112x96 are published. Any other size has the points of 112x112 scaled by one factor
around the middle: the largest at which the 112x96 around them still fits. So 160x160 and 224x224 show what
112x112 shows, only finer, and a wider or taller picture shows more around the face.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.transform import AffineTransform, SimilarityTransform, warp

from avih.errors import UsageError

Photo = NDArray[np.uint8]


@dataclass(frozen=True)
class Template:
    """Where eyes, nose and mouth corners belong in an aligned face.

    Attributes:
        points: left eye, right eye, nose, left and right mouth corner as (x, y), as seen in the picture.
        height: pixels.
        width: pixels.
    """

    points: tuple[tuple[float, float], ...]
    height: int
    width: int

    @property
    def eye_distance(self) -> float:
        """Distance between the eyes in pixels."""
        return math.dist(self.points[0], self.points[1])


_WIDE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
_NARROW = ((30.2946, 51.6963), (65.5318, 51.5014), (48.0252, 71.7366), (33.5493, 92.3655), (62.7299, 92.2041))
_PUBLISHED: Final = {
    "112x112": Template(points=_WIDE, height=112, width=112),
    "112x96": Template(points=_NARROW, height=112, width=96),
}
SMALLEST_SIDE: Final = 32
LARGEST_SIDE: Final = 512
# Keyed recovery keeps colours in cells of 2x2; the generator of unmixed recovery halves a picture twice.
SIDE_STEP: Final = 4


@lru_cache(maxsize=64)
def template_named(name: str) -> Template:
    """Return the template of a size, written as height x width: ``"160x160"``.

    Raises:
        UsageError: no such size, a side out of 32 to 512, or one that does not divide by 4.
    """
    if name in _PUBLISHED:
        return _PUBLISHED[name]
    sides = re.fullmatch(r"([1-9]\d{1,2})x([1-9]\d{1,2})", name)
    height, width = (int(side) for side in sides.groups()) if sides else (0, 0)
    if any(not SMALLEST_SIDE <= side <= LARGEST_SIDE or side % SIDE_STEP for side in (height, width)):
        raise UsageError(
            f"Expected a template HEIGHTxWIDTH of {SMALLEST_SIDE} to {LARGEST_SIDE} pixels whose sides divide "
            f"by {SIDE_STEP} (recoveries work on cells of pixels), got {name!r}. Take the nearest such size, and "
            "resize inside the network's wrapper if it needs another."
        )
    scale = min(height / 112, width / 96)
    points = tuple((width / 2 + scale * (x - 56), height / 2 + scale * (y - 56)) for x, y in _WIDE)
    return Template(points=points, height=height, width=width)


class _Templates(Mapping[str, Template]):
    """Every template by its name; listed are the published ones."""

    def __getitem__(self, name: str) -> Template:
        try:
            return template_named(name)
        except UsageError as error:
            raise KeyError(str(error)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(_PUBLISHED)

    def __len__(self) -> int:
        return len(_PUBLISHED)


TEMPLATES: Final[Mapping[str, Template]] = _Templates()


def warp_to_template(photo: Photo, to_template: SimilarityTransform, *, template: Template) -> Photo:
    """Sample the template's pixels bilinearly from the part of the photo that they cover.

    Shape:
        - photo: ``(H, W, 3)`` uint8; returns ``(template.height, template.width, 3)`` uint8.
    """
    height, width = template.height, template.width
    from_template = to_template.inverse
    corners = from_template(np.array([(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)]))
    factor = max(1, math.floor(1 / to_template.scale))
    limits = np.array([photo.shape[1], photo.shape[0]])
    # Two averaged pixels more than the corners need, and never less than one pixel of the photo.
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 2 * factor, 0, limits - 1)
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 2 * factor + 1, low + 1, limits)
    part = Image.fromarray(np.ascontiguousarray(photo[low[1] : high[1], low[0] : high[0]]))
    if factor > 1:
        part = part.reduce(factor)
    into_part = AffineTransform(  # type: ignore[no-untyped-call]
        scale=1 / factor, translation=(0.5 - low) / factor - 0.5
    )
    sampled = warp(  # type: ignore[no-untyped-call]
        np.asarray(part, dtype=np.float64),
        from_template + into_part,
        output_shape=(height, width),
        order=1,
        mode="edge",
        preserve_range=True,
    )
    return np.clip(np.rint(sampled), 0, 255).astype(np.uint8)
