"""Keyed mixing M: the secret, per-image bijection between a stored picture and the generator's input.

M works on 8-bit values, exactly: it permutes all pixels and channels, turns about half of the values
over (v becomes 255 - v) and shifts each value by a secret amount modulo 256. Permutation and turning alone
keep the multiset {v, 255 - v} of the picture, so a stored image would tell the contrast of its original; the
shift is a one-time pad over the bytes, after which the stored picture is uniform noise whatever the original.

All three are drawn from HKDF-SHA256 and ChaCha20, from the key's 32-byte secret and the image's nonce.
One nonce must never serve two pictures under one key: the difference of the two stored images would then be
the difference of the originals. The nonce therefore ends in a keyed tag of the picture itself (the synthetic
initialisation vector of RFC 5297), so two pictures cannot share one, whatever the book-keeping does.
"""

import hashlib
import hmac
import math
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from avih.errors import UsageError
from avih.naming import nonce_text

SECRET_BYTES = 32
TAG_BYTES = 16


def keystream(*, secret: bytes, label: str, length: int) -> bytes:
    """Expand a 32-byte secret and a public label into ``length`` pseudo-random bytes (HKDF, then ChaCha20).

    Raises:
        UsageError: the secret has not 32 bytes; a small seed is no secret.
    """
    if len(secret) != SECRET_BYTES:
        raise UsageError(
            f"Expected a secret of {SECRET_BYTES} bytes, got {len(secret)}; a seed is no secret."
        )
    stream_key = HKDF(
        algorithm=SHA256(), length=32, salt=None, info=b"avih mixing v1\0" + label.encode()
    ).derive(secret)
    # The key is fresh for every label, so the cipher's own 16-byte counter block may start at zero.
    return Cipher(ChaCha20(stream_key, bytes(16)), mode=None).encryptor().update(bytes(length))


def make_nonce(*, secret: bytes, version: str, image: str, pixels: NDArray[np.uint8]) -> str:
    """Make the nonce of one picture: gallery version, image id and a keyed tag of the pixels (synthetic IV).

    The tag is an HMAC-SHA256 under the key's secret: without the secret it tells nothing of the picture.

    Shape:
        - pixels: ``(H, W, 3)``, uint8.
    """
    tag_key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"avih nonce tag v1").derive(secret)
    message = f"{version}\0{image}\0{pixels.shape}\0".encode() + np.ascontiguousarray(pixels).tobytes()
    tag = hmac.new(tag_key, message, hashlib.sha256).digest()[:TAG_BYTES].hex()
    return nonce_text(version=version, image=image, tag=tag)


@dataclass(frozen=True)
class Mixing:
    """The mixing M of one image under one key: :meth:`apply` is M, :meth:`invert` its exact inverse.

    Shape:
        - permutation: ``(n,)`` int64, ``flips``: ``(n,)`` uint8 of 0 or 255, ``shifts``: ``(n,)`` uint8,
          where ``n = H * W * 3``.
    """

    permutation: NDArray[np.int64]
    flips: NDArray[np.uint8]
    shifts: NDArray[np.uint8]

    @classmethod
    def draw(cls, *, secret: bytes, nonce: str, values: int) -> "Mixing":
        """Draw M for an image of ``values`` bytes from the key's secret and the image's nonce.

        Sorting 64-bit random words gives a uniform permutation up to the chance of two equal words
        (below 1e-10 for a 112x112 colour image).
        """
        flip_bytes = math.ceil(values / 8)
        stream = keystream(secret=secret, label=nonce, length=8 * values + flip_bytes + values)
        words = np.frombuffer(stream[: 8 * values], dtype="<u8")
        bits = np.frombuffer(stream[8 * values : 8 * values + flip_bytes], dtype=np.uint8)
        return cls(
            permutation=np.argsort(words, kind="stable"),
            flips=np.unpackbits(bits)[:values] * np.uint8(255),
            shifts=np.frombuffer(stream[-values:], dtype=np.uint8),
        )

    def apply(self, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return M(x'), the generator's input, for a stored picture x'.

        Shape:
            - stored: ``(H, W, 3)``, uint8; the same comes back.
        """
        flat = self._checked(stored)
        mixed = np.empty_like(flat)
        mixed[self.permutation] = flat - self.shifts  # uint8 arithmetic wraps: this is modulo 256
        return (mixed ^ self.flips).reshape(stored.shape)

    def invert(self, mixed: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the picture x' with M(x') = ``mixed``, exactly.

        Shape:
            - mixed: ``(H, W, 3)``, uint8; the same comes back.
        """
        flat = self._checked(mixed)
        return ((flat ^ self.flips)[self.permutation] + self.shifts).reshape(mixed.shape)

    def scatter(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return where the values marked in a mixed picture stand in the stored picture.

        Shape:
            - mask: ``(H, W, 3)`` bool, in the order of M(x'); output: the same shape, in the order of x'.
        """
        return mask.reshape(-1)[self.permutation].reshape(mask.shape)

    def _checked(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if picture.dtype != np.uint8 or picture.size != self.permutation.size:
            raise UsageError(
                f"Expected a uint8 picture of {self.permutation.size} values, got {picture.dtype} of "
                f"{picture.size}; the mixing was drawn for another size."
            )
        return np.ascontiguousarray(picture).reshape(-1)
