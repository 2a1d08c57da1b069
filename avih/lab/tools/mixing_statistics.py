"""Statistics of stored pictures against what chance gives: correlations, repeated values, histograms, links.

Each returns figures with the bound that chance passes less often than once in a thousand audits, however many
comparisons were made (Bonferroni).
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from avih.attack.measure import dealt_to_others
from avih.attack.pairs import Pairs
from avih.attack.verdict import Level, at_least
from avih.evaluation.metrics import Floats
from avih.lab.tools.mixing_attacks import Rows, codes_of
from avih.lab.verdict import SURE, UNLIKELY

MOST = 512  # pictures
PLACES = 2000  # of the stored picture and of the code, drawn by lot and correlated each with each


def normal_bound(comparisons: int) -> float:
    """Return how many standard errors the largest of so many comparisons stays within, but for one in 1000."""
    return NormalDist().inv_cdf(1 - SURE / (2 * max(1, comparisons)))


def correlation_bound(pictures: int, *, comparisons: int) -> float:
    """Return what the strongest of so many correlations stays within, but for one in 1000.

    Exact for normal values; uniform ones have lighter tails. Fisher's transformation would be far too low here,
    with few pictures and millions of comparisons.
    """
    sizes = np.linspace(0, 1, 100_001)
    density = (1 - sizes**2) ** ((max(5, pictures) - 4) / 2)
    above = np.cumsum(density[::-1])[::-1] / density.sum()
    return float(sizes[np.argmax(above <= SURE / max(1, comparisons))])


@dataclass(frozen=True)
class Strongest:
    """The strongest of many correlations, and what chance keeps below."""

    found: float
    bound: float
    comparisons: int

    @property
    def surely(self) -> bool:
        """Whether it is no luck."""
        return self.found > self.bound


def strongest_correlation(pairs: Pairs, *, seed: int) -> Strongest:
    """Correlate stored values with code values, place by place, over pictures: as they are, and folded.

    Folded is the distance from the middle, which turning a value over leaves alone.
    """
    draw = np.random.default_rng(seed)
    stored = pairs.protected.reshape(len(pairs), -1)
    codes = codes_of(pairs.originals)
    here, there = (
        draw.permutation(np.flatnonzero(np.ptp(rows, axis=0) > 0))[:PLACES] for rows in (stored, codes)
    )
    found, comparisons = 0.0, 0
    for change in (_as_is, folded):
        one, other = _standard(change(stored[:, here])), _standard(change(codes[:, there]))
        table = np.abs(one.T @ other) / len(pairs)
        found, comparisons = max(found, float(table.max(initial=0.0))), comparisons + table.size
    return Strongest(found, correlation_bound(len(pairs), comparisons=comparisons), comparisons)


def folded(values: Rows) -> Rows:
    """Return the distance from the middle, 0 to 127: what v and 255 - v share."""
    return np.where(values > 127, values - 128, 127 - values).astype(np.uint8)


def _as_is(values: Rows) -> Rows:
    return values


def _standard(values: Rows) -> Floats:
    apart = values - values.mean(axis=0)
    spread: Floats = apart.std(axis=0)
    return np.divide(apart, spread, out=np.zeros_like(apart), where=spread > 0)


def equal_values(stored: Rows) -> Strongest:
    """Return the largest share of equal values between any two of several stored pictures; chance is 1 in 256."""
    rows = [(one, other) for one in range(len(stored)) for other in range(one)]
    shares = [float((stored[one] == stored[other]).mean()) for one, other in rows]
    chance = 1 / 256
    spread = math.sqrt(chance * (1 - chance) / stored.shape[1])
    return Strongest(max(shares, default=0.0), chance + normal_bound(len(rows)) * spread, len(rows))


def shared_shifts(stored: Rows) -> Strongest:
    """Return how far the differences modulo 256 of any two stored pictures are from uniform.

    Under one mixing the shifts cancel, and differences are those of the originals. Measured as the length of the
    mean of all differences on a circle: its square is exponential where they are uniform. Each picture's own mean
    is taken off first: the optimisation drives free values to 0 and 255, in any two pictures alike.
    """
    count, values = stored.shape
    points = np.exp(stored * np.complex64(2j * np.pi / 256)).astype(np.complex64)
    points -= points.mean(axis=1, keepdims=True)
    lengths = np.abs(points @ points.conj().T)[np.triu_indices(count, 1)] / values
    bound = math.sqrt(math.log(max(1, lengths.size) / SURE) / values)
    return Strongest(float(lengths.max(initial=0.0)), bound, lengths.size)


@dataclass(frozen=True)
class Link:
    """How well pairs of one kind are told from pairs of another.

    Attributes:
        auc: chance that a pair of versions of one photo is more alike than a pair of two photos.
        error: its standard error where there is no difference (Mann and Whitney).
    """

    auc: float
    error: float

    @property
    def surely(self) -> bool:
        """Whether it is no luck."""
        return self.auc > 0.5 + normal_bound(1) * self.error


def version_link(stored: NDArray[np.uint8]) -> Link:
    """Tell by correlation whether two stored pictures are versions of one photo.

    Shape:
        - stored: ``(versions, photos, values)`` uint8, at least two of each.
    """
    versions, photos = stored.shape[:2]
    table: Floats = np.asarray(np.corrcoef(stored.reshape(versions * photos, -1)))
    photo, version = np.tile(np.arange(photos), versions), np.repeat(np.arange(versions), photos)
    later = version[:, None] < version[None, :]
    same = photo[:, None] == photo[None, :]
    alike, apart = table[later & same], table[later & ~same]
    ranks = np.concatenate([alike, apart]).argsort().argsort() + 1
    wins = float(ranks[: len(alike)].sum()) - len(alike) * (len(alike) + 1) / 2
    pairs = len(alike) * len(apart)
    return Link(wins / pairs, math.sqrt((len(alike) + len(apart) + 1) / (12 * pairs)))


@dataclass(frozen=True)
class Matched:
    """How often the most alike candidate is the right one."""

    rate: float
    chance: float
    tries: int

    @property
    def level(self) -> Level:
        """Fail where luck would do it less than once in 1000 times, warn where less than once in 100."""
        luck = at_least(round(self.rate * self.tries), tries=self.tries, rate=self.chance)
        return "fail" if luck < SURE else "warn" if luck < UNLIKELY else "pass"


def histogram_match(pairs: Pairs) -> tuple[Matched, Matched | None]:
    """Match stored pictures to all originals by histograms: the photo, and another photo of the person.

    Every picture's histogram is taken relative to the mean one, or one candidate would be nearest to all.

    Returns:
        matches of the very photo, and of persons by their other photos; None where nobody has two.
    """
    stored = pairs.protected.reshape(len(pairs), -1)
    one, other = _histograms(stored), _histograms(codes_of(pairs.originals))
    alike = one @ other.T
    rows = np.arange(len(pairs))
    photo = Matched(float((alike.argmax(axis=1) == rows).mean()), 1 / len(pairs), len(pairs))
    persons = np.array(pairs.persons, dtype=np.str_)
    own = (persons[:, None] == persons[None, :]) & ~np.eye(len(pairs), dtype=np.bool_) & (persons != "")
    several = own.any(axis=1)
    if not several.any():
        return photo, None
    np.fill_diagonal(alike, -np.inf)
    named = persons[alike.argmax(axis=1)][several]
    true = persons[several]
    # Whoever always names the person with most photos is right as often as that person is asked about.
    always = dealt_to_others(named, true)
    chance = max(always, float((own[several].sum(axis=1) / (len(pairs) - 1)).mean()))
    return photo, Matched(float((named == true).mean()), chance, int(several.sum()))


def _histograms(rows: Rows) -> Floats:
    """Return unit rows: the histogram of each row's folded values, bin by bin relative to the mean one."""
    counts = np.stack([np.bincount(folded(row), minlength=128) for row in rows]).astype(np.float64)
    apart = np.cumsum(counts, axis=1) - np.cumsum(counts, axis=1).mean(axis=0)
    lengths: Floats = np.linalg.norm(apart, axis=1, keepdims=True)
    return np.divide(apart, lengths, out=np.zeros_like(apart), where=lengths > 0)
