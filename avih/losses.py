"""The terms of the AVIH objective (000, Equations 10, 13, 15, 16); each returns one value per image.

Weights and reductions follow the authors' released code, which settles what the text leaves open.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class LossTerm(Protocol):
    """One term: maps candidate protected images to a loss per image."""

    @property
    def name(self) -> str:
        """What the term is called in results."""

    @property
    def weight(self) -> float:
        """Its factor in the objective."""

    def __call__(self, protected: Tensor) -> Tensor:
        """Return the unweighted term, shape ``(batch,)``."""


@dataclass(frozen=True)
class FeatureDistance:
    """L_t of 000, Equation 16: mean((f(x') - f(x))^2) on unit features.

    Shape:
        - target: ``(batch, d)`` unit features f(x); input ``(batch, 3, H, W)`` in [0, 1]; output ``(batch,)``.
    """

    recogniser: Callable[[Tensor], Tensor]
    target: Tensor
    weight: float = 1.0
    name: str = field(default="features", init=False)

    def __call__(self, protected: Tensor) -> Tensor:
        """Return the mean squared difference of features."""
        return (self.recogniser(protected) - self.target).square().mean(dim=1)


@dataclass(frozen=True)
class RecoveryDistance:
    """L_g of 000, Equation 10: mean((G(x') - x)^2) over channels and pixels.

    Shape:
        - original: ``(batch, 3, H, W)`` in [0, 1]; input the same; output ``(batch,)``.
    """

    generator: Callable[[Tensor], Tensor]
    original: Tensor
    weight: float = 0.2
    name: str = field(default="recovery", init=False)

    def __call__(self, protected: Tensor) -> Tensor:
        """Return the mean squared difference of recovered and original picture."""
        return (self.generator(protected) - self.original).square().flatten(1).mean(dim=1)


@dataclass(frozen=True)
class BlockVariance:
    """L_v of 000, Equation 13: the unbiased variance of 4x4 block sums, summed over the channels.

    Blocks overlap: an all-ones kernel of ``size`` x ``size`` slides over each channel with ``stride``.

    Shape:
        - input ``(batch, channels, H, W)`` in [0, 1]; output ``(batch,)``.
    """

    weight: float = 0.001
    size: int = 4
    stride: int = 1
    name: str = field(default="block_variance", init=False)

    def __call__(self, protected: Tensor) -> Tensor:
        """Return the variance of the block sums."""
        sums = functional.avg_pool2d(protected, self.size, self.stride) * self.size**2
        return sums.flatten(2).var(dim=2, unbiased=True).sum(dim=1)


@dataclass(frozen=True)
class LogitLoss:
    """L_t of 000, Equation 17: minus the logit of the class that the classifier saw in the original.

    The text multiplies one-hot and logits, the authors' code then takes the mean over the classes; the weight
    belongs to that mean.

    Shape:
        - target: ``(batch,)`` class numbers argmax f(x); input ``(batch, 3, H, W)`` in [0, 1]; output
          ``(batch,)``, without bounds.
    """

    classifier: Callable[[Tensor], Tensor]
    target: Tensor
    weight: float = 0.001
    name: str = field(default="logit", init=False)

    def __call__(self, protected: Tensor) -> Tensor:
        """Return -mean(onehot(target) * f(x'))."""
        logits = self.classifier(protected)
        return -logits.gather(1, self.target[:, None]).squeeze(1) / logits.shape[1]


@dataclass(frozen=True)
class Objective:
    """L_AVIH of 000, Equation 15: the weighted sum of terms, per image."""

    terms: tuple[LossTerm, ...]

    def with_gradient(self, protected: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the loss per image, its gradient, and each unweighted term.

        The sum over images separates, so each image's gradient is its own.

        Shape:
            - input and gradient ``(batch, 3, H, W)``; losses ``(batch,)``.
        """
        candidate = protected.detach().requires_grad_(True)
        values = {term.name: term(candidate) for term in self.terms}
        loss = torch.stack([term.weight * values[term.name] for term in self.terms]).sum(dim=0)
        (gradient,) = torch.autograd.grad(loss.sum(), candidate)
        return loss.detach(), gradient, {name: value.detach() for name, value in values.items()}
