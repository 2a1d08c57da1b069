"""The key model of the keyed recovery: a generator whose ignored directions are built, not hoped for.

The papers optimise x' until an identity network happens to map it to x: x' lives in directions which the
network ignores by luck, at the cost of one pass through the network per step and of a lossy recovery.
This generator reads half of the values it is given, the *code*, and ignores the other half by construction,
the *free values*. The code is the picture in YCbCr with half-resolution chroma (ITU-R BT.601, the layout of
JPEG 4:2:0): 1.5 values per pixel of the 3 there are. The service model's features are then matched by moving
free values alone, so the code arrives unharmed, and the optimisation needs neither the generator nor the
picture: only the features.

The range 16..240 of BT.601 leaves head-room on both sides, so noise of up to 15 grey levels on a stored image
does not wrap around in the modulo-256 mixing. A small residual network, trained as the identity under noise,
restores chroma edges and removes noise.
"""

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from avih.errors import UsageError

# ITU-R BT.601, full-range RGB in [0, 1] to studio-range YCbCr in 8-bit units.
RGB_TO_YCBCR = ((65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214))
YCBCR_OFFSET = (16.0, 128.0, 128.0)
CODE_CHANNELS = 6  # of the 12 in a 2x2 cell: four luma, one Cb, one Cr


def free_mask(height: int, width: int) -> NDArray[np.bool_]:
    """Mark the values of a mixed picture that the generator ignores: channel 2, and every odd row of channel 1.

    Shape:
        - output: ``(H, W, 3)`` bool; exactly half of it is true when H is even.

    Raises:
        UsageError: a side is odd, so that 2x2 cells do not fit.
    """
    if height % 2 or width % 2:
        raise UsageError(
            f"Expected even sides for keyed recovery, got {height}x{width}; use another template."
        )
    mask = np.zeros((height, width, 3), dtype=np.bool_)
    mask[1::2, :, 1] = True
    mask[:, :, 2] = True
    return mask


def encode(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Write a picture as code: luma in channel 0, Cb and Cr of each 2x2 cell side by side in channel 1.

    Free values are 0; the mixing's shifts turn them into uniform noise.

    Shape:
        - pixels: ``(H, W, 3)`` uint8 RGB; output: the same shape, uint8.
    """
    free = free_mask(*pixels.shape[:2])
    ycbcr = pixels.astype(np.float64) / 255 @ np.array(RGB_TO_YCBCR).T + np.array(YCBCR_OFFSET)
    cells = ycbcr.reshape(pixels.shape[0] // 2, 2, pixels.shape[1] // 2, 2, 3).mean(axis=(1, 3))
    code = np.zeros(pixels.shape, dtype=np.float64)
    code[:, :, 0] = ycbcr[:, :, 0]
    code[0::2, 0::2, 1] = cells[:, :, 1]
    code[0::2, 1::2, 1] = cells[:, :, 2]
    code[free] = 0
    return code.round().clip(0, 255).astype(np.uint8)


def encode_images(images: Tensor) -> Tensor:
    """Write pictures as cells of code, differentiably and unrounded (for training).

    Shape:
        - images: ``(batch, 3, H, W)`` in [0, 1]; output: ``(batch, 6, H/2, W/2)`` in [0, 1].
    """
    matrix = images.new_tensor(RGB_TO_YCBCR) / 255
    offset = images.new_tensor(YCBCR_OFFSET) / 255
    ycbcr = torch.einsum("dc,bchw->bdhw", matrix, images) + offset.view(1, 3, 1, 1)
    luma = functional.pixel_unshuffle(ycbcr[:, :1], 2)
    return torch.cat([luma, functional.avg_pool2d(ycbcr[:, 1:], 2)], dim=1)


class CodecGenerator(nn.Module):
    """Read the code of a mixed picture M(x') and return the picture.

    Args:
        width: channels of the residual network.
        blocks: number of its residual blocks.

    Shape:
        - input: ``(batch, 3, H, W)`` in [0, 1], H and W even; output: the same shape, in [0, 1].
    """

    def __init__(self, *, width: int = 48, blocks: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(CODE_CHANNELS, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
            )
            for _ in range(blocks)
        )
        self.head = nn.Conv2d(width, 12, 3, padding=1)
        # The network starts as the exact linear inverse of the code, and learns what that misses.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(cast(Tensor, self.head.bias))
        inverse = torch.linalg.inv(torch.tensor(RGB_TO_YCBCR, dtype=torch.float64) / 255).float()
        self.register_buffer("ycbcr_to_rgb", inverse)
        self.register_buffer("offset", torch.tensor(YCBCR_OFFSET) / 255)

    def forward(self, mixed: Tensor) -> Tensor:
        """Recover pictures from mixed pictures."""
        cells = functional.pixel_unshuffle(mixed, 2)
        luma, chroma = cells[:, :4], cells[:, 4:6]
        return self.decode(torch.cat([luma, chroma], dim=1))

    def decode(self, code: Tensor) -> Tensor:
        """Recover pictures from cells of code ``(batch, 6, H/2, W/2)``."""
        luma = functional.pixel_shuffle(code[:, :4], 2)
        chroma = functional.interpolate(code[:, 4:], scale_factor=2, mode="bilinear", align_corners=False)
        ycbcr = torch.cat([luma, chroma], dim=1) - cast(Tensor, self.offset).view(1, 3, 1, 1)
        linear = torch.einsum("dc,bchw->bdhw", self.ycbcr_to_rgb, ycbcr)
        features = self.stem(code - 0.5)
        for block in self.blocks:
            features = features + block(features)
        return (linear + functional.pixel_shuffle(self.head(features), 2)).clamp(0, 1)
