"""AVIH: one optimisation per image (000, Algorithm 1), on the pictures as they will be stored.

The images are rounded to 8 bits at every step and the gradient is taken there (straight-through), so what the
loop keeps as best is what a reader of the stored file gets. Sizes, stop rules and best-so-far are per image:
an image's result does not depend on its neighbours, and an image that is good enough leaves the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from avih.criteria import Criterion
from avih.errors import UsageError
from avih.losses import Objective
from avih.steps import StepRule

LEVELS = 255.0


@dataclass(frozen=True)
class HidingResult:
    """What an optimisation gives.

    Shape:
        - protected: ``(batch, 3, H, W)``, multiples of 1/255 in [0, 1].
        - steps_taken: ``(batch,)`` gradient evaluations until the best image.
        - good_enough: ``(batch,)`` bool, true where the stop rule was met.
        - terms: each unweighted loss term of the best image, ``(batch,)``.
    """

    protected: Tensor
    steps_taken: Tensor
    good_enough: Tensor
    terms: dict[str, Tensor]


def round_to_levels(images: Tensor) -> Tensor:
    """Round to the 8-bit grey levels that the file will hold."""
    return (images * LEVELS).round() / LEVELS


def hide(
    *,
    start: Tensor,
    objective: Objective,
    rule: StepRule,
    stop: Criterion,
    steps: int,
    movable: Tensor | None = None,
    progress: Callable[[int], None] | None = None,
) -> HidingResult:
    """Check the input, run Algorithm 1 of 000, and return the best 8-bit image of each run.

    Args:
        start: x'_0, ``(batch, 3, H, W)`` in [0, 1].
        objective: the loss, for this batch.
        rule: the update rule.
        stop: when an image is good enough to leave the batch.
        steps: most gradient evaluations per image.
        movable: ``(batch, 3, H, W)`` of 0 and 1: the values that may change (all by default).
        progress: called with the number of images that left the batch.

    Raises:
        UsageError: the start is no batch of pictures in [0, 1], or ``steps`` is below 1.
    """
    if start.ndim != 4 or start.shape[1] != 3 or steps < 1:
        raise UsageError(
            f"Expected pictures (batch, 3, H, W) and at least 1 step, got {tuple(start.shape)}, {steps}."
        )
    if not bool(((start >= 0) & (start <= 1)).all()):
        raise UsageError("Expected start values in [0, 1]; divide 8-bit values by 255.")
    mask = torch.ones_like(start) if movable is None else movable
    return _optimise(start, objective, rule.start(start), stop, steps, mask, progress or (lambda _: None))


def _optimise(
    start: Tensor,
    objective: Objective,
    rule: StepRule,
    stop: Criterion,
    steps: int,
    mask: Tensor,
    progress: Callable[[int], None],
) -> HidingResult:
    best = _Best(start)
    rows = torch.arange(len(start), device=start.device)  # the images still in the batch
    current = start
    for step in range(steps):
        stored = round_to_levels(current)
        loss, gradient, terms = objective.with_gradient(stored)
        good = stop(terms)
        best.keep(rows, stored, loss, terms, good, step + 1)
        if bool(good.any()):
            stay = (~good).nonzero().squeeze(1)
            progress(len(rows) - len(stay))
            if not len(stay):
                break
            rows, current, gradient, loss = rows[stay], current[stay], gradient[stay], loss[stay]
            objective, rule, mask = objective.select(stay), rule.select(stay), mask[stay]
        change, rule = rule.step(gradient * mask, loss)
        current = (current - change * mask).clamp(0, 1)
    else:
        progress(len(rows))
    return best.result()


class _Best:
    """The best stored image so far, per image of the whole batch."""

    def __init__(self, start: Tensor) -> None:
        self.images = round_to_levels(start)
        self.losses = start.new_full((len(start),), torch.inf)
        self.steps = torch.zeros(len(start), dtype=torch.long, device=start.device)
        self.good = torch.zeros(len(start), dtype=torch.bool, device=start.device)
        self.terms: dict[str, Tensor] = {}

    def keep(
        self, rows: Tensor, images: Tensor, loss: Tensor, terms: dict[str, Tensor], good: Tensor, step: int
    ) -> None:
        """Take over what is better than before."""
        # An image that is good enough leaves now, so this is its result even if its loss was once lower.
        better = (loss < self.losses[rows]) | good
        chosen = rows[better]
        self.losses[chosen] = loss[better]
        self.images[chosen] = images[better]
        self.steps[chosen] = step
        self.good[rows] |= good
        for name, value in terms.items():
            held = self.terms.setdefault(name, torch.full_like(self.losses, torch.nan))
            held[chosen] = value[better]

    def result(self) -> HidingResult:
        """Freeze into a result."""
        return HidingResult(self.images, self.steps, self.good, self.terms)
