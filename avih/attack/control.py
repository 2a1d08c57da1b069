"""The positive control of a keyed or sealed gallery: originals of it, hidden without mixing, as in the papers.

The sample gets a small generator and a secret of its own; both are forgotten with it. Nothing of it is stored.
"""

import secrets
from collections.abc import Callable
from typing import Final

import numpy as np

from avih.attack.pairs import Pairs
from avih.attack.settings import AttackSettings
from avih.datasets.pictures import public_pictures
from avih.device import device_of
from avih.key_training import PictureSampler, train_generator
from avih.protection import Protector
from avih.recognisers import Recogniser
from avih.settings import KeySettings, ProtectSettings

FACES: Final = 16
BLOCKS: Final = 2
# The recovery weighs five times as much as in the papers: few steps must put the picture into the image.
RECOVERY_WEIGHT: Final = 1.0
GOOD_MSE: Final = 0.001
GOOD_COSINE: Final = 0.95


def key_settings(settings: AttackSettings) -> KeySettings:
    """Return the recipe of the sample's generator."""
    return KeySettings(
        architecture="resnet",
        width=settings.control_key_width,
        blocks=BLOCKS,
        trunk_norm_only=True,
        steps=settings.control_key_steps,
        learning_rate=2e-3,
    )


def protect_settings(settings: AttackSettings) -> ProtectSettings:
    """Return how the sample is hidden."""
    return ProtectSettings(
        recovery="unmixed",
        steps=settings.control_steps,
        stop_cosine=GOOD_COSINE,
        stop_mse=GOOD_MSE,
        recovery_weight=RECOVERY_WEIGHT,
    )


def unmixed_sample(
    pairs: Pairs,
    *,
    recogniser: Recogniser,
    settings: AttackSettings,
    progress: Callable[[int], None] | None = None,
) -> Pairs:
    """Hide the originals of some pairs again, without mixing, under a key that is made for this and forgotten.

    Args:
        pairs: whose originals.
        recogniser: the service model.
        settings: how cheaply.
        progress: called with training steps and finished images.
    """
    height, width = pairs.originals.shape[1:3]
    sampler = PictureSampler(
        pictures=public_pictures(faces=FACES),
        height=height,
        width=width,
        rng=np.random.default_rng(secrets.randbits(128)),
    )
    trained = train_generator(
        settings=key_settings(settings),
        sampler=sampler,
        seed=secrets.randbits(63) | (1 << 62),
        device=device_of(recogniser),
        progress=progress,
    )
    hiding = protect_settings(settings)
    protector = Protector(secrets.token_bytes(32), trained.generator, recogniser, hiding, "v0001")
    hidden = []
    for first in range(0, len(pairs), hiding.batch_size):
        rows = slice(first, first + hiding.batch_size)
        hidden += protector.protect(
            pictures=list(pairs.originals[rows]), images=pairs.images[rows], progress=progress
        )
    return pairs.with_inputs(np.stack([one.pixels for one in hidden]))
