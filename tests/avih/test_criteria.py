"""Stop rules: the feature term tells the cosine, and rules combine."""

import pytest
import torch
from torch.nn import functional

from avih.criteria import Both, Never, StillRecognised, StillRecoverable
from avih.losses import FeatureDistance


@pytest.mark.parametrize("limit", [-0.5, 0.0, 0.3, 0.7])
@pytest.mark.parametrize("size", [2, 8])
def test_the_feature_term_tells_the_cosine(limit: float, size: int) -> None:
    draw = torch.Generator().manual_seed(7)
    first, second = (
        functional.normalize(torch.randn(2000, size, generator=draw, dtype=torch.float64), dim=1)
        for _ in "ab"
    )
    term = FeatureDistance(lambda _: first, second)(torch.empty(0))
    answer = StillRecognised(cosine=limit, feature_size=size)({"features": term})
    expected = (first * second).sum(dim=1) >= limit
    assert torch.equal(answer, expected)
    assert 0 < int(expected.sum()) < 2000


def test_equal_features_are_recognised_at_any_cosine() -> None:
    assert StillRecognised(cosine=1.0, feature_size=512)({"features": torch.zeros(2)}).tolist() == [
        True,
        True,
    ]


def test_the_recovery_limit_is_inclusive() -> None:
    answer = StillRecoverable(mse=0.25)({"recovery": torch.tensor([0.125, 0.25, 0.375])})
    assert answer.tolist() == [True, True, False]


def test_combined_rules_must_all_hold() -> None:
    # cos 0.5 at 4 features: 2 * 0.5 / 4 = 0.25
    recognised, recoverable = StillRecognised(cosine=0.5, feature_size=4), StillRecoverable(mse=0.25)
    terms = {
        "features": torch.tensor([0.125, 0.125, 0.5, 0.5]),
        "recovery": torch.tensor([0.125, 0.5, 0.125, 0.5]),
    }
    rule = recognised & recoverable
    assert rule == Both(recognised, recoverable)
    assert rule(terms).tolist() == [True, False, False, False]
    assert (recoverable & recognised)(terms).tolist() == [True, False, False, False]
    assert (rule & Never())(terms).tolist() == [False] * 4


def test_never_answers_per_image() -> None:
    answer = Never()({"features": torch.zeros(3)})
    assert answer.dtype == torch.bool
    assert answer.tolist() == [False] * 3
