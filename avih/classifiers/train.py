"""Train a small classifier on 8-bit pictures, and say how often it is right, with an interval.

No test picture is looked at before the end: training ends by its own loss, never by the accuracy on the test.
"""

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.stats import binomtest  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn import functional

from avih.classifiers.lenet import LAYERS, Classifier, Layer
from avih.errors import UsageError
from avih.settings import Count, Frozen
from avih.veil_privacy.flip import checked_pictures, to_signed

logger = logging.getLogger(__name__)

AT_ONCE: Final = 64
LEVEL: Final = 0.95


@dataclass(frozen=True)
class Labelled:
    """Pictures with their classes and ids.

    Shape:
        - pictures: uint8 ``(n, channels, H, W)``; labels: int64 ``(n,)`` from 0; images: n different ids.

    Raises:
        UsageError: shapes or types that do not fit, a negative label, or an id twice.
    """

    pictures: NDArray[np.uint8]
    labels: NDArray[np.int64]
    images: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check that the three belong together."""
        count = len(checked_pictures(self.pictures))
        if self.labels.dtype != np.int64 or self.labels.shape != (count,) or self.labels.min() < 0:
            raise UsageError(
                f"Expected {count} labels as int64 from 0, got {self.labels.dtype} {self.labels.shape}."
            )
        if len(self.images) != count or len(set(self.images)) != count:
            raise UsageError(
                f"Expected {count} different ids, got {len(set(self.images))}: name each picture."
            )

    def select(self, chosen: NDArray[Any]) -> "Labelled":
        """Return some rows, given as whole numbers or as a mask."""
        rows = np.arange(len(self.labels))[chosen]
        return Labelled(self.pictures[rows], self.labels[rows], tuple(self.images[i] for i in rows))

    def of_classes(self, classes: Sequence[int]) -> "Labelled":
        """Return the rows of some classes, whose numbers stay as they are."""
        return self.select(np.isin(self.labels, list(classes)))

    def showing(self, pictures: NDArray[np.uint8]) -> "Labelled":
        """Return the same rows with other pictures, for instance the veiled ones."""
        return Labelled(pictures, self.labels, self.images)

    def joined(self, other: "Labelled") -> "Labelled":
        """Return these rows, then the other's."""
        return Labelled(
            np.concatenate([self.pictures, other.pictures]),
            np.concatenate([self.labels, other.labels]),
            self.images + other.images,
        )


def split_per_class(
    data: Labelled, *, classes: int | None = None, test_per_class: int = 3, seed: int = 0
) -> tuple[Labelled, Labelled]:
    """Draw the same number of test pictures from each class, and return training and test pictures.

    003 takes 11 persons of ORL (110 photos) and has 33 test photos, since 96.97 % is 32 of 33; ``classes=11``
    draws three of each, ``classes=None`` takes all 40 persons and has 120.

    Args:
        data: all pictures.
        classes: how many classes to take, from 0 on; all by default.
        test_per_class: test pictures of each class.
        seed: which ones. It is no secret.

    Raises:
        UsageError: too few classes, or a class with no picture left for training.
    """
    there = int(data.labels.max()) + 1
    taken = there if classes is None else classes
    counts = np.bincount(data.labels, minlength=taken)[:taken]
    if not 2 <= taken <= there or test_per_class < 1 or counts.min() <= test_per_class:
        raise UsageError(
            f"Expected from 2 to {there} classes with more than {test_per_class} pictures each (and a test "
            f"picture at least), got {taken} classes with {counts.min()} in the smallest."
        )
    draw, test = np.random.default_rng(seed), np.zeros(len(data.labels), dtype=bool)
    for label in range(taken):
        rows = np.flatnonzero(data.labels == label)
        test[draw.choice(rows, size=test_per_class, replace=False)] = True
    inside = data.labels < taken
    return data.select(inside & ~test), data.select(inside & test)


class TrainSettings(Frozen):
    """How a classifier is trained; Adam, where 003 has plain SGD with a learning rate that it does not give."""

    epochs: Count = Field(80, description="Most passes over the pictures.")
    batch_size: Count = Field(16, description="Pictures per step; the last step of an epoch may have fewer.")
    learning_rate: Annotated[float, Field(gt=0)] = Field(0.001, description="Adam's step.")
    enough_loss: Annotated[float, Field(ge=0)] = Field(
        0.005, description="Training ends with an epoch whose mean loss is below this."
    )
    seed: int = Field(0, description="Of weights, order and dropout. No secret.")


@dataclass(frozen=True)
class Trained:
    """A trained network in use (not in training mode), the epochs it took, and the last one's mean loss."""

    network: Classifier
    epochs: int
    loss: float


def train_classifier(
    network: Classifier,
    data: Labelled,
    settings: TrainSettings,
    *,
    only: Sequence[Layer] | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> Trained:
    """Train a copy of a network with the cross-entropy loss; the global random state stays as it was.

    Args:
        network: the start; it stays as it is.
        data: training pictures.
        settings: see there.
        only: layers that learn, all others stay (003's fine-tuning: ``("fc3",)``); then dropout is off too.
        progress: called as ``progress(epochs, mean_loss)`` after each epoch.

    Raises:
        UsageError: a label that the network has no output for, an unknown layer, or a loss that is not finite.
    """
    if int(data.labels.max()) >= network.classes or not set(only or ()) <= set(LAYERS):
        raise UsageError(
            f"Expected labels below {network.classes} and layers of {', '.join(LAYERS)}, got labels up to "
            f"{data.labels.max()} and {only}."
        )
    learner = copy.deepcopy(network).train(only is None)
    learns = [p for name, p in learner.named_parameters() if only is None or name.split(".")[0] in only]
    learner.requires_grad_(False)
    for parameter in learns:
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam(learns, lr=settings.learning_rate)
    inputs, targets = to_signed(data.pictures), torch.from_numpy(data.labels)
    order, epoch, loss = torch.Generator().manual_seed(settings.seed), 0, float("nan")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        for epoch in range(1, settings.epochs + 1):
            rows = torch.randperm(len(targets), generator=order)
            loss = _epoch(learner, optimiser, inputs[rows], targets[rows], settings.batch_size)
            if progress is not None:
                progress(epoch, loss)
            if loss < settings.enough_loss:
                break
    logger.info("Trained %d epochs, mean loss %.4f", epoch, loss)
    return Trained(learner.requires_grad_(False).eval(), epoch, loss)


def _epoch(
    network: Classifier, optimiser: torch.optim.Optimizer, inputs: Tensor, targets: Tensor, batch_size: int
) -> float:
    total = 0.0
    for images, labels in zip(inputs.split(batch_size), targets.split(batch_size), strict=True):
        loss = functional.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += float(loss.detach()) * len(labels)
    if not np.isfinite(total):
        raise UsageError("Expected a finite training loss, got NaN or infinity. Lower the learning rate.")
    return total / len(targets)


@dataclass(frozen=True)
class Accuracy:
    """How often a classifier was right, with the 95 % interval of Wilson (1927), photos taken as independent.

    Args:
        right: pictures told correctly.
        shown: pictures shown.
        low, high: the interval of the share.
    """

    right: int
    shown: int
    low: float
    high: float

    @classmethod
    def of(cls, right: int, shown: int) -> "Accuracy":
        """Count.

        Raises:
            UsageError: nothing was shown, or more were right than shown.
        """
        if not 0 <= right <= shown or shown < 1:
            raise UsageError(f"Expected some pictures and at most as many right, got {right} of {shown}.")
        interval = binomtest(right, shown).proportion_ci(confidence_level=LEVEL, method="wilson")
        return cls(right, shown, float(interval.low), float(interval.high))

    @property
    def share(self) -> float:
        """The share of pictures told correctly, 0 to 1."""
        return self.right / self.shown

    def __str__(self) -> str:
        return f"{self.share:.2%} ({self.right}/{self.shown}, 95 % {self.low:.1%} to {self.high:.1%})"


def predicted(network: Classifier, pictures: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the most likely class of each picture.

    Shape: uint8 ``(n, channels, H, W)`` to int64 ``(n,)``.
    """
    with torch.no_grad():
        parts = [network(images).argmax(dim=1) for images in to_signed(pictures).split(AT_ONCE)]
    return torch.cat(parts).numpy()


def accuracy(network: Classifier, data: Labelled) -> Accuracy:
    """Count how many pictures a classifier tells correctly.

    Raises:
        UsageError: the network is in training mode.
    """
    if network.training:
        raise UsageError("Expected a network in use, got one in training mode: call eval() on it.")
    return Accuracy.of(int((predicted(network, data.pictures) == data.labels).sum()), len(data.labels))
