"""A small face network for the synthetic faces: depthwise bottlenecks and a global depthwise convolution."""

import torch
from torch import Tensor, nn

FEATURES = 128
INPUT_SIZE = (112, 96)  # height, width


def _conv(
    inputs: int,
    outputs: int,
    *,
    kernel: tuple[int, int] = (1, 1),
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
) -> nn.Sequential:
    """Convolution without bias, then batch normalisation."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class InvertedResidual(nn.Module):
    """Widen, filter each channel alone, narrow again; add the input where the shapes allow it.

    Source: Sandler et al., "MobileNetV2", https://arxiv.org/abs/1801.04381, figure 3b, with PReLU as in
    Chen et al., "MobileFaceNets", https://arxiv.org/abs/1804.07573.

    Shape: (batch, inputs, H, W) to (batch, outputs, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int, widening: int) -> None:
        super().__init__()
        wide = inputs * widening
        self.adds_input = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            _conv(inputs, wide),
            nn.PReLU(wide),
            _conv(wide, wide, kernel=(3, 3), stride=stride, padding=1, groups=wide),
            nn.PReLU(wide),
            _conv(wide, outputs),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Apply the block."""
        out: Tensor = self.layers(images)
        return images + out if self.adds_input else out


class SmallFaceNet(nn.Module):
    """MobileFaceNet at about a quarter of its size, for 112 x 96 faces aligned by five points.

    Source: Chen et al., "MobileFaceNets", https://arxiv.org/abs/1804.07573, table 1 (with fewer channels
    and blocks). The global depthwise convolution weighs each place of the last 7 x 6 map on its own.

    Shape: input (batch, 3, 112, 96) RGB in [-1, 1]; output (batch, 128), not normalised.
    """

    # (outputs, blocks, stride of the first block, widening)
    STAGES = ((32, 2, 2, 2), (48, 3, 2, 2), (64, 3, 2, 3))

    def __init__(self) -> None:
        super().__init__()
        channels = 16
        blocks: list[nn.Module] = [_conv(3, channels, kernel=(3, 3), stride=2, padding=1), nn.PReLU(channels)]
        for outputs, count, stride, widening in self.STAGES:
            for position in range(count):
                step = stride if position == 0 else 1
                blocks.append(InvertedResidual(channels, outputs, stride=step, widening=widening))
                channels = outputs
        wide = 256
        blocks += [_conv(channels, wide), nn.PReLU(wide), _conv(wide, wide, kernel=(7, 6), groups=wide)]
        self.body = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(wide, FEATURES, bias=False), nn.BatchNorm1d(FEATURES)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Compute raw features."""
        features: Tensor = self.head(self.body(images))
        return features


def parameter_count(network: nn.Module) -> int:
    """Return the number of trained values of a network."""
    return sum(p.numel() for p in network.parameters())


def normalised(images: Tensor) -> Tensor:
    """Bring bytes in [0, 255] to the network's range [-1, 1].

    Shape: any; returns float32 of the same shape.
    """
    return images.to(torch.float32) / 127.5 - 1
