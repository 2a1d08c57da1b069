"""Update rules of the optimisation: how a gradient becomes a step. All state is per image.

000 prints g / ||g||_2^2, 001 prints g / ||g||_2; the authors' code divides by the mean absolute value. The
``paper`` rule follows the code, per image instead of over the whole batch.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor


def per_image(values: Tensor) -> Tensor:
    """Reshape ``(batch,)`` so that it multiplies ``(batch, 3, H, W)``."""
    return values.view(-1, 1, 1, 1)


class StepRule(Protocol):
    """State and rule of one optimisation; immutable: each step returns the next state."""

    def start(self, images: Tensor) -> "StepRule":
        """Return the rule with zero state for a batch."""

    def step(self, gradient: Tensor, loss: Tensor) -> tuple[Tensor, "StepRule"]:
        """Return what to subtract from the images, and the next state."""


_EMPTY = torch.empty(0)


@dataclass(frozen=True)
class DecayingMomentum:
    """Algorithm 1 of 000: momentum on the mean-absolute-normalised gradient; the step shrinks as losses rise.

    Args:
        step_size: beta, in units of the pixel range [0, 1].
        momentum: alpha.
        decay: factor on beta once an image's loss has risen ``patience`` times.
        patience: rises before the step of that image shrinks.
    """

    step_size: float = 0.01
    momentum: float = 0.3
    decay: float = 0.85
    patience: int = 16
    velocity: Tensor = _EMPTY
    sizes: Tensor = _EMPTY
    rises: Tensor = _EMPTY
    previous: Tensor = _EMPTY

    def start(self, images: Tensor) -> "DecayingMomentum":
        """Return the rule at step 0."""
        ones = images.new_ones(len(images))
        return replace(
            self,
            velocity=torch.zeros_like(images),
            sizes=ones * self.step_size,
            rises=ones * 0,
            previous=ones * torch.inf,
        )

    def step(self, gradient: Tensor, loss: Tensor) -> tuple[Tensor, "DecayingMomentum"]:
        """Equations 7 and 8, then lines 7 to 13 of Algorithm 1."""
        size = gradient.flatten(1).abs().mean(dim=1).clamp_min(torch.finfo(gradient.dtype).tiny)
        velocity = self.momentum * self.velocity + gradient / per_image(size)
        rises = self.rises + (loss > self.previous)
        tired = rises >= self.patience
        sizes = torch.where(tired, self.sizes * self.decay, self.sizes)
        rises = torch.where(tired, torch.zeros_like(rises), rises)
        following = replace(self, velocity=velocity, sizes=sizes, rises=rises, previous=loss)
        return per_image(self.sizes) * velocity, following


@dataclass(frozen=True)
class ClosingMomentum:
    """The ``fast`` rule: root-mean-square normalised momentum whose step closes with the remaining distance.

    The step is ``step_size`` while features are far apart and shrinks with the root of the loss relative to
    the loss of orthogonal features, so that no schedule has to know the number of steps beforehand.

    Args:
        step_size: first step, in units of the pixel range [0, 1] (root mean square over the moved values).
        momentum: weight of the past in the running mean of gradients.
        full_loss: loss at which the full step is taken.
        least: smallest fraction of ``step_size``.
    """

    step_size: float
    momentum: float
    full_loss: float
    least: float = 0.1
    velocity: Tensor = _EMPTY

    def start(self, images: Tensor) -> "ClosingMomentum":
        """Return the rule at step 0."""
        return replace(self, velocity=torch.zeros_like(images))

    def step(self, gradient: Tensor, loss: Tensor) -> tuple[Tensor, "ClosingMomentum"]:
        """Average the normalised gradient, scale by what is left to do."""
        moved = (gradient != 0).flatten(1).sum(dim=1).clamp_min(1)
        energy = gradient.flatten(1).square().sum(dim=1)
        size = (energy / moved).sqrt().clamp_min(torch.finfo(gradient.dtype).tiny)
        velocity = self.momentum * self.velocity + (1 - self.momentum) * gradient / per_image(size)
        closing = (loss / self.full_loss).clamp(0, 1).sqrt().clamp_min(self.least)
        return per_image(self.step_size * closing) * velocity, replace(self, velocity=velocity)


@dataclass(frozen=True)
class AdaptiveMomentum:
    """The ``fast`` rule with a generator in the loop: Adam (Kingma and Ba, 2015, Algorithm 1), its step falling.

    The step falls over ``steps`` along half a cosine. Large first steps matter: they move x' far from its start,
    and with it from what any other generator could make of it.

    Args:
        step_size: first step, in units of the pixel range [0, 1].
        momentum: beta_1, weight of the past in the mean of gradients.
        spread: beta_2, weight of the past in the mean of squared gradients.
        steps: when the step has fallen to ``least``.
        least: smallest fraction of ``step_size``; below it nothing crosses a grey level any more.
    """

    step_size: float
    steps: int
    momentum: float = 0.9
    spread: float = 0.9
    least: float = 0.005
    mean: Tensor = _EMPTY
    square: Tensor = _EMPTY
    ages: Tensor = _EMPTY

    def start(self, images: Tensor) -> "AdaptiveMomentum":
        """Return the rule at step 0."""
        zeros = torch.zeros_like(images)
        return replace(self, mean=zeros, square=zeros, ages=images.new_zeros(len(images)))

    def step(self, gradient: Tensor, loss: Tensor) -> tuple[Tensor, "AdaptiveMomentum"]:
        """Divide the mean gradient by the root of the mean square, value by value."""
        ages = self.ages + 1
        mean = self.momentum * self.mean + (1 - self.momentum) * gradient
        square = self.spread * self.square + (1 - self.spread) * gradient.square()
        root = (square / per_image(1 - self.spread**ages)).sqrt().clamp_min(torch.finfo(gradient.dtype).tiny)
        done = ((ages - 1) / self.steps).clamp(0, 1)
        falling = self.least + (1 - self.least) * (1 + torch.cos(torch.pi * done)) / 2
        change = per_image(self.step_size * falling / (1 - self.momentum**ages)) * mean / root
        return change, replace(self, mean=mean, square=square, ages=ages)
