"""Stop rules: is an image good enough to leave the batch? Each answers per image; combine them with ``&``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Criterion(Protocol):
    """A rule over the unweighted loss terms of a step."""

    def __call__(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Return ``(batch,)`` bool: true where the image is good enough."""


class _Combinable:
    def __and__(self, other: Criterion) -> "Both":
        """Both rules must hold."""
        return Both(self, other)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Both(_Combinable):
    """True where both rules are true."""

    first: Criterion
    second: Criterion

    def __call__(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Ask both."""
        return self.first(terms) & self.second(terms)


@dataclass(frozen=True)
class StillRecognised(_Combinable):
    """cos(f(x'), f(x)) has reached ``cosine``.

    On unit features ||a - b||^2 = 2 - 2 cos, so the feature term (a mean over d values) tells the cosine.
    """

    cosine: float
    feature_size: int

    def __call__(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Compare the feature term with the limit that the cosine sets."""
        return terms["features"] <= 2 * (1 - self.cosine) / self.feature_size


@dataclass(frozen=True)
class StillRecoverable(_Combinable):
    """The mean squared recovery error has fallen to ``mse``."""

    mse: float

    def __call__(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Compare the recovery term with the limit."""
        return terms["recovery"] <= self.mse


@dataclass(frozen=True)
class Never(_Combinable):
    """Never stop early: every image takes all steps, as in the papers."""

    def __call__(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Return false for every image."""
        return torch.zeros_like(next(iter(terms.values())), dtype=torch.bool)
