"""The sealed copy: an original that travels beside its protected picture, as AES-256-GCM ciphertext.

What is sealed is the plain pixels, not a PNG: a PNG's length tells how busy the picture is, and its bytes change
with the version of the compressor. So the copies of one gallery are all of one length (pixels + 16 bytes).

Each picture has a key of its own, HKDF-SHA256 of the gallery key's secret and the picture's nonce, and the 96-bit
nonce of GCM is always zero. That is safe only if such a key never encrypts two messages, and it cannot: the
picture's nonce ends in a keyed tag of version, image id, size and pixels (:func:`avih.mixing.make_nonce`), so two
pictures, or one picture under two ids, have two nonces, whatever the book-keeping does (128-bit tags: a collision
takes about 2**64 pictures). The same picture under the same nonce gives the same bytes again, as a shard that is
made again must; that tells nothing but that it is the same picture, which the nonce says already.

The associated data binds a copy to its image id, nonce and size: it opens in no other place. Sources: RFC 5869
(HKDF), NIST SP 800-38D (GCM), RFC 5297 (synthetic initialisation vector).
"""

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from avih.errors import IntegrityError, KeyRefused, UsageError
from avih.mixing import SECRET_BYTES

LABEL = b"avih sealed copy v1\0"
TAG_BYTES = 16
_ONE_MESSAGE = bytes(12)  # GCM's nonce: each key serves one message


def seal_copy(picture: NDArray[np.uint8], *, secret: bytes, image: str, nonce: str) -> bytes:
    """Seal an original for its place beside the protected picture; the same input gives the same bytes.

    Args:
        picture: the aligned original.
        secret: the key's 32 bytes.
        image: its image id.
        nonce: made by :func:`avih.mixing.make_nonce` from this very picture; no other nonce is safe.

    Shape:
        - picture: ``(H, W, 3)`` uint8; output: ``H * W * 3 + 16`` bytes.

    Raises:
        UsageError: no picture of 8-bit RGB values, or the secret has not 32 bytes.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise UsageError(f"Expected a uint8 picture (H, W, 3) to seal, got {picture.dtype} {picture.shape}.")
    place = _place(image=image, nonce=nonce, shape=picture.shape)
    return _cipher(secret, nonce).encrypt(_ONE_MESSAGE, np.ascontiguousarray(picture).tobytes(), place)


def open_copy(
    blob: bytes | None, *, secret: bytes, image: str, nonce: str, shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Open what :func:`seal_copy` made: the whole original, exactly, or an error.

    Args:
        blob: the sealed file; None where the sample has none.
        secret: the key's 32 bytes.
        image: id of the sample it lies in.
        nonce: stored with the sample.
        shape: of the protected picture beside it.

    Shape:
        - output: ``shape``, uint8.

    Raises:
        IntegrityError: there is no sealed file, or one of another length.
        KeyRefused: the key is another one, or file, image id or nonce were altered (the cipher cannot tell).
    """
    expected = int(np.prod(shape)) + TAG_BYTES
    if blob is None or len(blob) != expected:
        got = "none" if blob is None else f"{len(blob)} bytes"
        raise IntegrityError(
            f"Expected a sealed copy of {expected} bytes beside image {image}, got {got}. Bring the shard back "
            "from a backup, or protect the gallery again; avih verify says what else differs."
        )
    try:
        plain = _cipher(secret, nonce).decrypt(
            _ONE_MESSAGE, blob, _place(image=image, nonce=nonce, shape=shape)
        )
    except InvalidTag:
        raise KeyRefused(
            f"Expected the sealed copy of image {image} to open, got a refusal: the key is another one, or the "
            "copy, its image id or its nonce was altered; the cipher cannot tell which. Check the key id first; "
            "if it is right, run avih verify and bring the shard back from a backup."
        ) from None
    return np.frombuffer(plain, np.uint8).reshape(shape).copy()


def _cipher(secret: bytes, nonce: str) -> AESGCM:
    if len(secret) != SECRET_BYTES:
        raise UsageError(
            f"Expected a secret of {SECRET_BYTES} bytes, got {len(secret)}; a seed is no secret."
        )
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=LABEL + nonce.encode()).derive(secret))


def _place(*, image: str, nonce: str, shape: tuple[int, ...]) -> bytes:
    # Neither ids nor nonces hold a zero byte, so the parts cannot be cut in another way.
    return LABEL + f"{image}\0{nonce}\0{'x'.join(map(str, shape))}".encode()
