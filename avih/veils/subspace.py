"""The identity subspace of 002, Equation 6: the convex hull of a person's features, and its nearest points.

002 writes the constraints (weights of at least 0 that sum to 1) and then solves Equation 5, the free least
squares, whose weights may be negative. Free weights span the whole linear space of the photos: with as many
photos as a feature has values every feature is in it, a stranger's too. Here the constraints hold.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from avih.errors import UsageError

MOST_ITERATIONS = 80
GAP = 1e-15  # of the squared distance, in units of the features' mean square: 3e-8 of their length
RIDGE = 1e-13  # keeps the Newton matrix invertible where photos repeat; it changes the path, not the end
NEARLY = 0.995  # share of the way to the wall that one Newton step may go


@dataclass(frozen=True)
class FeatureHull:
    """The convex hull of a person's features (002, Equation 6).

    Shape:
        - features: ``(photos, d)`` floating point, usually unit rows.
    """

    features: Tensor
    _gram: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or 0 in self.features.shape:
            raise UsageError(
                f"Expected features (photos, d) of at least one photo, got {tuple(self.features.shape)}."
            )
        if not bool(self.features.isfinite().all()):
            raise UsageError("Expected finite features, got NaN or infinity: check the recogniser's input.")
        double = self.features.detach().double()
        object.__setattr__(self, "_gram", double @ double.T)

    def weights(self, points: Tensor) -> Tensor:
        """Return the weights of the hull's point nearest to each given point; they are not differentiated.

        Shape:
            - points: ``(batch, d)``; returns ``(batch, photos)`` float64, at least 0, sum 1.

        Raises:
            UsageError: points of another length than the features.
        """
        if points.ndim != 2 or points.shape[1] != self.features.shape[1]:
            raise UsageError(
                f"Expected points (batch, {self.features.shape[1]}), got {tuple(points.shape)}: features and "
                "hull must come from one recogniser."
            )
        products = points.detach().double() @ self.features.detach().double().T
        return simplex_least_squares(self._gram, products)

    def nearest(self, points: Tensor) -> Tensor:
        """Return the point of the hull nearest to each given point, as a constant.

        Shape:
            - points: ``(batch, d)``; returns the same shape and type.
        """
        weights = self.weights(points)
        return (weights @ self.features.detach().double()).to(points.dtype)


@dataclass(frozen=True)
class _Iterate:
    """Weights w, multipliers z of w >= 0 and nu of sum(w) = 1; one row per problem."""

    w: Tensor
    z: Tensor
    nu: Tensor

    def moved(self, by: "_Iterate", step: Tensor) -> "_Iterate":
        return _Iterate(self.w + step * by.w, self.z + step * by.z, self.nu + step * by.nu)

    def longest(self, by: "_Iterate") -> Tensor:
        """Say how far each row may go until a weight or a multiplier is 0 (at most 1)."""
        walls = [torch.where(d < 0, -v / d, torch.inf) for v, d in ((self.w, by.w), (self.z, by.z))]
        return torch.cat(walls, dim=1).amin(dim=1, keepdim=True).clamp(max=1.0)


def simplex_least_squares(gram: Tensor, products: Tensor) -> Tensor:
    """Minimise ||W w - y||^2 over w >= 0, sum(w) = 1, for many y at once (002, Equations 4 and 6).

    Mehrotra's predictor-corrector interior-point method (1992). A row that is done stays as it is, so its
    result does not depend on its neighbours.

    Shape:
        - gram: ``(n, n)`` float64, W^T W; products: ``(batch, n)`` float64, W^T y.
        - returns: ``(batch, n)`` float64.
    """
    scale = gram.diagonal().mean().clamp_min(torch.finfo(gram.dtype).tiny)
    gram, products = gram / scale, products / scale
    ones = torch.ones_like(products)
    current = _Iterate(ones / ones.shape[1], ones, torch.zeros_like(ones[:, :1]))
    for _ in range(MOST_ITERATIONS):
        slope = current.w @ gram - products + current.nu - current.z
        missing = current.w.sum(dim=1, keepdim=True) - 1
        gap = (current.w * current.z).sum(dim=1, keepdim=True)
        exact = (slope.abs().amax(dim=1, keepdim=True) < 1e-12) & (missing.abs() < 1e-12)
        done = exact & (gap < GAP)
        if bool(done.all()):
            break
        following = _newton(gram, current, slope, missing)
        current = _Iterate(
            *(
                torch.where(done, old, new)
                for old, new in zip(_parts(current), _parts(following), strict=True)
            )
        )
    weights = current.w.clamp_min(0)
    return weights / weights.sum(dim=1, keepdim=True)


def _parts(iterate: _Iterate) -> tuple[Tensor, Tensor, Tensor]:
    return iterate.w, iterate.z, iterate.nu


def _newton(gram: Tensor, at: _Iterate, slope: Tensor, missing: Tensor) -> _Iterate:
    """Take one predictor-corrector step on the optimality conditions."""
    matrix = gram + torch.diag_embed(at.z / at.w + RIDGE)
    factor, _ = torch.linalg.cholesky_ex(matrix)
    along = torch.cholesky_solve(torch.ones_like(at.w).unsqueeze(2), factor).squeeze(2)

    def direction(target: Tensor | float) -> _Iterate:
        pull = (target - at.w * at.z) / at.w
        free = torch.cholesky_solve((pull - slope).unsqueeze(2), factor).squeeze(2)
        nu = (free.sum(dim=1, keepdim=True) + missing) / along.sum(dim=1, keepdim=True)
        w = free - nu * along
        return _Iterate(w, pull - at.z / at.w * w, nu)

    guess = direction(0.0)
    reached = at.moved(guess, at.longest(guess))
    gap = (at.w * at.z).mean(dim=1, keepdim=True)
    left = (reached.w * reached.z).mean(dim=1, keepdim=True) / gap
    corrected = direction(left**3 * gap - guess.w * guess.z)
    return at.moved(corrected, NEARLY * at.longest(corrected))
