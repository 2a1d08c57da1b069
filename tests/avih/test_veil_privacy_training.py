"""The experiments of Tables 2, 4 and 5 on four drawn classes, and on real faces where they are there."""

from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch

from avih.classifiers.lenet import lenet5
from avih.classifiers.train import Labelled, TrainSettings, accuracy, split_per_class
from avih.datasets.registry import open_source
from avih.errors import UsageError
from avih.images import decode_photo
from avih.methods.veil_privacy import VeilSettings
from avih.veil_privacy import training
from avih.veil_privacy.flip import flip, similarity
from avih.veil_privacy.training import Baseline, Setup

SECRET = bytes(range(32))
CLASSES, EACH, SIDE = 4, 8, 16


def drawn() -> Labelled:
    """Stripes of four directions: a class is told by its shape, not by its brightness."""
    draw = np.random.default_rng(4)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    pictures, labels = [], []
    for label, along in enumerate([rows, columns, rows + columns, rows - columns]):
        for _ in range(EACH):
            wave = 128 + 90 * np.sin(along * 0.8 + draw.uniform(0, 0.9)) + draw.normal(0, 8, rows.shape)
            pictures.append(wave.round().clip(0, 255).astype(np.uint8)[None])
            labels.append(label)
    return Labelled(np.stack(pictures), np.array(labels), tuple(f"{i}" for i in range(len(labels))))


def build(classes: int):
    return lenet5(classes=classes, height=SIDE, width=SIDE)


@cache
def setup() -> Setup:
    train, test = split_per_class(drawn(), test_per_class=3)
    return Setup(
        train=train,
        test=test,
        build=build,
        secret=SECRET,
        training=TrainSettings(epochs=15, learning_rate=0.003, batch_size=10),
        veiling=VeilSettings(steps=25, learning_rate=0.01),
    )


@cache
def base() -> Baseline:
    return training.baseline(setup())


def test_the_baseline_learned_and_its_veils_belong_to_their_pictures() -> None:
    assert accuracy(base().model, setup().test).right == 12
    veils = base().veils
    assert veils.train.images == setup().train.images
    assert veils.test.labels.tolist() == setup().test.labels.tolist()
    for veiled, original in ((veils.train, setup().train), (veils.test, setup().test)):
        back = flip(veiled.pictures, images=veiled.images, secret=SECRET)
        assert similarity(back, original.pictures).min() > 0.3  # the picture's own mask, not another's
    values = np.concatenate([veils.train.pictures, veils.test.pictures])
    originals = np.concatenate([setup().train.pictures, setup().test.pictures])
    assert veils.ssim == pytest.approx(similarity(values, originals).mean())
    assert abs(veils.ssim) < 0.1 < veils.folded_ssim
    assert veils.cost.start_loss.mean() > veils.cost.loss.mean()


def test_usefulness_measures_both_models_on_both_kinds() -> None:
    found = training.usefulness(setup(), base())
    assert found.baseline.original == accuracy(base().model, setup().test)
    assert found.baseline.veiled == accuracy(base().model, base().veils.test)
    again = training.trained(setup(), base().veils.train)
    assert found.veiled.original == accuracy(again, setup().test)
    assert found.veiled.veiled == accuracy(again, base().veils.test)


def test_a_combination_veils_one_class_and_counts_each_part() -> None:
    seen: list[Labelled] = []
    real = training.trained
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "trained", lambda setup, data: seen.append(data) or real(setup, data))
        found = training.combination(setup(), base(), veiled_class=2)
    (data,) = seen
    assert len(data.labels) == CLASSES * (EACH - 3)
    for picture, label, image in zip(data.pictures, data.labels, data.images, strict=True):
        source = base().veils.train if label == 2 else setup().train
        assert np.array_equal(picture, source.pictures[source.images.index(image)])
    assert (found.original.shown, found.veiled.shown, found.unveiled.shown, found.total.shown) == (
        9,
        3,
        3,
        12,
    )
    assert found.total.right == found.original.right + found.veiled.right
    with pytest.raises(UsageError, match="from 0 to 3, got 4"):
        training.combination(setup(), base(), veiled_class=4)


def test_fine_tuning_teaches_the_last_layer_a_class_that_was_held_back() -> None:
    seen: list[tuple[int, int, object]] = []
    networks = []
    real = training.train_classifier

    def watched(network, data, settings, only=None):
        seen.append((network.classes, int(data.labels.max()), only))
        networks.append(real(network, data, settings, only=only))
        return networks[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train_classifier", watched)
        found = training.fine_tuning(setup())
    assert seen == [(3, 2, None), (4, 3, ("fc3",))]  # the new class was never seen before the second
    before, after = (done.network.state_dict() for done in networks)
    assert all(torch.equal(before[n], after[n]) for n in before if not n.startswith("fc3"))
    assert (found.original.shown, found.veiled.shown, found.unveiled.shown, found.total.shown) == (
        9,
        3,
        3,
        12,
    )
    assert found.total.right == found.original.right + found.veiled.right
    with pytest.raises(UsageError, match="two classes and one new"):
        two = (part.of_classes([0, 1]) for part in (setup().train, setup().test))
        training.fine_tuning(replace(setup(), **dict(zip(("train", "test"), two, strict=True))))


def test_transfer_trains_the_other_architecture_on_the_same_veils() -> None:
    built: list[int] = []

    def other(classes: int):
        built.append(classes)
        return build(classes)

    found = training.transfer(setup(), base(), build=other)
    assert built == [CLASSES, CLASSES]
    # Here the other architecture is the same one, so Table 2 must come out again.
    assert found == training.usefulness(setup(), base())


def test_starts_are_compared_under_one_secret() -> None:
    found = training.ablate_starts(setup(), base(), ratios=(0.1, 0.5))
    assert [one.name for one in found] == ["noise", "p=0.1", "p=0.5"]
    from_noise, little, half = found
    assert half.ssim == base().veils.ssim
    assert little.ssim > half.ssim + 0.1  # fewer flips hide less
    assert from_noise.folded_ssim < half.folded_ssim  # noise has nothing to fold
    assert half.model == training.usefulness(setup(), base()).veiled


def test_layers_are_compared_with_the_same_flips() -> None:
    found = training.ablate_layers(setup(), base(), layers=("fc3", "conv"))
    assert [one.name for one in found] == ["fc3", "conv"]
    assert found[0].ssim == base().veils.ssim
    assert found[1].ssim != found[0].ssim
    assert all(0 <= one.met <= 1 for one in found)


def test_the_secret_shows_in_no_text() -> None:
    assert repr(SECRET) not in repr(setup())


def test_real_faces_are_veiled_and_show_when_folded(real_data: Path) -> None:
    source = open_source(source=str(real_data / "data" / "orl"), layout="orl")
    photos = [photo for photo in source.photos() if photo.person in ("s1", "s2", "s3")]
    pictures = np.stack([decode_photo(source.read(photo)).pixels[:, :, 0] for photo in photos])[:, None]
    labels = np.array([int(photo.person[1:]) - 1 for photo in photos])
    train, test = split_per_class(Labelled(pictures, labels, tuple(photo.path for photo in photos)))
    assert (train.pictures.shape, len(test.labels)) == ((21, 1, 112, 92), 9)
    real = Setup(
        train=train,
        test=test,
        build=partial(lambda classes: lenet5(classes=classes)),
        secret=SECRET,
        training=TrainSettings(epochs=6),
        veiling=VeilSettings(steps=5),
    )
    found = training.baseline(real)
    assert accuracy(found.model, test).share > 0.7
    assert found.veils.ssim < 0.1
    assert found.veils.folded_ssim > 0.5
