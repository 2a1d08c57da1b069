"""The second recogniser's network: gradients and textures under Fisher's criterion, beside a small ResNet.

None of it is shared with the service recogniser: neither layers, nor loss, nor training persons. Everything is
computed from the luminance, so that gray training photos serve colour pictures as well.
"""

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from avih.errors import UsageError
from avih.recognisers.small import INPUT_SIZE

LUMINANCE: Final = (0.299, 0.587, 0.114)
INSIDE: Final = (
    slice(13, 109),
    slice(6, 90),
)  # rows and columns of the face: without shoulders and background
DIRECTIONS, GRADIENT_CELL, MOST = 12, 8, 0.2
PATTERNS, PATTERN_CELL, RADIUS = 59, 12, 2
WIDTHS, FEATURES, DROPPED = (24, 48, 96, 160), 128, 0.3
# Shares in the cosine, chosen on training persons who were held out.
WEIGHTS: Final = {"gradients": 1.0, "textures": 1.0, "resnet": 0.5}
TINY: Final = 1e-6


def luminance(images: Tensor) -> Tensor:
    """Return the luminance.

    Shape: (batch, 3, H, W) to (batch, 1, H, W).
    """
    return (images * images.new_tensor(LUMINANCE).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def gradient_histograms(grey: Tensor) -> Tensor:
    """Describe the face's inside by histograms of oriented gradients; gradients flow through it.

    Source: Dalal and Triggs 2005, section 6: histograms of signed directions in cells, weighted by the
    gradient's length, in overlapping blocks of 2 x 2 cells scaled to length 1, cut at 0.2 and scaled again.

    Shape: (batch, 1, 112, 96) in [0, 1]; returns (batch, 4752), at least 0.
    """
    across = functional.pad(grey[..., 2:] - grey[..., :-2], (1, 1, 0, 0))
    down = functional.pad(grey[..., 2:, :] - grey[..., :-2, :], (0, 0, 1, 1))
    length = (across.square() + down.square() + TINY**2).sqrt()
    # An angle counts for the two nearest of the 12 directions, the nearer the more.
    angle = (torch.atan2(down, across) % (2 * math.pi)) * DIRECTIONS / (2 * math.pi)
    centres = torch.arange(DIRECTIONS, device=grey.device).view(1, -1, 1, 1) + 0.5
    apart = (angle - centres).abs()
    apart = torch.minimum(apart, DIRECTIONS - apart)
    votes = (length * (1 - apart).clamp(min=0))[..., INSIDE[0], INSIDE[1]]
    cells = functional.avg_pool2d(votes, GRADIENT_CELL)
    corners = [cells[..., :-1, :-1], cells[..., 1:, :-1], cells[..., :-1, 1:], cells[..., 1:, 1:]]
    blocks = torch.cat(corners, dim=1)
    blocks = blocks / (blocks.square().sum(dim=1, keepdim=True) + 4e-4).sqrt()  # 0.02: flat skin stays flat
    blocks = blocks.clamp(max=MOST)
    return (blocks / (blocks.square().sum(dim=1, keepdim=True) + TINY).sqrt()).flatten(1)


def _ring() -> Tensor:
    """Return the filters that read the 8 points on a circle of radius 2, each between its four pixels.

    Shape: (8, 1, 5, 5).
    """
    filters = torch.zeros(8, 1, 2 * RADIUS + 1, 2 * RADIUS + 1)
    for point in range(8):
        down = round(-RADIUS * math.sin(math.pi * point / 4), 5)
        across = round(RADIUS * math.cos(math.pi * point / 4), 5)
        top, left = math.floor(down), math.floor(across)
        for row, high in ((top, 1 - (down - top)), (top + 1, down - top)):
            for column, wide in ((left, 1 - (across - left)), (left + 1, across - left)):
                if high * wide > 0:
                    filters[point, 0, row + RADIUS, column + RADIUS] += high * wide
    return filters


def _pattern_numbers() -> Tensor:
    """Number the 58 patterns with at most two changes round the circle; all others share the last number.

    Shape: (256,) int64.
    """
    bits = [[code >> place & 1 for place in range(8)] for code in range(256)]
    uniform = torch.tensor([sum(one[place] != one[place - 1] for place in range(8)) <= 2 for one in bits])
    numbers = torch.full((256,), PATTERNS - 1)
    numbers[uniform] = torch.arange(PATTERNS - 1)
    return numbers


def local_patterns(grey: Tensor) -> Tensor:
    """Describe the face's inside by histograms of local binary patterns; no gradient flows through them.

    Source: Ahonen, Hadid and Pietikainen 2006: uniform patterns of 8 points at radius 2; roots of the shares.

    Shape: (batch, 1, 112, 96) in [0, 1]; returns (batch, 3304) in [0, 1].
    """
    padded = functional.pad(255 * grey, (RADIUS,) * 4, mode="replicate")
    around = functional.conv2d(padded, _ring().to(grey))
    values = 2 ** torch.arange(8, device=grey.device).view(1, -1, 1, 1)
    # Points between pixels are sums of rounded products: equal up to 1e-3 grey levels counts as equal.
    codes = ((around >= 255 * grey - 1e-3) * values).sum(dim=1)
    numbers = _pattern_numbers().to(grey.device)[codes]
    counts = functional.one_hot(numbers, PATTERNS).permute(0, 3, 1, 2).to(grey)
    return functional.avg_pool2d(counts[..., INSIDE[0], INSIDE[1]], PATTERN_CELL).sqrt().flatten(1)


def even_light(grey: Tensor) -> Tensor:
    """Halve a picture's sides and take away local brightness and contrast, as the ResNet expects it.

    Shape: (batch, 1, 112, 96) in [0, 1]; returns (batch, 1, 56, 48), about -3 to 3.
    """
    return even_small(functional.avg_pool2d(grey, 2))


def even_small(small: Tensor) -> Tensor:
    """Do the second half of :func:`even_light`.

    Shape: (batch, 1, H, W) in [0, 1]; returns the same shape.
    """

    def around(values: Tensor) -> Tensor:
        return functional.avg_pool2d(functional.pad(values, (4, 4, 4, 4), mode="reflect"), 9, stride=1)

    centred = 2 * (small - around(small))
    return centred / (around(centred.square()) + 0.01).sqrt()


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al. 2016, "Deep Residual Learning", figure 2).

    Shape: (batch, inputs, H, W) to (batch, outputs, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        straight = stride == 1 and inputs == outputs
        shortcut = [nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)]
        self.shortcut = nn.Identity() if straight else nn.Sequential(*shortcut)

    def forward(self, images: Tensor) -> Tensor:
        """Apply the block."""
        return functional.relu(self.layers(images) + self.shortcut(images))


class SmallResNet(nn.Module):
    """Nine convolutions deep, 0.8 million values; no depthwise convolution, no bottleneck.

    Shape: (batch, 1, 56, 48) from :func:`even_light` to (batch, 128), not normalised.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(1, WIDTHS[0], 5, padding=2, bias=False),
            nn.BatchNorm2d(WIDTHS[0]),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        channels = WIDTHS[0]
        for place, width in enumerate(WIDTHS):
            layers.append(ResidualBlock(channels, width, stride=1 if place == 0 else 2))
            channels = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(DROPPED), nn.Linear(channels * 4 * 3, FEATURES, bias=False),
            nn.BatchNorm1d(FEATURES),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """Compute raw features."""
        features: Tensor = self.head(self.body(images))
        return features


class SecondNetwork(nn.Module):
    """The three descriptions together: the cosine of two features is the weighted mean of theirs.

    Each description is that of the picture plus that of its mirror image.

    Args:
        directions: number of discriminant directions of gradients and of textures: persons less one.

    Shape: (batch, 3, 112, 96) RGB in [0, 1] to (batch, 2 * directions + 128), each row of length 1.
    """

    def __init__(self, *, directions: int) -> None:
        super().__init__()
        self.gradients = nn.Linear(4752, directions)
        self.textures = nn.Linear(3304, directions)
        self.resnet = SmallResNet()

    def forward(self, images: Tensor) -> Tensor:
        """Compute features.

        Raises:
            UsageError: another shape, or whole-number pixels.
        """
        if images.ndim != 4 or images.shape[1:] != (3, *INPUT_SIZE) or not images.is_floating_point():
            raise UsageError(
                f"Expected images of shape (batch, 3, {INPUT_SIZE[0]}, {INPUT_SIZE[1]}) in [0, 1], got "
                f"{tuple(images.shape)} {images.dtype}: align the faces to the template 112x96."
            )
        grey = luminance(images.float())
        both = torch.cat([grey, grey.flip(3)])
        described = {
            "gradients": self.gradients(gradient_histograms(both)),
            "textures": self.textures(local_patterns(both)),
            "resnet": self.resnet(even_light(both)),
        }
        parts = []
        for name, weight in WEIGHTS.items():
            straight, mirrored = functional.normalize(described[name]).chunk(2)
            parts.append(math.sqrt(weight) * functional.normalize(straight + mirrored))
        return functional.normalize(torch.cat(parts, dim=1))
