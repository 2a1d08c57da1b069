"""ITP: its loss against slow loops, and a small network that hides digits from people and not from a reader."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from avih.errors import UsageError
from avih.evaluation.metrics import ssim
from avih.methods.itp import (
    FACTS,
    NOISE_FLOOR,
    WINDOW,
    TransformationNetwork,
    TransformSettings,
    local_correlation,
    train_transformation,
    transform_pictures,
    transformation_loss,
)
from digit_reader import digits, to_images, trained_reader

DRAW = torch.Generator().manual_seed(8)
IMAGES = torch.rand(3, 3, 14, 13, generator=DRAW, dtype=torch.float64)
OTHERS = torch.rand(3, 3, 14, 13, generator=DRAW, dtype=torch.float64)
SMALL = TransformSettings(width=4, steps=4, batch_size=4)


def slow_local_correlation(original: np.ndarray, protected: np.ndarray) -> float:
    """Window by window, with numpy's own covariance."""
    grey, values = original.mean(axis=0), []
    for channel in protected:
        for top in range(grey.shape[0] - WINDOW + 1):
            for left in range(grey.shape[1] - WINDOW + 1):
                place = np.s_[top : top + WINDOW, left : left + WINDOW]
                (xx, xy), (_, yy) = np.cov(grey[place].ravel(), channel[place].ravel(), bias=True)
                values.append(xy**2 / (xx * yy + NOISE_FLOOR**2))
    return float(np.mean(values))


def test_the_local_correlation_agrees_with_a_slow_loop() -> None:
    mixed = 0.5 * IMAGES + 0.5 * OTHERS
    found = local_correlation(IMAGES, mixed)
    expected = [slow_local_correlation(a.numpy(), b.numpy()) for a, b in zip(IMAGES, mixed, strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_the_local_correlation_knows_a_negative_and_a_flat_picture() -> None:
    grey = IMAGES.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    assert bool((local_correlation(IMAGES, grey) > 0.9).all())
    assert torch.allclose(local_correlation(IMAGES, 1 - grey), local_correlation(IMAGES, grey))
    assert local_correlation(IMAGES, torch.full_like(IMAGES, 0.5)).abs().max() < 1e-12
    assert bool((local_correlation(IMAGES, OTHERS) < 0.1).all())


def test_the_local_correlation_has_a_slope_even_where_a_picture_is_flat() -> None:
    flat = torch.zeros(1, 3, 12, 12, requires_grad=True)
    (gradient,) = torch.autograd.grad(local_correlation(torch.zeros(1, 3, 12, 12), flat).sum(), flat)
    assert bool(gradient.isfinite().all())


def test_the_loss_is_cross_entropy_less_difference_plus_correlation() -> None:
    logits, labels = torch.randn(3, 5, generator=DRAW, dtype=torch.float64), torch.tensor([4, 0, 2])
    settings = TransformSettings(pixel_weight=0.7, structure_weight=3.0)
    found = transformation_loss(
        originals=IMAGES, protected=OTHERS, logits=logits, labels=labels, settings=settings
    )
    for row in range(3):
        values = np.exp(logits[row].numpy())
        entropy = -np.log(values[labels[row]] / values.sum())
        difference = np.mean((OTHERS[row].numpy() - IMAGES[row].numpy()) ** 2)
        structure = slow_local_correlation(IMAGES[row].numpy(), OTHERS[row].numpy())
        assert found[row].item() == pytest.approx(entropy - 0.7 * difference + 3 * structure, rel=1e-9)


def test_the_network_gives_pictures_of_the_same_size_each_by_itself() -> None:
    network = TransformationNetwork(width=4).eval()
    images = torch.rand(3, 3, 16, 20, generator=DRAW)
    with torch.no_grad():
        found = network(images)
        alone = torch.cat([network(image[None]) for image in images])
    assert found.shape == images.shape
    assert 0 < float(found.min()) <= float(found.max()) < 1
    torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def reader() -> nn.Module:
    return trained_reader()


def test_digits_lose_their_looks_and_most_keep_their_class(reader: nn.Module) -> None:
    pixels, labels = digits()
    counted: list[int] = []
    network = train_transformation(
        pictures=pixels[:1500],
        labels=labels[:1500],
        classifier=reader,
        seed=11,
        settings=TransformSettings(width=4, steps=80, batch_size=16, learning_rate=1e-2),
        progress=counted.append,
    )
    assert counted == [1] * 80
    assert not network.training
    unseen, truth = pixels[1500:1600], labels[1500:1600]
    stored = transform_pictures(pictures=unseen, network=network)
    assert stored.dtype == np.uint8
    assert stored.shape == unseen.shape
    with torch.no_grad():
        before = (reader(to_images(unseen)).argmax(dim=1).numpy() == truth).mean()
        after = (reader(to_images(stored)).argmax(dim=1).numpy() == truth).mean()
    looks = np.mean([ssim(a, b) for a, b in zip(stored, unseen, strict=True)])
    shown = local_correlation(to_images(unseen), to_images(stored)).mean().item()
    assert before > 0.8
    assert after > 0.5
    assert looks < 0.5
    assert shown < 0.5


def test_the_same_seed_gives_the_same_network_and_leaves_everything_as_it_was(reader: nn.Module) -> None:
    pixels, labels = digits()
    weights = [parameter.detach().clone() for parameter in reader.parameters()]
    state = torch.get_rng_state()

    def trained(seed: int) -> TransformationNetwork:
        return train_transformation(
            pictures=pixels[:40], labels=labels[:40], classifier=reader, seed=seed, settings=SMALL
        )

    first, again, other = (list(trained(seed).parameters()) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(weights, reader.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in reader.parameters())


def test_a_stored_picture_does_not_depend_on_its_neighbours() -> None:
    pixels, _ = digits()
    network = TransformationNetwork(width=4).eval()
    together = transform_pictures(pictures=pixels[:5], network=network, batch_size=4)
    for row in range(5):
        alone = transform_pictures(pictures=pixels[row : row + 1], network=network, batch_size=4)
        assert np.array_equal(alone[0], together[row])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pictures": np.zeros((4, 32, 32, 3))}, "float64"),
        ({"pictures": np.zeros((4, 32, 30, 3), np.uint8)}, "multiples of 4 and at least 11, got 32x30"),
        ({"pictures": np.zeros((4, 8, 8, 3), np.uint8)}, "at least 11, got 8x8"),
        ({"labels": [1, 2, 3]}, "one label of 0 to 9 for each of 4 pictures, got 3"),
        ({"labels": [1, 2, 3, 10]}, r"from \[1, 2, 3, 10\]"),
        ({"labels": [-1, 2, 3, 1]}, "0 to 9"),
        ({"classifier": nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))}, r"classifier in eval\(\)"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    changes: dict[str, object], words: str, reader: nn.Module
) -> None:
    arguments = {
        "pictures": np.zeros((4, 32, 32, 3), np.uint8),
        "labels": [0, 1, 2, 3],
        "classifier": reader,
        "seed": 1,
        "settings": SMALL,
    }
    with pytest.raises(UsageError, match=words):
        train_transformation(**(arguments | changes))  # type: ignore[arg-type]


def test_what_cannot_be_transformed_is_refused() -> None:
    network = TransformationNetwork(width=4)
    with pytest.raises(UsageError, match="eval"):
        transform_pictures(pictures=np.zeros((1, 8, 8, 3), np.uint8), network=network)
    with pytest.raises(UsageError, match="got 6x8"):
        transform_pictures(pictures=np.zeros((1, 6, 8, 3), np.uint8), network=network.eval())


def test_a_width_that_groups_do_not_divide_is_refused() -> None:
    for wrong in ({"width": 6}, {"steps": 0}, {"learning_rate": 0.0}, {"seed": 1}):
        with pytest.raises(ValidationError):
            TransformSettings(**wrong)


def test_the_facts_say_that_nothing_comes_back() -> None:
    assert FACTS.name == "itp"
    assert FACTS.cannot.startswith("Nobody can bring the originals back")
    assert "no encryption" in FACTS.cannot
