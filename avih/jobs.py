"""What the optimisation is given of a picture: where it starts, what it must reach, which values may move.

This file is the whole of what x' can know of x. Keyed and sealed jobs hold noise and features, never the picture.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avih.generators.codec import encode, free_mask
from avih.images import to_tensor
from avih.loop import Job
from avih.losses import BlockVariance, FeatureDistance, Objective, RecoveryDistance
from avih.mixing import Mixing, keystream
from avih.settings import ProtectSettings

Picture = NDArray[np.uint8]
Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Ticket:
    """Which picture a job hides: nothing of the picture itself."""

    image: str
    nonce: str


def keyed_job(picture: Picture, ticket: Ticket, target: Tensor, *, secret: bytes, recogniser: Network) -> Job:
    """Mix the picture's code into uniform noise x'_0; free values alone may move, towards the features.

    Shape:
        - picture: ``(H, W, 3)`` uint8; target: ``(1, d)`` unit features.
    """
    mixing = Mixing.draw(secret=secret, nonce=ticket.nonce, values=picture.size)
    mask = mixing.scatter(free_mask(*picture.shape[:2]))
    # From here on the original is out of reach: noise, a mask and features are all the optimiser gets.
    return Job(
        start=to_tensor(mixing.invert(encode(picture))),
        objective=Objective((FeatureDistance(recogniser, target),)),
        movable=torch.from_numpy(mask[None]).permute(0, 3, 1, 2).float(),
        ticket=ticket,
    )


def sealed_job(
    shape: tuple[int, ...], ticket: Ticket, target: Tensor, *, secret: bytes, recogniser: Network
) -> Job:
    """Begin with noise of the picture's size; every value may move, towards the features.

    Shape:
        - shape: ``(H, W, 3)``; target: ``(1, d)`` unit features.
    """
    start = to_tensor(start_noise(secret, ticket.nonce, shape))
    objective = Objective((FeatureDistance(recogniser, target),))
    return Job(start=start, objective=objective, movable=torch.ones_like(start), ticket=ticket)


def unmixed_job(
    picture: Picture,
    ticket: Ticket,
    target: Tensor,
    *,
    secret: bytes,
    recogniser: Network,
    generator: Network,
    settings: ProtectSettings,
) -> Job:
    """Begin with noise; every value may move, towards the features and towards G(x') = x (000, Equation 15).

    Shape:
        - picture: ``(H, W, 3)`` uint8; target: ``(1, d)`` unit features.
    """
    start = to_tensor(start_noise(secret, ticket.nonce, picture.shape))
    terms = (
        FeatureDistance(recogniser, target, settings.feature_weight),
        RecoveryDistance(generator, to_tensor(picture), settings.recovery_weight),
        BlockVariance(settings.variance_weight),
    )
    return Job(start=start, objective=Objective(terms), movable=torch.ones_like(start), ticket=ticket)


def start_noise(secret: bytes, nonce: str, shape: tuple[int, ...]) -> Picture:
    """Draw uniform noise from the key's secret and the image's nonce: the same for every run, known to nobody."""
    stream = keystream(secret=secret, label=f"start/{nonce}", length=int(np.prod(shape)))
    return np.frombuffer(stream, np.uint8).reshape(shape)
