"""Figures of pixels alone: how evenly levels are used, which photos go together, how strong a veil is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from avih.attack.pairs import Pairs, Pictures
from avih.evaluation.metrics import LEVELS, adjacent_correlation, entropy, histogram

TRIED = np.arange(0.05, 0.951, 0.01)  # alphas
EXPLAINED = 0.2  # share of the values; a few percent are explained by chance
ROUNDING = 1 / 12  # variance that storing in 8 bits adds, in squared grey levels


def pixel_statistics(pictures: Pictures) -> dict[str, float]:
    """Return what papers on image ciphers show: entropy, neighbours, and how flat the histogram is.

    The chi-square is that of each picture's histogram against equal counts, per degree of freedom: about 1 for
    uniform noise. The flatness is the standard deviation of a histogram's counts over their mean: 0 where all
    levels occur equally often. Both, and the entropy in bits, are means over the pictures.

    Shape:
        - pictures: ``(n, H, W, 3)`` uint8.
    """
    counts = np.stack([histogram(one) for one in pictures])
    even = counts.sum(axis=1, keepdims=True) / LEVELS
    chi = ((counts - even) ** 2 / even).sum(axis=1) / (LEVELS - 1)
    neighbours = adjacent_correlation(pictures)
    return {
        "entropy": float(np.mean([entropy(one) for one in pictures])),
        **{f"correlation of {direction} neighbours": value for direction, value in neighbours.items()},
        "histogram flatness": float((counts.std(axis=1) / even[:, 0]).mean()),
        "chi-square against uniform": float(chi.mean()),
    }


def alpha_from_spread(veiled: Sequence[Pictures], natural: Sequence[Pictures]) -> float | None:
    """Estimate alpha: photos of a person spread alpha times as much under a veil as without; None: no photos.

    Args:
        veiled: protected photos of one person each.
        natural: originals of one other person each.
    """
    spread, usual = (
        [float(photos.var(axis=0, ddof=1).mean()) for photos in persons if len(photos) > 1]
        for persons in (veiled, natural)
    )
    if not spread or not usual or not np.mean(usual):
        return None
    return float(np.sqrt(max(0.0, float(np.mean(spread)) - ROUNDING) / np.mean(usual)))


def alpha_from_limits(leaked: Pairs) -> float | None:
    """Estimate alpha from single pairs: where a veil is black x' = alpha x, and mirrored where it is white.

    Returns:
        The alpha that explains most values in this way; None where it explains hardly any: the veils seldom are
        at their limits.
    """
    levels = np.arange(LEVELS)
    black = _joint_counts(leaked.protected, leaked.originals)
    white = _joint_counts(255 - leaked.protected, 255 - leaked.originals)
    explained = [(black + white)[np.rint(alpha * levels).astype(int), levels].sum() for alpha in TRIED]
    best = int(np.argmax(explained))
    return float(TRIED[best]) if explained[best] >= EXPLAINED * leaked.originals.size else None


def link_scores(pictures: Pictures, persons: Sequence[str]) -> dict[str, float]:
    """Link photos by the correlation of their pixels.

    Returns:
        ``auc``: chance that two photos of one person correlate more than two of different persons; ``rank-1``:
        rate at which the photo that correlates most is of the same person, over photos with another of their
        person; ``chance``: the same for a photo drawn at random.

    Shape:
        - pictures: ``(n, H, W, 3)`` uint8, of two persons or more, one of them with two photos.
    """
    flat = pictures.reshape(len(pictures), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    flat /= np.where(lengths > 0, lengths, 1)
    alike = flat @ flat.T
    named = np.array(persons, dtype=np.str_)
    same = named[:, None] == named[None, :]
    upper = np.triu_indices(len(named), k=1)
    auc = float(roc_auc_score(same[upper], alike[upper]))
    np.fill_diagonal(alike, -np.inf)
    others = same.sum(axis=1) - 1
    found = same[np.arange(len(named)), alike.argmax(axis=1)][others > 0]
    chance = float((others[others > 0] / (len(named) - 1)).mean())
    return {"auc": auc, "rank-1": float(found.mean()), "chance": chance}


def _joint_counts(protected: Pictures, originals: Pictures) -> NDArray[np.int64]:
    joint = protected.astype(np.int64).ravel() * LEVELS + originals.ravel()
    return np.bincount(joint, minlength=LEVELS**2).reshape(LEVELS, LEVELS)
