"""The nearest point of a hull against every face of the hull, against SciPy, and against its own conditions."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from avih.errors import UsageError
from avih.veils.subspace import FeatureHull


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def by_every_face(features: np.ndarray, point: np.ndarray) -> np.ndarray:
    """The nearest point is the projection on the flat of some face whose weights are not negative."""
    best, nearest = np.inf, features[0]
    for size in range(1, len(features) + 1):
        for chosen in combinations(range(len(features)), size):
            corners = features[list(chosen)]
            legs = (corners[1:] - corners[0]).T
            part = np.linalg.lstsq(legs, point - corners[0], rcond=None)[0] if size > 1 else np.zeros(0)
            weights = np.concatenate([[1 - part.sum()], part])
            if weights.min() < -1e-12:
                continue
            candidate = weights @ corners
            if np.linalg.norm(candidate - point) < best:
                best, nearest = float(np.linalg.norm(candidate - point)), candidate
    return nearest


def hull_of(features: np.ndarray) -> FeatureHull:
    return FeatureHull(torch.from_numpy(features))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(2, 9), st.floats(0.01, 3.0), st.integers(0, 10**6))
def test_nearest_points_agree_with_a_search_over_all_faces(n: int, d: int, spread: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    features = unit(draw.normal(size=d) + spread * draw.normal(size=(n, d)))
    points = unit(draw.normal(size=(5, d)))
    found = hull_of(features).nearest(torch.from_numpy(points)).numpy()
    for point, nearest in zip(points, found, strict=True):
        np.testing.assert_allclose(nearest, by_every_face(features, point), atol=1e-6)


def test_nearest_points_agree_with_scipy_at_the_size_of_real_features() -> None:
    draw = np.random.default_rng(5)
    features = unit(draw.normal(size=128) + draw.normal(size=(12, 128)))
    points = unit(features[:4] + draw.normal(size=(4, 128)))
    found = hull_of(features).nearest(torch.from_numpy(points)).numpy()
    for point, nearest in zip(points, found, strict=True):
        slow = minimize(
            lambda w, point=point: 0.5 * np.sum((w @ features - point) ** 2),
            np.full(12, 1 / 12),
            jac=lambda w, point=point: features @ (w @ features - point),
            method="SLSQP",
            bounds=[(0, None)] * 12,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
            options={"ftol": 1e-16, "maxiter": 500},
        )
        np.testing.assert_allclose(nearest, slow.x @ features, atol=2e-6)


@pytest.mark.parametrize("photos", [1, 10, 40, 200])
def test_weights_obey_the_constraints_and_no_corner_is_nearer(photos: int) -> None:
    draw = np.random.default_rng(photos)
    features = unit(draw.normal(size=64) + draw.normal(size=(photos, 64)))  # 200 photos: more than dimensions
    points = unit(draw.normal(size=(7, 64)))
    weights = hull_of(features).weights(torch.from_numpy(points)).numpy()
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)
    nearest = weights @ features
    # p is nearest exactly if (y - p) . (corner - p) <= 0 for every corner; the excess bounds the squared error.
    excess = np.einsum("bd,bnd->bn", points - nearest, features[None] - nearest[:, None])
    assert excess.max() < 1e-12


def test_points_of_the_hull_are_their_own_nearest_points() -> None:
    draw = np.random.default_rng(3)
    features = unit(draw.normal(size=(6, 32)))
    inside = unit(draw.random(size=(4, 6)) ** 2) @ features
    inside /= (inside @ np.linalg.pinv(features)).sum(axis=1, keepdims=True)
    points = np.concatenate([features, inside])
    found = hull_of(features).nearest(torch.from_numpy(points)).numpy()
    np.testing.assert_allclose(found, points, atol=1e-6)


def test_repeated_photos_change_no_nearest_point() -> None:
    draw = np.random.default_rng(4)
    features, points = unit(draw.normal(size=(4, 16))), torch.from_numpy(unit(draw.normal(size=(5, 16))))
    twice = np.concatenate([features, features, features[:1]])
    np.testing.assert_allclose(hull_of(twice).nearest(points), hull_of(features).nearest(points), atol=1e-6)


def test_weights_are_never_negative_where_free_least_squares_has_negative_ones() -> None:
    # In the plane of two photos at 60 degrees, a point at 100 degrees: free weights leave the segment.
    features = np.array([[1.0, 0.0], [0.5, np.sqrt(0.75)]])
    point = np.array([[np.cos(np.radians(100)), np.sin(np.radians(100))]])
    assert np.linalg.lstsq(features.T, point[0], rcond=None)[0].min() < 0
    found = hull_of(features).weights(torch.from_numpy(point)).numpy()
    np.testing.assert_allclose(found, [[0, 1]], atol=1e-6)


def test_a_point_gets_the_same_bits_alone_and_in_company() -> None:
    draw = torch.Generator().manual_seed(1)
    features = torch.nn.functional.normalize(torch.randn(10, 32, generator=draw), dim=1)
    points = torch.nn.functional.normalize(torch.randn(6, 32, generator=draw), dim=1)
    hull = FeatureHull(features)
    alone = torch.cat([hull.nearest(point[None]) for point in points])
    torch.testing.assert_close(hull.nearest(points), alone, rtol=0, atol=1e-7)
    assert hull.nearest(points).dtype == torch.float32


def test_what_is_no_hull_or_no_point_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one photo"):
        FeatureHull(torch.zeros(0, 4))
    with pytest.raises(UsageError, match="finite"):
        FeatureHull(torch.full((2, 4), torch.nan))
    with pytest.raises(UsageError, match="one recogniser"):
        FeatureHull(torch.eye(4)).nearest(torch.zeros(2, 5))
