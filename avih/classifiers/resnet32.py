"""Residual networks for small pictures, and torchvision's ResNet-50 for large ones, as service models.

Source: "Deep residual learning for image recognition", https://arxiv.org/abs/1512.03385, table 1. For 32x32
pixels the 7x7 stem with stride 2 and the max pooling are replaced by one 3x3 convolution (as in 000,
section 4.5, for CIFAR-10), so that the first stage sees every pixel.
"""

from collections.abc import Mapping, Sequence
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from avih.errors import UsageError

CIFAR10_MEAN: Final = (0.4914, 0.4822, 0.4465)
CIFAR10_SPREAD: Final = (0.2470, 0.2435, 0.2616)
IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_SPREAD: Final = (0.229, 0.224, 0.225)


class Standardise(nn.Module):
    """Bring pictures in [0, 1] to the range that a network was trained on: (x - mean) / spread per channel.

    Shape:
        - input: ``(batch, 3, H, W)`` in [0, 1]; output: the same shape.
    """

    def __init__(self, *, mean: Sequence[float], spread: Sequence[float]) -> None:
        super().__init__()
        # Buffers move with the network to its device and are saved with its weights.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("spread", torch.tensor(spread).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Standardise each channel."""
        return (images - cast(Tensor, self.mean)) / cast(Tensor, self.spread)


def check_sizes(*, classes: int, width: int) -> None:
    """Refuse a network without classes or channels.

    Raises:
        UsageError: fewer than 2 classes or no channels.
    """
    if classes < 2 or width < 1:
        raise UsageError(f"Expected at least 2 classes and a width of 1, got {classes} and {width}.")


def _conv(inputs: int, outputs: int, *, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution without bias that keeps the size (divided by the stride), then batch normalisation."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """A residual block: plain (two 3x3 convolutions) or a bottleneck (1x1, 3x3, 1x1 with 4 times the channels).

    Shape:
        - input: ``(batch, inputs, H, W)``; output: ``(batch, channels or 4 channels, H / stride, W / stride)``.
    """

    def __init__(self, inputs: int, channels: int, *, stride: int, bottleneck: bool) -> None:
        super().__init__()
        self.outputs = 4 * channels if bottleneck else channels
        self.body = (
            nn.Sequential(
                _conv(inputs, channels, kernel=1),
                nn.ReLU(),
                _conv(channels, channels, kernel=3, stride=stride),
                nn.ReLU(),
                _conv(channels, self.outputs, kernel=1),
            )
            if bottleneck
            else nn.Sequential(
                _conv(inputs, channels, kernel=3, stride=stride),
                nn.ReLU(),
                _conv(channels, channels, kernel=3),
            )
        )
        same = stride == 1 and inputs == self.outputs
        self.shortcut = nn.Identity() if same else _conv(inputs, self.outputs, kernel=1, stride=stride)

    def forward(self, features: Tensor) -> Tensor:
        """Add the body's output to the shortcut's."""
        return functional.relu(self.shortcut(features) + self.body(features))


class Resnet32(nn.Module):
    """A residual network for pictures of about 32x32 pixels.

    Args:
        blocks: blocks of each stage; every stage after the first halves the picture and doubles the channels.
        bottleneck: bottleneck blocks (ResNet-50) instead of plain ones (ResNet-18).
        classes: number of classes.
        width: channels of the first stage: 64 in the source; tests use a few.
        mean, spread: what the pixels are standardised with, per channel.

    Shape:
        - input: ``(batch, 3, H, W)`` in [0, 1]; output: ``(batch, classes)`` logits.

    Raises:
        UsageError: no blocks, fewer than 2 classes or no channels.
    """

    def __init__(
        self,
        *,
        blocks: Sequence[int],
        bottleneck: bool,
        classes: int = 10,
        width: int = 64,
        mean: Sequence[float] = CIFAR10_MEAN,
        spread: Sequence[float] = CIFAR10_SPREAD,
    ) -> None:
        super().__init__()
        check_sizes(classes=classes, width=width)
        if not blocks or min(blocks) < 1:
            raise UsageError(f"Expected at least one stage, each of at least one block, got {list(blocks)}.")
        layers: list[nn.Module] = [_conv(3, width, kernel=3), nn.ReLU()]
        channels = width
        for stage, count in enumerate(blocks):
            for position in range(count):
                stride = 2 if stage > 0 and position == 0 else 1
                block = Residual(channels, width * 2**stage, stride=stride, bottleneck=bottleneck)
                layers.append(block)
                channels = block.outputs
        self.standardise = Standardise(mean=mean, spread=spread)
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits."""
        return self.head(self.features(self.standardise(images)).mean(dim=(2, 3)))


def resnet18_32(*, classes: int = 10, width: int = 64) -> Resnet32:
    """Build ResNet-18 for 32x32 pixels: 11,173,962 parameters for 10 classes."""
    return Resnet32(blocks=(2, 2, 2, 2), bottleneck=False, classes=classes, width=width)


def resnet50_32(*, classes: int = 10, width: int = 64) -> Resnet32:
    """Build ResNet-50 for 32x32 pixels: 23,520,842 parameters for 10 classes."""
    return Resnet32(blocks=(3, 4, 6, 3), bottleneck=True, classes=classes, width=width)


def imagenet_resnet50(state: Mapping[str, Tensor] | None = None) -> nn.Sequential:
    """Build torchvision's ResNet-50 for ImageNet (000, table 9) as a service model, frozen and in ``eval()``.

    Pictures go in as they are stored, in [0, 1]: torchvision's mean and spread are part of the network. Make
    them 224x224 before (shorter side 256, centre of 224; for the weights ``IMAGENET1K_V2`` shorter side 232).

    Args:
        state: weights under torchvision's names, from a safetensors file or from ``get_state_dict(
            check_hash=True)`` of ``ResNet50_Weights.IMAGENET1K_V1``; random weights without.

    Shape:
        - input of the network: ``(batch, 3, H, W)`` in [0, 1]; output: ``(batch, 1000)`` logits.

    Raises:
        UsageError: the weights are those of another network.
    """
    from torchvision.models import resnet50  # takes a second to import, and few runs need it

    network = resnet50(weights=None)
    if state is not None:
        try:
            network.load_state_dict(dict(state))
        except RuntimeError as error:
            raise UsageError(
                "Expected weights of torchvision's ResNet-50, got those of another network: "
                f"{str(error).strip().splitlines()[-1].strip()[:200]}"
            ) from None
    whole = nn.Sequential(Standardise(mean=IMAGENET_MEAN, spread=IMAGENET_SPREAD), network)
    return whole.eval().requires_grad_(False)
