"""VGG-19 with batch normalisation for 32x32 pixels, as a service model (000, section 4.5).

Source: "Very deep convolutional networks for large-scale image recognition", https://arxiv.org/abs/1409.1556,
table 1, column E. The three fully connected layers for 224x224 pixels are replaced by one.
"""

from collections.abc import Sequence
from typing import Final

from torch import Tensor, nn

from avih.classifiers.resnet32 import CIFAR10_MEAN, CIFAR10_SPREAD, Standardise, check_sizes
from avih.errors import UsageError

# Convolutions of each stage, and its channels as multiples of the width; each stage ends with a halving.
STAGES_19: Final = ((2, 1), (2, 2), (4, 4), (4, 8), (4, 8))
SMALLEST: Final = 32  # pixels on a side: five halvings


class Vgg32(nn.Module):
    """VGG-19 with batch normalisation: 20,040,522 parameters for 10 classes.

    Args:
        classes: number of classes.
        width: channels of the first stage: 64 in the source; tests use a few.
        mean, spread: what the pixels are standardised with, per channel.

    Shape:
        - input: ``(batch, 3, H, W)`` in [0, 1], H and W at least 32; output: ``(batch, classes)`` logits.

    Raises:
        UsageError: fewer than 2 classes or no channels; when called, pictures that are too small.
    """

    def __init__(
        self,
        *,
        classes: int = 10,
        width: int = 64,
        mean: Sequence[float] = CIFAR10_MEAN,
        spread: Sequence[float] = CIFAR10_SPREAD,
    ) -> None:
        super().__init__()
        check_sizes(classes=classes, width=width)
        layers: list[nn.Module] = []
        channels = 3
        for count, factor in STAGES_19:
            for _ in range(count):
                outputs = width * factor
                layers += [
                    nn.Conv2d(channels, outputs, 3, padding=1),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(),
                ]
                channels = outputs
            layers.append(nn.MaxPool2d(2))
        self.standardise = Standardise(mean=mean, spread=spread)
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, classes)
        self._kaiming_start()

    def _kaiming_start(self) -> None:
        """Start so that values keep their size through 16 layers without shortcuts."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits."""
        if min(images.shape[2:]) < SMALLEST:
            raise UsageError(
                f"Expected pictures of at least {SMALLEST}x{SMALLEST} pixels for VGG-19, got "
                f"{images.shape[2]}x{images.shape[3]}. Enlarge them."
            )
        return self.head(self.features(self.standardise(images)).mean(dim=(2, 3)))


def vgg19_32(*, classes: int = 10, width: int = 64) -> Vgg32:
    """Build VGG-19 for 32x32 pixels: 20,040,522 parameters for 10 classes."""
    return Vgg32(classes=classes, width=width)
