"""From stored pictures back to pictures: the one place that knows how each recovery works.

``keyed`` and ``unmixed``: G(M(x')) (000, section 3.2), where M is the identity for ``unmixed``. ``sealed``: the
ciphertext beside the picture. ``veil``: the person's veil is taken off (002, Equation 14). ``inverse``: the block
cipher is turned back.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from avih.device import device_of
from avih.errors import KeyRefused, UsageError
from avih.generators.codec import CodecGenerator
from avih.generators.none import NoGenerator
from avih.images import to_pixels, to_tensor
from avih.methods.lie import BlockCipher
from avih.mixing import Mixing
from avih.sealed_copy import open_copy
from avih.settings import ARCHITECTURE_OF, Recovery
from avih.veils.apply import take_off
from avih.veils.veil import Veils

Picture = NDArray[np.uint8]

_KINDS: Final[Mapping[str, type[nn.Module]]] = {"codec": CodecGenerator, "none": NoGenerator}


@dataclass(frozen=True, eq=False)
class Stored:
    """One protected picture as its sample holds it.

    Args:
        image: id of the sample.
        pixels: x', ``(H, W, 3)`` uint8.
        nonce: stored beside it.
        sealed: the sealed copy, where there is one.
        person: whom it shows, as its label says; recovery ``veil`` needs it.
    """

    image: str
    pixels: Picture
    nonce: str
    sealed: bytes | None = field(default=None, repr=False)
    person: str = ""


@dataclass(frozen=True, repr=False)
class Opening:
    """What opens the pictures of a gallery: a key's secret and generator, and the veils under the key."""

    secret: bytes
    generator: nn.Module
    veils: Veils | None = None

    def recover(self, stored: Sequence[Stored], recovery: Recovery) -> list[Picture]:
        """Return the pictures behind stored ones; see :func:`recover`."""
        return recover(
            stored, secret=self.secret, generator=self.generator, recovery=recovery, veils=self.veils
        )


def check_recovery(recovery: Recovery, generator: nn.Module) -> None:
    """Refuse a generator that cannot serve the recovery.

    Raises:
        KeyRefused: keyed recovery needs the codec generator, unmixed a plain one, the others none at all.
    """
    kind = _KINDS.get(ARCHITECTURE_OF[recovery])
    fits = isinstance(generator, kind) if kind else not isinstance(generator, tuple(_KINDS.values()))
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
    veils: Veils | None = None,
) -> list[Picture]:
    """Return the pictures behind stored ones.

    Args:
        stored: what the samples hold.
        secret: the key's 32 bytes.
        generator: the key's network; one without weights where the recovery needs none.
        recovery: how they come back.
        veils: the veils of the gallery under the key; recovery ``veil`` only.

    Shape:
        - stored: pictures ``(H, W, 3)`` uint8 of one size; the same comes back.

    Raises:
        KeyRefused: the generator is of another kind, or a sealed copy does not open.
        IntegrityError: a sealed copy or a veil is missing or damaged.
    """
    check_recovery(recovery, generator)
    return RECOVERIES[recovery](stored, Opening(secret, generator, veils)) if stored else []


def _generated(stored: Sequence[Stored], key: Opening) -> list[Picture]:
    """Return G(x')."""
    return through_generator(key.generator, [one.pixels for one in stored])


def _unmixed_then_generated(stored: Sequence[Stored], key: Opening) -> list[Picture]:
    """Return G(M(x'))."""
    return through_generator(
        key.generator,
        [
            Mixing.draw(secret=key.secret, nonce=one.nonce, values=one.pixels.size).apply(one.pixels)
            for one in stored
        ],
    )


def through_generator(generator: nn.Module, pictures: Sequence[Picture]) -> list[Picture]:
    """Return G(x) of pictures, ``(H, W, 3)`` uint8 each, rounded to what a file would hold."""
    with torch.no_grad():
        return list(to_pixels(generator(to_tensor(pictures).to(device_of(generator)))))


def _opened_copies(stored: Sequence[Stored], key: Opening) -> list[Picture]:
    """Return the originals that travel with the pictures; x' has no part in it."""
    return [
        open_copy(one.sealed, secret=key.secret, image=one.image, nonce=one.nonce, shape=one.pixels.shape)
        for one in stored
    ]


def _without_veil(stored: Sequence[Stored], key: Opening) -> list[Picture]:
    """Return (x' - (1 - alpha) d) / alpha for the veil d of each picture's person."""
    if key.veils is None:
        raise UsageError("Expected the veils of the gallery to recover its pictures, got none.")
    pictures = []
    for one in stored:
        veil = key.veils.of(one.person, one.pixels.shape)
        pictures.append(take_off(one.pixels[None], veil=veil.pixels, alpha=veil.alpha)[0])
    return pictures


def _decrypted(stored: Sequence[Stored], key: Opening) -> list[Picture]:
    """Return what the block cipher was given, exactly."""
    cipher = BlockCipher.draw(secret=key.secret)
    return [cipher.decrypt(one.pixels[None])[0] for one in stored]


RECOVERIES: Final[Mapping[Recovery, Callable[[Sequence[Stored], Opening], list[Picture]]]] = {
    "keyed": _unmixed_then_generated,
    "unmixed": _generated,
    "sealed": _opened_copies,
    "veil": _without_veil,
    "inverse": _decrypted,
}
