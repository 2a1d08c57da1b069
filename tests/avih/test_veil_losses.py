"""The veil's loss terms against slow loops, numbers worked by hand, and finite differences."""

import math

import pytest
import torch

from avih.losses import Objective
from avih.veils.losses import (
    Intra,
    SubspaceDistance,
    VectorDistance,
    VeilBlockVariance,
    VisualDistance,
)
from avih.veils.subspace import FeatureHull

DRAW = torch.Generator().manual_seed(23)
PHOTOS = torch.rand(3, 3, 7, 6, generator=DRAW, dtype=torch.float64)
PROTECTED = torch.rand(3, 3, 7, 6, generator=DRAW, dtype=torch.float64)
WEIGHTS = torch.randn(126, 5, generator=DRAW, dtype=torch.float64)


def recogniser(images: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(((images.flatten(1) - 0.5) @ WEIGHTS).tanh(), dim=1)


def slow_block_variance(picture: torch.Tensor, size: int, stride: int, intra: Intra) -> float:
    """Equations 9 to 11 of 002, sum by sum."""
    total = 0.0
    for channel in picture.tolist():
        rows, columns = len(channel), len(channel[0])
        sums = [
            sum(channel[top + i][left + j] for i in range(size) for j in range(size))
            for top in range(0, rows - size + 1, stride)
            for left in range(0, columns - size + 1, stride)
        ]
        b = len(sums)
        mean_of_sums = sum(sums) / b
        inner = sum((s - mean_of_sums) ** 2 for s in sums) / b
        means = [s / size**2 for s in sums]
        centre = mean_of_sums if intra == "printed" else sum(means) / b
        total += inner + sum((m - centre) ** 2 for m in means) / b
    return total


@pytest.mark.parametrize("intra", ["printed", "centred"])
@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 3), (2, 1)])
def test_the_block_variance_agrees_with_a_slow_loop(size: int, stride: int, intra: Intra) -> None:
    found = VeilBlockVariance(size=size, stride=stride, intra=intra)(PROTECTED)
    slow = [slow_block_variance(picture, size, stride, intra) for picture in PROTECTED]
    assert found.tolist() == pytest.approx(slow, rel=1e-10)


def test_as_printed_the_block_variance_of_a_flat_picture_is_its_brightness_squared() -> None:
    flat = torch.full((1, 3, 6, 6), 0.5, dtype=torch.float64)
    assert VeilBlockVariance(intra="centred")(flat).item() == pytest.approx(0, abs=1e-20)
    assert VeilBlockVariance(intra="printed")(flat).item() == pytest.approx(3 * (8 * 0.5) ** 2)


def test_the_visual_distance_is_the_root_mean_square_of_each_photo() -> None:
    pairs = [
        list(zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))
        for a, b in zip(PROTECTED, PHOTOS, strict=True)
    ]
    slow = [math.sqrt(sum((p - q) ** 2 for p, q in values) / 126) for values in pairs]
    assert VisualDistance(PHOTOS)(PROTECTED).tolist() == pytest.approx(slow, rel=1e-12)


def test_the_vector_distance_is_a_chord() -> None:
    features, target = torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([[0.0, 1.0], [0.6, 0.8]])
    found = VectorDistance(lambda _: features, target)(torch.zeros(2, 3, 1, 1))
    assert found.tolist() == pytest.approx([math.sqrt(2), 0.0])


def test_the_subspace_distance_is_the_height_over_an_edge_or_the_way_to_a_corner() -> None:
    hull = FeatureHull(torch.eye(3)[:2])
    # Over the middle of the edge from (1, 0, 0) to (0, 1, 0); then beyond its end.
    features = torch.tensor([[0.5, 0.5, 0.7], [2.0, -1.0, 0.0]])
    found = SubspaceDistance(lambda _: features, hull)(torch.zeros(2, 3, 1, 1))
    assert found.tolist() == pytest.approx([0.7, math.sqrt(2)], abs=1e-6)


def test_a_picture_of_the_person_is_nearer_to_the_hull_than_to_its_own_feature() -> None:
    features = recogniser(PHOTOS)
    moved = recogniser(PROTECTED)
    near = SubspaceDistance(recogniser, FeatureHull(features))(PROTECTED)
    own = VectorDistance(recogniser, features)(PROTECTED)
    assert bool((near <= own + 1e-9).all())
    assert near.max() < torch.cdist(moved, features).min(dim=1).values.max()


def objective() -> Objective:
    hull = FeatureHull(recogniser(PHOTOS))
    return Objective(
        (
            SubspaceDistance(recogniser, hull, 1.0),
            VisualDistance(PHOTOS, -0.7),
            VeilBlockVariance(0.1, intra="printed"),
        )
    )


def test_the_objective_is_equation_13() -> None:
    loss, _, terms = objective().with_gradient(PROTECTED)
    assert list(terms) == ["features", "visual", "block_variance"]
    expected = terms["features"] - 0.7 * terms["visual"] + 0.1 * terms["block_variance"]
    torch.testing.assert_close(loss, expected)


def test_the_gradient_through_the_nearest_point_agrees_with_finite_differences() -> None:
    whole = objective()
    _, gradient, _ = whole.with_gradient(PROTECTED)
    step = 1e-5
    for place in [(0, 0, 0, 0), (1, 1, 3, 2), (2, 2, 6, 5), (0, 2, 2, 2), (2, 0, 1, 3)]:
        up, down = PROTECTED.clone(), PROTECTED.clone()
        up[place] += step
        down[place] -= step
        slope = (whole.with_gradient(up)[0] - whole.with_gradient(down)[0]) / (2 * step)
        assert gradient[place].item() == pytest.approx(slope[place[0]].item(), rel=1e-4, abs=1e-8)
        assert [slope[i].item() for i in range(3) if i != place[0]] == pytest.approx([0, 0], abs=1e-9)


def test_no_term_divides_by_a_distance_of_zero() -> None:
    features = recogniser(PHOTOS)
    whole = Objective(
        (
            SubspaceDistance(recogniser, FeatureHull(features)),
            VectorDistance(recogniser, features),
            VisualDistance(PHOTOS),
        )
    )
    _, gradient, _ = whole.with_gradient(PHOTOS)
    assert bool(gradient.isfinite().all())
