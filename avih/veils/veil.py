"""The veil d of one person (002, Equation 12): what it is, its bytes, and where recovery finds it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from avih.errors import UsageError
from avih.keys.canonical import canonical_safetensors, read_generator_facts
from avih.mixing import keystream

KIND: Final = "avih veil v1"
ALPHA: Final = 0.2  # share of the photo in the stored picture (002)
Start = Literal["white", "pink"]
COMMON: Final = 0.8  # share of the variance of pink noise that all channels have in common


@dataclass(frozen=True, eq=False)
class Veil:
    """A veil d: as secret as the photos under it.

    Shape:
        - d: ``(3, H, W)`` float32 in [0, 1], RGB.
        - alpha: share of the photo in x' = alpha x + (1 - alpha) d, in (0, 1).
        - cosines: ``(photos,)`` float32: cos(f(x'), f(x)) of each photo it was crafted from, of the 8-bit x'.
        - steps: gradient evaluations until this veil, the best.

    Raises:
        UsageError: another shape, type or range.
    """

    d: Tensor = field(repr=False)
    alpha: float
    cosines: Tensor
    steps: int

    def __post_init__(self) -> None:
        d = self.d
        if d.ndim != 3 or len(d) != 3 or d.dtype != torch.float32 or self.cosines.ndim != 1:
            raise UsageError(
                f"Expected a veil (3, H, W) float32 and cosines (photos,), got {d.dtype} {tuple(d.shape)} and "
                f"{tuple(self.cosines.shape)}."
            )
        if not bool(((d >= 0) & (d <= 1)).all()) or not 0 < self.alpha < 1:
            raise UsageError(
                f"Expected a veil in [0, 1] and alpha between 0 and 1, got {float(d.min()):.3g} to "
                f"{float(d.max()):.3g} and {self.alpha}: outside, pictures are clipped and lost."
            )

    @property
    def pixels(self) -> NDArray[np.float32]:
        """The veil as :mod:`avih.veils.apply` takes it: ``(H, W, 3)`` float32 in [0, 1]."""
        pixels: NDArray[np.float32] = np.ascontiguousarray(self.d.permute(1, 2, 0).numpy())
        return pixels


class Veils(Protocol):
    """Where the veils of persons are."""

    def of(self, person: str, shape: tuple[int, ...]) -> Veil:
        """Return the veil of a person for pictures ``(H, W, 3)``."""

    def admitted(self, person: str) -> tuple[str, ...]:
        """Return the keyed hashes of the photos that were let under the person's veil, in their order."""


@dataclass(frozen=True)
class NoiseVeils:
    """A veil of plain noise per person: what another secret takes off, and what a new key is tried with.

    Args:
        secret: 32 bytes.
        alike: veils whose share of the photo is taken, which is no secret; by default it is that of 002.
    """

    secret: bytes = field(repr=False)
    alike: Veils | None = None

    def of(self, person: str, shape: tuple[int, ...]) -> Veil:
        """Draw the noise of a person."""
        like = torch.empty(shape[2], shape[0], shape[1])
        d = start_noise(secret=self.secret, label=person, like=like)
        alpha = self.alike.of(person, shape).alpha if self.alike else ALPHA
        return Veil(d=d, alpha=alpha, cosines=torch.zeros(0), steps=0)

    def admitted(self, person: str) -> tuple[str, ...]:
        """Nothing was counted."""
        return ()


def start_noise(*, secret: bytes, label: str, like: Tensor) -> Tensor:
    """Draw d_0 uniformly from the 256 grey levels, from a 32-byte secret and a label.

    Shape:
        - like: ``(3, H, W)``; returns the same shape, float32 in [0, 1].

    Raises:
        UsageError: the secret has not 32 bytes.
    """
    stream = keystream(secret=secret, label=f"veil start v1\0{label}", length=like.numel())
    levels = torch.frombuffer(bytearray(stream), dtype=torch.uint8)
    return (levels.float() / 255).view(like.shape).to(like.device)


def pink_noise(*, secret: bytes, label: str, like: Tensor) -> Tensor:
    """Draw d_0 with the spectrum of photos, 1 / f in each direction, from a 32-byte secret and a label.

    White noise hides fine detail and leaves coarse shapes to whoever blurs it away. Of this noise each scale of a
    photo meets as much as any other. Most of it is the same in all channels, as most of a photo is.

    Shape:
        - like: ``(3, H, W)``; returns the same shape, float32 in [0, 1], each value uniform.

    Raises:
        UsageError: the secret has not 32 bytes.
    """
    channels, height, width = like.shape
    white = start_noise(secret=secret, label=f"pink\0{label}", like=torch.empty(channels + 1, height, width))
    down, right = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None, :]
    strength = 1 / torch.sqrt(down**2 + right**2).clamp_min(1 / max(height, width))
    # Of unit variance per value on average, whatever the draw: a fixed scale leaves the mean free to move.
    both_halves = torch.where((right == 0) | (right == 0.5), 1.0, 2.0)
    strength = strength / torch.sqrt((both_halves * strength**2).sum() / (height * width))
    centred = (white - 0.5) * 12**0.5
    noise = torch.fft.irfft2(torch.fft.rfft2(centred) * strength, s=(height, width))
    values = COMMON**0.5 * noise[:1] + (1 - COMMON) ** 0.5 * noise[1:]
    return torch.special.ndtr(values).to(like.device, torch.float32).clamp(0, 1)


STARTS: Final[Mapping[str, Callable[..., Tensor]]] = {"white": start_noise, "pink": pink_noise}


def veil_bytes(veil: Veil) -> bytes:
    """Serialise a veil to canonical safetensors bytes; they are secret, so seal them before they are stored."""
    facts = {"kind": KIND, "alpha": repr(veil.alpha), "steps": str(veil.steps)}
    return canonical_safetensors({"d": veil.d, "cosines": veil.cosines}, facts)


def read_veil(content: bytes) -> Veil:
    """Read what :func:`veil_bytes` wrote.

    Raises:
        UsageError: other bytes, or a veil outside [0, 1].
    """
    try:
        facts = read_generator_facts(content).metadata
        tensors = safetensors.torch.load(content)
        if facts["kind"] != KIND or set(tensors) != {"d", "cosines"}:
            raise ValueError("kind")
        alpha, steps = float(facts["alpha"]), int(facts["steps"])
    except (UsageError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise UsageError(
            "Expected a veil as canonical safetensors bytes, got something else. Make them with "
            "avih.veils.veil.veil_bytes."
        ) from error
    return Veil(d=tensors["d"], alpha=alpha, cosines=tensors["cosines"], steps=steps)
