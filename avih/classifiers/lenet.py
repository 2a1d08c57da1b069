"""LeNet-5, the classifier of 003 for ORL, and a small AlexNet to which veiled pictures are transferred.

Their layers have the names of 003, Table 5: ``conv`` (the last convolution), ``fc1``, ``fc2``, ``fc3``. The
output of a layer is what the layer itself gives, before the activation that follows it.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

from avih.errors import UsageError

Layer = Literal["conv", "fc1", "fc2", "fc3"]
LAYERS: Final[tuple[Layer, ...]] = ("conv", "fc1", "fc2", "fc3")


class Classifier(nn.Module):
    """Four named layers with what lies between them.

    Args:
        conv: all up to the last convolution.
        pool: what follows it, the flattening included.
        widths: values that reach ``fc1``, then the outputs of ``fc1``, ``fc2`` and ``fc3``; the last is the
            number of classes.
        dropout: share of values dropped before ``fc1`` and ``fc2`` in training.

    Shape: input ``(batch, channels, H, W)`` in [-1, 1]; output ``(batch, classes)``, before any softmax.
    """

    def __init__(
        self, *, conv: nn.Module, pool: nn.Module, widths: tuple[int, int, int, int], dropout: float = 0.0
    ) -> None:
        super().__init__()
        first, second, third, classes = widths
        self.conv, self.pool = conv, pool
        self.fc1, self.fc2, self.fc3 = (
            nn.Linear(first, second),
            nn.Linear(second, third),
            nn.Linear(third, classes),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the output of ``fc3``."""
        return self.up_to(images, "fc3")

    def up_to(self, images: Tensor, layer: Layer) -> Tensor:
        """Compute the output of a named layer."""
        values: Tensor = self.conv(images)
        if layer == "conv":
            return values
        values = self.fc1(self.dropout(self.pool(values)))
        if layer == "fc1":
            return values
        values = self.fc2(self.dropout(values.relu()))
        return values if layer == "fc2" else self.fc3(values.relu())

    @property
    def classes(self) -> int:
        """How many classes it tells apart."""
        return self.fc3.out_features


@dataclass(frozen=True)
class LayerOutput:
    """F(.) of 003: the local model up to a named layer.

    Raises:
        UsageError: there is no such layer, or the network is in training mode when it is called.
    """

    network: Classifier
    layer: Layer = "fc3"

    def __post_init__(self) -> None:
        """Refuse a layer that there is not."""
        if self.layer not in LAYERS:
            raise UsageError(f"Expected a layer of {', '.join(LAYERS)}, got {self.layer!r}.")

    def __call__(self, images: Tensor) -> Tensor:
        """Return the layer's output, ``(batch, ...)``."""
        if self.network.training:
            raise UsageError("Expected a local model in use, got one in training mode: call eval() on it.")
        return self.network.up_to(images, self.layer)


def lenet5(*, classes: int, height: int = 112, width: int = 92, channels: int = 1) -> Classifier:
    """Build LeNet-5 for pictures of a size (112 x 92 is ORL's), with ReLU and max pooling.

    Source: LeCun et al., "Gradient-based learning applied to document recognition", 1998, figure 2: 6 and 16
    maps of 5 x 5 kernels, then 120, 84 and the classes. 003 says no more than "LeNet-5", so the activations are
    today's usual ones, and ``fc1`` takes in the larger maps of a larger picture.

    Raises:
        UsageError: fewer than two classes, or pictures below 16 x 16.
    """
    conv = nn.Sequential(nn.Conv2d(channels, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5))
    pool = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    reaching = _reaching(conv, pool, classes=classes, shape=(channels, height, width), smallest=16)
    return Classifier(conv=conv, pool=pool, widths=(reaching, 120, 84, classes))


def small_alexnet(*, classes: int, height: int = 112, width: int = 92, channels: int = 1) -> Classifier:
    """Build AlexNet with a quarter of its channels, for small training sets.

    Source: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014 (the layout that
    torchvision calls ``alexnet``): 11 x 11 kernels of stride 4, 5 x 5, three times 3 x 3, pooled to 6 x 6, two
    wide layers with dropout. The full one has 57 million weights, for 77 photos of ORL.

    Raises:
        UsageError: fewer than two classes, or pictures below 64 x 64.
    """
    conv = nn.Sequential(
        nn.Conv2d(channels, 16, 11, stride=4, padding=2),
        *(nn.ReLU(), nn.MaxPool2d(3, 2)),
        nn.Conv2d(16, 48, 5, padding=2),
        *(nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(48, 96, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(96, 64, 3, padding=1), nn.ReLU()),
        nn.Conv2d(64, 64, 3, padding=1),
    )
    pool = nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 2), nn.AdaptiveAvgPool2d(6), nn.Flatten())
    reaching = _reaching(conv, pool, classes=classes, shape=(channels, height, width), smallest=64)
    return Classifier(conv=conv, pool=pool, widths=(reaching, 256, 256, classes), dropout=0.5)


def _reaching(
    conv: nn.Module, pool: nn.Module, *, classes: int, shape: tuple[int, int, int], smallest: int
) -> int:
    """Return how many values reach ``fc1``."""
    if classes < 2 or min(shape[1:]) < smallest:
        raise UsageError(
            f"Expected 2 classes or more and pictures of {smallest} x {smallest} or more, got {classes} "
            f"classes and {shape[1]} x {shape[2]}: enlarge the pictures, or take another architecture."
        )
    with torch.no_grad():
        return pool(conv(torch.zeros(1, *shape))).shape[1]


def seeded(build: Callable[[], Classifier], *, seed: int) -> Classifier:
    """Build a network whose first weights depend on the seed alone; the global random state stays as it was.

    Args:
        build: makes the network.
        seed: of the weights. It is no secret.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def with_more_classes(network: Classifier, *, classes: int, seed: int = 0) -> Classifier:
    """Copy a network and widen its last layer; the old classes keep their weights (003, Section 5.3).

    Raises:
        UsageError: not more classes than it has.
    """
    if classes <= network.classes:
        raise UsageError(f"Expected more than {network.classes} classes, got {classes}.")
    wider = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wider.fc3 = nn.Linear(network.fc3.in_features, classes)
    with torch.no_grad():
        wider.fc3.weight[: network.classes] = network.fc3.weight
        wider.fc3.bias[: network.classes] = network.fc3.bias
    return wider
