"""Person-specific veils: one optimisation per person, one veil for all photos of that person (002).

Algorithm 1 of 002 omits the step itself and starts from the person's first photo. Here the step is that of
MI-FGSM, which it names, and the start is noise from a secret: Section 3.5 wants a start value of the user's own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from avih.errors import UsageError
from avih.keys.canonical import canonical_safetensors, read_generator_facts
from avih.loop import round_to_levels
from avih.losses import Objective
from avih.methods.facts import MethodFacts
from avih.mixing import keystream
from avih.settings import Count, Frozen
from avih.veils.losses import Intra, Recognise, SubspaceDistance, VeilBlockVariance, VisualDistance
from avih.veils.subspace import FeatureHull

FACTS = MethodFacts(
    name="person_veil",
    title="Person-specific veils",
    paper="Once-for-all: Efficient Visual Face Privacy Protection via Person-specific Veils (2024), Section 3",
    needs="Several aligned photos of one person, the recogniser's gradients, and a 32-byte secret.",
    gives="One veil for all photos of the person: putting it on takes no optimisation, and whoever has it takes "
    "it off again, up to the rounding of the stored picture.",
    cannot="It cannot hide several photos under one veil: their mean gives it away, and so does one photo "
    "together with its protected picture. Keep one gallery photo per person per veil. The recogniser sees the "
    "veil rather than the photo: a stranger's photo under it matches its owner.",
)
KIND = "avih veil v1"

Progress = Callable[[int, float], None]
Build = Callable[[Tensor, Tensor], Objective]


class VeilSettings(Frozen):
    """How a veil is crafted; 002 gives alpha, momentum and blocks, but neither steps, step size nor weights."""

    steps: Count = Field(100, description="Gradient steps per veil.")
    step_size: float = Field(0.01, gt=0, le=1, description="Sign step, in units of the pixel range.")
    momentum: float = Field(1.0, ge=0, le=1, description="Decay mu of the past gradients (002: 1).")
    alpha: float = Field(0.2, gt=0, lt=1, description="Share of the photo in the stored picture (002: 0.2).")
    feature_weight: float = Field(1.0, ge=0, description="Weight of the distance from the feature hull.")
    visual_weight: float = Field(2.0, ge=0, description="Weight lambda of the visual distance, made large.")
    variance_weight: float = Field(0.05, ge=0, description="Weight mu of the block variance.")
    block_size: Count = Field(3, description="Side of a block in pixels (002: 3).")
    block_stride: Count = Field(1, description="Pixels from one block to the next.")
    intra: Intra = Field("centred", description="Equation 10: centred on the block means, or as printed.")
    batch_size: Count = Field(32, description="Photos that the recogniser sees at once.")


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


def craft_veil(
    *,
    photos: Tensor,
    recogniser: Recognise,
    secret: bytes,
    label: str,
    settings: VeilSettings | None = None,
    progress: Progress | None = None,
) -> Veil:
    """Craft the veil of one person (002, Algorithm 1 and Equation 13).

    Args:
        photos: aligned photos of the person.
        recogniser: from pictures in [0, 1] to unit features.
        secret: 32 random bytes, from which the start noise is drawn.
        label: names the veil; one secret serves many labels.
        settings: how; the defaults if none.
        progress: called after each step with the steps so far and the loss.

    Shape:
        - photos: ``(photos, 3, H, W)`` in [0, 1]; recogniser: ``(batch, 3, H, W)`` to ``(batch, d)``.

    Raises:
        UsageError: no photos in [0, 1], a secret of another length, or features that are not finite.
    """
    chosen = settings or VeilSettings()
    features = features_of(photos, recogniser=recogniser, batch_size=chosen.batch_size)
    identity = SubspaceDistance(recogniser, FeatureHull(features), chosen.feature_weight)
    flatness = VeilBlockVariance(chosen.variance_weight, chosen.block_size, chosen.block_stride, chosen.intra)

    def build(originals: Tensor, _: Tensor) -> Objective:
        return Objective((identity, VisualDistance(originals, -chosen.visual_weight), flatness))

    return optimise(
        photos=photos,
        features=features,
        recogniser=recogniser,
        start=start_noise(secret=secret, label=label, like=photos[0]),
        build=build,
        settings=chosen,
        progress=progress,
    )


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


def features_of(photos: Tensor, *, recogniser: Recognise, batch_size: int) -> Tensor:
    """Return the features of photos, without gradients.

    Shape:
        - photos: ``(photos, 3, H, W)`` in [0, 1]; returns ``(photos, d)``.

    Raises:
        UsageError: no photos, another shape, or values outside [0, 1].
    """
    if photos.ndim != 4 or photos.shape[1] != 3 or len(photos) == 0 or not photos.is_floating_point():
        raise UsageError(
            f"Expected photos (photos, 3, H, W) in floating point, got {photos.dtype} {tuple(photos.shape)}."
        )
    if not bool(((photos >= 0) & (photos <= 1)).all()):
        raise UsageError("Expected photos in [0, 1]; divide 8-bit values by 255.")
    with torch.no_grad():
        return torch.cat([recogniser(some) for some in photos.split(batch_size)])


def optimise(
    *,
    photos: Tensor,
    features: Tensor,
    recogniser: Recognise,
    start: Tensor,
    build: Build,
    settings: VeilSettings,
    progress: Progress | None,
) -> Veil:
    """Run Algorithm 1 of 002 and keep the veil whose stored photos have the smallest mean loss.

    ``build`` makes the objective of some photos, from the photos and their features.

    Shape:
        - photos: ``(photos, 3, H, W)`` in [0, 1]; features: theirs, ``(photos, d)``.
        - start: d_0, ``(3, H, W)`` in [0, 1].
    """
    alpha, d = settings.alpha, start
    velocity = torch.zeros_like(d)
    best, smallest, steps = d, torch.inf, 0
    for step in range(1, settings.steps + 1):
        loss, gradient = _look(photos, features, d, build, settings)
        if loss < smallest:
            best, smallest, steps = d, loss, step
        velocity = settings.momentum * velocity + gradient / gradient.abs().sum().clamp_min(1e-30)
        d = (d - settings.step_size * velocity.sign()).clamp(0, 1)
        if progress:
            progress(step, loss)
    stored = round_to_levels(alpha * photos + (1 - alpha) * best)
    found = features_of(stored, recogniser=recogniser, batch_size=settings.batch_size)
    cosines = torch.nn.functional.cosine_similarity(found, features).float().cpu()
    return Veil(d=best.float().cpu(), alpha=alpha, cosines=cosines, steps=steps)


def _look(
    photos: Tensor, features: Tensor, d: Tensor, build: Build, settings: VeilSettings
) -> tuple[float, Tensor]:
    """Return the mean loss of the stored photos under d, and its gradient by d."""
    total, gradient = 0.0, torch.zeros_like(d)
    some = settings.batch_size
    for originals, targets in zip(photos.split(some), features.split(some), strict=True):
        # The gradient is taken at the rounded pictures: what is best in memory is then best in the file.
        stored = round_to_levels(settings.alpha * originals + (1 - settings.alpha) * d)
        loss, slope, _ = build(originals, targets).with_gradient(stored)
        total += float(loss.sum())
        gradient += (1 - settings.alpha) * slope.sum(dim=0)
    return total / len(photos), gradient / len(photos)


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
            "avih.methods.person_veil.veil_bytes."
        ) from error
    return Veil(d=tensors["d"], alpha=alpha, cosines=tensors["cosines"], steps=steps)
