"""Visual losses that the block variance is compared with (AVIH, Figures 7 and 16), and what SSIM does not see."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from avih.losses import LossTerm
from avih.reproduction.faces import Picture

CELL = 8  # pixels: at 112x96 a face is 14 x 12 cells, enough to see who it is


@dataclass(frozen=True)
class OriginalDistance:
    """L_d of 000, Equation 5, with the sign of Equation 6: minus the mean squared distance to the original.

    Shape:
        - original and input: ``(batch, 3, H, W)`` in [0, 1]; output ``(batch,)``, -1 to 0.
    """

    original: Tensor
    weight: float
    name: str = field(default="original", init=False)

    def __call__(self, protected: Tensor) -> Tensor:
        """Return the loss."""
        return -(protected - self.original).square().flatten(1).mean(dim=1)


@dataclass(frozen=True)
class GreyDistance:
    """T loss of 000, supplementary D: the mean squared distance to a picture of middle grey.

    Shape:
        - input: ``(batch, 3, H, W)`` in [0, 1]; output ``(batch,)``, 0 to 0.25.
    """

    weight: float
    name: str = field(default="grey", init=False)

    def __call__(self, protected: Tensor) -> Tensor:
        """Return the loss."""
        return (protected - 0.5).square().flatten(1).mean(dim=1)


@dataclass(frozen=True)
class TotalVariation:
    """TV loss of 000, supplementary D: the mean absolute difference of neighbours, right and below.

    Shape:
        - input: ``(batch, 3, H, W)`` in [0, 1]; output ``(batch,)``, 0 to 2.
    """

    weight: float
    name: str = field(default="variation", init=False)

    def __call__(self, protected: Tensor) -> Tensor:
        """Return the loss."""
        right = (protected[..., 1:] - protected[..., :-1]).abs().flatten(1).mean(dim=1)
        below = (protected[..., 1:, :] - protected[..., :-1, :]).abs().flatten(1).mean(dim=1)
        return right + below


# By kind: what a visual loss is made of, the originals and its weight.
VISUAL_LOSSES: Mapping[str, Callable[[Tensor, float], LossTerm]] = {
    "distance to the original": OriginalDistance,
    "distance to grey": lambda _, weight: GreyDistance(weight),
    "total variation": lambda _, weight: TotalVariation(weight),
}


def cell_means(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the means of whole cells of 8x8 pixels, all channels together: the picture from far away.

    Shape:
        - values: ``(H, W, 3)``; returns ``(H // 8, W // 8)``.
    """
    rows, columns = values.shape[0] // CELL, values.shape[1] // CELL
    whole = values[: rows * CELL, : columns * CELL].astype(np.float64)
    means: NDArray[np.float64] = whole.reshape(rows, CELL, columns, CELL, -1).mean(axis=(1, 3, 4))
    return means


def cell_correlation(original: Picture, seen: NDArray[Any]) -> float:
    """Return how strongly the cells of a picture go with the original's, whatever the sign: 0 to 1.

    SSIM looks through a window of 11 pixels and so does not see a face that is only there on average.
    """
    first, second = cell_means(original).ravel(), cell_means(seen).ravel()
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(abs(np.corrcoef(first, second)[0, 1]))


def folded(picture: Picture) -> NDArray[np.float64]:
    """Return how far each value is from middle grey: the view that a loss on mean values leaves open."""
    return np.abs(picture.astype(np.float64) - 127.5)
