"""The only place where the benchmarks touch our own loop: run it, and let somebody watch."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from avih.protection import Protected, Protector
from avih.recognisers import Recogniser
from avih.settings import ProtectSettings

Picture = NDArray[np.uint8]
Watch = Callable[[int, Tensor], None]

VERSION = "benchmark"


def run_ours(
    *,
    pictures: Sequence[Picture],
    names: Sequence[str],
    generator: nn.Module,
    recogniser: Recogniser,
    settings: ProtectSettings,
    secret: bytes,
    watch: Watch | None = None,
) -> list[Protected]:
    """Protect one batch of pictures as the pipeline does.

    Args:
        pictures: aligned, uint8 ``(H, W, 3)``.
        names: their ids.
        generator: G, fitting the recovery of the settings.
        recogniser: f.
        settings: how to hide.
        secret: the key's 32 bytes.
        watch: called after each gradient evaluation with its number, from 1, and the best stored images so far,
            ``(batch, 3, H, W)`` in [0, 1]; only for settings without a stop rule.
    """
    protector = Protector(
        secret=secret, generator=generator, recogniser=recogniser, settings=settings, version=VERSION
    )
    return protector.protect(pictures=pictures, images=names, watch=watch)
