"""The optimisation loop (000, Algorithm 1) over a stream of images, on the pictures as they will be stored.

The images are rounded to 8 bits at every step and the gradient is taken there (straight-through), so what the
loop keeps as best is what a reader of the stored file gets. Sizes, stop rules and best-so-far are per image:
an image's result does not depend on its neighbours. An image that is good enough leaves, and the next one takes
its place, so that the batch stays full to the end of the gallery.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from avih.batched import Portions, join, move, select
from avih.best_so_far import Best
from avih.criteria import Criterion
from avih.errors import UsageError
from avih.losses import Objective
from avih.steps import StepRule

LEVELS = 255.0


@dataclass(frozen=True)
class Job:
    """One image to hide.

    Args:
        start: x'_0, ``(1, 3, H, W)`` in [0, 1].
        objective: its loss, as a batch of one.
        movable: ``(1, 3, H, W)`` of 0 and 1: the values that may change.
        ticket: whatever the sender wants back with the result.
        spent, seconds: gradient evaluations that an earlier pass took, and its share of time.
    """

    start: Tensor
    objective: Objective
    movable: Tensor
    ticket: Any = field(default=None, repr=False)
    spent: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Hidden:
    """One finished image.

    Shape:
        - image: ``(1, 3, H, W)``, multiples of 1/255 in [0, 1].
        - steps: gradient evaluations until the best image; ``terms``: its unweighted losses.
        - good_enough: was the stop rule met?
        - seconds: its share of the time that the batch took.
    """

    job: Job
    image: Tensor
    steps: int
    good_enough: bool
    terms: dict[str, float]
    seconds: float


class Source(Protocol):
    """Where a loop gets its images from."""

    def take(self, most: int, *, wait: bool) -> list[Job]:
        """Return up to ``most`` jobs; none when there are no more, or, without ``wait``, none at the moment."""


class Fixed:
    """A source that holds all its jobs, or draws them from an iterable when they are asked for."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = iter(jobs)

    def take(self, most: int, *, wait: bool) -> list[Job]:
        """Return the next jobs."""
        return [job for _, job in zip(range(most), self._jobs, strict=False)]


def round_to_levels(images: Tensor) -> Tensor:
    """Round to the 8-bit grey levels that the file will hold."""
    return (images * LEVELS).round() / LEVELS


@dataclass(frozen=True)
class _Runs:
    """The images in the batch: everything here has one row per image."""

    numbers: Tensor
    current: Tensor
    objective: Objective
    rule: StepRule
    movable: Tensor
    best: Best
    seconds: Tensor

    def step(self, stop: Criterion, *, most: int, portions: Portions) -> "_Runs":
        """One pass of Algorithm 1 over the batch, without asking the device for a single value."""
        stored = round_to_levels(self.current)
        loss, gradient, terms = self._look(stored, portions)
        best = self.best.look(stored, loss, terms, stop(terms), most=most)
        change, rule = self.rule.step(gradient * self.movable, loss)
        current = (self.current - change * self.movable).clamp(0, 1)
        return replace(self, current=current, rule=rule, best=best)

    def _look(self, stored: Tensor, portions: Portions) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Compute losses and gradients, always of as many images as a portion has."""
        own = len(stored)

        def looked_at(rows: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
            if len(rows) == own:  # a full batch in one portion: each row once, in order
                return self.objective.with_gradient(stored)
            return select(self.objective, rows).with_gradient(stored[rows])

        loss, gradient, terms = portions.compute(looked_at, own, device=stored.device)
        return loss[:own], gradient[:own], {name: value[:own] for name, value in terms.items()}


class Loop:
    """Algorithm 1 of 000 over a stream of images, as many at a time as the batch holds.

    Args:
        source: gives the images.
        rule: the update rule.
        stop: when an image is good enough to leave the batch.
        steps: most gradient evaluations per image.
        batch_size: images optimised together.
        device: where the optimisation runs; by default where the images are.
        look_every: steps between two looks at who is done; a look makes the host wait for the device.
        watch: called after each step with the number of steps so far and the batch's best images.
    """

    def __init__(
        self,
        *,
        source: Source,
        rule: StepRule,
        stop: Criterion,
        steps: int,
        batch_size: int,
        device: torch.device | None = None,
        look_every: int = 1,
        watch: Callable[[int, Tensor], None] | None = None,
    ) -> None:
        if steps < 1 or batch_size < 1:
            raise UsageError(f"Expected at least 1 step and 1 image, got {steps} and {batch_size}.")
        self.source, self.rule, self.stop, self.steps = source, rule, stop, steps
        self.batch_size, self.device, self.look_every, self.watch = batch_size, device, look_every, watch
        self._portions = Portions(batch_size)
        self._runs: _Runs | None = None
        self._jobs: dict[int, Job] = {}
        self._finished: deque[Hidden] = deque()
        self._begun = self._steps_done = 0

    def take(self, most: int, *, wait: bool) -> list[Hidden]:
        """Return up to ``most`` finished images, in the order of finishing; none when nothing is left to do."""
        while len(self._finished) < most:
            self._refill(wait=wait and not self._finished)
            if self._runs is None:
                break
            self._advance(self._runs)
        return [self._finished.popleft() for _ in range(min(most, len(self._finished)))]

    def _refill(self, *, wait: bool) -> None:
        held = 0 if self._runs is None else len(self._runs.numbers)
        jobs = (
            self.source.take(self.batch_size - held, wait=wait and not held) if held < self.batch_size else []
        )
        fresh = [self._begin(job) for job in jobs]
        if fresh:
            self._runs = join([*([self._runs] if self._runs else []), *fresh])

    def _begin(self, job: Job) -> _Runs:
        number, self._begun = self._begun, self._begun + 1
        self._jobs[number] = job
        start = job.start
        runs = _Runs(
            numbers=torch.tensor([number]),
            current=start,
            objective=job.objective,
            rule=self.rule.start(start),
            movable=job.movable,
            best=Best.begin(start, (term.name for term in job.objective.terms)),
            seconds=torch.zeros(1, dtype=torch.float64),
        )
        return move(runs, self.device) if self.device else runs

    def _advance(self, runs: _Runs) -> None:
        """Step until somebody may be done, and let those who are leave."""
        began = time.perf_counter()
        for _ in range(self.look_every):
            runs = runs.step(self.stop, most=self.steps, portions=self._portions)
            self._steps_done += 1
            if self.watch:
                self.watch(self._steps_done, runs.best.images)
        done = runs.best.over(self.steps)
        stay = (~done).nonzero().squeeze(1)
        runs = replace(runs, seconds=runs.seconds + (time.perf_counter() - began) / len(done))
        if len(stay) < len(done):
            self._leave(select(runs, done.nonzero().squeeze(1)))
        self._runs = select(runs, stay) if len(stay) else None

    def _leave(self, runs: _Runs) -> None:
        best = move(runs.best, torch.device("cpu"))
        for row, number in enumerate(runs.numbers.tolist()):
            terms = {name: float(value[row]) for name, value in best.terms.items()}
            job = self._jobs.pop(number)
            self._finished.append(
                Hidden(
                    job=job,
                    image=best.images[row : row + 1],
                    steps=job.spent + int(best.steps[row]),
                    good_enough=bool(best.good[row]),
                    terms=terms,
                    seconds=job.seconds + float(runs.seconds[row]),
                )
            )
