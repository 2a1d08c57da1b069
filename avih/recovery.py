"""From stored pictures back to pictures: G(M(x')) (000, section 3.2), or the sealed copy, by recovery."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from avih.errors import KeyRefused
from avih.generators.codec import CodecGenerator
from avih.generators.none import NoGenerator
from avih.images import to_pixels, to_tensor
from avih.mixing import Mixing
from avih.sealed_copy import open_copy
from avih.settings import ARCHITECTURE_OF, Recovery

Picture = NDArray[np.uint8]

_KINDS: Mapping[Recovery, type[nn.Module]] = {"keyed": CodecGenerator, "sealed": NoGenerator}


@dataclass(frozen=True, eq=False)
class Stored:
    """One protected picture as its sample holds it.

    Args:
        image: id of the sample.
        pixels: x', ``(H, W, 3)`` uint8.
        nonce: stored beside it.
        sealed: the sealed copy, where there is one.
    """

    image: str
    pixels: Picture
    nonce: str
    sealed: bytes | None = field(default=None, repr=False)


def check_recovery(recovery: Recovery, generator: nn.Module) -> None:
    """Refuse a generator that cannot serve the recovery.

    Raises:
        KeyRefused: keyed recovery needs the codec generator, sealed none at all, unmixed a plain one.
    """
    kind = _KINDS.get(recovery)
    other = tuple(_KINDS.values())
    fits = isinstance(generator, kind) if kind else not isinstance(generator, other)
    if not fits:
        raise KeyRefused(
            f"Expected a key with the generator {ARCHITECTURE_OF[recovery]!r} for recovery {recovery!r}, got "
            f"{type(generator).__name__}. Make a fitting key with: avih keys create --recovery {recovery}"
        )


def recover(
    stored: Sequence[Stored],
    *,
    secret: bytes,
    generator: nn.Module,
    recovery: Recovery,
) -> list[Picture]:
    """Return the pictures behind stored ones.

    ``keyed`` and ``unmixed``: G(M(x')) (000, section 3.2), where M is the identity for ``unmixed``. ``sealed``:
    the sealed copy, exactly; x' has no part in it.

    Shape:
        - stored: pictures ``(H, W, 3)`` uint8 of one size; the same comes back.

    Raises:
        KeyRefused: the generator is of another kind, or a sealed copy does not open.
        IntegrityError: a sealed copy is missing or truncated.
    """
    check_recovery(recovery, generator)
    if recovery == "sealed":
        return [
            open_copy(one.sealed, secret=secret, image=one.image, nonce=one.nonce, shape=one.pixels.shape)
            for one in stored
        ]
    if not stored:
        return []
    mixed = [one.pixels for one in stored]
    if recovery == "keyed":
        mixed = [
            Mixing.draw(secret=secret, nonce=one.nonce, values=one.pixels.size).apply(one.pixels)
            for one in stored
        ]
    with torch.no_grad():
        return list(to_pixels(generator(to_tensor(mixed).to(_device(generator)))))


def _device(generator: nn.Module) -> torch.device:
    weight = next(generator.parameters(), None)
    return torch.device("cpu") if weight is None else weight.device
