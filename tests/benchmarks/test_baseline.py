"""The authors' loop against the same arithmetic in NumPy and float64, on networks of a few numbers."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.baseline import (
    AuthorsSettings,
    batch_block_variance,
    calibrate,
    protect_like_the_authors,
    uniform_noise,
    weights_with_gradients,
)

BATCH, SIDE, FEATURES = 2, 6, 5
SLOPE, OFFSET = 0.7, 0.1
Floats = NDArray[np.float64]

DRAW = np.random.default_rng(4)
ORIGINALS, START = DRAW.random((2, BATCH, 3, SIDE, SIDE))
MATRIX = DRAW.normal(size=(FEATURES, 3 * SIDE * SIDE))


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(SLOPE, dtype=torch.float64), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.slope * images + OFFSET


class Projection(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.from_numpy(MATRIX), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        return functional.normalize((images.flatten(1) - 0.5) @ self.matrix.T, dim=1)


def features(images: Floats) -> tuple[Floats, Floats]:
    products = (images.reshape(len(images), -1) - 0.5) @ MATRIX.T
    lengths = np.sqrt((products**2).sum(axis=1, keepdims=True))
    return products / lengths, lengths


def feature_loss(images: Floats, target: Floats) -> tuple[float, Floats]:
    unit, lengths = features(images)
    by_feature = 2 * (unit - target) / unit.size
    along = (by_feature * unit).sum(axis=1, keepdims=True)
    by_product = (by_feature - along * unit) / lengths
    return float(((unit - target) ** 2).mean()), (by_product @ MATRIX).reshape(images.shape)


def variance_loss(images: Floats) -> tuple[float, Floats]:
    places = [(top, left) for top in range(SIDE - 3) for left in range(SIDE - 3)]
    total, gradient = 0.0, np.zeros_like(images)
    for channel in range(3):
        sums = np.array([[image[channel, t : t + 4, x : x + 4].sum() for t, x in places] for image in images])
        count = sums.size  # the images of the batch are one heap of blocks
        total += ((sums - sums.mean()) ** 2).sum() / (count - 1)
        for row in range(len(images)):
            for place, (t, x) in enumerate(places):
                share = 2 * (sums[row, place] - sums.mean()) / (count - 1)
                gradient[row, channel, t : t + 4, x : x + 4] += share
    return total, gradient


def by_hand(settings: AuthorsSettings) -> tuple[Floats, list[float]]:
    """Return the last images and the step size of each step."""
    target, _ = features(ORIGINALS)
    images, velocity, sizes = START.copy(), np.zeros_like(START), []
    size, rises, previous = settings.step_size, 0, np.inf
    for _ in range(settings.steps):
        loss, gradient = feature_loss(images, target)
        residue = SLOPE * images + OFFSET - ORIGINALS
        loss += 0.2 * (residue**2).mean()
        gradient = gradient + 0.2 * 2 * SLOPE * residue / residue.size
        variance, by_variance = variance_loss(images)
        loss, gradient = loss + 0.001 * variance, gradient + 0.001 * by_variance
        means = np.abs(gradient).mean(axis=(1, 2, 3), keepdims=True)
        velocity = 0.3 * velocity + gradient / means
        images = np.clip(images - size * velocity, 0, 1)
        sizes.append(size)
        rises += loss > previous
        previous = loss
        if rises >= settings.patience:
            size, rises = size * 0.85, 0
    return images, sizes


def by_torch(settings: AuthorsSettings, **more: object) -> Floats:
    result = protect_like_the_authors(
        originals=torch.from_numpy(ORIGINALS),
        start=torch.from_numpy(START),
        generator=Line(),
        recogniser=Projection(),
        settings=settings,
        **more,  # type: ignore[arg-type]
    )
    return result.numpy()


def test_one_step_is_the_arithmetic_of_the_papers_and_the_code() -> None:
    settings = AuthorsSettings(steps=1)
    expected, _ = by_hand(settings)
    assert np.abs(expected - START).max() > 0.005
    np.testing.assert_allclose(by_torch(settings), expected, rtol=0, atol=1e-12)


def test_many_steps_with_momentum_clamping_and_a_step_that_shrinks_with_the_losses_of_the_batch() -> None:
    settings = AuthorsSettings(steps=40, step_size=0.05, patience=4)
    expected, sizes = by_hand(settings)
    assert sizes[-1] < sizes[0]
    assert (expected == 0).any() or (expected == 1).any()
    np.testing.assert_allclose(by_torch(settings), expected, rtol=0, atol=1e-9)


def test_the_constants_are_those_of_the_face_experiments() -> None:
    assert AuthorsSettings() == AuthorsSettings(800, 0.01, 0.3, 0.85, 16, 0.2, 0.001)


def test_the_block_variance_is_over_the_whole_batch() -> None:
    shifted = torch.stack([torch.zeros(3, SIDE, SIDE), torch.ones(3, SIDE, SIDE)])
    assert batch_block_variance(shifted[:1]).item() == 0
    assert batch_block_variance(shifted).item() > 0


def test_weights_take_gradients_as_in_the_authors_code_and_are_frozen_afterwards() -> None:
    generator, recogniser = Line(), Projection()
    seen = []

    def watch(step: int, images: Tensor) -> None:
        seen.append((step, generator.slope.grad is not None, recogniser.matrix.grad is not None))
        assert 0 <= float(images.min()) <= float(images.max()) <= 1

    protect_like_the_authors(
        originals=torch.from_numpy(ORIGINALS),
        start=torch.from_numpy(START),
        generator=generator,
        recogniser=recogniser,
        settings=AuthorsSettings(steps=3),
        watch=watch,
    )
    assert seen == [(1, True, True), (2, True, True), (3, True, True)]
    for weight in (generator.slope, recogniser.matrix):
        assert weight.grad is None and not weight.requires_grad


def test_weights_are_frozen_again_after_an_error() -> None:
    network = Line()
    with pytest.raises(ZeroDivisionError), weights_with_gradients(network):
        assert network.slope.requires_grad
        raise ZeroDivisionError
    assert not network.slope.requires_grad


def test_the_start_is_uniform_noise_that_a_seed_repeats() -> None:
    noise = uniform_noise((4, 3, 32, 32), seed=7)
    assert torch.equal(noise, uniform_noise((4, 3, 32, 32), seed=7))
    assert not torch.equal(noise, uniform_noise((4, 3, 32, 32), seed=8))
    assert noise.mean().item() == pytest.approx(0.5, abs=0.01)
    assert noise.var().item() == pytest.approx(1 / 12, abs=0.005)


def test_a_calibration_fills_batches_larger_than_the_pictures_at_hand() -> None:
    measured = calibrate(
        originals=torch.from_numpy(ORIGINALS).float(),
        generator=Line().float(),
        recogniser=Projection().float(),
        batch_sizes=(1, 2, 5),
    )
    assert list(measured) == [1, 2, 5]
    assert all(seconds > 0 for seconds in measured.values())
