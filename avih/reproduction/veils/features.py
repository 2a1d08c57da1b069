"""Features of stored pictures, and how often a picture in a gallery is found (002, section 4.1: MSR)."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avih.images import to_tensor

AT_ONCE = 32
Recognise = Callable[[Tensor], Tensor]
Unit = NDArray[np.float32]


def unit_features(pictures: NDArray[np.uint8], recogniser: Recognise) -> Unit:
    """Return the features of stored pictures.

    Shape:
        - pictures: ``(n, H, W, 3)`` uint8; returns ``(n, d)`` float32 of unit length.
    """
    with torch.no_grad():
        parts = [
            recogniser(to_tensor(pictures[at : at + AT_ONCE])) for at in range(0, len(pictures), AT_ONCE)
        ]
    found: Unit = torch.cat(parts).cpu().numpy()
    return found


def match_rates(placed: Unit, probes: Unit, strangers: Unit, *, same: bool) -> list[float]:
    """Return how often each placed picture is found: nearer to the probe than every stranger (rank 1).

    Each picture is placed alone among the strangers, and each original photo of the person asks for it.

    Args:
        placed: features of the pictures in the gallery.
        probes: features of the person's original photos.
        strangers: features of the others in the gallery.
        same: picture i was made from photo i, which then does not ask for it.

    Shape:
        - placed: ``(n, d)``; probes: ``(m, d)``; strangers: ``(s, d)``; returns n fractions.
    """
    right = placed @ probes.T > (probes @ strangers.T).max(axis=1)
    counted = np.ones(right.shape, dtype=np.bool_)
    if same:
        np.fill_diagonal(counted, False)
    rates: list[float] = ((right & counted).sum(axis=1) / counted.sum(axis=1)).tolist()
    return rates
