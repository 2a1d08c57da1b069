"""Veil Privacy as a whole: what is stored, what it costs, and what it does not hide."""

from functools import cache, partial

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from avih.classifiers.lenet import Classifier, LayerOutput, lenet5, seeded
from avih.errors import UsageError
from avih.methods.veil_privacy import FACTS, VeilSettings, veil
from avih.veil_privacy.flip import flip, folded_view, noise, similarity, to_signed
from avih.veil_privacy.iteration import iterate

SECRET = bytes(range(32))
IMAGES = ("a", "b", "c")
FEW = VeilSettings(steps=12, batch_size=3, learning_rate=0.005)


@cache
def pictures() -> np.ndarray:
    rows, columns = np.mgrid[0:24, 0:20]
    waves = [np.sin(rows / (4 + i)) * 85 + np.cos(columns / (3 + i)) * 60 + 125 for i in range(3)]
    return np.stack(waves).round().clip(0, 255).astype(np.uint8)[:, None]


@cache
def local() -> Classifier:
    network = seeded(partial(lenet5, classes=5, height=24, width=20), seed=1).eval()
    network.fc3.weight.data *= 20  # scores as far apart as those of a trained network: xi is not met at once
    return network


def veiled(settings: VeilSettings = FEW, **changes):
    given = {"pictures": pictures(), "images": IMAGES, "secret": SECRET, "model": LayerOutput(local())}
    return veil(**(given | changes), settings=settings)


def test_the_defaults_are_the_papers() -> None:
    usual = VeilSettings()
    assert (usual.start, usual.flip_ratio, usual.steps, usual.enough_loss) == ("flip", 0.5, 300, 0.3)
    assert (usual.feature_weight, usual.distance_weight) == (0.999, 0.001)
    assert usual.iteration().learning_rate == usual.learning_rate


@pytest.mark.parametrize(
    "wrong",
    [{"flip_ratio": 1}, {"flip_ratio": -0.1}, {"start": "zeros"}, {"learning_rate": 0}, {"secret": "s"}],
)
def test_settings_refuse_what_cannot_be_and_hold_no_secret(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        VeilSettings.model_validate(wrong)


def test_the_result_is_the_stored_picture_and_its_own_figures() -> None:
    found = veiled(VeilSettings(steps=12, batch_size=3, learning_rate=0.02))
    start = to_signed(flip(pictures(), images=IMAGES, secret=SECRET))
    rule = VeilSettings(steps=12, batch_size=3, learning_rate=0.02).iteration()
    moved = iterate(start=start, originals=to_signed(pictures()), model=LayerOutput(local()), rule=rule)
    for row in range(3):
        values = moved.images[row].reshape(-1).tolist()
        expected = [round((min(max(v, -1.0), 1.0) + 1) * 127.5) for v in values]
        assert np.abs(found.pictures[row].reshape(-1).astype(int) - expected).max() <= 1  # ties, float32
        assert found.clipped[row].item() == pytest.approx(sum(abs(v) > 1 for v in values) / len(values))
        with torch.no_grad():
            difference = local()(to_signed(found.pictures[row : row + 1])) - local()(
                to_signed(pictures()[row : row + 1])
            )
        apart = (to_signed(found.pictures[row : row + 1]) - to_signed(pictures()[row : row + 1])).norm()
        expected_loss = 0.999 * difference.abs().sum() - 0.001 * apart
        assert found.stored_loss[row].item() == pytest.approx(expected_loss.item(), abs=1e-5)
    assert found.clipped.max() > 0
    assert torch.equal(found.met, found.loss < 0.3)
    assert torch.equal(found.stored_met, found.stored_loss < 0.3)
    assert (found.start_loss > found.loss).all()


def test_a_picture_does_not_depend_on_its_neighbours() -> None:
    together = veiled()
    for row, image in enumerate(IMAGES):
        alone = veiled(pictures=pictures()[row : row + 1], images=(image,))
        assert np.array_equal(alone.pictures[0], together.pictures[row])
        assert alone.stored_loss[0] == together.stored_loss[row]
        assert alone.steps[0] == together.steps[row]


def test_iterating_on_stored_values_costs_nothing_when_it_is_stored() -> None:
    found = veiled(FEW.model_copy(update={"on_stored": True, "learning_rate": 0.02}))
    torch.testing.assert_close(found.stored_loss, found.loss, rtol=1e-5, atol=1e-6)
    assert not found.clipped.any()


def test_without_steps_the_veil_is_the_flip_or_the_noise() -> None:
    still = VeilSettings(steps=0)
    assert np.array_equal(veiled(still).pictures, flip(pictures(), images=IMAGES, secret=SECRET))
    from_noise = veiled(VeilSettings(steps=0, start="noise"))
    assert np.array_equal(from_noise.pictures, noise(pictures().shape, images=IMAGES, secret=SECRET))


def test_ssim_says_hidden_and_the_folded_view_says_seen() -> None:
    found = veiled()
    assert (found.steps > 0).all()  # the iteration did move them
    assert similarity(found.pictures, pictures()).max() < 0.1
    assert folded_view(veiled=found.pictures, originals=pictures()).ssim.min() > 0.5
    assert "folds" in FACTS.cannot


def test_the_secret_brings_the_picture_nearly_back_and_another_does_not() -> None:
    found = veiled()
    back = flip(found.pictures, images=IMAGES, secret=SECRET)
    assert similarity(back, pictures()).min() > 0.5
    wrong = flip(found.pictures, images=IMAGES, secret=bytes(32))
    assert similarity(wrong, pictures()).max() < 0.2


def test_progress_counts_every_picture() -> None:
    seen: list[int] = []
    veiled(progress=seen.append)
    assert sum(seen) == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pictures": np.zeros((3, 24, 20), np.uint8)}, "channels first"),
        ({"images": ("a", "b", "b")}, "3 different ids"),
        ({"secret": b"short"}, "a seed is no secret"),
        ({"model": lenet5(classes=5, height=24, width=20)}, "training mode"),
    ],
)
def test_what_cannot_be_veiled_is_told(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        veiled(**changes)


def test_facts_name_the_method() -> None:
    assert FACTS.name == "veil_privacy"
    assert all(FACTS.as_dict().values())
