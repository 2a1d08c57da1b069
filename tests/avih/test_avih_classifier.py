"""AVIH for classifiers: against a plain loop over one picture, and on a small network that reads digits."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional

from avih.batched import select
from avih.errors import UsageError
from avih.evaluation.metrics import ssim
from avih.losses import LogitLoss
from avih.methods.avih_classifier import (
    FACTS,
    ClassifierSettings,
    KeptClasses,
    protect_for_classifier,
    recover_pictures,
)
from digit_reader import digits, trained_reader

CLASSES = 4
DRAW = torch.Generator().manual_seed(21)
WEIGHTS = torch.randn(CLASSES, 3 * 8 * 8, generator=DRAW) / 8
PICTURES = torch.randint(0, 256, (5, 8, 8, 3), generator=DRAW, dtype=torch.uint8).numpy()


def linear(images: Tensor) -> Tensor:
    """A classifier whose rounding cannot depend on the batch: each logit is a sum over one picture."""
    return ((images.flatten(1)[:, None, :] - 0.5) * WEIGHTS).sum(dim=2)


def smooth(images: Tensor) -> Tensor:
    """A generator that ignores what is fine: the mean of each 2x2 cell."""
    cells = functional.avg_pool2d(images, 2)
    return cells.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def run(rows: list[int], **changes: float) -> KeptClasses:
    settings = ClassifierSettings(**({"steps": 12, "batch_size": 3} | changes))
    return protect_for_classifier(
        pictures=PICTURES[rows], classifier=linear, generator=smooth, settings=settings
    )


def slow_protect(picture: np.ndarray, settings: ClassifierSettings) -> tuple[np.ndarray, int]:
    """Algorithm 1 with README point 2, for one picture, written out; returns the best stored picture."""
    x = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32) / 255)[None]
    seen = int(linear(x)[0].argmax())
    current, velocity, size, rises, previous = x.clone(), torch.zeros_like(x), settings.step_size, 0, math.inf
    best, lowest, when = x, math.inf, 0
    for step in range(settings.steps):
        stored = ((current * 255).round() / 255).requires_grad_(True)
        recovery = ((smooth(stored) - x) ** 2).mean()
        variance = sum(
            functional.conv2d(stored[:, c : c + 1], torch.ones(1, 1, 4, 4)).var(unbiased=True)
            for c in range(3)
        )
        logits = linear(stored)[0]
        onehot = functional.one_hot(torch.tensor(seen), CLASSES)
        loss = 2 * recovery + 0.005 * variance - 0.001 * (onehot * logits).mean()
        (gradient,) = torch.autograd.grad(loss, stored)
        now = loss.item()
        if now < lowest:
            best, lowest, when = stored.detach(), now, step + 1
        velocity = settings.momentum * velocity + gradient / gradient.abs().mean()
        current = (current - size * velocity).clamp(0, 1)
        rises += now > previous
        if rises >= settings.patience:
            size, rises = size * settings.decay, 0
        previous = now
    return (best[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy(), when


def test_the_logit_loss_is_minus_the_mean_of_one_hot_times_logits() -> None:
    draw = np.random.default_rng(4)
    logits, target = draw.normal(size=(6, 10)), draw.integers(0, 10, 6)
    onehot = np.eye(10)[target]
    found = LogitLoss(lambda _: torch.from_numpy(logits), torch.from_numpy(target))(torch.zeros(6, 3, 1, 1))
    np.testing.assert_allclose(found.numpy(), -(onehot * logits).mean(axis=1), rtol=1e-12)


def test_the_logit_loss_pulls_along_the_weights_of_the_seen_class() -> None:
    images, target = torch.rand(3, 3, 8, 8, generator=DRAW), torch.tensor([2, 0, 3])
    images.requires_grad_(True)
    (gradient,) = torch.autograd.grad(LogitLoss(linear, target)(images).sum(), images)
    expected = -WEIGHTS[target].view(3, 3, 8, 8) / CLASSES
    torch.testing.assert_close(gradient, expected)


def test_selected_logit_losses_keep_their_own_classes() -> None:
    images, target = torch.rand(3, 3, 8, 8, generator=DRAW), torch.tensor([2, 0, 3])
    whole, rows = LogitLoss(linear, target, weight=0.5), torch.tensor([2, 0])
    some = select(whole, rows)
    assert torch.equal(some(images[rows]), whole(images)[rows])
    assert (some.weight, some.name) == (0.5, "logit")


@pytest.mark.parametrize("patience", [8, 3, 1])
def test_the_result_is_that_of_the_algorithm_written_out(patience: int) -> None:
    settings = ClassifierSettings(steps=12, batch_size=2, patience=patience, step_size=0.05)
    found = protect_for_classifier(pictures=PICTURES, classifier=linear, generator=smooth, settings=settings)
    for row, picture in enumerate(PICTURES):
        expected, steps = slow_protect(picture, settings)
        assert found.steps[row] == steps
        # The two add up in another order: what lies on the edge of two grey levels falls on either side, and
        # the next steps differ a little. A wrong decay or momentum puts them 10 levels apart.
        apart = np.abs(expected.astype(int) - found.pixels[row].astype(int))
        assert apart.max() <= 2
        assert apart.mean() < 0.3


def test_the_defaults_are_those_of_the_paper() -> None:
    settings = ClassifierSettings()
    assert (settings.steps, settings.batch_size, settings.step_size, settings.momentum) == (
        600,
        10,
        0.02,
        0.3,
    )
    assert (settings.decay, settings.patience) == (0.8, 8)
    assert (settings.recovery_weight, settings.variance_weight, settings.logit_weight) == (2, 0.005, 0.001)


def test_a_picture_does_not_depend_on_its_neighbours() -> None:
    together = run([0, 1, 2, 3, 4])
    for row in range(5):
        alone = run([row])
        assert np.array_equal(alone.pixels[0], together.pixels[row])
        assert np.array_equal(alone.logits[0], together.logits[row])
        assert alone.steps[0] == together.steps[row]
        assert alone.terms["block_variance"][0] == together.terms["block_variance"][row]


def test_one_step_gives_the_original_back_because_it_is_the_start() -> None:
    result = run([0, 1], steps=1)
    assert np.array_equal(result.pixels, PICTURES[:2])
    assert result.kept.all()
    assert np.array_equal(result.logits, result.logits_before)


def test_what_is_reported_is_what_the_classifier_makes_of_the_stored_pictures() -> None:
    # Without a pull to the class, smoothing alone decides; some classes are lost, and that must be said.
    result = run([0, 1, 2, 3, 4], steps=60, logit_weight=0.0, recovery_weight=0.0, variance_weight=1.0)
    stored = torch.from_numpy(result.pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    before = linear(torch.from_numpy(PICTURES.transpose(0, 3, 1, 2).astype(np.float32) / 255)).argmax(dim=1)
    np.testing.assert_allclose(result.logits, linear(stored).numpy(), rtol=1e-5, atol=1e-6)
    assert result.classes.tolist() == before.tolist()
    assert result.kept.tolist() == (linear(stored).argmax(dim=1) == before).tolist()
    assert not result.kept.all()


def test_progress_counts_every_picture_once() -> None:
    counted: list[int] = []
    short = ClassifierSettings(steps=2, batch_size=2)
    protect_for_classifier(
        pictures=PICTURES, classifier=linear, generator=smooth, settings=short, progress=counted.append
    )
    assert sum(counted) == 5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pictures": PICTURES[0]}, r"uint8 pictures \(n, H, W, 3\)"),
        ({"pictures": PICTURES[:0]}, "at least one"),
        ({"pictures": PICTURES / 255}, "float64"),
        ({"classifier": lambda images: linear(images)[:, :1]}, "at least 2 classes"),
        ({"classifier": lambda images: images}, r"logits \(batch, classes\)"),
        ({"classifier": lambda images: linear(images) * torch.nan}, "finite"),
        ({"classifier": nn.BatchNorm2d(3)}, r"classifier in eval\(\)"),
        ({"generator": nn.BatchNorm2d(3)}, r"generator in eval\(\)"),
        ({"generator": lambda images: images[..., 1:]}, "pictures of the size it gets"),
    ],
)
def test_what_cannot_be_used_is_refused(changes: dict[str, object], words: str) -> None:
    arguments = {"pictures": PICTURES, "classifier": linear, "generator": smooth} | changes
    with pytest.raises(UsageError, match=words):
        protect_for_classifier(**arguments)  # type: ignore[arg-type]


def test_settings_without_steps_or_with_strangers_are_refused() -> None:
    for wrong in ({"steps": 0}, {"step_size": 0.0}, {"logit_weight": -1.0}, {"seed": 3}):
        with pytest.raises(ValidationError):
            ClassifierSettings(**wrong)


def test_recovered_pictures_are_what_the_generator_gives() -> None:
    found = recover_pictures(stored=PICTURES, generator=smooth, batch_size=2)
    cells = PICTURES.reshape(5, 4, 2, 4, 2, 3).astype(np.float64).mean(axis=(2, 4))
    expected = cells.repeat(2, axis=1).repeat(2, axis=2)
    assert np.abs(found - expected).max() <= 0.501
    with pytest.raises(UsageError, match="eval"):
        recover_pictures(stored=PICTURES, generator=nn.BatchNorm2d(3))


@pytest.fixture(scope="module")
def reader() -> nn.Module:
    return trained_reader().requires_grad_(False)


def test_digits_keep_their_class_and_lose_their_looks(reader: nn.Module) -> None:
    pixels, labels = digits()
    chosen = pixels[1500:1508]
    settings = ClassifierSettings(steps=40, batch_size=4)
    result = protect_for_classifier(pictures=chosen, classifier=reader, generator=smooth, settings=settings)
    assert (result.classes == labels[1500:1508]).mean() >= 0.5  # it does read: chance is 0.1
    assert result.kept.all()
    looks = [ssim(a, b) for a, b in zip(result.pixels, chosen, strict=True)]
    assert max(looks) < 0.5
    recovered = recover_pictures(stored=result.pixels, generator=smooth)
    back = [ssim(a, b) for a, b in zip(recovered, chosen, strict=True)]
    assert np.mean(back) > np.mean(looks) + 0.3
    alone = protect_for_classifier(
        pictures=chosen[5:6], classifier=reader, generator=smooth, settings=settings
    )
    assert np.array_equal(alone.pixels[0], result.pixels[5])


def test_the_facts_say_what_is_not_safe_first() -> None:
    assert FACTS.name == "avih_classifier" and FACTS.cannot.startswith("It is no encryption")
