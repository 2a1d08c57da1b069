"""The terms of the veil's objective (002, Equation 13); each returns one value per photo.

Sizes are our choice where 002 is silent: pixels are in [0, 1], the visual distance is a root mean square, so that
no weight depends on the size of a picture.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from avih.veils.subspace import FeatureHull

Recognise = Callable[[Tensor], Tensor]
Intra = Literal["centred", "printed"]


@dataclass(frozen=True)
class SubspaceDistance:
    """L_fea of 002, Equation 7: the distance of f(x') from the convex hull of the person's features.

    The nearest point is a constant of the gradient: where a minimum over w is attained, its derivative is that
    of the function at the minimiser (Danskin's theorem).

    A hull of unit features touches the unit sphere at its corners alone, so that this distance draws x' to one
    photo's feature, not to the middle of the person: :class:`VectorDistance` gave higher cosines.

    Shape:
        - hull of ``(photos, d)`` unit features; input ``(batch, 3, H, W)`` in [0, 1]; output ``(batch,)``.
    """

    recogniser: Recognise
    hull: FeatureHull
    weight: float = 1.0
    name: str = field(default="features", init=False)

    def __call__(self, protected: Tensor) -> Tensor:
        """Return the Euclidean distance (Equation 4)."""
        features = self.recogniser(protected)
        return torch.linalg.vector_norm(features - self.hull.nearest(features), dim=1)


@dataclass(frozen=True)
class VectorDistance:
    """The baseline's feature term (002, Equation 15): the distance of f(x') from f(x) of the same photo.

    Shape:
        - target: ``(batch, d)`` unit features f(x); input ``(batch, 3, H, W)`` in [0, 1]; output ``(batch,)``.
    """

    recogniser: Recognise
    target: Tensor
    weight: float = 1.0
    name: str = field(default="features", init=False)

    def __call__(self, protected: Tensor) -> Tensor:
        """Return the Euclidean distance."""
        return torch.linalg.vector_norm(self.recogniser(protected) - self.target, dim=1)


@dataclass(frozen=True)
class VisualDistance:
    """L_vis of 002, Equation 8: the distance of x' from x, to be made LARGE; give it a negative weight.

    002 says that L_vis "should be minimized"; its Equation 13 subtracts it, which alone fits its purpose.

    Shape:
        - original: ``(batch, 3, H, W)`` in [0, 1]; input the same; output ``(batch,)``.
    """

    original: Tensor
    weight: float = -1.0
    name: str = field(default="visual", init=False)

    def __call__(self, protected: Tensor) -> Tensor:
        """Return the root mean square difference: the Euclidean norm over the root of the number of values."""
        difference = (protected - self.original).flatten(1)
        return torch.linalg.vector_norm(difference, dim=1) / math.sqrt(difference.shape[1])


def inner_variance(block_sums: Tensor) -> Tensor:
    """Var_inner of 002, Equation 9: the variance of the block sums S_c of a channel, summed over the channels.

    002 calls it the variance "of a given block", but S_c in Equation 9 is the set of all blocks' sums.

    Shape:
        - block_sums: ``(batch, channels, blocks)``; output ``(batch,)``.
    """
    return block_sums.var(dim=2, unbiased=False).sum(dim=1)


def intra_variance(block_sums: Tensor, *, values: int, intra: Intra) -> Tensor:
    """Var_intra of 002, Equation 10: how far block means mu_i lie from the mean over the blocks, squared.

    ``printed`` takes the mean of the block SUMS, as Equation 10 does. A mean of ``values`` pixels is then held
    against ``values`` times as much, and the term is Var(mu) + ((values - 1) mean(mu))^2: it darkens the picture
    and hardly flattens it. ``centred`` takes the mean of the block means.

    Shape:
        - block_sums: ``(batch, channels, blocks)``, each the sum of ``values`` pixels; output ``(batch,)``.
    """
    means = block_sums / values
    centre = (block_sums if intra == "printed" else means).mean(dim=2, keepdim=True)
    return (means - centre).square().mean(dim=2).sum(dim=1)


@dataclass(frozen=True)
class VeilBlockVariance:
    """L_var of 002, Equation 11: inner plus intra variance of the blocks of x'.

    002 both "divides" the picture into blocks and lets an all-ones kernel of 3 x 3 "slide"; it slides here, one
    pixel at a time, as in 000. With ``stride`` equal to ``size`` the blocks do not overlap.

    Shape:
        - input ``(batch, 3, H, W)`` in [0, 1]; output ``(batch,)``.
    """

    weight: float = 1.0
    size: int = 3
    stride: int = 1
    intra: Intra = "centred"
    name: str = field(default="block_variance", init=False)

    def __call__(self, protected: Tensor) -> Tensor:
        """Return the sum of both variances."""
        values = self.size**2
        sums = (functional.avg_pool2d(protected, self.size, self.stride) * values).flatten(2)
        return inner_variance(sums) + intra_variance(sums, values=values, intra=self.intra)
