"""Random pixel flipping (003, Section 3.2, Eq. 1), its noise ablation, and the folded view that looks through it.

Pictures are bytes ``(n, channels, H, W)``. In the paper's range they are x = (2v - 255) / 255, from -1 to 1, so a
change of sign is exactly v becoming 255 - v. A flip hides the sign of x and nothing else: |x| is in the veiled
picture for everybody to see, whatever the secret.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avih.errors import UsageError
from avih.evaluation.metrics import ssim
from avih.mixing import keystream

Pictures = NDArray[np.uint8]

WORD_BYTES: Final = 8
_FLIP_LABEL: Final = "veil privacy flip v1\0"
_NOISE_LABEL: Final = "veil privacy noise v1\0"


def checked_pictures(pictures: NDArray[Any], *, name: str = "pictures") -> Pictures:
    """Return the array if it is a batch of 8-bit pictures with one or three channels.

    Shape: uint8 ``(n, channels, H, W)``, n at least 1.

    Raises:
        UsageError: another type or shape, or no picture at all.
    """
    if (
        pictures.dtype != np.uint8
        or pictures.ndim != 4
        or pictures.shape[1] not in (1, 3)
        or not pictures.size
    ):
        raise UsageError(
            f"Expected {name} as uint8 (n, channels, H, W) with 1 or 3 channels, got {pictures.dtype} "
            f"{pictures.shape}: give whole grey or RGB pictures, channels first."
        )
    return pictures


def to_signed(pictures: NDArray[np.uint8]) -> Tensor:
    """Map bytes to the range of 003, line 2 of Algorithm 1: (v / 255 - 0.5) / 0.5.

    Shape: uint8 ``(n, channels, H, W)`` to float32 of the same shape in [-1, 1].
    """
    # Written so that to_signed(255 - v) is exactly -to_signed(v).
    return (torch.from_numpy(checked_pictures(pictures).copy()).float() * 2 - 255) / 255


def to_bytes(images: Tensor) -> Pictures:
    """Map back to bytes, line 19 of Algorithm 1: clipped to [-1, 1] and rounded, as a picture file needs it.

    Shape: float ``(n, channels, H, W)``, nominally in [-1, 1], to uint8 of the same shape.

    Raises:
        UsageError: a value is not finite.
    """
    values = images.detach().to(device="cpu", dtype=torch.float32)
    if not bool(values.isfinite().all()):
        raise UsageError("Expected finite images; a step before this one diverged. Lower the learning rate.")
    return ((values.clamp(-1, 1) * 255 + 255) / 2).round().to(torch.uint8).numpy()


def as_stored(images: Tensor) -> Tensor:
    """Clip to [-1, 1] and round to the levels of a byte, as ``to_signed(to_bytes(images))`` does.

    Shape: float32 ``(n, channels, H, W)``; the same comes back.
    """
    return (((images.clamp(-1, 1) * 255 + 255) / 2).round() * 2 - 255) / 255


def flip_mask(*, secret: bytes, image: str, shape: Sequence[int], flip_ratio: float) -> NDArray[np.bool_]:
    """Draw which values of one picture are flipped (003, Eq. 1, where true stands for -1).

    Each value has a 64-bit word of a ChaCha20 stream of its own and is flipped where the word is below
    p * 2^64: a chance of exactly p.

    Args:
        secret: 32 bytes; a small seed could be tried out.
        image: the picture's id: no two pictures under one secret may share it.
        shape: of the mask.
        flip_ratio: p, from 0 (nothing is flipped) to below 1. At p = 0.5 the signs are a one-time pad; away
            from it the mean of neighbouring values shows (1 - 2p) times the picture.

    Raises:
        UsageError: the secret has not 32 bytes, or p is outside its range.
    """
    if not 0 <= flip_ratio < 1:
        raise UsageError(f"Expected a flip ratio from 0 to below 1, got {flip_ratio}: the paper's is 0.5.")
    count = math.prod(shape)
    stream = keystream(secret=secret, label=_FLIP_LABEL + image, length=WORD_BYTES * count)
    words = np.frombuffer(stream, dtype="<u8")
    return (words < np.uint64(int(flip_ratio * 2**64))).reshape(tuple(shape))


def flip(
    pictures: NDArray[np.uint8], *, images: Sequence[str], secret: bytes, flip_ratio: float = 0.5
) -> Pictures:
    """Flip the sign of a random share of each picture's values (003, Algorithm 1, lines 4 to 11).

    The mask of a picture depends on the secret and its id alone, not on its place or neighbours.

    Args:
        pictures: the originals.
        images: an id per picture, all different.
        secret: 32 bytes.
        flip_ratio: p.

    Shape: uint8 ``(n, channels, H, W)``; the same comes back.

    Raises:
        UsageError: no pictures, ids that do not fit, a short secret or a ratio outside its range.
    """
    checked_pictures(pictures)
    _check_ids(images, len(pictures))
    shape = pictures.shape[1:]
    masks = [flip_mask(secret=secret, image=i, shape=shape, flip_ratio=flip_ratio) for i in images]
    return np.where(np.stack(masks), 255 - pictures, pictures)


def noise(shape: Sequence[int], *, images: Sequence[str], secret: bytes) -> Pictures:
    """Draw uniform noise in place of flipped pictures (003, Table 5, ``Noise``): it knows nothing of them.

    Args:
        shape: ``(n, channels, H, W)``.
        images: an id per picture, all different.
        secret: 32 bytes.

    Raises:
        UsageError: ids that do not fit, or a short secret.
    """
    _check_ids(images, shape[0])
    count = math.prod(shape[1:])
    streams = [keystream(secret=secret, label=_NOISE_LABEL + image, length=count) for image in images]
    return np.stack([np.frombuffer(stream, dtype=np.uint8) for stream in streams]).reshape(tuple(shape))


def _check_ids(images: Sequence[str], count: int) -> None:
    if len(images) != count or len(set(images)) != count:
        raise UsageError(
            f"Expected {count} different ids, one per picture, got {len(images)} with {len(set(images))} "
            "different ones: a mask must not serve two pictures."
        )


def folded(pictures: NDArray[np.uint8]) -> Pictures:
    """Return |x| as a picture, with |x| = 1 shown white: what anybody can compute of a veiled picture.

    Flips leave it as it is, to the last bit; dark and bright parts of the original become alike.

    Shape: uint8 ``(n, channels, H, W)``; the same comes back, odd values only.
    """
    return np.abs(checked_pictures(pictures).astype(np.int16) * 2 - 255).astype(np.uint8)


@dataclass(frozen=True)
class FoldedView:
    """What the folded view of veiled pictures tells of the originals.

    Shape:
        - pictures: uint8 ``(n, channels, H, W)``, |x'|.
        - ssim: float64 ``(n,)``, |x'| against |x|; 1 means that the whole folded original can be seen.
    """

    pictures: Pictures
    ssim: NDArray[np.float64]


def folded_view(*, veiled: NDArray[np.uint8], originals: NDArray[np.uint8]) -> FoldedView:
    """Fold veiled pictures and compare them with the folded originals.

    The paper's SSIM of x' and x (Table 3) is near 0 by construction, since flips take the mean sign away; it
    says nothing about |x'|, so this figure belongs beside it.

    Shape: uint8 ``(n, channels, H, W)`` each, H and W at least 11.

    Raises:
        UsageError: no pictures, different shapes, or smaller than SSIM's window.
    """
    view = folded(veiled)
    return FoldedView(pictures=view, ssim=similarity(view, folded(originals)))


def similarity(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the SSIM of picture i of one batch and picture i of the other (003, Eq. 5).

    Shape: uint8 ``(n, channels, H, W)`` each, H and W at least 11; returns float64 ``(n,)``.

    Raises:
        UsageError: no pictures, different shapes, or smaller than SSIM's window.
    """
    if first.shape != second.shape:
        raise UsageError(f"Expected two batches of one shape, got {first.shape} and {second.shape}.")
    pairs = zip(shown(first), shown(second), strict=True)
    return np.array([ssim(one, other) for one, other in pairs], dtype=np.float64)


def shown(pictures: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Turn a batch into single RGB pictures, grey ones with three equal channels.

    Shape: uint8 ``(n, channels, H, W)`` to n times uint8 ``(H, W, 3)``.
    """
    checked = checked_pictures(pictures)
    colour = np.broadcast_to(checked, (len(checked), 3, *checked.shape[2:]))
    return [np.ascontiguousarray(picture.transpose(1, 2, 0)) for picture in colour]
