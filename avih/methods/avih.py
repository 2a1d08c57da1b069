"""AVIH: one optimisation per image (000, Algorithm 1), for a batch that is at hand."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from avih.batched import select
from avih.criteria import Criterion
from avih.errors import UsageError
from avih.loop import Fixed, Hidden, Job, Loop
from avih.losses import Objective
from avih.methods.facts import MethodFacts
from avih.methods.pipeline import Finished, Hider, Picture, Pipeline, Portrait, Work
from avih.protection import Protector
from avih.settings import AVIH, KeySettings
from avih.settings.models import AVIH_RECOVERIES
from avih.steps import StepRule

FACTS: Final = MethodFacts(
    name=AVIH,
    title="Adversarial visual information hiding",
    paper="AVIH, ICCV 2023, Algorithm 1; keyed mixing and the sealed copy are this project's own.",
    needs="The recogniser with its gradients, a key, and some dozen to hundred gradient steps per picture.",
    gives="Pictures that people cannot read and that the unchanged recogniser matches as before; the key brings "
    "the originals back (recovery keyed, sealed or unmixed).",
    cannot="It hides no identity from the recogniser: f(x') = f(x) names the person to whoever has it, and "
    "a picture can be guessed from features. Unmixed, the papers' form, a few dozen leaked pairs undo the key. "
    "Another recogniser does not match the pictures.",
)


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


def hide(
    *,
    start: Tensor,
    objective: Objective,
    rule: StepRule,
    stop: Criterion,
    steps: int,
    movable: Tensor | None = None,
    progress: Callable[[int], None] | None = None,
    watch: Callable[[int, Tensor], None] | None = None,
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
        watch: called after each step with the number of steps so far and the best images still in the batch.

    Raises:
        UsageError: the start is no batch of pictures in [0, 1], or ``steps`` is below 1.
    """
    if start.ndim != 4 or start.shape[1] != 3 or steps < 1:
        raise UsageError(
            f"Expected pictures (batch, 3, H, W) and at least 1 step, got {tuple(start.shape)}, {steps}."
        )
    if not bool(((start >= 0) & (start <= 1)).all()):
        raise UsageError("Expected start values in [0, 1]; divide 8-bit values by 255.")
    everything = torch.ones_like(start) if movable is None else movable
    rows = [torch.tensor([row]) for row in range(len(start))]
    jobs = [Job(start[row], select(objective, row), everything[row], ticket=int(row)) for row in rows]
    loop = Loop(source=Fixed(jobs), rule=rule, stop=stop, steps=steps, batch_size=len(start), watch=watch)
    return gather(loop, progress)


def gather(loop: Loop, progress: Callable[[int], None] | None = None) -> HidingResult:
    """Run a loop to its end and put its images in the order of their tickets."""
    finished: list[Hidden] = []
    while left := loop.take(1, wait=True):
        finished += left
        if progress:
            progress(len(left))
    finished.sort(key=lambda hidden: hidden.job.ticket)
    image = torch.cat([hidden.image for hidden in finished])
    terms = {name: [hidden.terms[name] for hidden in finished] for name in finished[0].terms}
    return HidingResult(
        protected=image,
        steps_taken=torch.tensor([hidden.steps for hidden in finished]),
        good_enough=torch.tensor([hidden.good_enough for hidden in finished]),
        terms={name: torch.tensor(values, dtype=image.dtype) for name, values in terms.items()},
    )


class AvihHider(Hider):
    """Runs pictures through the loop that the protect stage gives, in one batch with those of other shards."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.protector = Protector(work.secret, work.generator, work.recogniser, work.settings, work.version)

    def hide(self, portraits: Iterator[Portrait]) -> Iterator[Finished]:
        """Hide pictures and yield them as they leave the batch."""
        under_way: dict[str, Portrait] = {}

        def remembered() -> Iterator[tuple[str, Picture]]:
            for portrait in portraits:
                under_way[portrait.image] = portrait
                yield portrait.image, portrait.pixels

        # Twice the batch: while one half is worked on, the other is prepared and waits.
        ahead = 2 * self.work.settings.batch_size
        for hidden in self.work.optimise(self.protector.loop, self.protector.jobs(remembered()), ahead=ahead):
            portrait = under_way.pop(hidden.job.ticket.image)
            yield Finished(portrait, self.protector.finish(hidden, portrait.pixels), hidden.seconds)


PIPELINE: Final = Pipeline(hider=AvihHider, recoveries=AVIH_RECOVERIES, key=KeySettings())
