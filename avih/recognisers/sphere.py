"""The 20-layer trunk of SphereFace (arXiv:1704.08063, Table 2), used by CosFace (arXiv:1801.09414) as well.

The two published PyTorch trainings differ in the names of their tensors and in whether the convolutions
inside the residual units have a bias.
"""

import re

from torch import Tensor, nn

# Output channels and residual units of each stage; the stage's first convolution halves the picture.
STAGES = ((64, 1), (128, 2), (256, 4), (512, 1))
FEATURES = 512
LAST_PLACES = 7 * 6  # 112 x 96 halved four times
PUBLISHED_NAME = re.compile(r"(conv|relu)(\d)_(\d+)\.(\w+)")


class SphereUnit(nn.Module):
    """Two convolutions, each with its PReLU, added to their input.

    Shape:
        - maps: ``(batch, channels, H, W)``; returns the same.
    """

    def __init__(self, *, channels: int, bias: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.prelu1 = nn.PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.prelu2 = nn.PReLU(channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Apply the unit."""
        return maps + self.prelu2(self.conv2(self.prelu1(self.conv1(maps))))


class Sphere20(nn.Module):
    """The trunk: four stages without batch norm, and one linear layer.

    Shape:
        - images: ``(batch, 3, 112, 96)``, ``(pixel - 127.5) / 128`` with pixels of 0 to 255.
        - returns: ``(batch, 512)``, not normalised.
    """

    def __init__(self, *, unit_bias: bool) -> None:
        super().__init__()
        stages = []
        inner = 3
        for outer, units in STAGES:
            stages.append(
                nn.Sequential(
                    nn.Conv2d(inner, outer, 3, stride=2, padding=1),
                    nn.PReLU(outer),
                    *(SphereUnit(channels=outer, bias=unit_bias) for _ in range(units)),
                )
            )
            inner = outer
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(inner * LAST_PLACES, FEATURES)

    def forward(self, images: Tensor) -> Tensor:
        """Compute raw features."""
        maps = self.layer4(self.layer3(self.layer2(self.layer1(images))))
        return self.fc(maps.flatten(1))


class CosFaceSphere20(Sphere20):
    """Sphere20 as published with CosFace's loss: no bias inside the units, tensors named as here."""

    def __init__(self) -> None:
        super().__init__(unit_bias=False)


class SphereFaceSphere20(Sphere20):
    """Sphere20 as published with SphereFace's loss: a bias everywhere, layers numbered through each stage."""

    def __init__(self) -> None:
        super().__init__(unit_bias=True)

    @staticmethod
    def own_name(published: str) -> str:
        """Translate a published tensor name, for instance ``conv2_4.bias`` to ``layer2.3.conv1.bias``."""
        if published.startswith("fc5."):
            return published.replace("fc5.", "fc.", 1)
        match = PUBLISHED_NAME.fullmatch(published)
        if match is None:
            return published
        kind, stage, number, tensor = match[1], match[2], int(match[3]), match[4]
        if number == 1:
            return f"layer{stage}.{0 if kind == 'conv' else 1}.{tensor}"
        unit, second = divmod(number - 2, 2)
        own_kind = "conv" if kind == "conv" else "prelu"
        return f"layer{stage}.{unit + 2}.{own_kind}{second + 1}.{tensor}"
