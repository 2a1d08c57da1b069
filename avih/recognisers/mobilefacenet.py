"""MobileFaceNet (Chen et al., 2018, arXiv:1804.07573), for 112 x 96 input: about a million values."""

from torch import Tensor, nn

# Table 1 of the paper: expansion, output channels, repeats, stride of the first repeat.
BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


class ConvNorm(nn.Module):
    """Convolution and batch norm, with a PReLU unless the layer is linear.

    Shape:
        - images: ``(batch, inner, H, W)``; returns ``(batch, outer, H', W')``.
    """

    def __init__(
        self,
        *,
        inner: int,
        outer: int,
        kernel: tuple[int, int] = (1, 1),
        stride: int = 1,
        padding: int = 0,
        depthwise: bool = False,
        linear: bool = False,
    ) -> None:
        super().__init__()
        groups = inner if depthwise else 1
        self.conv = nn.Conv2d(inner, outer, kernel, stride=stride, padding=padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outer)
        if not linear:
            self.prelu = nn.PReLU(outer)
        self.linear = linear

    def forward(self, images: Tensor) -> Tensor:
        """Apply the layer."""
        normed = self.bn(self.conv(images))
        return normed if self.linear else self.prelu(normed)


class InvertedResidual(nn.Module):
    """Widen by a 1x1, filter each channel by a 3x3, narrow by a linear 1x1; add the input where shapes agree.

    Shape:
        - images: ``(batch, inner, H, W)``; returns ``(batch, outer, H / stride, W / stride)``.
    """

    def __init__(self, *, inner: int, outer: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inner * expansion
        self.adds_input = stride == 1 and inner == outer
        self.conv = nn.Sequential(
            nn.Conv2d(inner, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.PReLU(wide),
            nn.Conv2d(wide, wide, 3, stride=stride, padding=1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.PReLU(wide),
            nn.Conv2d(wide, outer, 1, bias=False),
            nn.BatchNorm2d(outer),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Apply the block."""
        changed: Tensor = self.conv(images)
        return images + changed if self.adds_input else changed


class MobileFaceNet(nn.Module):
    """The network; a global depthwise convolution instead of pooling weighs each place of the face by itself.

    Shape:
        - images: ``(batch, 3, 112, 96)``, ``(pixel - 127.5) / 128`` with pixels of 0 to 255.
        - returns: ``(batch, 128)``, not normalised.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inner=3, outer=64, kernel=(3, 3), stride=2, padding=1)
        self.dw_conv1 = ConvNorm(inner=64, outer=64, kernel=(3, 3), padding=1, depthwise=True)
        blocks: list[nn.Module] = []
        inner = 64
        for expansion, outer, repeats, stride in BOTTLENECKS:
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                blocks.append(InvertedResidual(inner=inner, outer=outer, stride=step, expansion=expansion))
                inner = outer
        self.blocks = nn.Sequential(*blocks)
        self.conv2 = ConvNorm(inner=128, outer=512)
        self.linear7 = ConvNorm(inner=512, outer=512, kernel=(7, 6), depthwise=True, linear=True)
        self.linear1 = ConvNorm(inner=512, outer=128, linear=True)

    def forward(self, images: Tensor) -> Tensor:
        """Compute raw features."""
        maps = self.blocks(self.dw_conv1(self.conv1(images)))
        return self.linear1(self.linear7(self.conv2(maps))).flatten(1)
