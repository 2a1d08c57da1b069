"""What the optimisation keeps of each image: the best picture so far, as it would be stored."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from avih.steps import per_image


@dataclass(frozen=True)
class Best:
    """The best stored image so far of each run, how old the run is, and whether it is good enough.

    Shape:
        - images: ``(batch, 3, H, W)``, multiples of 1/255 in [0, 1].
        - losses, ages, good: ``(batch,)``; steps: ``(batch,)``, the age at which the image was found.
        - terms: each unweighted loss of the image, ``(batch,)``.
    """

    images: Tensor
    losses: Tensor
    steps: Tensor
    ages: Tensor
    good: Tensor
    terms: dict[str, Tensor]

    @classmethod
    def begin(cls, start: Tensor, names: Iterable[str]) -> "Best":
        """Nothing was looked at yet."""
        worst = start.new_full((len(start),), torch.inf)
        zeros = torch.zeros(len(start), dtype=torch.long, device=start.device)
        return cls(start, worst, zeros, zeros, zeros.bool(), {name: worst * torch.nan for name in names})

    def look(
        self, images: Tensor, loss: Tensor, terms: dict[str, Tensor], good: Tensor, *, most: int
    ) -> "Best":
        """Take over what is better than before, unless the run is over: good enough, or ``most`` steps old."""
        going_on = ~self.over(most)
        good, ages = good & going_on, self.ages + going_on
        # An image that is good enough leaves now, so this is its result even if its loss was once lower.
        better = ((loss < self.losses) & going_on) | good
        held = {name: torch.where(better, terms[name], value) for name, value in self.terms.items()}
        return Best(
            images=torch.where(per_image(better), images, self.images),
            losses=torch.where(better, loss, self.losses),
            steps=torch.where(better, ages, self.steps),
            ages=ages,
            good=self.good | good,
            terms=held,
        )

    def over(self, most: int) -> Tensor:
        """Say which runs are over."""
        return self.good | (self.ages >= most)
