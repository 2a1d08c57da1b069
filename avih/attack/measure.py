"""Measure an attacker's guesses: similarity and identity, each against the guess without the image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avih.attack.pairs import Pairs, Pictures
from avih.attack.second import Identifier, Names
from avih.evaluation.lpips_metric import Lpips
from avih.evaluation.metrics import Floats, ssim
from avih.settings import Frozen


class Figures(Frozen):
    """What an attack reached on a set of images.

    ``ssim`` is the mean over the images, ``id_rate`` the rank-1 rate of the second recogniser over the
    ``id_images`` whose persons have reference photos, ``lpips`` the mean distance (smaller is more alike). The
    advantages are what is above the blank guess *for the same images*; None: not measured.
    """

    images: int
    ssim: float
    ssim_advantage: float
    id_images: int
    id_rate: float | None
    id_advantage: float | None
    lpips: float | None


def dealt_to_others(found: Names, true: Names) -> float:
    """Rate to be expected of guesses dealt out at random to the other pictures: what they owe to frequent names.

    An attack that shows one person whatever it is given is right as often as that person is asked about. No
    picture gets its own guess: among few pictures that would be taken for luck.

    Shape:
        - found, true: ``(n,)``; 0 for fewer than two.
    """
    count = len(true)
    if count < 2:
        return 0.0
    hits = found[:, None] == true[None, :]
    return float(hits.sum() - hits.trace()) / (count * (count - 1))


@dataclass(frozen=True, eq=False)
class Scores:
    """How one way of guessing did, image by image.

    Shape:
        - ssim: ``(n,)``; lpips: ``(n,)`` or None; found, true: one name per image whose person has references.
    """

    ssim: Floats
    found: Names
    true: Names
    lpips: Floats | None

    @property
    def id_rate(self) -> float | None:
        """Share of guesses that were identified."""
        return float((self.found == self.true).mean()) if len(self.true) else None

    @property
    def shuffled_rate(self) -> float:
        """Rate to be expected of the same guesses dealt out at random."""
        return dealt_to_others(self.found, self.true)


@dataclass(frozen=True)
class Gauge:
    """What guesses are measured with."""

    identifier: Identifier | None
    lpips: Lpips | None = None

    def scores(self, guesses: Pictures, pairs: Pairs) -> Scores:
        """Compare guesses with the originals of the same rows."""
        alike = np.array([ssim(guess, true) for guess, true in zip(guesses, pairs.originals, strict=True)])
        nobody = np.zeros(0, dtype=np.str_)
        found, true = (
            self.identifier.identify(guesses, pairs.persons) if self.identifier else (nobody, nobody)
        )
        apart = None
        if self.lpips is not None:
            rows = zip(guesses, pairs.originals, strict=True)
            apart = np.array([self.lpips(guess, true) for guess, true in rows])
        return Scores(alike, found, true, apart)

    @property
    def chance(self) -> float:
        """Chance level of identification; 0 without a second recogniser."""
        return self.identifier.chance if self.identifier else 0.0


def prior_figures(guesses: Sequence[Scores], *, chance: float) -> Figures:
    """Take the strongest of several blank guesses at one set, figure by figure."""
    rates = [scores.id_rate for scores in guesses if scores.id_rate is not None]
    distances = [float(scores.lpips.mean()) for scores in guesses if scores.lpips is not None]
    return Figures(
        images=len(guesses[0].ssim),
        ssim=max(float(scores.ssim.mean()) for scores in guesses),
        ssim_advantage=0.0,
        id_images=len(guesses[0].true),
        id_rate=max([*rates, chance]) if rates else None,
        id_advantage=0.0 if rates else None,
        lpips=min(distances) if distances else None,
    )


def attack_figures(scores: Scores, prior: Figures) -> Figures:
    """Set what an attack reached against the blank guess at the same images, and its own guesses shuffled."""
    similarity, rate = float(scores.ssim.mean()), scores.id_rate
    advantage = None
    if rate is not None and prior.id_rate is not None:
        advantage = rate - max(prior.id_rate, scores.shuffled_rate)
    return Figures(
        images=len(scores.ssim),
        ssim=similarity,
        ssim_advantage=similarity - prior.ssim,
        id_images=len(scores.true),
        id_rate=rate,
        id_advantage=advantage,
        lpips=None if scores.lpips is None else float(scores.lpips.mean()),
    )
