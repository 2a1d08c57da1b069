"""Intervals by drawing persons: worked by hand, against the textbook, and what is refused."""

import math

import numpy as np
import pytest

from avih.errors import UsageError
from avih.evaluation.bootstrap import bootstrap_interval


def test_bootstrap_of_two_persons_by_hand() -> None:
    # Two draws out of two persons: the mean is 0 (a quarter), 3 of 12 photos (a half), or 1 (a quarter).
    values, groups = [0.0] * 9 + [1.0] * 3, ["a"] * 9 + ["b"] * 3
    assert bootstrap_interval(values, groups) == (0.0, 1.0)
    assert bootstrap_interval(values, groups, level=0.4) == (0.25, 0.25)


def test_bootstrap_counts_persons_and_not_photos() -> None:
    generator = np.random.default_rng(3)
    figures, names = generator.normal(size=30), np.array([f"p{i:02d}" for i in range(30)])
    interval = bootstrap_interval(figures, names)
    # A hundred copies of each photo tell nothing new.
    assert bootstrap_interval(np.repeat(figures, 100), np.repeat(names, 100)) == pytest.approx(interval)
    # 30 independent values: near the textbook interval of the mean.
    half = 1.96 * figures.std() / math.sqrt(30)
    assert interval == pytest.approx((figures.mean() - half, figures.mean() + half), abs=0.25 * half)
    assert bootstrap_interval(figures, names) == interval
    assert bootstrap_interval(figures, names, seed=1) != interval


@pytest.mark.parametrize(
    ("values", "groups", "options"),
    [
        ([1.0, 2.0], ["a"], {}),
        ([1.0, float("nan")], ["a", "b"], {}),
        ([], [], {}),
        ([1.0, 2.0], ["a", "a"], {}),
        ([1.0, 2.0], ["a", "b"], {"level": 1.0}),
        ([1.0, 2.0], ["a", "b"], {"repeats": 0}),
    ],
)
def test_bootstrap_refuses(values: list[float], groups: list[str], options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="Expected"):
        bootstrap_interval(values, groups, **options)  # type: ignore[arg-type]
