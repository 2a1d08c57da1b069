"""Loss terms against slow loops and numbers worked by hand; gradients against finite differences."""

import pytest
import torch

from avih.batched import select
from avih.losses import BlockVariance, FeatureDistance, Objective, RecoveryDistance

DRAW = torch.Generator().manual_seed(11)
IMAGES = torch.rand(3, 3, 6, 5, generator=DRAW, dtype=torch.float64)
ORIGINALS = torch.rand(3, 3, 6, 5, generator=DRAW, dtype=torch.float64)
WEIGHTS = torch.randn(90, 7, generator=DRAW, dtype=torch.float64)
TARGETS = torch.nn.functional.normalize(torch.randn(3, 7, generator=DRAW, dtype=torch.float64), dim=1)


def recogniser(images: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize((images.flatten(1) @ WEIGHTS[: images[0].numel()]).tanh(), dim=1)


def generator(images: torch.Tensor) -> torch.Tensor:
    return (images * 1.5 - 0.2).sigmoid()


def slow_mean_square(first: torch.Tensor, second: torch.Tensor) -> list[float]:
    losses = []
    for a, b in zip(first, second, strict=True):
        pairs = list(zip(a.reshape(-1).tolist(), b.reshape(-1).tolist(), strict=True))
        losses.append(sum((p - q) ** 2 for p, q in pairs) / len(pairs))
    return losses


def slow_block_variance(images: torch.Tensor, size: int, stride: int) -> list[float]:
    losses = []
    for image in images.tolist():
        total = 0.0
        for channel in image:
            rows, columns = len(channel), len(channel[0])
            sums = [
                sum(channel[top + i][left + j] for i in range(size) for j in range(size))
                for top in range(0, rows - size + 1, stride)
                for left in range(0, columns - size + 1, stride)
            ]
            mean = sum(sums) / len(sums)
            total += sum((value - mean) ** 2 for value in sums) / (len(sums) - 1)
        losses.append(total)
    return losses


def test_the_feature_distance_is_the_mean_square_per_image() -> None:
    found = FeatureDistance(recogniser, TARGETS)(IMAGES)
    assert found.tolist() == pytest.approx(slow_mean_square(recogniser(IMAGES), TARGETS), rel=1e-12)
    orthogonal = FeatureDistance(lambda _: torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    assert orthogonal(torch.zeros(1, 3, 1, 1)).tolist() == [1.0]


def test_the_recovery_distance_is_the_mean_square_per_image() -> None:
    found = RecoveryDistance(generator, ORIGINALS)(IMAGES)
    assert found.tolist() == pytest.approx(slow_mean_square(generator(IMAGES), ORIGINALS), rel=1e-12)
    halves = RecoveryDistance(lambda x: x, torch.full((1, 3, 2, 2), 0.5))
    assert halves(torch.zeros(1, 3, 2, 2)).tolist() == [0.25]


@pytest.mark.parametrize(("size", "stride"), [(4, 1), (2, 1), (2, 2)])
def test_the_block_variance_agrees_with_a_slow_loop(size: int, stride: int) -> None:
    found = BlockVariance(size=size, stride=stride)(IMAGES)
    assert found.tolist() == pytest.approx(slow_block_variance(IMAGES, size, stride), rel=1e-12)


def test_the_block_variance_of_bright_corners_worked_by_hand() -> None:
    # 5x5, a one in a corner: of the four 4x4 blocks one sums to 1, the others to 0.
    # Mean 1/4; (9 + 1 + 1 + 1)/16 / 3 = 1/4 unbiased. Twice in channel 0: 4 times that; once in channel 2.
    image = torch.zeros(1, 3, 5, 5, dtype=torch.float64)
    image[0, 0, 0, 0], image[0, 2, 4, 4] = 2.0, 1.0
    assert BlockVariance()(image).tolist() == pytest.approx([1.25])


def test_a_flat_image_has_no_block_variance() -> None:
    assert BlockVariance()(torch.full((2, 3, 8, 8), 0.5)).tolist() == [0.0, 0.0]


def objective() -> Objective:
    return Objective(
        (
            FeatureDistance(recogniser, TARGETS, weight=1.0),
            RecoveryDistance(generator, ORIGINALS, weight=0.2),
            BlockVariance(weight=0.01),
        )
    )


def test_the_objective_is_the_weighted_sum_and_gives_its_terms() -> None:
    loss, gradient, terms = objective().with_gradient(IMAGES)
    assert list(terms) == ["features", "recovery", "block_variance"]
    expected = [
        a + 0.2 * b + 0.01 * c
        for a, b, c in zip(
            slow_mean_square(recogniser(IMAGES), TARGETS),
            slow_mean_square(generator(IMAGES), ORIGINALS),
            slow_block_variance(IMAGES, 4, 1),
            strict=True,
        )
    ]
    assert loss.tolist() == pytest.approx(expected, rel=1e-12)
    assert gradient.shape == IMAGES.shape
    assert not any(value.requires_grad for value in (loss, gradient, *terms.values()))
    assert not IMAGES.requires_grad


def test_the_gradient_agrees_with_finite_differences() -> None:
    whole = objective()
    _, gradient, _ = whole.with_gradient(IMAGES)
    step = 1e-6
    for place in [(0, 0, 0, 0), (1, 1, 3, 2), (2, 2, 5, 4), (0, 2, 2, 2), (2, 0, 1, 3)]:
        up, down = IMAGES.clone(), IMAGES.clone()
        up[place] += step
        down[place] -= step
        slope = (whole.with_gradient(up)[0] - whole.with_gradient(down)[0]) / (2 * step)
        assert gradient[place].item() == pytest.approx(slope[place[0]].item(), rel=1e-5, abs=1e-9)
        others = [slope[i].item() for i in range(3) if i != place[0]]
        assert others == [0.0, 0.0]  # no image sees another


def test_selected_images_keep_their_own_targets_and_weights() -> None:
    rows = torch.tensor([2, 0])
    loss, gradient, terms = objective().with_gradient(IMAGES)
    some = select(objective(), rows)
    less, slope, parts = some.with_gradient(IMAGES[rows])
    torch.testing.assert_close(less, loss[rows], rtol=1e-12, atol=0)
    torch.testing.assert_close(slope, gradient[rows], rtol=1e-9, atol=1e-14)
    for name, value in terms.items():
        torch.testing.assert_close(parts[name], value[rows], rtol=1e-12, atol=0)
    assert [term.weight for term in some.terms] == [1.0, 0.2, 0.01]


def test_a_selected_block_variance_keeps_its_blocks() -> None:
    term = BlockVariance(size=2, stride=2)
    chosen = torch.tensor([1])
    assert torch.equal(select(term, chosen)(IMAGES[chosen]), term(IMAGES)[chosen])
