"""LIE: learnable image encryption, the block-wise cipher that 000 compares itself with (section 4.5, C).

Source: "Learnable image encryption", ICCE-TW 2018 (reference 43 of 000). Each 4x4 block of an 8-bit RGB picture
is split into its upper and lower 4 bits, 6 channels in all. Of these 96 values some are reversed (v becomes
15 - v), then all are shuffled, and the 6 channels are put together again as 8-bit RGB. One key serves every
block of every picture: this is what makes the result learnable, and what makes it weak.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from avih.errors import UsageError
from avih.methods.facts import MethodFacts
from avih.methods.pipeline import BatchHider, Made, Pipeline, Portrait, Work
from avih.mixing import keystream
from avih.settings import KeySettings

Pixels = NDArray[np.uint8]

BLOCK: Final = 4  # pixels on a side, as in the source
HALF_BYTE: Final = 15  # largest 4-bit value

FACTS: Final = MethodFacts(
    name="lie",
    title="Learnable image encryption",
    paper="ICCE-TW 2018 (reference 43 of AVIH); the baseline of AVIH's section 4.5 and supplement C.",
    needs="A 32-byte secret, and a classifier that is trained anew on the encrypted pictures.",
    gives="Pictures of unreadable 4x4 blocks, made at once and without a network; the secret brings back every "
    "pixel exactly.",
    cannot="It is no encryption to rely on: one key serves all blocks of all pictures, so equal blocks stay "
    "equal, outlines stay visible, and one known pair of picture and original can give the whole key away. A "
    "trained model does not read its output: one must be trained anew on it, and then no longer reads originals.",
)


@dataclass(frozen=True)
class BlockCipher:
    """LIE under one key: :meth:`encrypt`, and :meth:`decrypt`, its exact inverse.

    Shape:
        - order: ``(6 b^2,)`` int64, a permutation; place i of an encrypted block takes value ``order[i]``.
        - reversals: ``(6 b^2,)`` uint8, 15 where the value is reversed before the shuffle, else 0.

    where b is ``block``, and a block's values are counted by row, then column, then channel: upper R, G, B,
    lower R, G, B.
    """

    order: NDArray[np.int64] = field(repr=False)
    reversals: NDArray[np.uint8] = field(repr=False)
    block: int = BLOCK

    @classmethod
    def draw(cls, *, secret: bytes, block: int = BLOCK) -> "BlockCipher":
        """Draw the key of all blocks from a 32-byte secret (HKDF, then ChaCha20).

        Raises:
            UsageError: the secret has not 32 bytes, or the block has no pixels.
        """
        if block < 1:
            raise UsageError(f"Expected blocks of at least 1 pixel, got {block}; the source has {BLOCK}.")
        values = 6 * block * block
        stream = keystream(secret=secret, label=f"lie v1 block {block}", length=9 * values)
        # 64-bit words: two are equal with a chance below 1e-15 for 96 values, so the order is uniform.
        words = np.frombuffer(stream[: 8 * values], dtype="<u8")
        bits = np.frombuffer(stream[8 * values :], dtype=np.uint8) & np.uint8(1)
        return cls(order=np.argsort(words, kind="stable"), reversals=bits * np.uint8(HALF_BYTE), block=block)

    def encrypt(self, pictures: Pixels) -> Pixels:
        """Encrypt pictures.

        Shape:
            - pictures: ``(batch, H, W, 3)`` uint8, H and W multiples of the block; the same comes back.

        Raises:
            UsageError: another type or shape.
        """
        values = self._split(pictures)
        return self._merge((values ^ self.reversals)[..., self.order], pictures.shape)

    def decrypt(self, encrypted: Pixels) -> Pixels:
        """Return the pictures that :meth:`encrypt` was given, exactly.

        Shape:
            - encrypted: ``(batch, H, W, 3)`` uint8; the same comes back.

        Raises:
            UsageError: another type or shape.
        """
        values = self._split(encrypted)
        ordered = np.empty_like(values)
        ordered[..., self.order] = values
        return self._merge(ordered ^ self.reversals, encrypted.shape)

    def _split(self, pictures: Pixels) -> Pixels:
        """Cut into blocks of 4-bit values, ``(batch, H / b, W / b, 6 b^2)``."""
        self._check(pictures)
        batch, height, width, _ = pictures.shape
        down, right = height // self.block, width // self.block
        cut = pictures.reshape(batch, down, self.block, right, self.block, 3).transpose(0, 1, 3, 2, 4, 5)
        halves = np.concatenate([cut >> 4, cut & HALF_BYTE], axis=-1)
        return halves.reshape(batch, down, right, 6 * self.block**2)

    def _merge(self, values: Pixels, shape: tuple[int, ...]) -> Pixels:
        """Undo :meth:`_split`."""
        halves = values.reshape(*values.shape[:3], self.block, self.block, 6)
        cut = (halves[..., :3] << 4) | halves[..., 3:]
        return np.ascontiguousarray(cut.transpose(0, 1, 3, 2, 4, 5).reshape(shape))

    def _check(self, pictures: Pixels) -> None:
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3 or pictures.size == 0:
            raise UsageError(
                f"Expected uint8 pictures (batch, H, W, 3), got {pictures.dtype} {pictures.shape}. "
                "Stack pictures of one size."
            )
        if pictures.shape[1] % self.block or pictures.shape[2] % self.block:
            raise UsageError(
                f"Expected sides that are multiples of {self.block}, got {pictures.shape[1]}x"
                f"{pictures.shape[2]}. Crop or resize the pictures."
            )


class LieHider(BatchHider):
    """Encrypts pictures; the recogniser has no part in it and is only asked what it still sees."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self.cipher = BlockCipher.draw(secret=work.secret)

    def hide_some(self, portraits: Sequence[Portrait]) -> Sequence[Made]:
        """Encrypt a few pictures."""
        return [Made(self.cipher.encrypt(one.pixels[None])[0]) for one in portraits]


PIPELINE: Final = Pipeline(
    hider=LieHider,
    recoveries=("inverse",),
    # One known pair undoes the key: a baseline to compare with, which needs whole data sets.
    key=KeySettings(architecture="none", leak_budget=20_000),
    warning="LIE is a baseline, not a protection: one original together with its encrypted picture gives the "
    "whole key away. A trained recogniser does not match encrypted pictures, so the version does not go live.",
)
