"""Digits of scikit-learn and a small network that reads them, for the methods that keep a classifier's answer."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional


def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 8x8 digits, 32x32 in colour (all channels alike), and what they show."""
    bunch = load_digits()
    small = torch.from_numpy(bunch.images).float()[:, None] / 16
    large = functional.interpolate(small, (32, 32), mode="bilinear", align_corners=False).clamp(0, 1)
    pixels = (large * 255).round().to(torch.uint8).expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
    return pixels.contiguous().numpy(), bunch.target.astype(np.int64)


def to_images(pixels: np.ndarray) -> Tensor:
    """Turn ``(n, H, W, 3)`` uint8 into ``(n, 3, H, W)`` in [0, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def trained_reader() -> nn.Module:
    """Train a small network on the first 1,500 digits; its weights may still be trained."""
    pixels, labels = digits()
    images = to_images(pixels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Flatten()]
        network = nn.Sequential(*layers, nn.Linear(16 * 8 * 8, 10)).train()
        optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
        for _ in range(150):
            rows = torch.randint(1500, (48,))
            loss = functional.cross_entropy(network(images[rows]), torch.from_numpy(labels)[rows])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return network.eval()
