"""The no-ciphertext prior: the best guess of an attacker who never looks at the protected image.

All faces are alike in part, so a blank guess already has an SSIM of 0.3 to 0.5 with a face it never saw. What an
attack reaches counts only as far as it is above that.
"""

import numpy as np
import torch
from torch import Tensor

from avih.attack.network import Features
from avih.attack.pairs import Pairs, Pictures
from avih.images import to_pixels, to_tensor
from avih.key_training import structural_similarity

BATCH = 8
RATE = 0.003  # of Adam: a step moves a value by less than one grey level


def best_constant(originals: Pictures, *, steps: int, seed: int = 0) -> Pictures:
    """Return one picture as similar as possible to all leaked originals: their mean, or the mean moved by SSIM.

    Shape:
        - originals: ``(n, H, W, 3)`` uint8; output: ``(H, W, 3)`` uint8.
    """
    targets = to_tensor(originals)
    guess = targets.mean(dim=0, keepdim=True).requires_grad_(True)
    mean = guess.detach().clone()
    optimiser = torch.optim.Adam([guess], lr=RATE)
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        batch = targets[torch.randint(len(targets), (min(BATCH, len(targets)),), generator=draw)]
        loss = -structural_similarity(guess.expand_as(batch), batch).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        better = _similarity(guess, targets) > _similarity(mean, targets)
    picture: Pictures = to_pixels(guess.detach() if better else mean)[0]
    return picture


def _similarity(guess: Tensor, targets: Tensor) -> float:
    parts = [structural_similarity(guess.expand_as(part), part).sum() for part in targets.split(BATCH)]
    return float(torch.stack(parts).sum()) / len(targets)


def noise_like(protected: Pictures, *, seed: int = 0) -> Pictures:
    """Return noise with each image's own values, in random places: all that it shows is gone.

    Shape:
        - protected: ``(n, H, W, 3)`` uint8; the same comes back.
    """
    flat = protected.reshape(len(protected), -1)
    mixed: Pictures = np.random.default_rng(seed).permuted(flat, axis=1)
    return mixed.reshape(protected.shape)


def nearest_leaked(leaked: Pairs, pairs: Pairs, *, recogniser: Features) -> Pictures:
    """Guess without any key: the leaked original whose features are nearest to those of each protected image.

    Shape:
        - output: ``(n, H, W, 3)`` uint8, one leaked original per image of ``pairs``.
    """
    known, asked = _features(leaked.originals, recogniser), _features(pairs.protected, recogniser)
    return leaked.originals[(asked @ known.T).argmax(dim=1).numpy()]


def _features(pictures: Pictures, recogniser: Features) -> Tensor:
    parts = np.array_split(pictures, 1 + len(pictures) // BATCH)
    with torch.no_grad():
        return torch.cat([recogniser(to_tensor(part)) for part in parts]).cpu()
