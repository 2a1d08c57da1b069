"""The gradient iteration (003, Section 3.3, Eq. 2 and 3; Algorithm 1, lines 12 to 18), per image.

Two readings of Algorithm 1 are settled here. It tests the loss of line 14 after the step of line 15, so it
returns a picture one step past the one that was good enough; here the picture that was measured is returned. And
where no picture was good enough after T steps, the best one measured is returned, not the last: with a fixed
learning rate an L1 norm makes the last one swing about its minimum.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avih.errors import UsageError
from avih.steps import per_image
from avih.veil_privacy.flip import as_stored

Model = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Iteration:
    """The numbers of Algorithm 1.

    Args:
        steps: T, most steps per image.
        learning_rate: lr of Eq. 3.
        enough_loss: xi; an image whose loss is below it is done.
        feature_weight: alpha, on the L1 norm of the difference of features.
        distance_weight: beta, on the L2 norm of the difference of pictures, which is to be large.
        batch_size: images per pass of the model; it changes how fast it goes.
        on_stored: look at each picture as its 8-bit file will hold it, and take the gradient there. The paper
            looks at float values, of which storing clips and rounds some away after the last look.
    """

    steps: int
    learning_rate: float
    enough_loss: float
    feature_weight: float
    distance_weight: float
    batch_size: int
    on_stored: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that cannot iterate."""
        if self.steps < 0 or self.batch_size < 1 or not self.learning_rate > 0:
            raise UsageError(
                f"Expected 0 steps or more, a learning rate above 0 and a batch of 1 or more, got {self.steps}, "
                f"{self.learning_rate} and {self.batch_size}."
            )


@dataclass(frozen=True)
class Iterated:
    """What the iteration gives, one row per image.

    Shape:
        - images: ``(n, channels, H, W)`` float; values may lie outside [-1, 1], unless looked at as stored.
        - start_loss, loss: ``(n,)``, Eq. 2 before the first step and of the returned picture.
        - steps: ``(n,)``, steps until the returned picture.
        - met: ``(n,)`` bool, is its loss below xi?
    """

    images: Tensor
    start_loss: Tensor
    loss: Tensor
    steps: Tensor
    met: Tensor


def loss_per_image(
    candidates: Tensor, *, originals: Tensor, targets: Tensor, model: Model, rule: Iteration
) -> Tensor:
    """Eq. 2 of 003: alpha ||F(x') - F(x)||_1 - beta ||x' - x||_2. The second term makes it fall below 0.

    Shape:
        - candidates, originals: ``(n, channels, H, W)``; targets: ``(n, d)``, F(x); output ``(n,)``.
    """
    features = (_features(model, candidates) - targets).abs().sum(dim=1)
    distance = torch.linalg.vector_norm((candidates - originals).flatten(1), dim=1)
    return rule.feature_weight * features - rule.distance_weight * distance


def with_gradient(
    candidates: Tensor, *, originals: Tensor, targets: Tensor, model: Model, rule: Iteration
) -> tuple[Tensor, Tensor]:
    """Return the loss per image and its gradient; the sum over images separates, so each has its own.

    Shape:
        - candidates, originals and gradient: ``(n, channels, H, W)``; targets: ``(n, d)``; losses: ``(n,)``.
    """
    with torch.enable_grad():
        moving = candidates.detach().requires_grad_(True)
        loss = loss_per_image(moving, originals=originals, targets=targets, model=model, rule=rule)
        (gradient,) = torch.autograd.grad(loss.sum(), moving)
    return loss.detach(), gradient


def iterate(
    *,
    start: Tensor,
    originals: Tensor,
    model: Model,
    rule: Iteration,
    progress: Callable[[int], None] | None = None,
) -> Iterated:
    """Bring the features of ``start`` near those of the originals, each image until it is good enough.

    An image that is done stops moving and leaves its place to the next. The model always sees full batches, the
    last image repeated where there are too few, so that its kernels, and with them an image's bits, are the same
    whoever its neighbours are.

    Args:
        start: x' after the flips.
        originals: x.
        model: F, any layer of a local model, evaluated image by image (no batch statistics, no dropout).
        rule: the numbers of Algorithm 1.
        progress: called with the number of images that became done.

    Shape: ``(n, channels, H, W)`` float, nominally in [-1, 1].

    Raises:
        UsageError: batches of different shapes, a model in training mode, or features that are not finite.
    """
    _check(start, originals, model)
    targets = features_of(originals, model=model, batch_size=rule.batch_size)
    current, best = start.detach().clone(), start.detach().clone()
    start_loss = start.new_full((len(start),), torch.nan)
    best_loss = start.new_full((len(start),), torch.inf)
    ages = torch.zeros(len(start), dtype=torch.long, device=start.device)
    steps, going_on = ages.clone(), ages == 0
    while bool(going_on.any()):
        rows = going_on.nonzero().squeeze(1)[: rule.batch_size]
        own, full = len(rows), _filled(rows, rule.batch_size)
        looked_at = as_stored(current[full]) if rule.on_stored else current[full]
        loss, gradient = with_gradient(
            looked_at, originals=originals[full], targets=targets[full], model=model, rule=rule
        )
        loss, gradient = loss[:own], gradient[:own]
        start_loss[rows] = torch.where(ages[rows] == 0, loss, start_loss[rows])
        better = loss < best_loss[rows]
        best[rows] = torch.where(per_image(better), looked_at[:own], best[rows])
        steps[rows] = torch.where(better, ages[rows], steps[rows])
        best_loss[rows] = torch.where(better, loss, best_loss[rows])
        moved = current[rows] - rule.learning_rate * gradient  # Eq. 3
        current[rows] = moved.clamp(-1, 1) if rule.on_stored else moved
        # A loss that is not finite never comes back; the image keeps its best and is over.
        over = (loss < rule.enough_loss) | (ages[rows] == rule.steps) | ~loss.isfinite()
        ages[rows] += 1
        going_on[rows] = ~over
        if progress is not None and bool(over.any()):
            progress(int(over.sum()))
    return Iterated(best, start_loss, best_loss, steps, best_loss < rule.enough_loss)


def features_of(images: Tensor, *, model: Model, batch_size: int) -> Tensor:
    """Return F of each image, in full batches.

    Shape: ``(n, channels, H, W)`` to ``(n, d)``.

    Raises:
        UsageError: a feature is not finite.
    """
    parts = []
    with torch.no_grad():
        for rows in torch.arange(len(images), device=images.device).split(batch_size):
            parts.append(_features(model, images[_filled(rows, batch_size)])[: len(rows)])
    features = torch.cat(parts)
    if not bool(features.isfinite().all()):
        raise UsageError("Expected finite features, got NaN or infinity: check the local model's weights.")
    return features


def measured_loss(images: Tensor, *, originals: Tensor, model: Model, rule: Iteration) -> Tensor:
    """Return Eq. 2 for pictures as they are, for instance as they come back from 8-bit files.

    Shape: ``(n, channels, H, W)`` each, to ``(n,)``.
    """
    targets = features_of(originals, model=model, batch_size=rule.batch_size)
    features = features_of(images, model=model, batch_size=rule.batch_size)
    distance = torch.linalg.vector_norm((images - originals).flatten(1), dim=1)
    return rule.feature_weight * (features - targets).abs().sum(dim=1) - rule.distance_weight * distance


def _filled(rows: Tensor, batch_size: int) -> Tensor:
    return rows[torch.arange(batch_size, device=rows.device).clamp(max=len(rows) - 1)]


def _features(model: Model, images: Tensor) -> Tensor:
    return model(images).flatten(1)


def _check(start: Tensor, originals: Tensor, model: Model) -> None:
    if start.ndim != 4 or start.shape != originals.shape or not len(start) or not start.is_floating_point():
        raise UsageError(
            "Expected starts and originals as float (n, channels, H, W) of one shape, got "
            f"{start.dtype} {tuple(start.shape)} and {originals.dtype} {tuple(originals.shape)}."
        )
    if isinstance(model, nn.Module) and model.training:
        raise UsageError("Expected a local model in use, got one in training mode: call eval() on it.")
