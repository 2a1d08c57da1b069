"""The gradient iteration against a slow reference in numpy, finite differences, and itself without neighbours."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from avih.classifiers.lenet import LayerOutput, lenet5, seeded
from avih.errors import UsageError
from avih.veil_privacy.flip import to_bytes, to_signed
from avih.veil_privacy.iteration import (
    Iteration,
    features_of,
    iterate,
    loss_per_image,
    measured_loss,
    with_gradient,
)

SHAPE = (1, 5, 4)
DRAW = torch.Generator().manual_seed(7)
WEIGHTS = torch.randn(20, 6, generator=DRAW, dtype=torch.float64)
ORIGINALS = torch.rand(3, *SHAPE, generator=DRAW, dtype=torch.float64) * 2 - 1
STARTS = torch.where(torch.rand(3, *SHAPE, generator=DRAW) < 0.5, -ORIGINALS, ORIGINALS)
RULE = Iteration(
    steps=60, learning_rate=0.01, enough_loss=0.3, feature_weight=0.999, distance_weight=0.001, batch_size=2
)


def model(images: Tensor) -> Tensor:
    return images.flatten(1) @ WEIGHTS


def curved(images: Tensor) -> Tensor:
    return (images.flatten(1) @ WEIGHTS).tanh().view(-1, 2, 3)


def slow_loss(candidate: np.ndarray, original: np.ndarray, rule: Iteration) -> float:
    weights = WEIGHTS.numpy()
    features = [
        sum(weights[i, j] * (candidate.flat[i] - original.flat[i]) for i in range(20)) for j in range(6)
    ]
    distance = sum((a - b) ** 2 for a, b in zip(candidate.flat, original.flat, strict=True)) ** 0.5
    return rule.feature_weight * sum(map(abs, features)) - rule.distance_weight * distance


def slow_iteration(start: np.ndarray, original: np.ndarray, rule: Iteration) -> tuple[np.ndarray, float, int]:
    """One image, lines 13 to 17 of Algorithm 1 with the gradient worked by hand; the best picture measured."""
    weights, current = WEIGHTS.numpy(), start.copy()
    best, lowest, when = current, np.inf, 0
    for step in range(rule.steps + 1):
        loss = slow_loss(current, original, rule)
        if loss < lowest:
            best, lowest, when = current.copy(), loss, step
        if loss < rule.enough_loss:
            break
        apart = (current - original).reshape(-1)
        slope = rule.feature_weight * weights @ np.sign(weights.T @ apart)
        slope -= rule.distance_weight * apart / np.linalg.norm(apart)
        current = current - rule.learning_rate * slope.reshape(current.shape)
    return best, lowest, when


def test_the_loss_is_equation_2_per_image() -> None:
    found = loss_per_image(STARTS, originals=ORIGINALS, targets=model(ORIGINALS), model=model, rule=RULE)
    expected = [slow_loss(s.numpy(), o.numpy(), RULE) for s, o in zip(STARTS, ORIGINALS, strict=True)]
    assert found.tolist() == pytest.approx(expected, rel=1e-12)
    measured = measured_loss(STARTS, originals=ORIGINALS, model=model, rule=RULE)
    assert measured.tolist() == pytest.approx(expected, rel=1e-12)


def test_the_distance_is_rewarded() -> None:
    blind = replace(RULE, distance_weight=0.5)
    found = loss_per_image(
        ORIGINALS + 1,
        originals=ORIGINALS,
        targets=torch.zeros(3, 1),
        model=lambda x: x[:, 0, 0, :1] * 0,
        rule=blind,
    )
    assert found.tolist() == pytest.approx([-0.5 * 20**0.5] * 3)


def test_the_gradient_agrees_with_finite_differences() -> None:
    rule = replace(RULE, distance_weight=0.3)
    arguments = {
        "originals": ORIGINALS,
        "targets": curved(ORIGINALS).flatten(1),
        "model": curved,
        "rule": rule,
    }
    _, gradient = with_gradient(STARTS, **arguments)
    step = 1e-6
    for place in [(0, 0, 0, 0), (1, 0, 3, 2), (2, 0, 4, 3), (0, 0, 2, 1)]:
        up, down = STARTS.clone(), STARTS.clone()
        up[place] += step
        down[place] -= step
        slope = (loss_per_image(up, **arguments) - loss_per_image(down, **arguments)) / (2 * step)
        assert gradient[place].item() == pytest.approx(slope[place[0]].item(), rel=1e-5, abs=1e-8)
        assert [slope[i].item() for i in range(3) if i != place[0]] == [0.0, 0.0]


def test_a_start_at_the_original_has_a_gradient_of_zero_not_nan() -> None:
    loss, gradient = with_gradient(
        ORIGINALS, originals=ORIGINALS, targets=model(ORIGINALS), model=model, rule=RULE
    )
    assert loss.tolist() == [0, 0, 0]
    assert not gradient.any()


@pytest.mark.parametrize("steps", [0, 1, 7, 60, 400])
@pytest.mark.parametrize("rate", [0.001, 0.01])
def test_the_iteration_agrees_with_a_slow_one(steps: int, rate: float) -> None:
    rule = replace(RULE, steps=steps, learning_rate=rate)
    found = iterate(start=STARTS, originals=ORIGINALS, model=model, rule=rule)
    for row in range(3):
        image, loss, when = slow_iteration(STARTS[row].numpy(), ORIGINALS[row].numpy(), rule)
        np.testing.assert_allclose(found.images[row].numpy(), image, rtol=0, atol=1e-9)
        assert found.loss[row].item() == pytest.approx(loss, abs=1e-9)
        assert (found.steps[row].item(), found.met[row].item()) == (when, loss < rule.enough_loss)


def test_with_enough_steps_the_stop_rule_is_met_and_steps_differ() -> None:
    seen: list[int] = []
    rule = replace(RULE, steps=2000, learning_rate=0.0005)
    found = iterate(start=STARTS, originals=ORIGINALS, model=model, rule=rule, progress=seen.append)
    assert found.met.all()
    assert (found.loss < rule.enough_loss).all()
    assert (found.start_loss > found.loss).all()
    assert len(set(found.steps.tolist())) == 3
    assert sum(seen) == 3


def test_an_image_that_is_good_enough_does_not_move() -> None:
    starts = STARTS.clone()
    starts[1] = ORIGINALS[1] + 1e-4
    found = iterate(start=starts, originals=ORIGINALS, model=model, rule=RULE)
    assert torch.equal(found.images[1], starts[1])
    assert (found.steps[1].item(), bool(found.met[1])) == (0, True)
    assert not torch.equal(found.images[0], starts[0])


def test_neighbours_change_no_bit_of_an_image() -> None:
    """Real convolutions in float32: the batch is always full, so each image meets the same kernels."""
    network = seeded(partial(lenet5, classes=4, height=20, width=18), seed=3).eval()
    rule = replace(RULE, steps=8, learning_rate=0.02, enough_loss=0.02, batch_size=3)
    draw = torch.Generator().manual_seed(2)
    originals = torch.rand(5, 1, 20, 18, generator=draw) * 2 - 1
    starts = torch.where(torch.rand(5, 1, 20, 18, generator=draw) < 0.5, -originals, originals)

    def run(rows: list[int]):
        return iterate(start=starts[rows], originals=originals[rows], model=LayerOutput(network), rule=rule)

    together = run([0, 1, 2, 3, 4])
    for rows in ([4, 2, 0], [3], [1]):
        apart = run(rows)
        assert torch.equal(apart.images, together.images[rows])
        assert torch.equal(apart.loss, together.loss[rows])
        assert torch.equal(apart.steps, together.steps[rows])


def test_on_stored_values_what_was_measured_is_what_the_file_holds() -> None:
    starts, originals = STARTS.float(), ORIGINALS.float()

    def rough(images: Tensor) -> Tensor:
        return images.flatten(1) @ WEIGHTS.float()

    rule = replace(RULE, on_stored=True, steps=30)
    found = iterate(start=starts * 1.2, originals=originals, model=rough, rule=rule)
    assert torch.equal(to_signed(to_bytes(found.images)), found.images)
    again = measured_loss(found.images, originals=originals, model=rough, rule=rule)
    torch.testing.assert_close(again, found.loss, rtol=1e-5, atol=1e-6)
    assert (found.loss < found.start_loss).all()
    # Without it, the values are none that a file can hold.
    loose = iterate(start=starts * 1.2, originals=originals, model=rough, rule=replace(rule, on_stored=False))
    assert not torch.equal(to_signed(to_bytes(loose.images)), loose.images)


def test_the_arguments_stay_as_they_are() -> None:
    starts, originals = STARTS.clone(), ORIGINALS.clone()
    iterate(start=starts, originals=originals, model=model, rule=RULE)
    assert torch.equal(starts, STARTS)
    assert torch.equal(originals, ORIGINALS)


def test_an_image_that_diverges_keeps_its_best_and_ends() -> None:
    def explosive(images: Tensor) -> Tensor:
        return torch.exp(40 * images.flatten(1)).sum(dim=1, keepdim=True)

    rule = replace(RULE, learning_rate=1e6)
    found = iterate(start=STARTS, originals=ORIGINALS, model=explosive, rule=rule)
    assert found.images.isfinite().all()
    assert found.loss.isfinite().all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": -1}, "0 steps"),
        ({"learning_rate": 0.0}, "learning rate"),
        ({"batch_size": 0}, "batch of 1"),
    ],
)
def test_numbers_that_cannot_iterate_are_refused(change: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        replace(RULE, **change)


def test_inputs_that_do_not_fit_are_told() -> None:
    with pytest.raises(UsageError, match="one shape"):
        iterate(start=STARTS, originals=ORIGINALS[:2], model=model, rule=RULE)
    with pytest.raises(UsageError, match="one shape"):
        iterate(start=STARTS[:0], originals=ORIGINALS[:0], model=model, rule=RULE)
    network = lenet5(classes=2, height=16, width=16)
    with pytest.raises(UsageError, match="training mode"):
        iterate(start=STARTS.float(), originals=ORIGINALS.float(), model=network, rule=RULE)
    with pytest.raises(UsageError, match="finite features"):
        features_of(STARTS, model=lambda x: x * torch.nan, batch_size=2)
