"""Intervals for means over photos of which several show one person."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avih.errors import UsageError

Column = Sequence[Any] | NDArray[Any]


def bootstrap_interval(
    values: Column, groups: Column, *, repeats: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Return an interval for the mean of ``values`` by drawing whole groups (persons) with replacement.

    Photos of one person are alike, so drawing photos instead of persons would make the interval too narrow
    (the cluster bootstrap, percentile interval: Davison and Hinkley 1997, section 3.8).

    Args:
        values: one figure per photo or comparison, (n,).
        groups: the person each belongs to, (n,).
        repeats: how many times the persons are drawn.
        seed: seed of the drawing.
        level: share of the drawn means inside the interval, between 0 and 1.

    Raises:
        UsageError: lengths differ, a value is not finite, fewer than 2 groups, or a level outside (0, 1).
    """
    numbers = np.asarray(values, dtype=np.float64)
    names, membership = np.unique(np.asarray(groups), return_inverse=True)
    if numbers.ndim != 1 or numbers.shape != membership.shape or not np.isfinite(numbers).all():
        raise UsageError(
            f"Expected n finite values and n groups, got {numbers.shape} and {membership.shape}."
        )
    if len(names) < 2 or repeats < 1 or not 0 < level < 1:
        raise UsageError(
            f"Expected 2 groups or more, a repeat or more and a level between 0 and 1, got {len(names)}, "
            f"{repeats} and {level}."
        )
    sums, sizes = np.bincount(membership, weights=numbers), np.bincount(membership)
    generator, means = np.random.default_rng(seed), np.empty(repeats)
    for repeat in range(repeats):
        drawn = generator.integers(0, len(names), size=len(names))
        means[repeat] = sums[drawn].sum() / sizes[drawn].sum()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
