"""The papers' key model: pix2pix's ResNet generator trained as the identity, and its PatchGAN.

000 (AVIH), section 4.1: pix2pix with a 9-block ResNet generator, ngf 64: 11,383,427 parameters.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def normalise(channels: int) -> nn.Module:
    """Normalise each image by its own statistics, with a learned scale and shift.

    pix2pix prints batch norm and trains with batch size 1, where batch norm in training mode *is* instance
    norm with affine parameters; built as such, recovery never depends on the batch or on ``train()``.
    """
    return nn.InstanceNorm2d(channels, affine=True)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with reflection padding around an identity."""

    def __init__(self, *, channels: int, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=False),
            normalise(channels),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=False),
            normalise(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Add the body's output to its input."""
        return features + self.body(features)


class ResnetGenerator(nn.Module):
    """pix2pix's ResNet generator: stem, two halvings, residual blocks, two doublings, tanh.

    Args:
        width: channels after the stem (``ngf``): 64 in the papers.
        blocks: residual blocks: 9 in the papers.
        dropout: probability inside the blocks while training; off in ``eval()``, so recovery is repeatable.
        trunk_norm_only: normalise inside the residual trunk only, not in stem and decoder. Not the papers'
            layout, but it trains several times faster on a CPU.

    Shape:
        - input and output: ``(batch, 3, H, W)`` in [0, 1]; H and W divisible by 4.
    """

    def __init__(
        self, *, width: int = 64, blocks: int = 9, dropout: float = 0.5, trunk_norm_only: bool = False
    ) -> None:
        super().__init__()
        outer = (lambda channels: nn.Identity()) if trunk_norm_only else normalise
        # A convolution before batch norm needs no bias; pix2pix keeps it out for batch norm.
        bias = trunk_norm_only
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(3, width, 7, bias=bias),
            outer(width),
            nn.ReLU(),
        ]
        for scale in (1, 2):
            layers += [
                nn.Conv2d(width * scale, width * scale * 2, 3, stride=2, padding=1, bias=bias),
                outer(width * scale * 2),
                nn.ReLU(),
            ]
        layers += [ResidualBlock(channels=width * 4, dropout=dropout) for _ in range(blocks)]
        for scale in (4, 2):
            layers += [
                nn.ConvTranspose2d(
                    width * scale, width * scale // 2, 3, stride=2, padding=1, output_padding=1, bias=bias
                ),
                outer(width * scale // 2),
                nn.ReLU(),
            ]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self._kaiming_start() if trunk_norm_only else self._pix2pix_start()

    def _pix2pix_start(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, 0.0, 0.02)

    def _kaiming_start(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Map pictures to pictures."""
        return (self.layers(images * 2 - 1) + 1) / 2


class PatchDiscriminator(nn.Module):
    """pix2pix's 70x70 PatchGAN: is each patch of (input, output) a true pair?

    Shape:
        - inputs: two tensors ``(batch, 3, H, W)`` in [0, 1]; output: ``(batch, 1, h, w)`` logits.
    """

    def __init__(self, *, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(6, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for channels, stride in ((width, 2), (width * 2, 2), (width * 4, 1)):
            layers += [
                nn.Conv2d(channels, channels * 2, 4, stride=stride, padding=1, bias=False),
                normalise(channels * 2),
                nn.LeakyReLU(0.2),
            ]
        layers.append(nn.Conv2d(width * 8, 1, 4, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """Judge each patch of the pair."""
        return self.layers(torch.cat([inputs, outputs], dim=1) * 2 - 1)

    def loss(self, *, inputs: Tensor, true: Tensor, false: Tensor) -> Tensor:
        """Return what the judge is trained by: how far it is from telling the true pair from the false one."""
        return (told_as(self(inputs, true), real=True) + told_as(self(inputs, false), real=False)) / 2


def told_as(logits: Tensor, *, real: bool) -> Tensor:
    """Return the cross-entropy of a judge's logits against one answer for all patches; one value."""
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))
