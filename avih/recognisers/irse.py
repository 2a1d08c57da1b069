"""The improved residual trunks of ArcFace (arXiv:1801.07698) and AdaFace (arXiv:2204.00964), 112 x 112 input.

Both publish weights for the same trunk with small differences: ArcFace's IR-SE has squeeze-and-excitation
(arXiv:1709.01507) at the end of each unit; AdaFace's IR has a batch norm between the first convolution and
its PReLU, and no scale and shift in the last batch norm.
"""

from torch import Tensor, nn

# Output channels and units of each stage; the first unit of a stage halves the picture.
STAGES_50 = ((64, 3), (128, 4), (256, 14), (512, 3))
STAGES_101 = ((64, 3), (128, 13), (256, 30), (512, 3))
FEATURES = 512
LAST_SIDE = 7  # 112 halved four times
SQUEEZE = 16


class SqueezeExcite(nn.Module):
    """Weigh each channel by a gate computed from all channels' means.

    Shape:
        - maps: ``(batch, channels, H, W)``; returns the same.
    """

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // SQUEEZE, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // SQUEEZE, channels, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Apply the gate."""
        means = maps.mean(dim=(2, 3), keepdim=True)
        return maps * self.fc2(self.fc1(means).relu()).sigmoid()


class ImprovedResidual(nn.Module):
    """Norm, convolution, PReLU, strided convolution, norm; added to the (projected) input.

    Shape:
        - maps: ``(batch, inner, H, W)``; returns ``(batch, outer, H / stride, W / stride)``.
    """

    def __init__(self, *, inner: int, outer: int, stride: int, squeeze: bool, middle_norm: bool) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module
        if inner == outer:
            self.shortcut_layer = nn.MaxPool2d(1, stride)  # keeps every stride-th pixel; has no weights
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inner, outer, 1, stride=stride, bias=False), nn.BatchNorm2d(outer)
            )
        layers: list[nn.Module] = [nn.BatchNorm2d(inner), nn.Conv2d(inner, outer, 3, padding=1, bias=False)]
        if middle_norm:
            layers.append(nn.BatchNorm2d(outer))
        layers += [
            nn.PReLU(outer),
            nn.Conv2d(outer, outer, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outer),
        ]
        if squeeze:
            layers.append(SqueezeExcite(channels=outer))
        self.res_layer = nn.Sequential(*layers)

    def forward(self, maps: Tensor) -> Tensor:
        """Apply the unit."""
        return self.shortcut_layer(maps) + self.res_layer(maps)


class ImprovedResidualTrunk(nn.Module):
    """The trunk; its tensors are named as the published checkpoints name them.

    Shape:
        - images: ``(batch, 3, 112, 112)``, ``(pixel - 127.5) / 127.5`` with pixels of 0 to 255.
        - returns: ``(batch, 512)``, not normalised.
    """

    def __init__(
        self, *, stages: tuple[tuple[int, int], ...], squeeze: bool, middle_norm: bool, last_scale: bool
    ) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        units: list[nn.Module] = []
        inner = 64
        for outer, count in stages:
            for position in range(count):
                stride = 2 if position == 0 else 1
                units.append(
                    ImprovedResidual(
                        inner=inner, outer=outer, stride=stride, squeeze=squeeze, middle_norm=middle_norm
                    )
                )
                inner = outer
        self.body = nn.Sequential(*units)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(inner),
            nn.Identity(),  # the place of training's dropout, which keeps the published numbering
            nn.Flatten(),
            nn.Linear(inner * LAST_SIDE * LAST_SIDE, FEATURES),
            nn.BatchNorm1d(FEATURES, affine=last_scale),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Compute raw features."""
        return self.output_layer(self.body(self.input_layer(images)))


def arcface_irse50() -> ImprovedResidualTrunk:
    """Build the IR-SE50 trunk of ArcFace (43,797,696 parameters)."""
    return ImprovedResidualTrunk(stages=STAGES_50, squeeze=True, middle_norm=False, last_scale=True)


def adaface_ir50() -> ImprovedResidualTrunk:
    """Build the IR-50 trunk of AdaFace (43,585,600 parameters)."""
    return ImprovedResidualTrunk(stages=STAGES_50, squeeze=False, middle_norm=True, last_scale=False)


def adaface_ir101() -> ImprovedResidualTrunk:
    """Build the IR-101 trunk of AdaFace (65,150,912 parameters)."""
    return ImprovedResidualTrunk(stages=STAGES_101, squeeze=False, middle_norm=True, last_scale=False)
