"""The small classifiers and their trainer: layers, splits, what learns and what stays, accuracy and interval."""

from functools import partial

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.datasets import load_digits

from avih.classifiers.lenet import (
    LAYERS,
    Classifier,
    LayerOutput,
    lenet5,
    seeded,
    small_alexnet,
    with_more_classes,
)
from avih.classifiers.train import (
    Accuracy,
    Labelled,
    TrainSettings,
    accuracy,
    predicted,
    split_per_class,
    train_classifier,
)
from avih.errors import UsageError
from avih.veil_privacy.flip import to_signed

QUICK = TrainSettings(epochs=2, batch_size=8)


def digits(count: int, *, classes: int = 10) -> Labelled:
    """Real handwritten digits, 8 x 8 drawn as 16 x 16."""
    found = load_digits()
    rows = np.flatnonzero(found.target < classes)[:count]
    pictures = np.kron(found.images[rows], np.ones((2, 2))) * (255 / 16)
    return Labelled(
        pictures.round().astype(np.uint8)[:, None],
        found.target[rows].astype(np.int64),
        tuple(f"digit/{row}" for row in rows),
    )


def untrained(classes: int, seed: int = 0) -> Classifier:
    return seeded(partial(lenet5, classes=classes, height=16, width=16), seed=seed)


def test_training_on_real_digits_reads_digits_it_never_saw() -> None:
    train, test = split_per_class(digits(240, classes=4), test_per_class=15)
    assert accuracy(untrained(4).eval(), test).share < 0.6
    seen: list[tuple[int, float]] = []
    done = train_classifier(
        untrained(4), train, TrainSettings(epochs=10), progress=lambda *given: seen.append(given)
    )
    assert accuracy(done.network, test).share > 0.9
    assert [epoch for epoch, _ in seen] == list(range(1, done.epochs + 1))
    assert seen[-1][1] == done.loss < seen[0][1] / 3


def test_the_same_seed_gives_the_same_bits_and_disturbs_no_one() -> None:
    data = digits(40)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again = (train_classifier(untrained(10), data, QUICK) for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert first.loss == again.loss
    for a, b in zip(first.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(a, b)
    other = train_classifier(untrained(10), data, QUICK.model_copy(update={"seed": 1}))
    assert other.loss != first.loss
    assert not torch.equal(untrained(10, seed=1).fc1.weight, untrained(10).fc1.weight)


def test_dropout_follows_the_seed_too() -> None:
    data = Labelled(
        np.repeat(digits(6).pictures, 4, axis=2).repeat(4, axis=3), digits(6).labels, tuple("abcdef")
    )
    build = partial(small_alexnet, classes=10, height=64, width=64)
    losses = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        losses.append(train_classifier(seeded(build, seed=0), data, QUICK).loss)
    assert losses[0] == losses[1]


def test_training_ends_where_the_loss_is_low_enough() -> None:
    data = digits(40)
    assert train_classifier(untrained(10), data, TrainSettings(epochs=9, enough_loss=100)).epochs == 1
    assert train_classifier(untrained(10), data, TrainSettings(epochs=3, enough_loss=0)).epochs == 3


def test_the_start_stays_as_it_is_and_only_the_named_layer_learns() -> None:
    start, data = untrained(10), digits(40)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    tuned = train_classifier(start, data, QUICK, only=("fc3",)).network
    for name, value in start.state_dict().items():
        assert torch.equal(value, before[name])
        assert torch.equal(tuned.state_dict()[name], value) != name.startswith("fc3")
    assert start.training and all(p.requires_grad for p in start.parameters())
    assert not tuned.training and not any(p.requires_grad for p in tuned.parameters())
    whole = train_classifier(start, data, QUICK).network.state_dict()
    assert not any(torch.equal(whole[name], before[name]) for name in before)


def test_a_step_is_adam_on_the_mean_cross_entropy() -> None:
    start, data = untrained(10), digits(6)
    done = train_classifier(start, data, TrainSettings(epochs=1, batch_size=6, learning_rate=0.01))
    logits = start(to_signed(data.pictures))
    loss = -torch.log_softmax(logits, dim=1)[torch.arange(6), torch.from_numpy(data.labels)].mean()
    assert done.loss == pytest.approx(loss.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, start.fc3.bias)
    # Adam's first step is the learning rate against the sign of the gradient.
    moved = done.network.fc3.bias - start.fc3.bias
    torch.testing.assert_close(moved, -0.01 * gradient.sign(), rtol=1e-3, atol=1e-6)


def test_accuracy_counts_and_wilson_agrees_with_its_formula() -> None:
    network, data = untrained(10).eval(), digits(70)
    slow = 0
    for picture, label in zip(data.pictures, data.labels, strict=True):
        scores = network(to_signed(picture[None]))[0].tolist()
        slow += scores.index(max(scores)) == label
    found = accuracy(network, data)
    assert (found.right, found.shown) == (slow, 70)
    assert predicted(network, data.pictures).shape == (70,)
    for right, shown in [(32, 33), (24, 27), (0, 5), (7, 7), (slow, 70)]:
        z, share = 1.959963984540054, right / shown
        middle = (share + z**2 / (2 * shown)) / (1 + z**2 / shown)
        half = z / (1 + z**2 / shown) * (share * (1 - share) / shown + z**2 / (4 * shown**2)) ** 0.5
        one = Accuracy.of(right, shown)
        assert (one.low, one.high) == pytest.approx((middle - half, middle + half), abs=1e-9)
    assert str(Accuracy.of(32, 33)) == "96.97% (32/33, 95 % 84.7% to 99.5%)"


def test_each_class_gives_the_same_number_of_test_pictures() -> None:
    labels = np.repeat(np.arange(40), 10)
    pictures = np.arange(400, dtype=np.uint16).view(np.uint8).reshape(400, 1, 1, 2)
    data = Labelled(pictures, labels, tuple(map(str, range(400))))
    train, test = split_per_class(data, classes=11)
    assert (len(train.labels), len(test.labels)) == (77, 33)  # the paper's ORL
    assert np.bincount(test.labels).tolist() == [3] * 11
    assert not set(train.images) & set(test.images)
    for part in (train, test):
        for picture, label, image in zip(part.pictures, part.labels, part.images, strict=True):
            assert np.array_equal(picture, pictures[int(image)])
            assert label == int(image) // 10
    whole_train, whole_test = split_per_class(data)
    assert (len(whole_train.labels), len(whole_test.labels)) == (280, 120)
    assert split_per_class(data, seed=0)[1].images == whole_test.images
    assert split_per_class(data, seed=1)[1].images != whole_test.images


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layers_output_is_what_a_hook_sees(layer) -> None:
    network, images = untrained(10).eval(), to_signed(digits(3).pictures)
    seen = []
    module = network.conv[-1] if layer == "conv" else getattr(network, layer)
    module.register_forward_hook(lambda *given: seen.append(given[2]))
    network(images)
    assert torch.equal(LayerOutput(network, layer)(images), seen[0])
    assert len(seen) == 2


def test_the_layouts_are_the_published_ones() -> None:
    lenet = lenet5(classes=11)
    counts = [
        sum(p.numel() for p in part.parameters()) for part in (lenet.conv, lenet.fc1, lenet.fc2, lenet.fc3)
    ]
    assert counts == [6 * 26 + 16 * 151, (16 * 25 * 20 + 1) * 120, 121 * 84, 85 * 11]
    assert lenet(torch.zeros(2, 1, 112, 92)).shape == (2, 11)
    # 1998, on 32 x 32: c5 has 48,120 weights, f6 has 10,164.
    original = lenet5(classes=10, height=32, width=32)
    assert [sum(p.numel() for p in part.parameters()) for part in (original.fc1, original.fc2)] == [
        48120,
        10164,
    ]
    alexnet = small_alexnet(classes=11)
    assert alexnet(torch.zeros(2, 1, 112, 92)).shape == (2, 11)
    assert alexnet.up_to(torch.zeros(2, 1, 224, 224), "conv").shape == (2, 64, 13, 13)


def test_more_classes_leave_the_old_answers_as_they_were() -> None:
    network, images = untrained(4).eval(), to_signed(digits(5).pictures)
    wider = with_more_classes(network, classes=6).eval()
    assert wider.classes == 6
    torch.testing.assert_close(wider(images)[:, :4], network(images), rtol=1e-6, atol=1e-6)
    wider.conv[0].weight.data.zero_()
    assert network.conv[0].weight.any()  # nothing is shared
    with pytest.raises(UsageError, match="more than 4"):
        with_more_classes(network, classes=4)


def test_joined_and_selected_rows_stay_together() -> None:
    data = digits(30)
    some, rest = data.of_classes([1, 2]), data.of_classes([0, *range(3, 10)])
    assert set(some.labels) == {1, 2}
    both = some.joined(rest)
    assert sorted(both.images) == sorted(data.images)
    for i, image in enumerate(both.images):
        row = data.images.index(image)
        assert np.array_equal(both.pictures[i], data.pictures[row])
        assert both.labels[i] == data.labels[row]
    with pytest.raises(UsageError, match="different ids"):
        some.joined(some)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda d: Labelled(d.pictures, d.labels[:-1], d.images), "labels as int64"),
        (lambda d: Labelled(d.pictures, d.labels.astype(np.int32), d.images), "labels as int64"),
        (lambda d: Labelled(d.pictures, d.labels - 1, d.images), "from 0"),
        (lambda d: Labelled(d.pictures, d.labels, d.images[:-1]), "different ids"),
        (lambda d: Labelled(d.pictures / 255, d.labels, d.images), "uint8"),
        (lambda d: split_per_class(d, classes=11), "from 2 to 10 classes"),
        (lambda d: split_per_class(d, test_per_class=3), "with 3 in the smallest"),
        (lambda d: split_per_class(d, test_per_class=0), "a test picture at least"),
        (lambda d: train_classifier(untrained(4), d, QUICK), "labels below 4"),
        (lambda d: train_classifier(untrained(10), d, QUICK, only=("fc9",)), "layers of conv"),
        (lambda d: accuracy(untrained(10), d), "training mode"),
        (lambda d: LayerOutput(untrained(10))(to_signed(d.pictures)), "training mode"),
        (lambda d: LayerOutput(untrained(10), "fc4"), "Expected a layer"),
        (lambda _: Accuracy.of(1, 0), "1 of 0"),
        (lambda _: Accuracy.of(4, 3), "4 of 3"),
        (lambda _: lenet5(classes=1), "got 1 classes"),
        (lambda _: lenet5(classes=2, height=15, width=92), "15 x 92"),
        (lambda _: small_alexnet(classes=2, height=32, width=32), "64 x 64"),
    ],
)
def test_what_does_not_fit_is_told(call, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call(digits(30))


def test_a_training_that_diverges_is_told() -> None:
    wild = TrainSettings(epochs=20, learning_rate=1e30)
    with pytest.raises(UsageError, match="Lower the learning rate"):
        train_classifier(untrained(10), digits(20), wild)


def test_settings_refuse_what_cannot_be() -> None:
    for wrong in ({"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0}, {"momentum": 0.9}):
        with pytest.raises(ValidationError):
            TrainSettings.model_validate(wrong)
