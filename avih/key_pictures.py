"""The pictures that a generator is trained on: random crops, zoomed, mirrored and recoloured."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from avih.errors import UsageError


class PictureSampler:
    """Draws random crops of pictures, zoomed, mirrored and recoloured, as training batches.

    Args:
        pictures: uint8 ``(h, w, 3)`` arrays; smaller ones than the crop are refused.
        height: height of a crop in pixels.
        width: width of a crop in pixels.
        rng: source of the draws; as secret as the key it trains.
    """

    def __init__(
        self, *, pictures: Sequence[NDArray[np.uint8]], height: int, width: int, rng: np.random.Generator
    ) -> None:
        usable = [p for p in pictures if p.shape[0] >= height and p.shape[1] >= width]
        if not usable:
            raise UsageError(f"Expected training pictures of at least {height}x{width} pixels, got none.")
        self.pictures, self.height, self.width, self.rng = usable, height, width, rng

    def batch(self, size: int, *, side: int | None = None) -> Tensor:
        """Return ``(size, 3, height, width)`` in [0, 1], or squares of ``side`` pixels.

        Raises:
            UsageError: a square is larger than the sampler's crops.
        """
        if side is not None and side > min(self.height, self.width):
            raise UsageError(
                f"Expected training crops within {self.height}x{self.width} pixels, got a side of {side}. "
                "Choose a smaller crop."
            )
        height, width = (side, side) if side is not None else (self.height, self.width)
        return torch.stack([self._draw(height, width) for _ in range(size)])

    def _draw(self, rows: int, columns: int) -> Tensor:
        rng = self.rng
        picture = self.pictures[rng.integers(len(self.pictures))]
        all_rows, all_columns = picture.shape[:2]
        largest = min(all_rows / rows, all_columns / columns)
        zoom = float(np.exp(rng.uniform(0, np.log(min(largest, 4.0)))))
        height, width = int(rows * zoom), int(columns * zoom)
        top, left = rng.integers(all_rows - height + 1), rng.integers(all_columns - width + 1)
        crop = (
            torch.from_numpy(picture[top : top + height, left : left + width].copy()).permute(2, 0, 1) / 255
        )
        if zoom > 1:
            crop = functional.interpolate(crop[None], (rows, columns), mode="area")[0]
        if rng.random() < 0.5:
            crop = crop.flip(2)
        if rng.random() < 0.25:  # some galleries are grey
            crop = crop.mean(dim=0, keepdim=True).expand(3, -1, -1)
        contrast, brightness = rng.uniform(0.7, 1.3), rng.uniform(-0.15, 0.15)
        return ((crop - 0.5) * contrast + 0.5 + brightness).clamp(0, 1)
