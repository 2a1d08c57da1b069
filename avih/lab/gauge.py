"""Measure guesses: similarity, rank-1 identification and TAR at a false match rate, with intervals by person."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from avih.attack.measure import dealt_to_others
from avih.attack.pairs import Pairs, Pictures
from avih.attack.second import Identifier
from avih.evaluation.bootstrap import bootstrap_interval
from avih.evaluation.lpips_metric import Lpips
from avih.evaluation.metrics import Floats, ssim, unit_rows
from avih.lab.attack import Guess, Kind
from avih.lab.result import Interval, Measured
from avih.lab.settings import LabLimits
from avih.lab.verdict import level_of

Hits = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Scores:
    """How one set of pictures did, image by image.

    Shape:
        - ssim: ``(n,)``; hits, accepted: ``(m,)``, for the images whose persons have reference photos: named
          right, and the share of its comparisons with the own person that are accepted (empty where there are
          too few comparisons with others for the false match rate).
        - found: ``(m,)`` names.
    """

    ssim: Floats
    hits: Floats
    accepted: Floats
    found: NDArray[np.str_]
    lpips: Floats | None

    @property
    def id_rate(self) -> float | None:
        """Rank-1 rate."""
        return float(self.hits.mean()) if len(self.hits) else None

    @property
    def tar(self) -> float | None:
        """True accept rate."""
        return float(self.accepted.mean()) if len(self.accepted) else None


@dataclass(frozen=True)
class Gauge:
    """The one way in which every guess is measured.

    Args:
        identifier: the second recogniser with its reference photos.
        name: which recogniser that is.
        limits: from figures to levels.
        identity: whether it is good enough on originals to count.
        lpips: the metric, where its weights are at hand.
        blanks: what the blank picture scored, by blank and targets: nearly every guess asks for the same.
    """

    identifier: Identifier
    name: str
    limits: LabLimits
    identity: bool = True
    lpips: Lpips | None = None
    blanks: dict[str, Scores] = field(default_factory=dict, repr=False, compare=False)

    @property
    def chance(self) -> float:
        """Rate of somebody who names a person of the references at random."""
        return self.identifier.chance

    def known(self, pairs: Pairs) -> Hits:
        """Tell which pictures show persons with reference photos; ``(n,)``."""
        return np.isin(np.array(pairs.persons, dtype=np.str_), self.identifier.persons)

    def scores(self, pictures: Pictures, pairs: Pairs, *, lpips: Lpips | None = None) -> Scores:
        """Hold pictures against the originals of the same rows."""
        alike = np.array([ssim(one, true) for one, true in zip(pictures, pairs.originals, strict=True)])
        apart = None
        if lpips is not None:
            rows = zip(pictures, pairs.originals, strict=True)
            apart = np.array([lpips(one, true) for one, true in rows])
        known = self.known(pairs)
        if not known.any():
            none = np.zeros(0)
            return Scores(alike, none, none, np.zeros(0, dtype=np.str_), apart)
        true = np.array(pairs.persons, dtype=np.str_)[known]
        references = self.identifier
        similar = unit_rows(references.embed(pictures[known])) @ references.features.T
        found = references.persons[similar.argmax(axis=1)]
        own = true[:, None] == references.persons[None, :]
        return Scores(alike, (found == true).astype(float), self._accepted(similar, own), found, apart)

    def _accepted(self, similar: Floats, own: Hits) -> Floats:
        """Return the accepted share of each picture's comparisons with its own person; none if too few."""
        others = similar[~own]
        if len(others) * self.limits.false_match_rate < 1:
            return np.zeros(0)
        # The threshold comes from these very pictures: blurred guesses are alike to everybody.
        threshold = np.quantile(others, 1 - self.limits.false_match_rate)
        accepted: Floats = ((similar > threshold) & own).sum(axis=1) / own.sum(axis=1)
        return accepted

    def measure(self, guess: Guess, *, blank: Pictures, kind: Kind) -> Measured:
        """Measure a guess against the best of its blind guesses and the blank picture.

        Shape:
            - blank: ``(H, W, 3)`` uint8.
        """
        pairs = guess.targets
        got = self.scores(guess.pictures, pairs, lpips=self.lpips)
        blind = (self.scores(pictures, pairs, lpips=self.lpips) for pictures in guess.blind)
        priors = [self._blank(blank, pairs), *blind]
        alike = max(priors, key=lambda one: float(one.ssim.mean()))
        named = self._named_blindly(got, priors, pairs)
        persons = list(pairs.persons)
        with_reference = [person for person, known in zip(persons, self.known(pairs), strict=True) if known]
        rate, tar = got.id_rate, got.tar
        prior_tar = max((one.tar for one in priors if one.tar is not None), default=None)
        figures = Measured(
            label=guess.label,
            kind=guess.kind or kind,
            level="pass",
            facts=dict(guess.facts),
            images=len(pairs),
            ssim=float(got.ssim.mean()),
            prior_ssim=float(alike.ssim.mean()),
            ssim_advantage=float((got.ssim - alike.ssim).mean()),
            ssim_advantage_ci=_interval(got.ssim - alike.ssim, persons),
            id_images=len(got.hits),
            id_rate=rate,
            id_ci=_interval(got.hits, with_reference),
            prior_id_rate=named,
            id_advantage=None if rate is None or named is None else rate - named,
            id_advantage_ci=_interval(got.hits - (named or 0.0), with_reference),
            tar=tar,
            tar_ci=_interval(got.accepted, with_reference) if len(got.accepted) else None,
            prior_tar=prior_tar,
            lpips=None if got.lpips is None else float(got.lpips.mean()),
            prior_lpips=min(
                (float(one.lpips.mean()) for one in priors if one.lpips is not None), default=None
            ),
        )
        level = level_of(figures, limits=self.limits, chance=self.chance, identity=self.identity)
        return figures.model_copy(update={"level": level})

    def _blank(self, blank: Pictures, pairs: Pairs) -> Scores:
        """Return what the blank picture scores, measured once per set of targets."""
        content = blank.tobytes() + pairs.originals.tobytes() + "\n".join(pairs.persons).encode()
        name = hashlib.sha256(content).hexdigest()
        if name not in self.blanks:
            pictures = np.ascontiguousarray(np.broadcast_to(blank, pairs.originals.shape))
            self.blanks[name] = self.scores(pictures, pairs, lpips=self.lpips)
        return self.blanks[name]

    def _named_blindly(self, got: Scores, priors: Sequence[Scores], pairs: Pairs) -> float | None:
        """Return the best rate without the picture: by chance, by a blind guess, or by showing one person."""
        rates = [one.id_rate for one in priors if one.id_rate is not None]
        if not rates:
            return None
        true = np.array(pairs.persons, dtype=np.str_)[self.known(pairs)]
        return max([*rates, self.chance, dealt_to_others(got.found, true)])


def _interval(values: Floats, persons: Sequence[str]) -> Interval:
    """Return a 95 % interval of the mean that draws persons; none with fewer than two."""
    if len(set(persons)) < 2:
        return None
    return bootstrap_interval(values, list(persons))
