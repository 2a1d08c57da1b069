"""Step rules against plain loops over one image at a time."""

import math

import pytest
import torch

from avih.batched import select
from avih.steps import AdaptiveMomentum, ClosingMomentum, DecayingMomentum, StepRule, per_image

SHAPE = (3, 3, 2, 2)
STEPS = 60
DRAW = torch.Generator().manual_seed(5)
GRADIENTS = torch.randn(STEPS, *SHAPE, generator=DRAW, dtype=torch.float64)
GRADIENTS[:, :, 1, 0, 0] = 0.0  # some values are not movable
# Image 0 rises at every step, image 1 at every third, image 2 at random.
LOSSES = torch.stack(
    [
        torch.arange(STEPS, dtype=torch.float64),
        torch.tensor([-1.0, 1.0, 0.0] * (STEPS // 3), dtype=torch.float64) - torch.arange(STEPS) / 7,
        torch.rand(STEPS, generator=DRAW, dtype=torch.float64),
    ],
    dim=1,
)


def run(rule: StepRule, rows: list[int], first: int = 0, last: int = STEPS) -> tuple[torch.Tensor, StepRule]:
    """Feed the made-up gradients and losses of some images; return all changes and the rule."""
    changes = []
    for t in range(first, last):
        change, rule = rule.step(GRADIENTS[t, rows], LOSSES[t, rows])
        changes.append(change)
    return torch.stack(changes), rule


def slow_decaying(image: int, *, beta: float, alpha: float, decay: float, patience: int) -> list[list[float]]:
    """Algorithm 1 of 000, lines 7 to 13, for one image, in plain numbers."""
    size = math.prod(SHAPE[1:])
    velocity, previous, rises, out = [0.0] * size, math.inf, 0, []
    for t in range(STEPS):
        gradient = GRADIENTS[t, image].reshape(-1).tolist()
        scale = sum(abs(g) for g in gradient) / size
        velocity = [alpha * v + g / scale for v, g in zip(velocity, gradient, strict=True)]
        out.append([beta * v for v in velocity])
        loss = LOSSES[t, image].item()
        rises += loss > previous
        if rises >= patience:
            beta, rises = beta * decay, 0
        previous = loss
    return out


@pytest.mark.parametrize("patience", [16, 5, 1])
def test_decaying_momentum_agrees_with_the_algorithm_per_image(patience: int) -> None:
    rule = DecayingMomentum(step_size=0.01, momentum=0.3, decay=0.85, patience=patience)
    changes, _ = run(rule.start(torch.zeros(SHAPE, dtype=torch.float64)), [0, 1, 2])
    for image in range(3):
        slow = slow_decaying(image, beta=0.01, alpha=0.3, decay=0.85, patience=patience)
        expected = torch.tensor(slow, dtype=torch.float64)
        torch.testing.assert_close(changes[:, image].flatten(1), expected, rtol=1e-10, atol=1e-14)


def test_the_step_shrinks_after_sixteen_rises_and_counts_anew() -> None:
    rule = DecayingMomentum().start(torch.zeros(SHAPE, dtype=torch.float64))
    sizes = []
    for t in range(STEPS):
        _, rule = rule.step(GRADIENTS[t], LOSSES[t])
        sizes.append(rule.sizes.tolist())
    # The first loss has nothing to rise from: image 0 has risen 16 times at its 17th loss.
    assert [sizes[t][0] for t in (15, 16, 31, 32, 48)] == pytest.approx(
        [0.01, 0.0085, 0.0085, 0.01 * 0.85**2, 0.01 * 0.85**3]
    )
    # Image 1 rises once in three steps: 16 times at step 46.
    assert [sizes[t][1] for t in (45, 46, 59)] == pytest.approx([0.01, 0.0085, 0.0085])


def test_the_papers_numbers_are_the_defaults() -> None:
    rule = DecayingMomentum()
    assert (rule.step_size, rule.momentum, rule.decay, rule.patience) == (0.01, 0.3, 0.85, 16)


def test_closing_momentum_agrees_with_plain_formulas() -> None:
    rule = ClosingMomentum(step_size=0.2, momentum=0.9, full_loss=0.5, least=0.1)
    changes, _ = run(rule.start(torch.zeros(SHAPE, dtype=torch.float64)), [0, 1, 2])
    for image in range(3):
        velocity = [0.0] * 12
        for t in range(STEPS):
            gradient = GRADIENTS[t, image].reshape(-1).tolist()
            moved = sum(g != 0 for g in gradient)
            rms = math.sqrt(sum(g * g for g in gradient) / moved)
            velocity = [0.9 * v + 0.1 * g / rms for v, g in zip(velocity, gradient, strict=True)]
            left = min(max(LOSSES[t, image].item() / 0.5, 0.0), 1.0)
            step = 0.2 * max(math.sqrt(left), 0.1)
            expected = [step * v for v in velocity]
            assert changes[t, image].reshape(-1).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("loss", "share"), [(2.0, 1.0), (0.5, 1.0), (0.125, 0.5), (0.0, 0.1)])
def test_the_first_closing_step_has_the_promised_length(loss: float, share: float) -> None:
    rule = ClosingMomentum(step_size=0.2, momentum=0.0, full_loss=0.5).start(torch.zeros(1, 3, 2, 2))
    gradient = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    gradient[:, 0] = 0
    change, _ = rule.step(gradient, torch.tensor([loss]))
    moved = change[gradient != 0]
    assert moved.square().mean().sqrt().item() == pytest.approx(0.2 * share, rel=1e-5)
    assert not change[gradient == 0].any()


def test_adaptive_momentum_is_adam_with_a_falling_step() -> None:
    rule = AdaptiveMomentum(step_size=0.6, steps=30, momentum=0.9, spread=0.95, least=0.01)
    changes, _ = run(rule.start(torch.zeros(SHAPE, dtype=torch.float64)), [0, 1, 2])
    weight = torch.nn.Parameter(torch.zeros(SHAPE, dtype=torch.float64))
    adam = torch.optim.Adam([weight], lr=0.6, betas=(0.9, 0.95), eps=1e-300)
    for t in range(STEPS):
        share = 0.01 + 0.99 * (1 + math.cos(math.pi * min(t / 30, 1))) / 2
        adam.param_groups[0]["lr"] = 0.6 * share
        before = weight.detach().clone()
        weight.grad = GRADIENTS[t].clone()
        adam.step()
        torch.testing.assert_close(changes[t], before - weight.detach(), rtol=1e-8, atol=1e-12)


RULES = [
    DecayingMomentum(patience=3),
    ClosingMomentum(step_size=0.2, momentum=0.9, full_loss=0.5),
    AdaptiveMomentum(step_size=0.1, steps=40),
]


@pytest.mark.parametrize("rule", RULES)
def test_selected_images_go_on_as_if_nothing_had_happened(rule: StepRule) -> None:
    images = torch.zeros(SHAPE, dtype=torch.float64)
    whole, _ = run(rule.start(images), [0, 1, 2])
    _, half_way = run(rule.start(images), [0, 1, 2], last=25)
    rest, _ = run(select(half_way, torch.tensor([2, 0])), [2, 0], first=25)
    torch.testing.assert_close(rest, whole[25:, [2, 0]], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("rule", RULES)
def test_a_zero_gradient_moves_nothing_and_divides_by_nothing(rule: StepRule) -> None:
    change, following = rule.start(torch.zeros(2, 3, 2, 2)).step(torch.zeros(2, 3, 2, 2), torch.ones(2))
    assert not change.any()
    again, _ = following.step(torch.ones(2, 3, 2, 2), torch.ones(2))
    assert bool(again.isfinite().all())


@pytest.mark.parametrize("rule", RULES)
def test_a_step_leaves_the_rule_as_it_was(rule: StepRule) -> None:
    begun = rule.start(torch.zeros(SHAPE, dtype=torch.float64))
    first, _ = begun.step(GRADIENTS[0], LOSSES[0])
    second, _ = begun.step(GRADIENTS[0], LOSSES[0])
    assert torch.equal(first, second)


def test_per_image_factors_multiply_whole_images() -> None:
    product = per_image(torch.tensor([1.0, 2.0])) * torch.ones(2, 3, 4, 5)
    assert product.flatten(1).sum(dim=1).tolist() == [60.0, 120.0]
